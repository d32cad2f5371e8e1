/// Customer master keys: making, describing, listing, enabling, deleting.
#pragma once

#include <kms/bytes.hpp>
#include <kms/list.hpp>
#include <kms/text.hpp>
#include <kms/time.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kms {

/// Length of a key's or a version's id, a UUID.
inline constexpr std::size_t id_length = KMS_ID_SIZE - 1;

enum class key_state : std::int32_t {
    enabled = KMS_STATE_ENABLED,
    disabled = KMS_STATE_DISABLED,
    pending_deletion = KMS_STATE_PENDING_DELETION,
    pending_import = KMS_STATE_PENDING_IMPORT,
};

enum class key_origin : std::int32_t {
    kms = KMS_ORIGIN_KMS,            ///< made by the library
    external = KMS_ORIGIN_EXTERNAL,  ///< imported by the user (BYOK)
};

enum class automatic_rotation : std::int32_t {
    disabled = KMS_ROTATION_DISABLED,
    enabled = KMS_ROTATION_ENABLED,
    suspended = KMS_ROTATION_SUSPENDED,  ///< on, but paused because the key is not enabled
};

/// How to create a key; by default with material of the library's own, without automatic rotation.
class create_key_options {
public:
    /// At most 8192 characters.
    create_key_options &description(std::string_view text) {
        description_ = text;
        return *this;
    }
    /// 1 second to 3650 days.
    create_key_options &rotate_every(std::chrono::seconds interval) noexcept {
        rotate_every_ = interval;
        return *this;
    }
    create_key_options &origin(key_origin where) noexcept {
        origin_ = where;
        return *this;
    }

    [[nodiscard]] const std::string &description() const noexcept { return description_; }
    [[nodiscard]] std::optional<std::chrono::seconds> rotate_every() const noexcept { return rotate_every_; }
    [[nodiscard]] key_origin origin() const noexcept { return origin_; }

private:
    std::string description_;
    std::optional<std::chrono::seconds> rotate_every_;
    key_origin origin_ = key_origin::kms;
};

/// What a key is.
struct key_metadata {
    std::string key_id;
    key_state state;
    key_origin origin;
    kms::automatic_rotation automatic_rotation;
    std::string primary_version_id;  ///< the version that encrypts; empty while the key waits for its import
    std::uint64_t version_count;
    std::optional<std::chrono::seconds> rotation_interval;
    time_point creation_date;
    std::optional<time_point> last_rotation_date;  ///< when the newest version was created
    std::optional<time_point> next_rotation_date;  ///< may lie in the past while rotation is suspended
    std::optional<time_point> delete_date;         ///< only while the deletion is pending
    std::optional<time_point> material_expire_date;
    bool deletion_protection;
    bool service_managed;
};

namespace detail {

inline key_metadata from_c(const kms_key_metadata &c) {
    return {c.key_id,
            static_cast<key_state>(c.state),
            static_cast<key_origin>(c.origin),
            static_cast<automatic_rotation>(c.automatic_rotation),
            c.primary_version_id,
            c.version_count,
            c.rotation_interval_s == 0 ? std::nullopt : std::optional(std::chrono::seconds(c.rotation_interval_s)),
            from_ms(c.creation_date_ms),
            from_optional_ms(c.last_rotation_date_ms),
            from_optional_ms(c.next_rotation_date_ms),
            from_optional_ms(c.delete_date_ms),
            from_optional_ms(c.material_expire_date_ms),
            c.deletion_protection != 0,
            c.service_managed != 0};
}

/// The calls of `keystore` about keys. `key` is a key id or "alias/NAME", `key_id` a key id only.
template <class Keystore>
class key_calls {
public:
    /// Creates a key and returns its id; it is on disk when this returns.
    std::string create_key(const create_key_options &options = {}) const {
        const c_text description(options.description());
        const kms_create_key_options c = to_c(options, description);
        char key_id[KMS_ID_SIZE];
        check(kms_create_key(raw(), &c, key_id));
        return key_id;
    }

    /// Creates 1 to 1000 keys alike, all or none, at little more than the cost of one; returns their ids.
    std::vector<std::string> create_keys(std::size_t count, const create_key_options &options = {}) const {
        const c_text description(options.description());
        const kms_create_key_options c = to_c(options, description);
        // A number out of range is for the library to refuse.
        std::vector<char> ids(KMS_ID_SIZE * (count == 0 || count > 1000 ? 1 : count));
        check(kms_create_keys(raw(), &c, count, ids.data()));
        std::vector<std::string> made;
        made.reserve(count);
        for (std::size_t i = 0; i < count; ++i) {
            made.emplace_back(&ids[i * KMS_ID_SIZE]);
        }
        return made;
    }

    /// The id of the key of a named part of the program, which is made on first use. It can't be rotated or deleted.
    std::string create_service_key(std::string_view name) const {
        char key_id[KMS_ID_SIZE];
        check(kms_create_service_key(raw(), c_text(name), key_id));
        return key_id;
    }

    [[nodiscard]] key_metadata describe_key(std::string_view key) const {
        kms_key_metadata c = KMS_KEY_METADATA_INIT;
        check(kms_describe_key(raw(), c_text(key), &c));
        return from_c(c);
    }

    /// All keys, in the order of their ids.
    [[nodiscard]] list<key_metadata> keys() const && = delete;  // the list reads on while it is walked
    [[nodiscard]] list<key_metadata> keys() const & {
        return list<key_metadata>([source = source()](const key_metadata *after, list<key_metadata>::page &page) {
            const auto visit = [](void *user, const kms_key_metadata *key) {
                return static_cast<list<key_metadata>::page *>(user)->add([&] { return from_c(*key); });
            };
            return kms_list_keys(source.open().get(), after == nullptr ? nullptr : after->key_id.c_str(),
                                 list<key_metadata>::page_size, visit, &page);
        });
    }

    void enable_key(std::string_view key_id) const { check(kms_enable_key(raw(), c_text(key_id))); }
    void disable_key(std::string_view key_id) const { check(kms_disable_key(raw(), c_text(key_id))); }

    /// After a waiting period of 7 to 366 days the key, and everything encrypted under it, are lost.
    void schedule_key_deletion(std::string_view key_id, std::int32_t waiting_period_days) const {
        check(kms_schedule_key_deletion(raw(), c_text(key_id), waiting_period_days));
    }
    void cancel_key_deletion(std::string_view key_id) const { check(kms_cancel_key_deletion(raw(), c_text(key_id))); }

    void update_key_description(std::string_view key_id, std::string_view description) const {
        check(kms_update_key_description(raw(), c_text(key_id), c_text(description)));
    }
    [[nodiscard]] std::string get_key_description(std::string_view key) const {
        const c_text name(key);
        std::string text;
        std::size_t length = 0;
        check(kms_get_key_description(raw(), name, nullptr, 0, &length));
        for (;;) {  // another process may make it longer between the two calls
            text.resize(length);
            if (length == 0) {
                return text;
            }
            const kms_status returned =
                kms_get_key_description(raw(), name, reinterpret_cast<std::uint8_t *>(text.data()), text.size(), &length);
            if (returned != KMS_BUFFER_TOO_SMALL) {
                check(returned);
                text.resize(length);
                return text;
            }
        }
    }

    /// While it is on, the key's deletion can't be scheduled. The description says why.
    void set_deletion_protection(std::string_view key_id, bool on, std::string_view description = {}) const {
        check(kms_set_deletion_protection(raw(), c_text(key_id), on ? 1 : 0, c_text(description)));
    }

private:
    const kms_t *raw() const noexcept { return static_cast<const Keystore &>(*this).native_handle(); }
    list_source source() const noexcept { return static_cast<const Keystore &>(*this).source_of_lists(); }

    static kms_create_key_options to_c(const create_key_options &options, const char *description) noexcept {
        kms_create_key_options c = KMS_CREATE_KEY_OPTIONS_INIT;
        c.origin = static_cast<std::int32_t>(options.origin());
        c.description = description;
        if (options.rotate_every()) {
            c.enable_automatic_rotation = 1;
            c.rotation_interval_s = options.rotate_every()->count();
        }
        return c;
    }
};

}  // namespace detail

}  // namespace kms
