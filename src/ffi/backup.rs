//! Copies of a keystore that is in use.

use std::ffi::c_char;

use super::guard::guard;
use super::open::{handle, kms_t};
use super::ptr;
use super::status::kms_status;
use crate::error::Status;

/// kms_backup writes a snapshot of the keystore to a new file at `path`: complete and synced, or not at all. It never
/// replaces an existing file (KMS_KEYSTORE_IO). Changes by any process wait until the whole keystore is read. A change
/// that waits longer than the busy timeout fails with KMS_KEYSTORE_BUSY. Other calls continue, and a fork waits for at
/// most 256 KiB of the copy. A `memory:` keystore has only one connection, so other calls that need the connection wait
/// too.
///
/// The call checks the pages of the copy as kms_verify does. If the pages contradict each other, it leaves no copy and
/// fails with KMS_KEYSTORE_CORRUPT. It does not check the rows: run kms_verify for that.
///
/// The call records the backup in PATH-backups, beside the keystore, for kms_options_set_require_backup and the command
/// `kms status`. If that fails, as in a read-only folder, the backup is still good.
///
/// Until the copy is complete and recorded, its name is `path` followed by `.kms-new`. If the process is killed, that
/// file stays, and the next backup to `path` removes it. While another call writes a backup to `path`, the call waits
/// for the busy timeout, then fails with KMS_KEYSTORE_BUSY.
///
/// The copy is a keystore, which the roots of this one open. To restore it, copy it to the keystore's path while no
/// handle is open, and remove PATH-journal if a crash left one. The restored keystore can't decrypt what was encrypted
/// under versions made after the backup.
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
