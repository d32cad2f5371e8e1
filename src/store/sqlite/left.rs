//! What a crash or another program left next to a keystore: journals that would be rolled back into the wrong file.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::error::storage;
use super::file::exists;
use super::journal::LeftJournal;
use super::{Sqlite, harden, journal, plain, torn};
use crate::error::{Result, Status};
use crate::store::backend::{Backend, MetaRow, SlotRow};
use crate::store::history;
use crate::store::shard::Shard;
use crate::sys::file::{self, FileId};

/// Checks that no journal of a former file is at a path without a file: SQLite would roll it back into the next one.
pub fn check_no_leftover(path: &Path) -> Result<()> {
    journal::check_kind(path)?;
    for name in [journal::of(path), file::beside(path, journal::LOG_SUFFIX)] {
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

/// A journal of a crashed writer that does not belong to the file next to it, if that is a keystore: after a power cut
/// the file may have only a part of the changes that the journal undoes.
pub struct Doubt {
    mark: [u8; 32],
    pub meta: MetaRow,
    pub slots: Vec<SlotRow>,
}

impl Doubt {
    pub fn at(path: &Path) -> Option<Self> {
        let mark = journal::waiting(path)?.mark?;
        let mut peek = Sqlite::peek(path).ok()?;
        let (meta, slots) = (peek.meta(Shard::FIRST).ok()?, peek.slots().ok()?);
        // A change that the journal undoes only in part can resemble another keystore's description.
        let is_torn =
            || torn::is_torn(path, &journal::of(path), &peek.connection, meta.place.as_deref().unwrap_or_default());
        (!is_of(&meta, &mark) && !is_torn()).then_some(Self { mark, meta, slots })
    }

    /// The description that was read is authentic, so the file is whole, and the journal would destroy it. Unless a writer
    /// was at work meanwhile.
    pub fn refuse(&self, path: &Path) -> Result<()> {
        if journal::waiting(path).is_none_or(|still| still.mark != Some(self.mark)) {
            return Ok(());
        }
        Err(Status::KeystoreIo.error(format!(
            "{} was left by a crash while another file was at {}, and would destroy this one; move the journal away, or put \
             that file back",
            journal::of(path).display(),
            path.display()
        )))
    }
}

/// Whether a description is that of `mac`, or the one after.
fn is_of(meta: &MetaRow, mac: &[u8; 32]) -> bool {
    meta.mac == *mac || meta.recent.as_deref().is_some_and(|recent| history::names_first(recent, mac))
}

/// Checks that the file at `path` was not moved there without the journal of a crashed writer: it would hold half a
/// change.
pub fn check_not_left(path: &Path) -> Result<()> {
    if journal::waits(path) {
        return Ok(());
    }
    let Ok(meta) = Sqlite::peek(path).and_then(|mut peek| peek.meta(Shard::FIRST)) else { return Ok(()) };
    let place = meta.place.as_deref().map(|place| Path::new(OsStr::from_bytes(place)));
    let Some(place) = place.filter(|place| *place != path) else { return Ok(()) };
    let at_place = FileId::of(place).ok();
    if at_place.is_some() && at_place == FileId::of(path).ok() {
        return Ok(());
    }
    let left = match journal::waiting(place) {
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
        journal::of(place).display(),
        journal::of(path).display()
    )))
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

/// The URI by which SQLite treats a file as immutable (<https://www.sqlite.org/uri.html>).
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
