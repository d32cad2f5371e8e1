//! Aliases: other names of keys.

use std::ffi::{CString, c_char, c_void};

use super::guard::guard;
use super::open::{handle, kms_t};
use super::ptr;
use super::status::kms_status;
use super::types::{id_text, kms_visit_alias_fn};
use crate::error::Status;

/// kms_create_alias makes `alias` another name of a key; a key may have many. An alias is "alias/" and 1 to 255
/// letters, digits, _, / or -.
///
/// Fails with KMS_ALIAS_ALREADY_EXISTS, with KMS_STATE_MODIFIED_FAILED while the key's deletion is pending, with
/// KMS_INVALID_ARGUMENT for another form or a name that begins with alias/acs.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_create_alias(
    kms: *const kms_t,
    key_id: *const c_char,
    alias: *const c_char,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let key_id = ptr::text(key_id, "key_id")?;
        kms.create_alias(key_id, ptr::text(alias, "alias")?)
    })
}

/// kms_update_alias moves an alias to another key. From the next call, encryption by the alias uses that key; old
/// ciphertexts still decrypt under the key that encrypted them.
///
/// Fails with KMS_ALIAS_NOT_FOUND, with KMS_REJECTED_PENDING_DELETION while the new key's deletion is pending.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_update_alias(
    kms: *const kms_t,
    key_id: *const c_char,
    alias: *const c_char,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let key_id = ptr::text(key_id, "key_id")?;
        kms.update_alias(key_id, ptr::text(alias, "alias")?)
    })
}

/// kms_delete_alias deletes an alias; its key is untouched. Fails with KMS_ALIAS_NOT_FOUND.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_delete_alias(kms: *const kms_t, alias: *const c_char) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe { handle(kms)?.delete_alias(ptr::text(alias, "alias")?) })
}

/// kms_list_aliases passes at most `limit` aliases of the key `key_id` (NULL: of all keys) to `visit`, in the order of
/// their names. The list begins after `after_alias`, or at the start if that is NULL, and ends when `visit` returns a
/// value other than 0. No lock is held while `visit` runs.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_list_aliases(
    kms: *const kms_t,
    key_id: *const c_char,
    after_alias: *const c_char,
    limit: usize,
    visit: kms_visit_alias_fn,
    user: *mut c_void,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let visit = visit.ok_or_else(|| Status::InvalidArgument.error("visit is NULL"))?;
        let key_id = ptr::optional_text(key_id, "key_id")?;
        let after = ptr::optional_text(after_alias, "after_alias")?;
        kms.list_aliases(key_id, after, limit, |alias, id| {
            // Aliases hold no NUL.
            let alias = CString::new(alias).unwrap_or_default();
            visit(user, alias.as_ptr(), id_text(id).as_ptr()) == 0
        })
    })
}
