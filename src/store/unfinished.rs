//! A backup under its temporary name, `TARGET.kms-new`, which it has until it is complete and recorded.
//!
//! The name is fixed, so the next backup to the same target removes what a killed one left. The process that writes the file
//! holds its lock (flock).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::create;
use super::leftover;
use super::sqlite;
use crate::error::{Error, Result, Status, shown_path};
use crate::sys::file::{self, File, FileId};
use crate::sys::fork;

/// Removed when dropped unpublished.
#[derive(Debug)]
pub struct Unfinished {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    /// The process that made it: a forked child owns nothing of it.
    epoch: u64,
}

impl Unfinished {
    /// Make an empty file for a backup to `target`. `KeystoreBusy` while another call writes a backup there.
    pub fn create(target: &Path) -> Result<Self> {
        sqlite::check_no_leftover(target)?;
        create::check_no_companion(target)?;
        let temporary = file::beside(target, leftover::SUFFIX);
        remove_stale(&temporary, target)?;
        if std::fs::symlink_metadata(target).is_ok() {
            return Err(taken(target));
        }
        let file = match sqlite::create_new(&temporary) {
            Err(_) if temporary.exists() => return Err(busy(target)),
            made => made?,
        };
        let this = Self { file, temporary, target: target.to_owned(), epoch: fork::epoch() };
        match this.file.try_lock().map_err(|e| failed(target, &e))? && this.is_current() {
            true => Ok(this),
            // Another call took it for stale before it was locked.
            false => Err(busy(target)),
        }
    }

    /// Return where it is until it is published.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    pub fn sync(&self) -> Result<()> {
        self.file.sync().map_err(|e| failed(&self.target, &e))
    }

    /// Rename it to its target. Never replaces a file.
    pub fn publish(self) -> Result<()> {
        if !self.is_current() {
            let temporary = shown_path(&self.temporary);
            return Err(Status::KeystoreIo
                .error(format!("another program removed or replaced {temporary}; make the backup once more")));
        }
        let named = create::rename_new(&self.temporary, &self.target).map_err(|e| failed(&self.target, &e))?;
        if !named {
            return Err(taken(&self.target));
        }
        file::sync_folder_of(&self.target).map_err(|e| failed(&self.target, &e))
    }

    fn is_current(&self) -> bool {
        FileId::of(&self.temporary).is_ok_and(|found| found == self.file.id())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.epoch == fork::epoch() && self.is_current() {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Removes what a killed backup left.
fn remove_stale(temporary: &Path, target: &Path) -> Result<()> {
    let failed = |e: &std::io::Error| failed(temporary, e);
    let stale = match File::open(temporary) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|e| failed(&e))?,
    };
    if !stale.try_lock().map_err(|e| failed(&e))? {
        return Err(busy(target));
    }
    if !could_be_a_keystore(&stale).map_err(|e| failed(&e))? {
        return Err(Status::KeystoreIo.error(format!(
            "{} is no unfinished keystore, and is in the way of one; move it away",
            shown_path(temporary)
        )));
    }
    match FileId::of(temporary).is_ok_and(|found| found == stale.id()) {
        true => std::fs::remove_file(temporary).map_err(|e| failed(&e)),
        false => Err(busy(target)),
    }
}

/// Whether the file is empty, or begins as SQLite's do, or with the zeros of a page that was not written yet.
fn could_be_a_keystore(file: &File) -> std::io::Result<bool> {
    let mut start = [0; 16];
    let len = file.read_at(&mut start, 0)?;
    let is_regular = file.facts()?.is_regular();
    Ok(is_regular && (len == 0 || start == *b"SQLite format 3\0" || start == [0; 16]))
}

fn busy(target: &Path) -> Error {
    Status::KeystoreBusy
        .error(format!("another call writes to {}; wait for it, or choose another path", shown_path(target)))
}

fn taken(target: &Path) -> Error {
    Status::KeystoreIo
        .error(format!("{} exists already and is never replaced; choose another path", shown_path(target)))
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Status::KeystoreIo.error(format!("{} can't be made: {}", shown_path(path), sqlite::not_made(error)))
}
