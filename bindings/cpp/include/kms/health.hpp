/// A keystore's condition.
#pragma once

#include <kms/status.hpp>

#include <cstdint>

namespace kms {

/// What weakens a promise; bits of `health_info::flags`.
enum class health_flag : std::uint32_t {
    memory_not_locked = KMS_HEALTH_MEMORY_NOT_LOCKED,    ///< key bytes may be swapped out: raise RLIMIT_MEMLOCK
    polling = KMS_HEALTH_POLLING,                        ///< other processes' changes are seen within 100 ms
    rotation_failing = KMS_HEALTH_ROTATION_FAILING,      ///< the last pass failed; it is tried again
    read_only = KMS_HEALTH_READ_ONLY,                    ///< nothing rotates
    no_rotation_thread = KMS_HEALTH_NO_ROTATION_THREAD,  ///< call `tick`
    thread_stopped = KMS_HEALTH_THREAD_STOPPED,          ///< every other call fails with `poisoned`
    /// cipher contexts, which hold keys, may be swapped out or dumped: OpenSSL is the system's
    cipher_memory_unprotected = KMS_HEALTH_CIPHER_MEMORY_UNPROTECTED,
    slow_cpu = KMS_HEALTH_SLOW_CPU,  ///< no quick instructions for AES-GCM or random numbers
    /// the path names another file or nothing: nothing is changed or encrypted until the keystore is back
    file_replaced = KMS_HEALTH_KEYSTORE_REPLACED,
    path_unverified = KMS_HEALTH_PATH_UNVERIFIED,  ///< the file has several names: there may be a second path
    /// too many threads: calls rotate the overdue keys that they use, and it is tried again every 5 s
    thread_not_started = KMS_HEALTH_THREAD_NOT_STARTED,
    thread_stalled = KMS_HEALTH_THREAD_STALLED,  ///< a clock, a disk or another process holds up the rotation thread
    events_dropped = KMS_HEALTH_EVENTS_DROPPED,  ///< the function of `options::on_event` is too slow
    /// the database does not answer; keys in memory stay usable for `options::offline_limit`
    database_unavailable = KMS_HEALTH_KEYSTORE_UNAVAILABLE,
    rolled_back = KMS_HEALTH_ROLLED_BACK,            ///< the database lost changes: see `options::accept_rollback`
    host_clock_wrong = KMS_HEALTH_HOST_CLOCK_WRONG,  ///< by more than 2 s from the database's: correct it
};

/// Counts are of this handle since it was opened.
struct health_info {
    std::uint32_t flags;  ///< 0: all is well
    std::uint64_t rotations;
    std::uint64_t rotation_failures;
    std::uint64_t keys_destroyed;
    std::uint64_t keys_cached;         ///< keys in memory now
    std::uint64_t generation;          ///< grows by one with every change of the keystore, by any process
    std::uint64_t events_dropped;      ///< events that `options::on_event` missed, because it was too slow
    std::uint64_t versions_destroyed;  ///< by a deletion of their own
    std::uint64_t polls;               ///< answered questions to the database; 0 for other keystores
    std::uint64_t absences;            ///< how often the database became unavailable
    std::uint64_t rollbacks;           ///< how often the database was seen to have lost changes
    std::uint64_t age_ms;              ///< since the last answered poll
    std::int64_t clock_ahead_ms;       ///< this host's clock against the database's

    [[nodiscard]] bool has(health_flag flag) const noexcept { return (flags & static_cast<std::uint32_t>(flag)) != 0; }
};

namespace detail {

/// The call of `keystore` about its condition.
template <class Keystore>
class health_calls {
public:
    [[nodiscard]] health_info health() const {
        kms_health_info c = KMS_HEALTH_INFO_INIT;
        check(kms_health(static_cast<const Keystore &>(*this).native_handle(), &c));
        return {c.flags,      c.rotations,      c.rotation_failures,  c.keys_destroyed, c.keys_cached,
                c.generation, c.events_dropped, c.versions_destroyed, c.polls,          c.absences,
                c.rollbacks,  c.age_ms,         c.clock_ahead_ms};
    }
};

}  // namespace detail

}  // namespace kms
