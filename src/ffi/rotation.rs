//! Rotation by hand, by policy and by the clock.

use std::ffi::c_char;

use super::guard::guard;
use super::key::policy;
use super::open::{handle, kms_t};
use super::ptr;
use super::status::kms_status;
use super::types::{KMS_ID_SIZE, id_text};

/// kms_rotate (CreateKeyVersion in the service) makes a new version of `key`, a key id or "alias/NAME", and promotes it
/// to primary. New encryptions use it, and old ciphertexts still decrypt. `version_id`, KMS_ID_SIZE bytes, receives the
/// id of the new version, unless it is NULL.
///
/// It works with or without automatic rotation, whose next date is counted from now. Two calls make two versions. Fails
/// with KMS_REJECTED_..., and with KMS_UNSUPPORTED_OPERATION for imported material and service-managed keys.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_rotate(kms: *const kms_t, key: *const c_char, version_id: *mut c_char) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let version = handle(kms)?.rotate(ptr::text(key, "key")?)?;
        ptr::write_if(version_id.cast::<[c_char; KMS_ID_SIZE]>(), id_text(version));
        Ok(())
    })
}

/// kms_update_rotation_policy turns automatic rotation on (`enable` 1) with an interval of 1 to 315360000 seconds, or
/// off (0; the interval must then be 0). The interval counts from the creation of the newest version; if that makes the
/// key overdue, the key rotates before the call returns.
///
/// Fails with KMS_REJECTED_... unless the key is Enabled, also when turning rotation off. Fails with
/// KMS_UNSUPPORTED_OPERATION for imported material and service-managed keys.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_update_rotation_policy(
    kms: *const kms_t,
    key_id: *const c_char,
    enable: i32,
    interval_s: i64,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let key_id = ptr::text(key_id, "key_id")?;
        kms.update_rotation_policy(key_id, policy(enable, interval_s)?)
    })
}

/// kms_tick does everything that is due now: it rotates keys, and destroys keys and versions whose deletion date has
/// two confirmations (see kms_schedule_key_deletion). It is for programs without the rotation thread. `rotated`
/// receives the number of rotated keys, unless it is NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_tick(kms: *const kms_t, rotated: *mut usize) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        ptr::write_if(rotated, 0);
        ptr::write_if(rotated, handle(kms)?.tick()?.rotated);
        Ok(())
    })
}
