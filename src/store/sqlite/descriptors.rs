//! The descriptors of keystores: those that SQLite opened, and those that its locks are taken through.
//!
//! Each is verified before it is used (`sys/file.rs`). A lock belongs to the descriptor it was taken through and is gone
//! once that is closed; so everything that SQLite does to a file whose lock descriptor was lost fails too, and a new
//! connection gets a lock descriptor of another serial.

use std::ffi::{CStr, OsStr, c_int};
use std::io::{Error, Result};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::journal;
use crate::error::{self, Status};
use crate::sys::fault;
use crate::sys::file::{self, File, FileId};
use crate::sys::fork::{self, ClosedInChild};
use crate::sys::sync::GlobalLock;

/// Keeps a file's lock descriptor open while a connection needs it.
#[derive(Debug)]
pub struct LockFile(u64);

#[derive(Debug)]
struct LockDescriptor {
    serial: u64,
    epoch: u64,
    users: usize,
    file: File,
    _closed_in_child: ClosedInChild,
}

/// A descriptor that SQLite opened.
#[derive(Debug)]
struct Opened {
    epoch: u64,
    file: File,
    /// Empty for what is no file of a keystore.
    path: Vec<u8>,
    journal: Option<Journal>,
    /// The serial of the lock descriptor of the keystore that this is the file, or the journal, of.
    lock: Option<u64>,
}

/// A keystore's journal that is open for writing.
///
/// SQLite finds a journal by its name, and takes it for a crashed writer's while the file next to it is not locked.
/// A file that was moved there during another's transaction would be destroyed by the pages of the other. So the writer
/// of a journal holds a lock on the journal itself.
#[derive(Debug)]
struct Journal {
    held: bool,
    _closed_in_child: ClosedInChild,
}

#[derive(Debug)]
struct Table {
    locks: Vec<LockDescriptor>,
    opened: Vec<Opened>,
}

/// Touched only inside the fork gate, so a child never finds it locked.
static TABLE: GlobalLock<Table> = GlobalLock::new(Table { locks: Vec::new(), opened: Vec::new() });
static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);

impl LockFile {
    /// The descriptor for the file at `path`, which must be `id`.
    pub fn of(path: &Path, id: FileId) -> error::Result<Self> {
        fork::gate(|| {
            let mut table = TABLE.lock()?;
            let epoch = fork::epoch();
            if let Some(lock) = table.locks.iter_mut().find(|l| l.file.id() == id && l.is_usable(epoch)) {
                lock.users += 1;
                return Ok(Self(lock.serial));
            }
            // A write lock needs a writable descriptor; a read-only keystore takes none.
            let file = File::open_writable(path).or_else(|_| File::open(path)).map_err(|e| {
                let (name, why) = (path.display(), file::explain(&e));
                Status::KeystoreIo.error(format!("the keystore {name} can't be opened for locking: {why}"))
            })?;
            if file.id() != id {
                return Err(
                    Status::KeystoreReplaced.error("another file was just moved to the keystore's path; try again")
                );
            }
            let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
            let closed_in_child = ClosedInChild::register(&file)?;
            table.locks.push(LockDescriptor { serial, epoch, users: 1, file, _closed_in_child: closed_in_child });
            Ok(Self(serial))
        })
    }

    /// Reads from the file itself, past the pages that SQLite keeps of it; returns how much was read.
    pub fn read_at(&self, bytes: &mut [u8], at: u64) -> error::Result<usize> {
        fork::gate(|| {
            let table = TABLE.lock()?;
            let epoch = fork::epoch();
            let found = table.locks.iter().find(|l| l.serial == self.0 && l.epoch == epoch);
            let read = found.map_or(Err(Error::from_raw_os_error(libc::EBADF)), |lock| lock.file.read_at(bytes, at));
            read.map_err(|e| Status::KeystoreIo.error(format!("reading the keystore failed: {}", file::explain(&e))))
        })
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        fork::gate(|| {
            let Ok(mut table) = TABLE.lock() else { return };
            let epoch = fork::epoch();
            if let Some(lock) = table.locks.iter_mut().find(|l| l.serial == self.0 && l.epoch == epoch) {
                lock.users -= 1;
                table.drop_unused(self.0);
            }
        });
    }
}

impl Table {
    /// Drops a lock descriptor that is no longer needed: not by a handle, nor by a connection of another user of this
    /// copy of SQLite, whose locks are taken through it as well.
    fn drop_unused(&mut self, serial: u64) {
        if !self.opened.iter().any(|o| o.lock == Some(serial)) {
            self.locks.retain(|l| l.serial != serial || l.users > 0);
        }
    }
}

impl LockDescriptor {
    fn is_usable(&self, epoch: u64) -> bool {
        self.epoch == epoch && self.file.verified().is_ok()
    }
}

impl Opened {
    fn is(&self, descriptor: c_int, epoch: u64) -> bool {
        self.file.number() == descriptor && self.epoch == epoch
    }
}

/// What a descriptor number of SQLite's is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It was opened before the system calls were replaced, by another user of this copy of SQLite.
    Unknown,
    Intact {
        /// The serial and the number of the descriptor that its locks are taken through.
        lock: Option<(u64, c_int)>,
        is_journal: bool,
    },
    /// The host closed it, or its lock descriptor.
    Lost,
    /// It is a journal that the writer of another file holds.
    Busy,
}

/// Enters a descriptor that was just opened at `path`. `marked`: SQLite leaves its offset alone. Returns its number, or
/// EBUSY where it is a journal that the writer of another file holds.
pub fn enter(path: &CStr, mut descriptor: c_int, is_writable: bool, marked: bool) -> Result<c_int> {
    fork::gate(|| {
        let Ok(mut table) = TABLE.lock() else { return Err(Error::from_raw_os_error(libc::EIO)) };
        let epoch = fork::epoch();
        // A number that SQLite still uses for a lost file must not lead it to this one.
        while table.opened.iter().any(|o| o.is(descriptor, epoch)) {
            descriptor = file::moved_up(descriptor, descriptor.saturating_add(1))?;
        }
        let file = if marked { File::marked(descriptor) } else { File::unmarked(descriptor) }?;
        let journal_of = journal::keystore_of(path);
        let keystore = journal_of.and_then(|keystore| std::fs::metadata(OsStr::from_bytes(keystore)).ok());
        let id = match &keystore {
            Some(keystore) => {
                let found = file.facts()?;
                if found.len > 0 && !file::is_trusted_owner(found.owner) {
                    return Err(Error::from_raw_os_error(libc::EPERM));
                }
                FileId { device: keystore.dev(), inode: keystore.ino() }
            }
            None => file.id(),
        };
        // Searched by path too: the keystore may have been moved away since SQLite opened it.
        let beside = journal_of.and_then(|path| table.opened.iter().rev().find(|o| o.path == path && o.epoch == epoch));
        let lock = table.locks.iter().rev().find(|l| l.file.id() == id && l.epoch == epoch).map(|l| l.serial);
        let lock = lock.or(beside.and_then(|o| o.lock));
        let journal = match beside {
            Some(_) => lock_journal(&file, is_writable)?,
            None => None,
        };
        let no_memory = |_| Error::from_raw_os_error(libc::ENOMEM);
        let mut kept = Vec::new();
        if lock.is_some() && journal_of.is_none() {
            kept.try_reserve_exact(path.to_bytes().len()).map_err(no_memory)?;
            kept.extend_from_slice(path.to_bytes());
        }
        table.opened.try_reserve(1).map_err(no_memory)?;
        table.opened.push(Opened { epoch, file, path: kept, journal, lock });
        Ok(descriptor)
    })
}

/// Takes the lock of a keystore's journal, or only checks for another's where SQLite only reads.
fn lock_journal(file: &File, is_writable: bool) -> Result<Option<Journal>> {
    if !file.facts()?.is_regular() {
        return Err(Error::from_raw_os_error(libc::ENXIO));
    }
    if fault::wanted("KMS_FAULT_JOURNAL_UNLOCKED") {
        return Ok(None);
    }
    if if is_writable { !file.try_hold()? } else { file.is_held_elsewhere()? } {
        return Err(Error::from_raw_os_error(libc::EBUSY));
    }
    if !is_writable {
        return Ok(None);
    }
    let closed = ClosedInChild::register(file).map_err(|_| Error::from_raw_os_error(libc::EMFILE))?;
    Ok(Some(Journal { held: true, _closed_in_child: closed }))
}

/// SQLite emptied a file. If it is a journal, the transaction is over, and SQLite lets the next writer begin before it
/// closes the journal.
pub fn emptied(descriptor: c_int) {
    fork::gate(|| {
        let Ok(mut table) = TABLE.lock() else { return };
        let epoch = fork::epoch();
        if let Some(opened) = table.opened.iter_mut().find(|o| o.is(descriptor, epoch))
            && let Some(journal) = &mut opened.journal
        {
            journal.held = opened.file.release().is_err();
        }
    });
}

/// Closes a descriptor, if it still is what it was; false if it was never entered.
pub fn leave(descriptor: c_int) -> bool {
    fork::gate(|| {
        let Ok(mut table) = TABLE.lock() else { return true };
        let epoch = fork::epoch();
        let Some(index) = table.opened.iter().position(|o| o.is(descriptor, epoch)) else { return false };
        let opened = table.opened.swap_remove(index);
        if opened.journal.is_some() {
            // A child that was just forked may not have closed it yet. Where this fails, the close below does it.
            let _ = opened.file.release();
        }
        if let Some(serial) = opened.lock {
            table.drop_unused(serial);
        }
        true
    })
}

/// How thoroughly a descriptor is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// By its mark: for frequent operations within a transaction, between two full checks.
    Mark,
    /// As by its mark; and a journal whose lock was released is locked again.
    Write,
    Identity,
    /// The other files of its keystore must be intact too.
    Together,
}

/// What `descriptor` is now.
pub fn look_up(descriptor: c_int, check: Check) -> Use {
    fork::gate(|| {
        let Ok(mut table) = TABLE.lock() else { return Use::Lost };
        let table = &mut *table;
        let epoch = fork::epoch();
        let Some(opened) = table.opened.iter_mut().find(|o| o.is(descriptor, epoch)) else { return Use::Unknown };
        let is_intact = |file: &File| match check {
            Check::Mark | Check::Write => file.identity().is_marked_at(file.number()),
            Check::Identity | Check::Together => file.verified().is_ok(),
        };
        if !is_intact(&opened.file) {
            return Use::Lost;
        }
        if let (Check::Write, Some(journal)) = (check, &mut opened.journal)
            && !journal.held
        {
            match opened.file.try_hold() {
                Ok(held) => journal.held = held,
                Err(_) => return Use::Lost,
            }
            if !journal.held {
                return Use::Busy;
            }
        }
        let is_journal = opened.journal.is_some();
        let Some(serial) = opened.lock else { return Use::Intact { lock: None, is_journal } };
        let lock = table.locks.iter().find(|l| l.serial == serial && l.epoch == epoch);
        let Some(lock) = lock.filter(|l| is_intact(&l.file)) else { return Use::Lost };
        let of_same = |o: &&Opened| o.lock == Some(serial) && o.epoch == epoch;
        if check == Check::Together && table.opened.iter().filter(of_same).any(|o| o.file.verified().is_err()) {
            return Use::Lost;
        }
        Use::Intact { lock: Some((serial, lock.file.number())), is_journal }
    })
}
