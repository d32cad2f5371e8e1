//! Copies of a keystore that is in use.

use std::ffi::c_char;

use super::guard::guard;
use super::open::{handle, kms_t};
use super::ptr;
use super::status::kms_status;
use crate::error::Status;

/// kms_backup writes a snapshot of the keystore to a new file at `path`: complete and synced, or not at all. A file that is
/// there is never replaced (KMS_KEYSTORE_IO). Changes by any process wait until all is read, at most the busy timeout, then
/// fail with KMS_KEYSTORE_BUSY. Other calls go on, and a fork waits for 256 KiB of the copy at most. A `memory:` keystore is
/// copied by its only connection, so there other calls that need it wait too.
///
/// The pages of the copy are checked as by kms_verify: of a keystore whose pages contradict each other no copy is left
/// (KMS_KEYSTORE_CORRUPT). The rows are not: run kms_verify for them.
///
/// The backup is recorded beside the keystore, in PATH-backups, for kms_options_set_require_backup and `kms status`. Where
/// that fails, as in a folder that is read-only, the backup is good all the same.
///
/// The copy is a keystore, opened by what opens this one now. To restore it, copy it to the keystore's path while no
/// handle is open, and remove PATH-journal if a crash left one. What was
/// encrypted under versions made since can't be decrypted then.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_backup(kms: *const kms_t, path: *const c_char) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let path = ptr::path(path, "path")?;
        if path.is_empty() {
            return Err(Status::InvalidArgument.error("the path of the backup is empty; name a new file"));
        }
        kms.backup(path)
    })
}
