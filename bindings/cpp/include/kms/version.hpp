/// The versions of a key, their states and deletion.
#pragma once

#include <kms/list.hpp>
#include <kms/text.hpp>
#include <kms/time.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kms {

/// The state of a version. The state of its key comes first.
enum class version_state : std::int32_t {
    enabled = KMS_VERSION_ENABLED,    ///< it decrypts; the primary also encrypts
    disabled = KMS_VERSION_DISABLED,  ///< it decrypts nothing until it is enabled again
    pending_deletion = KMS_VERSION_PENDING_DELETION,
    destroyed = KMS_VERSION_DESTROYED,  ///< the key material is gone; the id and the number remain
};

/// One version of a key.
struct key_version {
    std::string version_id;
    std::uint64_t number;  ///< 1 for the oldest; never reused
    bool is_primary;       ///< this version encrypts
    time_point creation_date;
    version_state state;
    std::optional<time_point> delete_date;  ///< only while the deletion is pending
    /// The start of the day on which the version was last used; none if no use was recorded. Written by the rotation thread
    /// or `tick`; a read-only keystore records no use.
    std::optional<time_point> last_encrypt_date;
    std::optional<time_point> last_decrypt_date;
};

namespace detail {

inline key_version from_c(const kms_key_version &c) {
    return {c.version_id,
            c.number,
            c.is_primary != 0,
            from_ms(c.creation_date_ms),
            static_cast<version_state>(c.state),
            from_optional_ms(c.delete_date_ms),
            from_optional_ms(c.last_encrypt_date_ms),
            from_optional_ms(c.last_decrypt_date_ms)};
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

    /// Disables a version that is not the primary: it decrypts nothing until it is enabled again. This is the reversible
    /// trial before a deletion.
    void disable_key_version(std::string_view key_id, std::string_view version_id) const {
        check(kms_disable_key_version(raw(), c_text(key_id), c_text(version_id)));
    }

    /// Enables a disabled version.
    void enable_key_version(std::string_view key_id, std::string_view version_id) const {
        check(kms_enable_key_version(raw(), c_text(key_id), c_text(version_id)));
    }

    /// Starts a waiting period of 7 to 366 days after which a disabled version is destroyed. After it, nothing decrypts what
    /// the version encrypted: move it with `reencrypt` first.
    void schedule_key_version_deletion(std::string_view key_id, std::string_view version_id,
                                       std::int32_t waiting_period_days) const {
        check(kms_schedule_key_version_deletion(raw(), c_text(key_id), c_text(version_id), waiting_period_days));
    }

    /// Cancels the pending deletion of a version, which becomes disabled.
    void cancel_key_version_deletion(std::string_view key_id, std::string_view version_id) const {
        check(kms_cancel_key_version_deletion(raw(), c_text(key_id), c_text(version_id)));
    }

private:
    const kms_t *raw() const noexcept { return static_cast<const Keystore &>(*this).native_handle(); }
    list_source source() const noexcept { return static_cast<const Keystore &>(*this).source_of_lists(); }
};

}  // namespace detail

}  // namespace kms
