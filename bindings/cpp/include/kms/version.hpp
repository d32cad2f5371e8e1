/// The versions of a key.
#pragma once

#include <kms/list.hpp>
#include <kms/text.hpp>
#include <kms/time.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace kms {

/// One version of a key.
struct key_version {
    std::string version_id;
    std::uint64_t number;  ///< 1 for the oldest; never reused
    bool is_primary;       ///< this version encrypts
    time_point creation_date;
};

namespace detail {

inline key_version from_c(const kms_key_version &c) {
    return {c.version_id, c.number, c.is_primary != 0, from_ms(c.creation_date_ms)};
}

/// The calls of `keystore` about versions. `key` is a key id or "alias/NAME".
template <class Keystore>
class version_calls {
public:
    [[nodiscard]] key_version describe_key_version(std::string_view key, std::string_view version_id) const {
        kms_key_version c = KMS_KEY_VERSION_INIT;
        check(kms_describe_key_version(raw(), c_text(key), c_text(version_id), &c));
        return from_c(c);
    }

    /// All versions of a key, newest first.
    [[nodiscard]] list<key_version>
    key_versions(std::string_view key) const && = delete;  // the list reads on while it is walked
    [[nodiscard]] list<key_version> key_versions(std::string_view key) const & {
        refuse_nul(key);
        return list<key_version>(
            [source = source(), key = std::string(key)](const key_version *after, list<key_version>::page &page) {
                const auto visit = [](void *user, const kms_key_version *version) {
                    return static_cast<list<key_version>::page *>(user)->add([&] { return from_c(*version); });
                };
                return kms_list_key_versions(source.open().get(), key.c_str(), after == nullptr ? 0 : after->number,
                                             list<key_version>::page_size, visit, &page);
            });
    }

private:
    const kms_t *raw() const noexcept { return static_cast<const Keystore &>(*this).native_handle(); }
    list_source source() const noexcept { return static_cast<const Keystore &>(*this).source_of_lists(); }
};

}  // namespace detail

}  // namespace kms
