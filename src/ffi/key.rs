//! Customer master keys.

use std::ffi::{c_char, c_void};

use super::guard::guard;
use super::open::{handle, kms_t};
use super::options::flag;
use super::out::Out;
use super::ptr;
use super::status::kms_status;
use super::types::{KMS_ID_SIZE, id_text, kms_create_key_options, kms_key_metadata, kms_visit_key_fn};
use crate::domain::key::{Creator, Key, Origin};
use crate::domain::rotation::Interval;
use crate::domain::time::Time;
use crate::error::{Result, Status};
use crate::service::{CreateKey, description_of};

/// kms_create_key makes a customer master key and stores its id in `key_id`, KMS_ID_SIZE bytes. With `options` NULL,
/// the library generates the key material, and automatic rotation is off.
///
/// The key is Enabled and has its first version; with KMS_ORIGIN_EXTERNAL it waits for the import of its material. When
/// the call returns KMS_OK, the key is on disk. Fails with KMS_UNSUPPORTED_OPERATION for an EXTERNAL key with automatic
/// rotation.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_create_key(
    kms: *const kms_t,
    options: *const kms_create_key_options,
    key_id: *mut c_char,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let out = ptr::exclusive(key_id.cast::<[c_char; KMS_ID_SIZE]>(), "key_id")?;
        let request = if options.is_null() { CreateKey::default() } else { request(options)? };
        *out = id_text(kms.create_key(&request)?);
        Ok(())
    })
}

/// kms_create_keys makes `count` customer master keys, 1 to 1000, with the same options. It stores their ids in
/// `key_ids`, an array of `count` times KMS_ID_SIZE bytes. The call makes all keys or none; when it returns KMS_OK, all
/// are on disk. It costs little more than to make one key. It otherwise behaves as kms_create_key.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_create_keys(
    kms: *const kms_t,
    options: *const kms_create_key_options,
    count: usize,
    key_ids: *mut c_char,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let out = key_ids.cast::<[c_char; KMS_ID_SIZE]>();
        ptr::check(out, count.max(1), "key_ids")?;
        let request = if options.is_null() { CreateKey::default() } else { request(options)? };
        for (at, id) in kms.create_keys(&request, count)?.into_iter().enumerate() {
            out.add(at).write(id_text(id));
        }
        Ok(())
    })
}

/// SAFETY: as for `ptr::read_struct`, and its description NULL or a text.
unsafe fn request(options: *const kms_create_key_options) -> Result<CreateKey> {
    // SAFETY: the caller's promise.
    let (options, description) = unsafe {
        let options = ptr::read_struct(options, "options")?;
        (options, ptr::optional_text(options.description, "description")?)
    };
    let origin = Origin::from_number(options.origin)
        .ok_or_else(|| Status::InvalidArgument.error("origin must be KMS_ORIGIN_KMS or KMS_ORIGIN_EXTERNAL"))?;
    Ok(CreateKey {
        description: description_of(description.unwrap_or_default())?,
        origin: Some(origin),
        rotate_every: policy(options.enable_automatic_rotation, options.rotation_interval_s)?,
    })
}

/// A rotation policy. An interval while it is off is a forgotten flag: the key would never rotate.
pub fn policy(enable: i32, interval_s: i64) -> Result<Option<Interval>> {
    match (flag(enable, "enable")?, interval_s) {
        (true, _) => Interval::from_seconds(interval_s).map(Some),
        (false, 0) => Ok(None),
        (false, _) => Err(Status::InvalidArgument
            .error("rotation_interval_s must be 0 while automatic rotation is off; enable rotation, or pass 0")),
    }
}

/// kms_describe_key stores a key's metadata in `out`. `key` is a key id or "alias/NAME".
///
/// Works in every state of the key. Fails with KMS_KEY_NOT_FOUND or KMS_ALIAS_NOT_FOUND.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_describe_key(
    kms: *const kms_t,
    key: *const c_char,
    out: *mut kms_key_metadata,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        ptr::check_struct(out, "out")?;
        let found = kms.describe_key(ptr::text(key, "key")?)?;
        ptr::write_struct(out, "out", &metadata(&found))
    })
}

fn metadata(key: &Key) -> kms_key_metadata {
    let date = |time: Option<Time>| time.map_or(0, Time::millis);
    kms_key_metadata {
        struct_size: size_of::<kms_key_metadata>() as u32,
        state: key.state as i32,
        origin: key.origin as i32,
        automatic_rotation: key.automatic_rotation() as i32,
        key_id: id_text(key.id),
        primary_version_id: key.primary.map_or([0; KMS_ID_SIZE], |primary| id_text(primary.id)),
        version_count: key.version_count(),
        rotation_interval_s: key.policy.map_or(0, Interval::seconds),
        creation_date_ms: key.created.millis(),
        last_rotation_date_ms: date(key.last_rotation()),
        next_rotation_date_ms: date(key.next_rotation()),
        delete_date_ms: date(key.delete_date()),
        material_expire_date_ms: date(key.imported.and_then(|i| i.expiry).map(|expiry| expiry.date)),
        deletion_protection: i32::from(key.protection.is_some()),
        service_managed: i32::from(key.creator == Creator::Service),
    }
}

/// kms_list_keys passes at most `limit` keys to `visit`, in the order of their ids, until `visit` returns a value other
/// than 0. The list begins after `after_key_id`, or at the start if that is NULL. To continue a list, pass the last id
/// seen.
///
/// Fails with KMS_KEY_NOT_FOUND if `after_key_id` is not a well-formed id; the key itself may no longer exist.
///
/// The list may or may not contain keys that are created or destroyed meanwhile. The call skips a damaged key, and then
/// fails with KMS_KEYSTORE_CORRUPT at its end. No lock is held while `visit` runs.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_list_keys(
    kms: *const kms_t,
    after_key_id: *const c_char,
    limit: usize,
    visit: kms_visit_key_fn,
    user: *mut c_void,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let visit = visit.ok_or_else(|| Status::InvalidArgument.error("visit is NULL"))?;
        let after = ptr::optional_text(after_key_id, "after_key_id")?;
        kms.list_keys(after, limit, |key| visit(user, &metadata(key)) == 0)
    })
}

/// kms_enable_key makes a Disabled key Enabled; an Enabled one stays so. If its rotation became overdue meanwhile, the
/// key rotates before the call returns.
///
/// Fails with KMS_STATE_MODIFIED_FAILED in another state.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_enable_key(kms: *const kms_t, key_id: *const c_char) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe { handle(kms)?.enable_key(ptr::text(key_id, "key_id")?) })
}

/// kms_disable_key makes an Enabled key Disabled. Each process refuses to encrypt or decrypt under the key, from its
/// next call, until the key is enabled again.
///
/// Fails with KMS_STATE_MODIFIED_FAILED while its deletion or import is pending.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_disable_key(kms: *const kms_t, key_id: *const c_char) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe { handle(kms)?.disable_key(ptr::text(key_id, "key_id")?) })
}

/// kms_schedule_key_deletion starts a waiting period of 7 to 366 days, after which the key and everything encrypted
/// under it are lost. Until then kms_cancel_key_deletion cancels the deletion.
///
/// A clock can be wrong, so the library destroys the key only after two conditions hold. First, the waiting period must
/// have passed on the machine's boot clock, which nobody can set. After a reboot, the library adds the wall-clock time
/// since its last pass, at most a day. A pass is one run over everything that is due, by the rotation thread or
/// kms_tick. Second, two passes, at least an hour apart, must find by the wall clock that the deletion date is reached.
/// A wrong clock can delay a destruction, and hasten it by at most a day. A clock of kms_options_set_clock serves as
/// both clocks.
///
/// Fails with KMS_STATE_MODIFIED_FAILED if its deletion is pending already.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_schedule_key_deletion(
    kms: *const kms_t,
    key_id: *const c_char,
    waiting_period_days: i32,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe { handle(kms)?.schedule_key_deletion(ptr::text(key_id, "key_id")?, waiting_period_days) })
}

/// kms_cancel_key_deletion cancels the pending deletion of a key. The key becomes Enabled, from any former state; an
/// EXTERNAL key without material becomes PendingImport. If its rotation became overdue meanwhile, the key rotates
/// before the call returns.
///
/// Fails with KMS_STATE_MODIFIED_FAILED in another state.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_cancel_key_deletion(kms: *const kms_t, key_id: *const c_char) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe { handle(kms)?.cancel_key_deletion(ptr::text(key_id, "key_id")?) })
}

/// kms_update_key_description replaces a key's whole description; at most 8192 characters, "" to delete it. Fails with
/// KMS_REJECTED_PENDING_DELETION.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_update_key_description(
    kms: *const kms_t,
    key_id: *const c_char,
    description: *const c_char,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let key_id = ptr::text(key_id, "key_id")?;
        kms.update_key_description(key_id, ptr::text(description, "description")?)
    })
}

/// kms_get_key_description stores a key's description in `out`, without a terminating NUL. `key` is a key id or
/// "alias/NAME".
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_get_key_description(
    kms: *const kms_t,
    key: *const c_char,
    out: *mut u8,
    out_cap: usize,
    out_len: *mut usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let mut out = Out::new(out, out_cap, out_len, "out_len")?;
        let found = handle(kms)?.describe_key(ptr::text(key, "key")?)?;
        if out.room(found.description.len())? {
            out.fill(found.description.as_bytes());
        }
        Ok(())
    })
}

/// kms_set_deletion_protection turns deletion protection on (1) or off (0): while it is on, kms_schedule_key_deletion
/// and kms_schedule_key_version_deletion fail with KMS_DELETION_PROTECTED. Protection does not stop a version deletion
/// that is already pending: cancel that deletion. `description` states the reason; NULL means none. Fails with
/// KMS_REJECTED_PENDING_DELETION.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_set_deletion_protection(
    kms: *const kms_t,
    key_id: *const c_char,
    enable: i32,
    description: *const c_char,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let key_id = ptr::text(key_id, "key_id")?;
        let description = ptr::optional_text(description, "description")?.unwrap_or_default();
        let enable = flag(enable, "enable")?;
        kms.set_deletion_protection(key_id, enable.then_some(description))
    })
}

/// kms_create_service_key stores the id of a service-managed key in `key_id`, KMS_ID_SIZE bytes, and makes the key on
/// first use. `name` names the part of the program that the key is for; its alias is alias/acs/NAME. The key encrypts
/// like any other, but keeps its only version and can't be deleted.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_create_service_key(
    kms: *const kms_t,
    name: *const c_char,
    key_id: *mut c_char,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let out = ptr::exclusive(key_id.cast::<[c_char; KMS_ID_SIZE]>(), "key_id")?;
        *out = id_text(kms.create_service_key(ptr::text(name, "name")?)?);
        Ok(())
    })
}
