//! What a keystore knows about its own condition.

use super::guard::guard;
use super::open::{handle, kms_t};
use super::ptr;
use super::status::kms_status;
use super::types::{
    KMS_HEALTH_CIPHER_MEMORY_UNPROTECTED, KMS_HEALTH_EVENTS_DROPPED, KMS_HEALTH_HOST_CLOCK_WRONG,
    KMS_HEALTH_KEYSTORE_REPLACED, KMS_HEALTH_KEYSTORE_UNAVAILABLE, KMS_HEALTH_MEMORY_NOT_LOCKED,
    KMS_HEALTH_NO_ROTATION_THREAD, KMS_HEALTH_PATH_UNVERIFIED, KMS_HEALTH_POLLING, KMS_HEALTH_READ_ONLY,
    KMS_HEALTH_ROLLED_BACK, KMS_HEALTH_ROTATION_FAILING, KMS_HEALTH_SLOW_CPU, KMS_HEALTH_THREAD_NOT_STARTED,
    KMS_HEALTH_THREAD_STALLED, KMS_HEALTH_THREAD_STOPPED, kms_health_info,
};

/// kms_health reports degraded-operation flags (KMS_HEALTH_...) and counters in `out`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_health(kms: *const kms_t, out: *mut kms_health_info) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        ptr::check_struct(out, "out")?;
        let health = kms.health()?;
        let flags = [
            (health.memory_not_locked, KMS_HEALTH_MEMORY_NOT_LOCKED),
            (health.polling, KMS_HEALTH_POLLING),
            (health.rotation_failing, KMS_HEALTH_ROTATION_FAILING),
            (health.thread_stopped, KMS_HEALTH_THREAD_STOPPED),
            (health.read_only, KMS_HEALTH_READ_ONLY),
            (health.no_rotation_thread, KMS_HEALTH_NO_ROTATION_THREAD),
            (health.cipher_memory_unprotected, KMS_HEALTH_CIPHER_MEMORY_UNPROTECTED),
            (health.slow_cpu, KMS_HEALTH_SLOW_CPU),
            (health.path_unverified, KMS_HEALTH_PATH_UNVERIFIED),
            (health.keystore_replaced, KMS_HEALTH_KEYSTORE_REPLACED),
            (health.thread_not_started, KMS_HEALTH_THREAD_NOT_STARTED),
            (health.thread_stalled, KMS_HEALTH_THREAD_STALLED),
            (health.events_dropped > 0, KMS_HEALTH_EVENTS_DROPPED),
            (health.keystore_unavailable, KMS_HEALTH_KEYSTORE_UNAVAILABLE),
            (health.host_clock_wrong, KMS_HEALTH_HOST_CLOCK_WRONG),
            (health.rolled_back, KMS_HEALTH_ROLLED_BACK),
        ];
        let info = kms_health_info {
            struct_size: size_of::<kms_health_info>() as u32,
            flags: flags.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum(),
            rotations: health.rotations,
            rotation_failures: health.rotation_failures,
            keys_destroyed: health.keys_destroyed,
            keys_cached: health.keys_cached,
            generation: health.generation,
            events_dropped: health.events_dropped,
            versions_destroyed: health.versions_destroyed,
            polls: health.polls,
            absences: health.absences,
            rollbacks: health.rollbacks,
            age_ms: health.age_ms,
            clock_ahead_ms: health.clock_ahead_ms,
        };
        ptr::write_struct(out, "out", &info)
    })
}
