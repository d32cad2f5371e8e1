//! Checks a keystore's file before SQLite touches it: that it exists, is local, is a keystore and has a known format.

use std::ffi::CString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::{APPLICATION_ID, format, journal};
use crate::error::{Error, Result, Status};
use crate::sys::file::{self, File, FileId};
use crate::sys::{filesystem, sync};

/// Which file is at `path`.
pub(super) fn identify(path: &Path) -> Result<FileId> {
    FileId::of(path).map_err(|e| unreachable_file(path, &e))
}

/// Whether there is anything at `path`.
pub fn exists(path: &Path) -> Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(unreachable_file(path, &e)),
    }
}

fn unreachable_file(path: &Path, error: &std::io::Error) -> Error {
    let name = path.display();
    match error.kind() {
        ErrorKind::NotFound => {
            Status::KeystoreNotFound.error(format!("no keystore at {name}; pass create to make one"))
        }
        _ => Status::KeystoreIo.error(format!("{name} can't be reached: {}", file::explain(error))),
    }
}

/// Makes an empty file of mode 0600, which must not exist.
pub fn create_new(path: &Path) -> Result<File> {
    refuse_network(path.parent().unwrap_or(path))?;
    File::create_new(path, 0o600).map_err(|e| {
        let (name, why) = (path.display(), not_made(&e));
        Status::KeystoreIo.error(format!("the keystore {name} can't be created: {why}"))
    })
}

/// Why a file could not be made, and what to do.
pub fn not_made(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "its folder does not exist; make it, or pass another path".to_owned(),
        Some(libc::EACCES) => "this user may not write to its folder; change that, or pass another path".to_owned(),
        _ => file::explain(error),
    }
}

pub fn refuse_network(path: &Path) -> Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let path = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Status::InvalidArgument.error("a path can't contain NUL"))?;
    match filesystem::network(&path) {
        Some(name) => Err(Status::KeystoreIo.error(format!(
            "the keystore is on a network file system ({name}), whose locks can't be relied on; use a local disk"
        ))),
        None => Ok(()),
    }
}

/// SQLite's file header, <https://www.sqlite.org/fileformat2.html> §1.3.
pub(super) fn check_header(path: &Path) -> Result<()> {
    // While another process writes, header, length and journal are not of one moment: only what persists is damage.
    for _ in 0..4 {
        match check_header_once(path) {
            Err(e) if e.status() == Status::KeystoreCorrupt => sync::sleep(Duration::from_millis(1)),
            done => return done,
        }
    }
    check_header_once(path)
}

fn check_header_once(path: &Path) -> Result<()> {
    const MAGIC: &[u8; 16] = b"SQLite format 3\0";
    let truncated = || Status::KeystoreCorrupt.error("the keystore's file is truncated; restore it from a backup");

    let unreachable = |e| unreachable_file(path, &e);
    let file = File::open(path).map_err(unreachable)?;
    let found = file.facts().map_err(unreachable)?;
    if !found.is_regular() {
        return Err(format::not_ours());
    }
    check_owner(path, found.owner)?;
    journal::check_kind(path)?;
    refuse_network(path)?;
    let mut header = [0; 100];
    let len = file.read_at(&mut header, 0).map_err(unreachable)?;
    let header = header.get(..len).unwrap_or_default();
    if header.is_empty() {
        return Err(Status::NotAKeystore.error("the file is empty, so it is not a keystore (or no longer one)"));
    }
    let known = header.len().min(MAGIC.len());
    if header.get(..known) != MAGIC.get(..known) {
        return Err(format::not_ours());
    }
    let word = |at: usize| -> Result<u32> {
        let bytes = header.get(at..at + 4).and_then(|b| b.first_chunk::<4>()).ok_or_else(truncated)?;
        Ok(u32::from_be_bytes(*bytes))
    };
    if word(68)? != APPLICATION_ID.cast_unsigned() {
        return Err(format::not_ours());
    }
    check_journal_bytes(path, header)?;
    format::check(word(60)?.cast_signed())?;
    // A page size of 1 means 65536. The page count is right only where the change counters agree, and while a
    // journal waits to be rolled back the file may rightly be shorter.
    let page_size = match word(16)? >> 16 {
        1 => 65_536,
        size => u64::from(size),
    };
    let len = file.facts().map_err(unreachable)?.len;
    if word(24)? == word(92)? && len < page_size * u64::from(word(28)?) && !journal::waits(path) {
        return Err(truncated());
    }
    Ok(())
}

/// Checks that no program switched the keystore to a write-ahead log: this SQLite opens no file with one.
pub(super) fn check_journal_mode(path: &Path) -> Result<()> {
    let mut header = [0; 100];
    let read = File::open(path).and_then(|file| file.read_at(&mut header, 0));
    let len = read.map_err(|e| unreachable_file(path, &e))?;
    check_journal_bytes(path, header.get(..len).unwrap_or_default())
}

fn check_journal_bytes(path: &Path, header: &[u8]) -> Result<()> {
    // The versions of the format for writing and for reading: 1 is a rollback journal, 2 a write-ahead log.
    match header.get(18..20) {
        Some(&[1, 1]) | None => Ok(()),
        _ => {
            let path = path.display();
            Err(Status::KeystoreCorrupt.error(format!(
                "another program switched the keystore {path} to journal_mode WAL, which would leave changes outside of the \
                 file; close that program, then run: sqlite3 {path} 'PRAGMA journal_mode = DELETE'"
            )))
        }
    }
}

/// Checks that neither the keystore nor a journal that will be rolled back into it belongs to another user, who could
/// write it at any moment. The keystore's own user may have left the journal.
fn check_owner(path: &Path, owner: u32) -> Result<()> {
    let refuse = |path: &Path, owner: u32| {
        let name = path.display();
        Err(Status::KeystoreIo.error(format!(
            "{name} belongs to user {owner}, neither to this process's user nor to root; check where it comes from, then \
             chown it, or run as that user"
        )))
    };
    if !file::is_trusted_owner(owner) {
        return refuse(path, owner);
    }
    match journal::owner(path) {
        Some(owner) if !file::is_trusted_owner(owner) => refuse(&journal::of(path), owner),
        _ => Ok(()),
    }
}
