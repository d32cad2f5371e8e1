//! The rollback journal, which is next to the keystore's file, and which file it belongs to.
//!
//! SQLite finds a journal by its name alone, and after a crash rolls it back into the file of that name. Another file
//! there, such as a backup, would be destroyed. So each journal that the library writes is marked
//! with the MAC of the description before the transaction, in the header's padding, which SQLite skips
//! (<https://www.sqlite.org/fileformat2.html> §3). The file it belongs to still has that description, or already the next,
//! which names the one before first.

use std::cell::Cell;
use std::ffi::CStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Result, Status};
use crate::sys::fault;
use crate::sys::file::{self, File};

/// What SQLite appends to a database's path.
pub const SUFFIX: &str = "-journal";
pub const LOG_SUFFIX: &str = "-wal";

/// What begins a journal that was synced, so that there is something to undo.
const MAGIC: &[u8; 8] = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7";

/// A header is as long as a disk's sector, which SQLite takes to be 512 bytes. What it uses of the header comes first.
pub const HEADER: usize = 512;
const USED: usize = 28;
const SECTOR: std::ops::Range<usize> = 20..24;

/// What begins a mark.
const MARK: &[u8; 16] = b"libkms journal\0\0";
const MARKED: usize = USED + MARK.len() + 32;

thread_local! {
    /// The MAC of the description that this thread's transaction found.
    static FOUND: Cell<Option<[u8; 32]>> = const { Cell::new(None) };
}

/// The journal that this thread writes next undoes changes of the description with this MAC.
pub fn belongs_to(mac: Option<[u8; 32]>) {
    FOUND.with(|found| found.set(mac));
}

/// A journal's header with its mark, if `bytes`, which SQLite writes into a journal, are a header.
pub fn marked(bytes: &[u8]) -> Option<[u8; HEADER]> {
    let mac = FOUND.with(Cell::get)?;
    let mut header: [u8; HEADER] = bytes.try_into().ok()?;
    let sector = bytes.get(SECTOR)?;
    // No page is as short: where another program made them so, nothing is marked.
    let is_header = sector == u32::try_from(HEADER).ok()?.to_be_bytes() && bytes.get(USED..)?.iter().all(|b| *b == 0);
    if !is_header || fault::wanted("KMS_FAULT_JOURNAL_UNMARKED") {
        return None;
    }
    let mark = MARK.iter().chain(&mac);
    header.iter_mut().skip(USED).zip(mark).for_each(|(to, from)| *to = *from);
    Some(header)
}

/// The name of a keystore's journal.
pub fn of(path: &Path) -> PathBuf {
    file::beside(path, SUFFIX)
}

/// The path of the keystore that has this journal.
pub fn keystore_of(journal: &CStr) -> Option<&[u8]> {
    journal.to_bytes().strip_suffix(SUFFIX.as_bytes())
}

/// Whether a journal waits to be undone.
pub fn waits(path: &Path) -> bool {
    std::fs::metadata(of(path)).is_ok_and(|found| found.len() > 0)
}

/// Checks that the journal is no FIFO, folder or device: SQLite would wait for it, or fail without naming it.
pub fn check_kind(path: &Path) -> Result<()> {
    let journal = of(path);
    match std::fs::metadata(&journal) {
        Ok(found) if !found.is_file() => Err(Status::KeystoreIo.error(format!(
            "{} is not a regular file, so the keystore can't have its journal there; move it away",
            journal.display()
        ))),
        _ => Ok(()),
    }
}

/// Checks that no write-ahead log is next to the keystore: this SQLite opens no file with one.
pub fn check_no_log(path: &Path) -> Result<()> {
    let log = file::beside(path, LOG_SUFFIX);
    match std::fs::metadata(&log) {
        Ok(found) if found.len() > 0 => Err(Status::KeystoreIo.error(format!(
            "{} is beside the keystore, which keeps no write-ahead log; find out which program made it, then move it away",
            log.display()
        ))),
        _ => Ok(()),
    }
}

/// The owner of a journal that will be rolled back into the keystore.
pub fn owner(path: &Path) -> Option<u32> {
    std::fs::metadata(of(path)).ok().filter(|found| found.len() > 0).map(|found| found.uid())
}

/// The journal next to a keystore that no process is writing.
pub struct LeftJournal {
    /// The file that it belongs to; journals of other programs have no mark.
    pub mark: Option<[u8; 32]>,
}

pub fn waiting(path: &Path) -> Option<LeftJournal> {
    let mut header = [0; MARKED];
    let file = File::open(&of(path)).ok()?;
    let len = file.read_at(&mut header, 0).ok()?;
    let is_dead = matches!(file.is_held_elsewhere(), Ok(false));
    if !is_dead || len < USED || !header.starts_with(MAGIC) {
        return None;
    }
    let mark = header.get(USED..len).and_then(|rest| rest.strip_prefix(MARK)).and_then(|mac| mac.first_chunk());
    Some(LeftJournal { mark: mark.copied() })
}
