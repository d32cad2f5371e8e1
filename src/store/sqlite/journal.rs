//! The rollback journal, which stands beside the keystore's file, and which file it belongs to.
//!
//! SQLite finds a journal by its name alone, and after a crash plays it into the file that has the name. Were that another
//! file, such as a backup that was put there, it would be destroyed. So each journal that the library writes is marked
//! with the MAC of the description before the transaction, in the header's padding, which SQLite skips
//! (<https://www.sqlite.org/fileformat2.html> §3). The file it belongs to still has that description, or already the next,
//! which names the one before first.

use std::cell::Cell;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::error::storage;
use super::file::exists;
use super::{Sqlite, harden, plain, torn};
use crate::error::{Result, Status};
use crate::store::backend::{Backend, MetaRow, SlotRow};
use crate::store::history;
use crate::store::shard::Shard;
use crate::sys::fault;
use crate::sys::file::{self, File, FileId};

/// What SQLite appends to a database's path.
pub const SUFFIX: &str = "-journal";
const LOG_SUFFIX: &str = "-wal";

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

/// That the journal is no FIFO, folder or device, which SQLite would wait for or fail on without its name.
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

/// That no write-ahead log is beside the keystore, with which this SQLite opens no file.
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

/// That no journal of a former file waits at a path where there is no file: SQLite would play it into the next one.
pub fn check_no_leftover(path: &Path) -> Result<()> {
    check_kind(path)?;
    for name in [of(path), file::beside(path, LOG_SUFFIX)] {
        if std::fs::symlink_metadata(&name).is_ok_and(|found| found.len() > 0) && !exists(path)? {
            return Err(Status::KeystoreIo.error(format!(
                "{} is left of a file that was at {} and would destroy a new one; put that file back, or move the journal away",
                name.display(),
                path.display()
            )));
        }
    }
    Ok(())
}

/// A journal that a crashed writer left, and that is not that of the file beside it, if that file is a keystore's: after a
/// power cut it may be half of what the journal undoes.
pub struct Doubt {
    mark: [u8; 32],
    pub meta: MetaRow,
    pub slots: Vec<SlotRow>,
}

impl Doubt {
    pub fn at(path: &Path) -> Option<Self> {
        let mark = waiting(path)?.mark?;
        let mut peek = Sqlite::peek(path).ok()?;
        let (meta, slots) = (peek.meta(Shard::FIRST).ok()?, peek.slots().ok()?);
        // Half of what the journal undoes can look like another keystore's description.
        let is_torn = || torn::is_torn(path, &of(path), &peek.connection, meta.place.as_deref().unwrap_or_default());
        (!is_of(&meta, &mark) && !is_torn()).then_some(Self { mark, meta, slots })
    }

    /// The description that was read is authentic, so the file is whole, and the journal would destroy it. Unless a writer
    /// was at work meanwhile.
    pub fn refuse(&self, path: &Path) -> Result<()> {
        if waiting(path).is_none_or(|still| still.mark != Some(self.mark)) {
            return Ok(());
        }
        Err(Status::KeystoreIo.error(format!(
            "{} was left by a crash while another file was at {}, and would destroy this one; move the journal away, or put \
             that file back",
            of(path).display(),
            path.display()
        )))
    }
}

/// Whether a description is that of `mac`, or the one after.
fn is_of(meta: &MetaRow, mac: &[u8; 32]) -> bool {
    meta.mac == *mac || meta.recent.as_deref().is_some_and(|recent| history::names_first(recent, mac))
}

/// That the file at `path` was not moved there from beside the journal of a crashed writer, without which it holds half a
/// change.
pub fn check_not_left(path: &Path) -> Result<()> {
    if waits(path) {
        return Ok(());
    }
    let Ok(meta) = Sqlite::peek(path).and_then(|mut peek| peek.meta(Shard::FIRST)) else { return Ok(()) };
    let place = meta.place.as_deref().map(|place| Path::new(OsStr::from_bytes(place)));
    let Some(place) = place.filter(|place| *place != path) else { return Ok(()) };
    let at_place = FileId::of(place).ok();
    if at_place.is_some() && at_place == FileId::of(path).ok() {
        return Ok(());
    }
    let left = match waiting(place) {
        Some(LeftJournal { mark: Some(mark) }) => is_of(&meta, &mark),
        Some(LeftJournal { mark: None }) => at_place.is_none(),
        None => false,
    };
    if !left {
        return Ok(());
    }
    Err(Status::KeystoreIo.error(format!(
        "{} was moved away from its journal {}, which undoes a change that a crash cut off; move that to {}",
        path.display(),
        of(place).display(),
        of(path).display()
    )))
}

/// What waits beside a keystore that nobody writes now.
struct LeftJournal {
    /// Of which file; other programs don't say.
    mark: Option<[u8; 32]>,
}

fn waiting(path: &Path) -> Option<LeftJournal> {
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

impl Sqlite {
    /// What a file holds, in the state that a crash left it in: without a lock, and without searching for a journal.
    fn peek(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(immutable(path), flags).map_err(|e| storage("open", &e))?;
        harden(&connection)?;
        let peek = Self { connection, format: Cell::new(0), schema_seen: None, description: None, place: None };
        peek.read_format()?;
        peek.check_schema()?;
        Ok(peek)
    }
}

/// The URI by which SQLite takes a file for one that nobody changes (<https://www.sqlite.org/uri.html>).
fn immutable(path: &Path) -> PathBuf {
    let path = plain(path);
    let mut uri = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(*byte),
            _ if byte.is_ascii_alphanumeric() => uri.push(*byte),
            _ => uri.extend(format!("%{byte:02X}").bytes()),
        }
    }
    uri.extend(b"?immutable=1");
    PathBuf::from(OsStr::from_bytes(&uri))
}
