//! Key versions.

use std::ffi::{c_char, c_void};

use super::guard::guard;
use super::open::{handle, kms_t};
use super::ptr;
use super::status::kms_status;
use super::types::{id_text, kms_key_version, kms_visit_version_fn};
use crate::domain::time::Time;
use crate::error::Status;
use crate::service::KeyVersion;

/// kms_list_key_versions passes at most `limit` versions of `key` (a key id or "alias/NAME") to `visit`, newest first,
/// until `visit` returns a value other than 0. Their numbers are below `before_number`; 0 begins at the newest. To
/// continue a list, pass the last number seen.
///
/// Works in every state of the key. No lock is held while `visit` runs.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_list_key_versions(
    kms: *const kms_t,
    key: *const c_char,
    before_number: u64,
    limit: usize,
    visit: kms_visit_version_fn,
    user: *mut c_void,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let key = ptr::text(key, "key")?;
        let visit = visit.ok_or_else(|| Status::InvalidArgument.error("visit is NULL"))?;
        let before = (before_number > 0).then_some(before_number);
        kms.list_key_versions(key, before, limit, |version, _| visit(user, &shown(version)) == 0)
    })
}

/// kms_describe_key_version stores the metadata of one version of `key` (a key id or "alias/NAME") in `out`. Fails with
/// KMS_KEY_VERSION_NOT_FOUND.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_describe_key_version(
    kms: *const kms_t,
    key: *const c_char,
    version_id: *const c_char,
    out: *mut kms_key_version,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        ptr::check_struct(out, "out")?;
        let key = ptr::text(key, "key")?;
        let version = kms.describe_key_version(key, ptr::text(version_id, "version_id")?)?;
        ptr::write_struct(out, "out", &shown(&version))
    })
}

/// kms_disable_key_version disables a version that is not the primary: decryption under it fails with
/// KMS_KEY_VERSION_DISABLED until kms_enable_key_version. This is the reversible trial before a deletion. Other
/// processes see the change on their next call. Disabling a Disabled version is KMS_OK.
///
/// Fails with KMS_STATE_MODIFIED_FAILED for the primary, and for a version whose deletion is pending. Fails with
/// KMS_UNSUPPORTED_OPERATION for imported material and service-managed keys. Fails with KMS_REJECTED_PENDING_DELETION
/// while the deletion of the key is pending. Also fails with KMS_KEY_VERSION_DESTROYED and KMS_KEY_VERSION_NOT_FOUND.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_disable_key_version(
    kms: *const kms_t,
    key_id: *const c_char,
    version_id: *const c_char,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let (key_id, version_id) = (ptr::text(key_id, "key_id")?, ptr::text(version_id, "version_id")?);
        handle(kms)?.disable_key_version(key_id, version_id)
    })
}

/// kms_enable_key_version makes a Disabled version decrypt again. Enabling an Enabled version is KMS_OK.
///
/// Fails as kms_disable_key_version does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_enable_key_version(
    kms: *const kms_t,
    key_id: *const c_char,
    version_id: *const c_char,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let (key_id, version_id) = (ptr::text(key_id, "key_id")?, ptr::text(version_id, "version_id")?);
        handle(kms)?.enable_key_version(key_id, version_id)
    })
}

/// kms_schedule_key_version_deletion starts the waiting period of 7 to 366 days after which a Disabled version is destroyed.
/// Until then it refuses decryption with KMS_KEY_VERSION_DISABLED, and kms_cancel_key_version_deletion cancels.
///
/// The period is counted as in kms_schedule_key_deletion. After it, the ciphertexts of the version can no longer be
/// decrypted (KMS_KEY_VERSION_DESTROYED): re-encrypt them while the version is Enabled. The version's id and number
/// remain in lists. Fails with KMS_STATE_MODIFIED_FAILED unless the version is Disabled, with KMS_DELETION_PROTECTED,
/// and as kms_disable_key_version does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_schedule_key_version_deletion(
    kms: *const kms_t,
    key_id: *const c_char,
    version_id: *const c_char,
    waiting_period_days: i32,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let (key_id, version_id) = (ptr::text(key_id, "key_id")?, ptr::text(version_id, "version_id")?);
        handle(kms)?.schedule_key_version_deletion(key_id, version_id, waiting_period_days)
    })
}

/// kms_cancel_key_version_deletion cancels the pending deletion of a version, which becomes Disabled.
///
/// Fails with KMS_STATE_MODIFIED_FAILED unless the deletion is pending, and as kms_disable_key_version does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_cancel_key_version_deletion(
    kms: *const kms_t,
    key_id: *const c_char,
    version_id: *const c_char,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let (key_id, version_id) = (ptr::text(key_id, "key_id")?, ptr::text(version_id, "version_id")?);
        handle(kms)?.cancel_key_version_deletion(key_id, version_id)
    })
}

fn shown(version: &KeyVersion) -> kms_key_version {
    let ms = |date: Option<Time>| date.map_or(0, Time::millis);
    kms_key_version {
        struct_size: size_of::<kms_key_version>() as u32,
        is_primary: i32::from(version.is_primary),
        version_id: id_text(version.id),
        number: version.number,
        creation_date_ms: version.created.millis(),
        state: version.state as i32,
        reserved: 0,
        delete_date_ms: ms(version.delete_date),
        last_encrypt_date_ms: ms(version.last_encrypt_date),
        last_decrypt_date_ms: ms(version.last_decrypt_date),
    }
}
