/// Surveys: count blobs by key and version, and find the versions that nothing needs.
#pragma once

#include <kms/bytes.hpp>
#include <kms/status.hpp>
#include <kms/version.hpp>

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace kms {

/// One version of a key, and how many blobs of a survey are under it.
struct survey_count {
    std::string key_id;
    std::string version_id;
    std::uint64_t number;  ///< 1 for the oldest; never reused
    bool is_primary;       ///< this version encrypts
    version_state state;
    std::uint64_t count;  ///< 0: no blob of the survey needs this version
};

/// How many blobs a survey could not count by version.
struct unreadable_blobs {
    std::uint64_t malformed;        ///< they are no blobs
    std::uint64_t unknown_key;      ///< their key is not in the keystore
    std::uint64_t unknown_version;  ///< their key is, but not the version

    [[nodiscard]] std::uint64_t total() const noexcept { return malformed + unknown_key + unknown_version; }
};

/// A count of blobs by key and version, for one thread at a time. Owns a survey of C, moves, doesn't copy.
///
///     auto survey = keystore.begin_survey();
///     for (const auto &row : rows) survey.add(row);
///     for (const auto &found : survey.counts()) std::cout << found.key_id << " " << found.number << " " << found.count << "\n";
///
/// Once its keystore is closed, all calls but `unreadable` throw `invalid_argument`. In a forked child all throw `forked`.
class survey {
public:
    explicit survey(kms_survey_t *made) noexcept : handle_(made) {}

    /// Counts a blob, or an encrypted file by its first `file_header_size` bytes. `malformed_ciphertext`, `key_not_found` and
    /// `key_version_not_found` are returned, and the blob is counted as unreadable; anything else is thrown.
    status add(const bytes_argument &blob) {
        const kms_status returned = kms_survey_add(handle_.get(), blob.data(), blob.size());
        if (returned != KMS_MALFORMED_CIPHERTEXT && returned != KMS_KEY_NOT_FOUND && returned != KMS_KEY_VERSION_NOT_FOUND) {
            detail::check(returned);
        }
        return static_cast<status>(returned);
    }

    /// Counts many blobs in one call, and returns what `add` would for each. A blob whose status is none of those, such as
    /// `keystore_busy`, was not counted. Throws only what is about the whole call.
    std::vector<status> add_batch(const std::vector<bytes_view> &blobs) {
        std::vector<kms_batch_record> c;
        c.reserve(blobs.size());
        for (const bytes_view &blob : blobs) {
            kms_batch_record one = KMS_BATCH_RECORD_INIT;
            one.input = blob.data();
            one.input_len = blob.size();
            c.push_back(one);
        }
        std::vector<status> statuses;
        statuses.reserve(c.size());  // what is counted is returned, too
        const kms_status returned = kms_survey_add_batch(handle_.get(), c.data(), sizeof(kms_batch_record), c.size());
        if (returned != KMS_BATCH_PARTIAL) {
            detail::check(returned);
        }
        for (const kms_batch_record &one : c) {
            statuses.push_back(static_cast<status>(one.status));
        }
        return statuses;
    }

    /// Every version of each key that occurred, newest first, with its number of blobs. Nothing in the survey needs a version
    /// with a `count` of 0 that is not the primary. Throws `key_not_found` if a key was destroyed since it was counted.
    [[nodiscard]] std::vector<survey_count> counts() {
        struct all {
            std::vector<survey_count> counts;
            std::exception_ptr thrown;
        } found;
        const auto visit = [](void *user, const kms_survey_count *c) -> std::int32_t {
            auto &seen = *static_cast<all *>(user);
            try {
                seen.counts.push_back(
                    {c->key_id, c->version_id, c->number, c->is_primary != 0, static_cast<version_state>(c->state), c->count});
                return 0;
            } catch (...) {
                seen.thrown = std::current_exception();
                return 1;
            }
        };
        const kms_status returned = kms_survey_counts(handle_.get(), visit, &found);
        if (found.thrown) {
            std::rethrow_exception(found.thrown);
        }
        detail::check(returned);
        return std::move(found.counts);
    }

    /// What could not be counted by version. Find out what it is before a version is destroyed.
    [[nodiscard]] unreadable_blobs unreadable() {
        unreadable_blobs found{};
        detail::check(kms_survey_unreadable(handle_.get(), &found.malformed, &found.unknown_key, &found.unknown_version));
        return found;
    }

    [[nodiscard]] kms_survey_t *native_handle() noexcept { return handle_.get(); }

private:
    struct free_survey {
        void operator()(kms_survey_t *made) const noexcept { kms_survey_free(made); }
    };
    std::unique_ptr<kms_survey_t, free_survey> handle_;
};

namespace detail {

/// The call of `keystore` that begins a survey.
template <class Keystore>
class survey_calls {
public:
    /// Begins to count blobs by key and version. Nothing is decrypted or authenticated, and nothing of the blobs is kept.
    [[nodiscard]] survey begin_survey() const {
        kms_survey_t *made = nullptr;
        check(kms_begin_survey(static_cast<const Keystore &>(*this).native_handle(), &made));
        return survey(made);
    }
};

}  // namespace detail

}  // namespace kms
