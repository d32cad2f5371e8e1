//! Looks at a keystore's file before SQLite may touch it: is it there, local, ours, of a format we read.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use super::{APPLICATION_ID, format};
use crate::error::{Error, Result, Status};
use crate::sys::{filesystem, sync};

/// Which file this is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

impl FileId {
    pub fn of(path: &Path) -> Result<Self> {
        Ok(Self::from_metadata(&std::fs::metadata(path).map_err(|e| unreachable_file(&e))?))
    }

    pub fn of_open(file: &File) -> Result<Self> {
        Ok(Self::from_metadata(&file.metadata().map_err(|e| unreachable_file(&e))?))
    }

    fn from_metadata(found: &std::fs::Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

/// Whether there is anything at `path`.
pub fn exists(path: &Path) -> Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(unreachable_file(&e)),
    }
}

fn unreachable_file(error: &std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Status::KeystoreNotFound.error("there is no keystore at this path"),
        kind => Status::KeystoreIo.error(format!("the keystore's file can't be reached: {kind}")),
    }
}

pub(super) fn create_new(path: &Path) -> Result<()> {
    refuse_network(path.parent().unwrap_or(path))?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|e| Status::KeystoreIo.error(format!("the keystore can't be created: {}", not_made(&e))))
}

/// Why a file could not be made, and what to do.
pub fn not_made(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "its folder is not there; make it, or give another path".to_owned(),
        ErrorKind::PermissionDenied => {
            "this user may not write in its folder; change that, or give another path".to_owned()
        }
        kind => kind.to_string(),
    }
}

fn refuse_network(path: &Path) -> Result<()> {
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
    // Beside a writer, header, length and journal are not of one moment: damage is what stays.
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

    let mut file = File::open(path).map_err(|e| unreachable_file(&e))?;
    let found = file.metadata().map_err(|e| unreachable_file(&e))?;
    if !found.is_file() {
        return Err(format::not_ours());
    }
    refuse_network(path)?;
    let mut header = Vec::with_capacity(100);
    Read::by_ref(&mut file).take(100).read_to_end(&mut header).map_err(|e| unreachable_file(&e))?;
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
    check_journal_bytes(path, &header)?;
    format::check(word(60)?.cast_signed())?;
    // A page size of 1 means 65536. The page count is right only where the change counters agree, and while a
    // journal waits to be rolled back the file may rightly be shorter.
    let page_size = match word(16)? >> 16 {
        1 => 65_536,
        size => u64::from(size),
    };
    let len = file.metadata().map_err(|e| unreachable_file(&e))?.len();
    if word(24)? == word(92)? && len < page_size * u64::from(word(28)?) && !journal_waits(path) {
        return Err(truncated());
    }
    Ok(())
}

/// That no program switched the keystore to a write-ahead log, which this SQLite opens no file with.
pub(super) fn check_journal_mode(path: &Path) -> Result<()> {
    let mut header = Vec::with_capacity(100);
    File::open(path).and_then(|file| file.take(100).read_to_end(&mut header)).map_err(|e| unreachable_file(&e))?;
    check_journal_bytes(path, &header)
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

fn journal_waits(path: &Path) -> bool {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    std::fs::metadata(journal).is_ok_and(|m| m.len() > 0)
}
