//! The roots that open a keystore.

use std::ffi::{CString, c_char, c_void};

use super::guard::guard;
use super::open::{handle, kms_t};
use super::options::{copied, kms_options_t};
use super::ptr;
use super::status::kms_status;
use super::types::{KMS_ID_SIZE, id_text, kms_root_slot, kms_visit_root_slot_fn};
use crate::error::Status;

/// kms_change_root makes the root of `options` the only one that opens the keystore: one root slot replaces all others.
/// A root is a root key, a key file, a passphrase or a callback. Open handles keep working. The call uses only the root
/// of `options`, and kms_options_set_create, which makes a missing key file.
///
/// The call tests the new root before it changes anything. It seals no key again, so it takes no longer for many keys.
/// The old roots still open earlier copies of the file. After a failure that may have changed the keystore (see
/// Keystore above), keep both roots until you know which one opens it.
///
/// Fails with KMS_ROOT_SLOT_EXISTS if the root opens the keystore already. A callback may be the same as before,
/// because its outside key may have rotated; it then wraps the store root key again.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_change_root(kms: *const kms_t, options: *const kms_options_t) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe { handle(kms)?.change_root(&copied(options)?) })
}

/// kms_add_root_slot lets the root of `options` also open the keystore, such as a recovery key in addition to a
/// passphrase. A keystore has at most 8 root slots, of any kind. `slot_id`, KMS_ID_SIZE bytes, receives the id of the
/// new slot, unless it is NULL.
///
/// `label` names the slot in kms_list_root_slots, with at most 255 bytes; NULL means none. The keystore stores it
/// unencrypted. As in kms_change_root, the call tests the root first, seals no key again, and makes a missing key file
/// with kms_options_set_create.
///
/// Fails with KMS_ROOT_SLOT_EXISTS if the root opens the keystore already, and with KMS_LIMIT_EXCEEDED for a ninth slot
/// or a label that is too long.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_add_root_slot(
    kms: *const kms_t,
    options: *const kms_options_t,
    label: *const c_char,
    slot_id: *mut c_char,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let options = copied(options)?;
        let id = kms.add_root_slot(&options, ptr::optional_text(label, "label")?)?;
        ptr::write_if(slot_id.cast::<[c_char; KMS_ID_SIZE]>(), id_text(id));
        Ok(())
    })
}

/// kms_remove_root_slot removes a root slot: its root no longer opens the keystore. Open handles keep working, even
/// those that this root opened. The root still opens earlier copies of the file.
///
/// Fails with KMS_ROOT_SLOT_NOT_FOUND, and with KMS_UNSUPPORTED_OPERATION for the last slot.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_remove_root_slot(kms: *const kms_t, slot_id: *const c_char) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe { handle(kms)?.remove_root_slot(ptr::text(slot_id, "slot_id")?) })
}

/// kms_list_root_slots passes each root slot to `visit`, in the order in which they were added, until `visit` returns a
/// value other than 0. No lock is held while `visit` runs.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_list_root_slots(
    kms: *const kms_t,
    visit: kms_visit_root_slot_fn,
    user: *mut c_void,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let visit = visit.ok_or_else(|| Status::InvalidArgument.error("visit is NULL"))?;
        for slot in kms.list_root_slots()? {
            // Labels hold no NUL.
            let label = slot.label.map(|label| CString::new(label).unwrap_or_default());
            let shown = kms_root_slot {
                struct_size: size_of::<kms_root_slot>() as u32,
                kind: slot.kind as i32,
                slot_id: id_text(slot.id),
                creation_date_ms: slot.created.map_or(0, |created| created.millis()),
                label: label.as_ref().map_or(std::ptr::null(), |label| label.as_ptr()),
                opened_this_handle: i32::from(slot.opened_this_handle),
                reserved: 0,
            };
            if visit(user, &shown) != 0 {
                break;
            }
        }
        Ok(())
    })
}
