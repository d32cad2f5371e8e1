/// Statuses, and the exceptions that carry them.
///
/// Every failure is thrown as `kms::failure<status>`, which has an alias (`kms::authentication_failed`), is one of
/// six groups (`kms::crypto_error`), and a `kms::error`. A status that a newer library may have is thrown as its group.
#pragma once

#include <kms.h>

#include <array>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace kms {

/// The outcome of a call; grouped by hundreds. Treat a value without a name as a failure.
enum class status : kms_status {
    ok = KMS_OK,

    invalid_argument = KMS_INVALID_ARGUMENT,
    missing_parameter = KMS_MISSING_PARAMETER,
    buffer_too_small = KMS_BUFFER_TOO_SMALL,
    unknown_action = KMS_UNKNOWN_ACTION,
    unsupported_alias = KMS_UNSUPPORTED_ALIAS,
    limit_exceeded = KMS_LIMIT_EXCEEDED,
    batch_partial = KMS_BATCH_PARTIAL,  ///< never thrown: each outcome of a batch has its own status

    key_not_found = KMS_KEY_NOT_FOUND,
    key_version_not_found = KMS_KEY_VERSION_NOT_FOUND,
    alias_not_found = KMS_ALIAS_NOT_FOUND,
    alias_already_exists = KMS_ALIAS_ALREADY_EXISTS,

    rejected_disabled = KMS_REJECTED_DISABLED,
    rejected_pending_deletion = KMS_REJECTED_PENDING_DELETION,
    rejected_pending_import = KMS_REJECTED_PENDING_IMPORT,
    state_modified_failed = KMS_STATE_MODIFIED_FAILED,
    unsupported_operation = KMS_UNSUPPORTED_OPERATION,
    unsupported_origin = KMS_UNSUPPORTED_ORIGIN,
    deletion_protected = KMS_DELETION_PROTECTED,
    key_version_disabled = KMS_KEY_VERSION_DISABLED,
    key_version_destroyed = KMS_KEY_VERSION_DESTROYED,

    malformed_ciphertext = KMS_MALFORMED_CIPHERTEXT,
    authentication_failed = KMS_AUTHENTICATION_FAILED,
    invalid_key_material = KMS_INVALID_KEY_MATERIAL,
    invalid_import_token = KMS_INVALID_IMPORT_TOKEN,
    expired_import_token = KMS_EXPIRED_IMPORT_TOKEN,

    wrong_root_key = KMS_WRONG_ROOT_KEY,
    not_a_keystore = KMS_NOT_A_KEYSTORE,
    keystore_too_new = KMS_KEYSTORE_TOO_NEW,
    keystore_corrupt = KMS_KEYSTORE_CORRUPT,
    keystore_io = KMS_KEYSTORE_IO,
    keystore_read_only = KMS_KEYSTORE_READ_ONLY,
    keystore_busy = KMS_KEYSTORE_BUSY,
    keystore_not_found = KMS_KEYSTORE_NOT_FOUND,
    keystore_replaced = KMS_KEYSTORE_REPLACED,
    root_key_unavailable = KMS_ROOT_KEY_UNAVAILABLE,
    keystore_rolled_back = KMS_KEYSTORE_ROLLED_BACK,
    anchor_unavailable = KMS_ANCHOR_UNAVAILABLE,
    keystore_second_path = KMS_KEYSTORE_SECOND_PATH,
    root_slot_not_found = KMS_ROOT_SLOT_NOT_FOUND,
    root_slot_exists = KMS_ROOT_SLOT_EXISTS,
    keystore_unavailable = KMS_KEYSTORE_UNAVAILABLE,

    file_io = KMS_FILE_IO,
    file_exists = KMS_FILE_EXISTS,

    internal = KMS_INTERNAL,
    poisoned = KMS_POISONED,
    forked = KMS_FORKED,
    random_failed = KMS_RANDOM_FAILED,
    out_of_memory = KMS_OUT_OF_MEMORY,
};

/// The constant's name, such as "KMS_REJECTED_DISABLED"; of any number.
[[nodiscard]] inline std::string_view name(status value) noexcept { return kms_status_name(static_cast<kms_status>(value)); }

/// The service's code, such as "Rejected.Disabled", or ours in the same style; of any number.
[[nodiscard]] inline std::string_view code(status value) noexcept { return kms_status_code(static_cast<kms_status>(value)); }

/// Why a call failed. `what()` is for people and logs, and never holds plaintext or key bytes; branch on the type or
/// on `status()`.
class error : public std::runtime_error {
public:
    error(kms::status why, const std::string &text)
        : std::runtime_error(std::string(kms::name(why)) + (text.empty() ? "" : ": ") + text), status_(why) {}

    [[nodiscard]] kms::status status() const noexcept { return status_; }
    [[nodiscard]] std::string_view name() const noexcept { return kms::name(status_); }
    [[nodiscard]] std::string_view code() const noexcept { return kms::code(status_); }

    /// After a failed `keystore::call`: the service's error body, in JSON. Else empty.
    [[nodiscard]] std::string_view response() const noexcept { return response_ ? *response_ : std::string_view(); }
    void set_response(std::string body) { response_ = std::make_shared<const std::string>(std::move(body)); }

private:
    kms::status status_;
    std::shared_ptr<const std::string> response_;  // shared, because copying an exception must not throw
};

/// 1xx: an argument is wrong.
class argument_error : public error {
    using error::error;
};
/// 2xx: a key, version or alias doesn't exist, or exists already.
class existence_error : public error {
    using error::error;
};
/// 3xx: the key's state or kind doesn't allow it.
class state_error : public error {
    using error::error;
};
/// 4xx: a ciphertext, a wrapped key or a token isn't authentic.
class crypto_error : public error {
    using error::error;
};
/// 5xx: the keystore can't be opened, read or written.
class keystore_error : public error {
    using error::error;
};
/// 6xx: a file of the caller's can't be read or written.
class file_error : public error {
    using error::error;
};
/// 9xx: the library or the system failed.
class internal_error : public error {
    using error::error;
};

namespace detail {

template <int Hundreds>
struct group {
    using type = error;
};
template <>
struct group<1> {
    using type = argument_error;
};
template <>
struct group<2> {
    using type = existence_error;
};
template <>
struct group<3> {
    using type = state_error;
};
template <>
struct group<4> {
    using type = crypto_error;
};
template <>
struct group<5> {
    using type = keystore_error;
};
template <>
struct group<6> {
    using type = file_error;
};
template <>
struct group<9> {
    using type = internal_error;
};

constexpr int hundreds(status value) noexcept { return static_cast<kms_status>(value) / 100; }

}  // namespace detail

/// A failure with one status.
template <status Status>
class failure : public detail::group<detail::hundreds(Status)>::type {
public:
    explicit failure(const std::string &text) : detail::group<detail::hundreds(Status)>::type(Status, text) {}
};

using invalid_argument = failure<status::invalid_argument>;
using missing_parameter = failure<status::missing_parameter>;
using buffer_too_small = failure<status::buffer_too_small>;
using unknown_action = failure<status::unknown_action>;
using unsupported_alias = failure<status::unsupported_alias>;
using limit_exceeded = failure<status::limit_exceeded>;
using batch_partial = failure<status::batch_partial>;
using key_not_found = failure<status::key_not_found>;
using key_version_not_found = failure<status::key_version_not_found>;
using alias_not_found = failure<status::alias_not_found>;
using alias_already_exists = failure<status::alias_already_exists>;
using rejected_disabled = failure<status::rejected_disabled>;
using rejected_pending_deletion = failure<status::rejected_pending_deletion>;
using rejected_pending_import = failure<status::rejected_pending_import>;
using state_modified_failed = failure<status::state_modified_failed>;
using unsupported_operation = failure<status::unsupported_operation>;
using unsupported_origin = failure<status::unsupported_origin>;
using deletion_protected = failure<status::deletion_protected>;
using key_version_disabled = failure<status::key_version_disabled>;
using key_version_destroyed = failure<status::key_version_destroyed>;
using malformed_ciphertext = failure<status::malformed_ciphertext>;
using authentication_failed = failure<status::authentication_failed>;
using invalid_key_material = failure<status::invalid_key_material>;
using invalid_import_token = failure<status::invalid_import_token>;
using expired_import_token = failure<status::expired_import_token>;
using wrong_root_key = failure<status::wrong_root_key>;
using not_a_keystore = failure<status::not_a_keystore>;
using keystore_too_new = failure<status::keystore_too_new>;
using keystore_corrupt = failure<status::keystore_corrupt>;
using keystore_io = failure<status::keystore_io>;
using keystore_read_only = failure<status::keystore_read_only>;
using keystore_busy = failure<status::keystore_busy>;
using keystore_not_found = failure<status::keystore_not_found>;
using keystore_replaced = failure<status::keystore_replaced>;
using root_key_unavailable = failure<status::root_key_unavailable>;
using keystore_rolled_back = failure<status::keystore_rolled_back>;
using anchor_unavailable = failure<status::anchor_unavailable>;
using keystore_second_path = failure<status::keystore_second_path>;
using root_slot_not_found = failure<status::root_slot_not_found>;
using root_slot_exists = failure<status::root_slot_exists>;
using keystore_unavailable = failure<status::keystore_unavailable>;
using file_io = failure<status::file_io>;
using file_exists = failure<status::file_exists>;
using internal = failure<status::internal>;
using poisoned = failure<status::poisoned>;
using forked = failure<status::forked>;
using random_failed = failure<status::random_failed>;
using out_of_memory = failure<status::out_of_memory>;

namespace detail {

/// The failures that have their own type.
template <status... Statuses>
struct failures {
    /// Calls `act` with an exception of the most exact type for `why`.
    template <class Act>
    static void visit(status why, const std::string &text, Act &&act) {
        const bool known = ((why == Statuses && (act(failure<Statuses>(text)), true)) || ...);
        if (known) {
            return;
        }
        switch (hundreds(why)) {
        case 1:
            return act(argument_error(why, text));
        case 2:
            return act(existence_error(why, text));
        case 3:
            return act(state_error(why, text));
        case 4:
            return act(crypto_error(why, text));
        case 5:
            return act(keystore_error(why, text));
        case 6:
            return act(file_error(why, text));
        case 9:
            return act(internal_error(why, text));
        default:
            return act(error(why, text));
        }
    }
};

using all_failures =
    failures<status::invalid_argument, status::missing_parameter, status::buffer_too_small, status::unknown_action,
             status::unsupported_alias, status::limit_exceeded, status::batch_partial, status::key_not_found,
             status::key_version_not_found, status::alias_not_found, status::alias_already_exists, status::rejected_disabled,
             status::rejected_pending_deletion, status::rejected_pending_import, status::state_modified_failed,
             status::unsupported_operation, status::unsupported_origin, status::deletion_protected,
             status::key_version_disabled, status::key_version_destroyed, status::malformed_ciphertext,
             status::authentication_failed, status::invalid_key_material, status::invalid_import_token,
             status::expired_import_token, status::wrong_root_key, status::not_a_keystore, status::keystore_too_new,
             status::keystore_corrupt, status::keystore_io, status::keystore_read_only, status::keystore_busy,
             status::keystore_not_found, status::keystore_replaced, status::root_key_unavailable, status::keystore_rolled_back,
             status::anchor_unavailable, status::keystore_second_path, status::root_slot_not_found, status::root_slot_exists,
             status::keystore_unavailable, status::file_io, status::file_exists, status::internal, status::poisoned,
             status::forked, status::random_failed, status::out_of_memory>;

/// The text of this thread's last failed call.
inline std::string last_error() {
    std::array<char, 512> buffer;
    const std::size_t length = kms_last_error(buffer.data(), buffer.size());
    if (length < buffer.size()) {
        return {buffer.data(), length};
    }
    std::string text(length + 1, '\0');
    kms_last_error(text.data(), text.size());
    text.resize(length);
    return text;
}

[[noreturn]] inline void raise(status why, const std::string &text, std::string response = {}) {
    all_failures::visit(why, text, [&](auto &&exception) {
        if (!response.empty()) {
            exception.set_response(std::move(response));
        }
        throw std::forward<decltype(exception)>(exception);
    });
    throw error(why, text);
}

/// Throws unless a call returned KMS_OK.
inline void check(kms_status returned) {
    if (returned != KMS_OK) {
        raise(static_cast<status>(returned), last_error());
    }
}

}  // namespace detail

}  // namespace kms
