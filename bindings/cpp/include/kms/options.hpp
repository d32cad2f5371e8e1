/// How to open a keystore, and the callbacks that it uses.
#pragma once

#include <kms/bytes.hpp>
#include <kms/text.hpp>
#include <kms/time.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

namespace kms {

enum class event_kind : std::int32_t {
    rotated = KMS_EVENT_ROTATED,                    ///< a key has a new version, which is its primary now
    rotation_failed = KMS_EVENT_ROTATION_FAILED,    ///< it could not be stored, and is tried again
    key_destroyed = KMS_EVENT_KEY_DESTROYED,        ///< a key and all its material are gone
    deletion_due = KMS_EVENT_DELETION_DUE,          ///< a waiting period is over; the key goes in an hour at the earliest
    clock_suspect = KMS_EVENT_CLOCK_SUSPECT,        ///< a version was created in the future: a clock is or was wrong
    key_damaged = KMS_EVENT_KEY_DAMAGED,            ///< a key's row is damaged or was altered
    thread_stopped = KMS_EVENT_THREAD_STOPPED,      ///< every further call fails with `poisoned`
    material_expired = KMS_EVENT_MATERIAL_EXPIRED,  ///< imported material was erased
    file_replaced = KMS_EVENT_KEYSTORE_REPLACED,    ///< the file was replaced, removed or overwritten with another history
    version_deletion_due = KMS_EVENT_VERSION_DELETION_DUE,            ///< the version goes in an hour at the earliest
    version_destroyed = KMS_EVENT_VERSION_DESTROYED,                  ///< a version's material is gone
    rotation_waits_for_backup = KMS_EVENT_ROTATION_WAITS_FOR_BACKUP,  ///< due, and no recorded backup has the newest version
    rotated_without_backup = KMS_EVENT_ROTATED_WITHOUT_BACKUP,        ///< it had waited for a backup as long as it may
    database_unavailable = KMS_EVENT_KEYSTORE_UNAVAILABLE,            ///< the database does not answer
    database_available = KMS_EVENT_KEYSTORE_AVAILABLE,                ///< the database answers again
    host_clock_wrong = KMS_EVENT_HOST_CLOCK_WRONG,                    ///< this host's clock is not the database's
    rolled_back = KMS_EVENT_KEYSTORE_ROLLED_BACK,  ///< the database lost changes: see `options::accept_rollback`
    version_lost = KMS_EVENT_VERSION_LOST,         ///< the database lost this version, which was in memory
};

/// The wait of `options::require_backup` that suits most: 7 days.
inline constexpr std::chrono::seconds backup_wait_default{KMS_BACKUP_WAIT_DEFAULT_S};
/// The longest wait of `options::require_backup`: 30 days.
inline constexpr std::chrono::seconds backup_wait_max{KMS_BACKUP_WAIT_MAX_S};

/// Something that happened to the keys; its texts are valid during the callback only.
struct event {
    event_kind kind;
    kms::status status;           ///< why, for the kinds that are failures
    std::string_view key_id;      ///< empty where the event is about no single key
    std::string_view version_id;  ///< empty where the event is about no single version
    time_point time;
    std::chrono::milliseconds waited;  ///< how long a destroyed key or version waited, as the library counted; else 0
};

namespace detail {

/// Reports an empty function when it is set, not when it is called.
template <class Function>
void require(const Function &function) {
    if (!function) {
        throw invalid_argument("a callback is empty");
    }
}

/// The program's functions, where C's callbacks find them; shared by the options and each keystore opened with them. Nothing
/// that they throw crosses C.
struct event_callback {
    std::function<void(const event &)> call;

    static void run(void *user, const kms_event *c) noexcept {
        try {
            static_cast<event_callback *>(user)->call(
                {static_cast<event_kind>(c->kind), static_cast<status>(c->status), c->key_id == nullptr ? "" : c->key_id,
                 c->version_id == nullptr ? "" : c->version_id, from_ms(c->time_ms), std::chrono::milliseconds{c->waited_ms}});
        } catch (...) {  // no caller could catch it
        }
    }
};

struct clock_callback {
    std::function<time_point()> call;
    std::atomic<std::int64_t> last_ms{
        to_ms(std::chrono::time_point_cast<time_point::duration>(std::chrono::system_clock::now()))};

    /// A clock that throws stands still.
    static std::int64_t run(void *user) noexcept {
        auto &self = *static_cast<clock_callback *>(user);
        try {
            self.last_ms = to_ms(self.call());
        } catch (...) {
        }
        return self.last_ms;
    }
};

struct root_callback {
    std::function<bytes(bytes_view, bytes_view)> wrap;
    std::function<secret_bytes(bytes_view, bytes_view)> unwrap;
    std::exception_ptr thrown;  // by the last call; `keystore::open` throws it on

    template <class Function>
    kms_status run(const Function &function, bytes_view input, bytes_view aad, bytes_span out, std::size_t *out_len) noexcept {
        try {
            thrown = nullptr;
            const auto made = function(input, aad);
            *out_len = made.size();
            if (made.size() > out.size()) {
                return KMS_BUFFER_TOO_SMALL;
            }
            if (!made.empty()) {
                std::memcpy(out.data(), made.data(), made.size());
            }
            return KMS_OK;
        } catch (...) {
            thrown = std::current_exception();
            return KMS_ROOT_KEY_UNAVAILABLE;
        }
    }
    static kms_status run_wrap(void *user, const std::uint8_t *in, std::size_t in_len, const std::uint8_t *aad,
                               std::size_t aad_len, std::uint8_t *out, std::size_t out_cap, std::size_t *out_len) noexcept {
        auto &self = *static_cast<root_callback *>(user);
        return self.run(self.wrap, {in, in_len}, {aad, aad_len}, {out, out_cap}, out_len);
    }
    static kms_status run_unwrap(void *user, const std::uint8_t *in, std::size_t in_len, const std::uint8_t *aad,
                                 std::size_t aad_len, std::uint8_t *out, std::size_t out_cap, std::size_t *out_len) noexcept {
        auto &self = *static_cast<root_callback *>(user);
        return self.run(self.unwrap, {in, in_len}, {aad, aad_len}, {out, out_cap}, out_len);
    }
};

struct anchor_callback {
    std::function<bytes()> get;
    std::function<void(bytes_view)> put;

    static kms_status run_get(void *user, std::uint8_t *out, std::size_t out_cap, std::size_t *out_len) noexcept {
        try {
            const bytes record = static_cast<anchor_callback *>(user)->get();
            if (record.size() > out_cap) {
                return KMS_BUFFER_TOO_SMALL;
            }
            *out_len = record.size();
            if (!record.empty()) {
                std::memcpy(out, record.data(), record.size());
            }
            return KMS_OK;
        } catch (...) {
            return KMS_ANCHOR_UNAVAILABLE;
        }
    }
    static kms_status run_put(void *user, const std::uint8_t *record, std::size_t record_len) noexcept {
        try {
            static_cast<anchor_callback *>(user)->put({record, record_len});
            return KMS_OK;
        } catch (...) {
            return KMS_ANCHOR_UNAVAILABLE;
        }
    }
};

struct callbacks {
    std::vector<std::shared_ptr<void>> kept;  // also replaced ones: a keystore may have been opened with them
    std::shared_ptr<root_callback> root;
};

}  // namespace detail

/// Options of `keystore::open`: create off, rotation thread on, busy timeout 5 s. Exactly one root key must be set. For one
/// thread at a time; may be used for several keystores.
///
///     kms::options{}.root_key_file("root.key").create(true)
class options {
public:
    options() : raw_(kms_options_new()) {
        if (!raw_) {
            throw std::bad_alloc();
        }
    }

    /// Exactly 32 bytes, not all zero.
    options &root_key(const bytes_argument &key) & { return set(kms_options_set_root_key(raw(), key.data(), key.size())); }
    /// A regular file of exactly 32 bytes that only its owner (this user or root) and its group can read. With `create`, it is made together with the keystore.
    options &root_key_file(std::string_view path) & { return set(kms_options_set_root_key_file(raw(), detail::c_text(path))); }
    /// Any bytes; opening then takes a fraction of a second.
    options &root_passphrase(const bytes_argument &passphrase) & {
        return set(kms_options_set_root_passphrase(raw(), passphrase.data(), passphrase.size()));
    }
    /// Functions that wrap and unwrap the root key with a key that stays in an HSM, a TPM or a cloud KMS: of the key or what
    /// was wrapped, and of bytes to bind (`aad`). Both must use authenticated symmetric encryption, such as AES-256-GCM, and
    /// unwrapping must throw for other `aad`. Never use public-key encryption: an attacker who can write the keystore's file could
    /// put their own keystore in its place. See kms_options_set_root_callback. What they throw comes out of the call.
    options &root_callback(std::function<bytes(bytes_view, bytes_view)> wrap,
                           std::function<secret_bytes(bytes_view, bytes_view)> unwrap) & {
        detail::require(wrap);
        detail::require(unwrap);
        auto made = std::make_shared<detail::root_callback>();
        made->wrap = std::move(wrap);
        made->unwrap = std::move(unwrap);
        callbacks_.kept.push_back(made);
        callbacks_.root = made;
        return set(kms_options_set_root_callback(raw(), detail::root_callback::run_wrap, detail::root_callback::run_unwrap,
                                                 made.get()));
    }
    /// A file on another volume that knows the keystore's newest generation, so that an older copy put in its place is
    /// refused with `keystore_rolled_back`.
    options &anchor_file(std::string_view path) & { return set(kms_options_set_anchor_file(raw(), detail::c_text(path))); }
    /// The same, stored by two callbacks: `get` returns the last record, or nothing yet; `put` returns when
    /// it is safe. They may be called on any thread; where one throws, the call fails with `anchor_unavailable`.
    options &anchor_callback(std::function<bytes()> get, std::function<void(bytes_view)> put) & {
        detail::require(get);
        detail::require(put);
        auto made = std::make_shared<detail::anchor_callback>();
        made->get = std::move(get);
        made->put = std::move(put);
        callbacks_.kept.push_back(made);
        return set(kms_options_set_anchor_callback(raw(), detail::anchor_callback::run_get, detail::anchor_callback::run_put,
                                                   made.get()));
    }
    /// Have the anchor of a keystore in a database hold each change of this handle before its call returns, instead of a
    /// checkpoint that is at most 10 s old. Needs an anchor.
    options &anchor_strict(bool strict) & { return set(kms_options_set_anchor_strict(raw(), strict ? 1 : 0)); }
    /// Let a due rotation wait until a recorded backup has the newest version of the key, but no longer than this; zero: no
    /// wait. Set it in each process that opens the keystore.
    options &require_backup(std::chrono::seconds longest) & {
        return set(kms_options_set_require_backup(raw(), longest.count()));
    }
    /// Makes a keystore that isn't there.
    options &create(bool if_missing) & { return set(kms_options_set_create(raw(), if_missing ? 1 : 0)); }
    /// Never writes, so nothing rotates.
    options &read_only(bool on) & { return set(kms_options_set_read_only(raw(), on ? 1 : 0)); }
    /// Without the thread, call `keystore::tick` from time to time.
    options &rotation_thread(bool on) & { return set(kms_options_set_rotation_thread(raw(), on ? 1 : 0)); }
    /// How long a call waits for other processes; at most an hour.
    options &busy_timeout(std::chrono::milliseconds timeout) & {
        return set(kms_options_set_busy_timeout_ms(raw(), timeout.count()));
    }
    /// How often a keystore in a database is asked for changes of other hosts; 10 ms to 60 s, 1 s by default.
    options &poll_interval(std::chrono::milliseconds interval) & {
        return set(kms_options_set_poll_interval_ms(raw(), interval.count()));
    }
    /// How long keys in memory stay usable while the database does not answer; at most 30 days, 5 minutes by default. Zero
    /// refuses from the first poll without an answer.
    options &offline_limit(std::chrono::seconds limit) & { return set(kms_options_set_offline_limit_s(raw(), limit.count())); }
    /// Accepts that the database lost changes: all processes continue with its present state. For an operator who can
    /// restore nothing newer.
    options &accept_rollback(bool accept) & { return set(kms_options_set_accept_rollback(raw(), accept ? 1 : 0)); }
    /// How many keys are kept in memory.
    options &cache_keys(std::size_t keys) & { return set(kms_options_set_cache_keys(raw(), keys)); }
    /// A label that the change log has with each change: a user, a job. At most 255 bytes of printable text, stored in the
    /// clear.
    options &actor(std::string_view label) & { return set(kms_options_set_actor(raw(), detail::c_text(label))); }
    /// A clock for tests: five years of rotations pass in a millisecond. Turns the rotation thread off. It may be
    /// called on any thread; while it throws, the time stands still.
    options &clock(std::function<time_point()> now) & {
        detail::require(now);
        auto made = std::make_shared<detail::clock_callback>();
        made->call = std::move(now);
        callbacks_.kept.push_back(made);
        return set(kms_options_set_clock(raw(), detail::clock_callback::run, made.get()));
    }
    /// Receives events: rotations, destroyed keys, failures of clocks and disks. kms_event_fn states on which thread.
    /// An exception that it throws is dropped.
    options &on_event(std::function<void(const event &)> callback) & {
        detail::require(callback);
        auto made = std::make_shared<detail::event_callback>();
        made->call = std::move(callback);
        callbacks_.kept.push_back(made);
        return set(kms_options_set_event_callback(raw(), detail::event_callback::run, made.get()));
    }

    // The same on a temporary, so that it can be moved on: `auto options = kms::options{}.create(true);`
    options &&root_key(const bytes_argument &key) && { return std::move(root_key(key)); }
    options &&root_key_file(std::string_view path) && { return std::move(root_key_file(path)); }
    options &&root_passphrase(const bytes_argument &passphrase) && { return std::move(root_passphrase(passphrase)); }
    options &&root_callback(std::function<bytes(bytes_view, bytes_view)> wrap,
                            std::function<secret_bytes(bytes_view, bytes_view)> unwrap) && {
        return std::move(root_callback(std::move(wrap), std::move(unwrap)));
    }
    options &&anchor_file(std::string_view path) && { return std::move(anchor_file(path)); }
    options &&anchor_callback(std::function<bytes()> get, std::function<void(bytes_view)> put) && {
        return std::move(anchor_callback(std::move(get), std::move(put)));
    }
    options &&anchor_strict(bool strict) && { return std::move(anchor_strict(strict)); }
    options &&require_backup(std::chrono::seconds longest) && { return std::move(require_backup(longest)); }
    options &&create(bool if_missing) && { return std::move(create(if_missing)); }
    options &&read_only(bool on) && { return std::move(read_only(on)); }
    options &&rotation_thread(bool on) && { return std::move(rotation_thread(on)); }
    options &&busy_timeout(std::chrono::milliseconds timeout) && { return std::move(busy_timeout(timeout)); }
    options &&poll_interval(std::chrono::milliseconds interval) && { return std::move(poll_interval(interval)); }
    options &&offline_limit(std::chrono::seconds limit) && { return std::move(offline_limit(limit)); }
    options &&accept_rollback(bool accept) && { return std::move(accept_rollback(accept)); }
    options &&cache_keys(std::size_t keys) && { return std::move(cache_keys(keys)); }
    options &&actor(std::string_view label) && { return std::move(actor(label)); }
    options &&clock(std::function<time_point()> now) && { return std::move(clock(std::move(now))); }
    options &&on_event(std::function<void(const event &)> callback) && { return std::move(on_event(std::move(callback))); }

    [[nodiscard]] const kms_options_t *native_handle() const noexcept { return raw_.get(); }

private:
    friend class keystore;

    struct free_options {
        void operator()(kms_options_t *made) const noexcept { kms_options_free(made); }
    };

    kms_options_t *raw() noexcept { return raw_.get(); }
    options &set(kms_status returned) {
        detail::check(returned);
        return *this;
    }

    std::unique_ptr<kms_options_t, free_options> raw_;
    detail::callbacks callbacks_;
};

}  // namespace kms
