//! Turns SQLite's result codes into our statuses.

use rusqlite::{ErrorCode, ffi};

use super::locks;
use crate::error::{Error, Status};
use crate::sys::file;

/// The error of `what` (a call, or SQL of the library; no data).
pub fn storage(what: &str, error: &rusqlite::Error) -> Error {
    let code = match error {
        // SQLite has no separate code for a missing or altered table, column or index.
        rusqlite::Error::SqliteFailure(_, Some(text))
            if text.starts_with("no such ")
                || text.starts_with("no query solution")
                || text.contains("file format") =>
        {
            return Status::KeystoreCorrupt
                .error("the keystore is damaged: a table is missing or altered; restore it from a backup");
        }
        rusqlite::Error::SqliteFailure(failure, _) if failure.extended_code == ffi::SQLITE_READONLY_DBMOVED => {
            return Status::KeystoreReplaced.error("the keystore's file was moved or removed; nothing was written");
        }
        rusqlite::Error::SqliteFailure(failure, _) => *failure,
        // A column of another type than the schema's.
        _ => {
            return Status::KeystoreCorrupt
                .error(format!("the keystore is damaged: unexpected data ({what}); restore it from a backup"));
        }
    };
    if is_journal_held(code.extended_code) {
        return Status::KeystoreBusy.error("the keystore's journal is in use by the writer of another file; try again");
    }
    let detail = format!("SQLite code {}", code.extended_code);
    let said = || match locks::take_failure() {
        Some(failure) => file::explain(&failure),
        None => detail.clone(),
    };
    match code.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            Status::KeystoreBusy.error("another process is using the keystore; try again")
        }
        ErrorCode::NotADatabase => Status::NotAKeystore.error("the file is not a libkms keystore; check the path"),
        // SQLite takes a disk's EIO while reading for damage too.
        ErrorCode::DatabaseCorrupt => match locks::take_failure() {
            Some(failure) if matches!(failure.raw_os_error(), Some(libc::EIO | libc::ENXIO)) => {
                Status::KeystoreIo.error(format!("reading the keystore failed: {}", file::explain(&failure)))
            }
            _ => Status::KeystoreCorrupt
                .error(format!("the keystore is damaged ({detail}); check the disk, or restore from a backup")),
        },
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig => {
            Status::KeystoreCorrupt.error(format!("the keystore is damaged ({detail}); restore it from a backup"))
        }
        ErrorCode::ReadOnly => Status::KeystoreReadOnly
            .error(format!("the keystore can't be written: check the file's and the folder's permissions ({detail})")),
        ErrorCode::DiskFull => Status::KeystoreIo.error("the disk is full; free some space"),
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            Status::KeystoreIo.error(format!("the keystore or its journal can't be opened: {}", said()))
        }
        ErrorCode::SystemIoFailure => Status::KeystoreIo.error(match code.extended_code {
            ffi::SQLITE_IOERR_LOCK | ffi::SQLITE_IOERR_RDLOCK | ffi::SQLITE_IOERR_UNLOCK => {
                format!("the keystore can't be locked: {}", said())
            }
            ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC => {
                format!("the keystore can't be synced to its disk: {}", file::explain(&std::io::Error::last_os_error()))
            }
            _ => format!("reading or writing the keystore failed: {}", said()),
        }),
        ErrorCode::OutOfMemory => crate::sys::memory::out_of_memory(),
        _ => Status::Internal.error(format!("the keystore's database refused a statement ({detail}: {what})")),
    }
}

/// Whether the journal's lock is behind this code (`descriptors.rs`). For a read-only connection the journal only is one
/// that it may not play back.
fn is_journal_held(code: i32) -> bool {
    let may_be = matches!(code & 0xff, ffi::SQLITE_CANTOPEN)
        || matches!(code, ffi::SQLITE_READONLY_ROLLBACK | ffi::SQLITE_IOERR_WRITE);
    let is_held = may_be && locks::last_failure() == Some(libc::EBUSY);
    if is_held {
        // It explains no later error.
        locks::take_failure();
    }
    is_held
}
