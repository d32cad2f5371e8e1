/// Rotation: by hand, by policy, by tick.
#pragma once

#include <kms/text.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace kms::detail {

/// The calls of `keystore` that rotate.
template <class Keystore>
class rotation_calls {
public:
    /// Makes a new version of `key`, a key id or "alias/NAME", promotes it to primary and returns its id. The service calls
    /// this CreateKeyVersion.
    std::string rotate(std::string_view key) const {
        char version_id[KMS_ID_SIZE];
        check(kms_rotate(raw(), c_text(key), version_id));
        return version_id;
    }

    /// Turns automatic rotation on, with an interval of 1 second to 3650 days, or off. The interval counts from the
    /// creation of the newest version; if that makes the key overdue, it rotates before this returns.
    void update_rotation_policy(std::string_view key_id, std::optional<std::chrono::seconds> interval) const {
        check(kms_update_rotation_policy(raw(), c_text(key_id), interval ? 1 : 0, interval ? interval->count() : 0));
    }

    /// Performs all due work, for programs without the rotation thread; returns the number of rotated keys.
    std::size_t tick() const {
        std::size_t rotated = 0;
        check(kms_tick(raw(), &rotated));
        return rotated;
    }

private:
    const kms_t *raw() const noexcept { return static_cast<const Keystore &>(*this).native_handle(); }
};

}  // namespace kms::detail
