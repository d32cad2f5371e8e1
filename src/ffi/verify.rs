//! Whether all of a keystore is as it was written.

use std::ffi::{CString, c_char, c_void};

use super::guard::guard;
use super::open::{handle, kms_t};
use super::status::kms_status;
use super::types::{id_text, kms_visit_fault_fn};

/// kms_verify checks that every row of the keystore is authentic, the newest copy, and found by each index. It also
/// checks that no row is missing or was added, and that all key material can be unsealed. Finally it checks that each
/// page of the file belongs to one table or index, or is free. It returns KMS_OK only if all is well. Otherwise it
/// passes each fault to `visit`, which may be NULL, and returns KMS_KEYSTORE_CORRUPT.
///
/// It may run beside all other calls, because it reads rows for a few milliseconds at a time. It may leave out rows
/// that another process makes meanwhile. Changes wait for the check of the pages, which takes less than 1 s for 100,000
/// keys. A fork waits for a small part of that check. No lock is held while `visit` runs.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_verify(kms: *const kms_t, visit: kms_visit_fault_fn, user: *mut c_void) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        kms.verify(|fault| {
            let Some(visit) = visit else { return true };
            let id = fault.key.map(id_text);
            let id: *const c_char = id.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
            // No text of the library holds NUL.
            let text = CString::new(fault.error.to_string()).unwrap_or_default();
            visit(user, id, fault.error.status() as kms_status, text.as_ptr()) == 0
        })
    })
}
