/// The open keystore.
#pragma once

#include <kms/alias.hpp>
#include <kms/backup.hpp>
#include <kms/batch.hpp>
#include <kms/call.hpp>
#include <kms/crypt.hpp>
#include <kms/data_key.hpp>
#include <kms/file.hpp>
#include <kms/health.hpp>
#include <kms/import.hpp>
#include <kms/key.hpp>
#include <kms/log.hpp>
#include <kms/options.hpp>
#include <kms/root.hpp>
#include <kms/rotation.hpp>
#include <kms/stream.hpp>
#include <kms/survey.hpp>
#include <kms/tag.hpp>
#include <kms/verify.hpp>
#include <kms/version.hpp>

#include <exception>
#include <memory>
#include <string_view>
#include <utility>

namespace kms {

/// The library's version, such as "0.1.0".
[[nodiscard]] inline std::string_view version() noexcept { return kms_version(); }

/// An open keystore: owns its handle, moves, doesn't copy. All its calls but `close` may be made by all threads at once, and
/// in a forked child. Each header named after a noun has the calls about it.
class keystore : public detail::key_calls<keystore>,
                 public detail::crypt_calls<keystore>,
                 public detail::batch_calls<keystore>,
                 public detail::data_key_calls<keystore>,
                 public detail::file_calls<keystore>,
                 public detail::stream_calls<keystore>,
                 public detail::survey_calls<keystore>,
                 public detail::rotation_calls<keystore>,
                 public detail::version_calls<keystore>,
                 public detail::alias_calls<keystore>,
                 public detail::tag_calls<keystore>,
                 public detail::import_calls<keystore>,
                 public detail::json_calls<keystore>,
                 public detail::health_calls<keystore>,
                 public detail::verify_calls<keystore>,
                 public detail::log_calls<keystore>,
                 public detail::backup_calls<keystore>,
                 public detail::root_calls<keystore> {
public:
    /// `location` is a path, "sqlite:PATH", "memory:" for a keystore that lives as long as this object, or a database:
    /// "postgres://[USER@]HOST[:PORT]/DATABASE[?SETTING=VALUE][#KEYSTORE]" (docs/many-machines.md).
    [[nodiscard]] static keystore open(std::string_view location, const options &how) {
        kms_t *opened = nullptr;
        with_root(how, [&] { return kms_open(detail::c_text(location), how.native_handle(), &opened); });
        return keystore(handle(opened, close_handle()), how.callbacks_);
    }

    /// Makes the root of `how` the only one that opens the keystore: all root slots are replaced. Open handles keep working.
    /// Of the options, the root counts, and `create` for a key file that isn't there. Throws `root_slot_exists` for a root
    /// that opens the keystore already; a callback may be the same, to wrap the root key again.
    void change_root(const options &how) const {
        with_root(how, [&] { return kms_change_root(native_handle(), how.native_handle()); });
    }

    /// Lets the root of `how` open the keystore too; returns the id of its slot. At most 8 roots open a keystore. `label` is
    /// stored in the clear. Throws `root_slot_exists` for a root that opens the keystore already.
    std::string add_root_slot(const options &how, std::optional<std::string_view> label = std::nullopt) const {
        char slot_id[KMS_ID_SIZE];
        const std::string text(label.value_or(""));
        detail::refuse_nul(text);
        with_root(how, [&] {
            return kms_add_root_slot(native_handle(), how.native_handle(), label ? text.c_str() : nullptr, slot_id);
        });
        return slot_id;
    }

    keystore(keystore &&other) noexcept = default;
    keystore &operator=(keystore &&other) noexcept {
        if (this != &other) {
            close();  // before the callbacks that it uses are destroyed
            handle_ = std::move(other.handle_);
            callbacks_ = std::move(other.callbacks_);
        }
        return *this;
    }
    ~keystore() = default;

    /// Stops the rotation thread and wipes all key material; the destructor does the same. No other call may be running. A
    /// call on a closed or moved-from keystore throws `invalid_argument`, and so does a list that must read on.
    void close() noexcept { handle_.reset(); }
    [[nodiscard]] bool is_open() const noexcept { return handle_ != nullptr; }

    /// For calling C; owned by this object.
    [[nodiscard]] const kms_t *native_handle() const noexcept { return handle_.get(); }

private:
    /// Makes a call that may run the functions that wrap the root key; what they throw comes out of it.
    template <class Call>
    static void with_root(const options &how, Call call) {
        const auto &root = how.callbacks_.root;
        if (root) {
            root->thrown = nullptr;
        }
        const kms_status returned = call();
        if (returned != KMS_OK && root && root->thrown) {
            std::rethrow_exception(std::exchange(root->thrown, nullptr));
        }
        detail::check(returned);
    }

    friend class detail::key_calls<keystore>;
    friend class detail::alias_calls<keystore>;
    friend class detail::version_calls<keystore>;
    friend class detail::log_calls<keystore>;
    [[nodiscard]] detail::list_source source_of_lists() const noexcept { return detail::list_source(handle_); }

    struct close_handle {
        void operator()(kms_t *open) const noexcept { kms_close(open); }
    };
    /// Shared only with a list while it reads a page.
    using handle = std::shared_ptr<kms_t>;

    keystore(handle owned, detail::callbacks callbacks) : callbacks_(std::move(callbacks)), handle_(std::move(owned)) {}

    detail::callbacks callbacks_;  // outlive the handle
    handle handle_;
};

}  // namespace kms
