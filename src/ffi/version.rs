//! Key versions.

use std::ffi::{c_char, c_void};

use super::guard::guard;
use super::open::{handle, kms_t};
use super::ptr;
use super::status::kms_status;
use super::types::{id_text, kms_key_version, kms_visit_version_fn};
use crate::domain::version::Version;
use crate::error::Status;

/// kms_list_key_versions shows at most `limit` versions of `key` (a key id or "alias/NAME") to `visit`, newest first,
/// with numbers below `before_number` (0: from the newest), until `visit` returns another value than 0. To continue a
/// list, pass the last number seen.
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
        kms.list_key_versions(key, before, limit, |version, is_primary| visit(user, &shown(version, is_primary)) == 0)
    })
}

/// kms_describe_key_version stores what is known of one version of `key` (a key id or "alias/NAME") in `out`. Fails with
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
        let (version, is_primary) = kms.describe_key_version(key, ptr::text(version_id, "version_id")?)?;
        ptr::write_struct(out, "out", &shown(&version, is_primary))
    })
}

fn shown(version: &Version, is_primary: bool) -> kms_key_version {
    kms_key_version {
        struct_size: size_of::<kms_key_version>() as u32,
        is_primary: i32::from(is_primary),
        version_id: id_text(version.id),
        number: version.number,
        creation_date_ms: version.created.millis(),
    }
}
