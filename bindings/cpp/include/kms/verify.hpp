/// Verification of a whole keystore.
#pragma once

#include <kms/status.hpp>

#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace kms {

/// Something in the keystore that was changed, damaged, added or taken away.
struct fault {
    std::string key_id;  ///< empty where it is about no single key
    kms::status status;  ///< what uses of it fail with
    std::string text;    ///< for people
};

namespace detail {

/// The call of `keystore` that checks every row.
template <class Keystore>
class verify_calls {
public:
    /// All faults; none: every row is authentic and in its place, all key material can be unsealed, and each page
    /// of the file belongs to one table or index, or is free. May run concurrently with everything else.
    [[nodiscard]] std::vector<fault> verify() const {
        struct found {
            std::vector<fault> faults;
            std::exception_ptr thrown;
        } all;
        const auto visit = [](void *user, const char *key_id, kms_status why, const char *text) noexcept -> std::int32_t {
            auto &into = *static_cast<found *>(user);
            try {
                into.faults.push_back({key_id == nullptr ? "" : key_id, static_cast<status>(why), text});
                return 0;
            } catch (...) {
                into.thrown = std::current_exception();
                return 1;
            }
        };
        const kms_status returned = kms_verify(static_cast<const Keystore &>(*this).native_handle(), visit, &all);
        if (all.thrown) {
            std::rethrow_exception(all.thrown);
        }
        if (returned != KMS_KEYSTORE_CORRUPT || all.faults.empty()) {
            check(returned);
        }
        return std::move(all.faults);
    }
};

}  // namespace detail

}  // namespace kms
