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

use crate::error::{self, Status};
use crate::sys::file::{self, File, FileId};
use crate::sys::fork::{self, ClosedInChild};
use crate::sys::sync::GlobalLock;

/// Keeps a file's lock descriptor open while a connection needs it.
#[derive(Debug)]
pub struct LockFile(u64);

#[derive(Debug)]
struct Lock {
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
    /// The serial of the lock descriptor of the keystore that this is the file, or the journal, of.
    lock: Option<u64>,
}

#[derive(Debug)]
struct Table {
    locks: Vec<Lock>,
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
                return Err(Status::KeystoreReplaced.error("another file was just moved to the keystore's path"));
            }
            let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
            let closed_in_child = ClosedInChild::register(&file)?;
            table.locks.push(Lock { serial, epoch, users: 1, file, _closed_in_child: closed_in_child });
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
    /// Drops a lock descriptor that nobody needs any more: no handle, nor a connection of another user of this copy of
    /// SQLite, whose locks are taken through it as well.
    fn drop_unused(&mut self, serial: u64) {
        if !self.opened.iter().any(|o| o.lock == Some(serial)) {
            self.locks.retain(|l| l.serial != serial || l.users > 0);
        }
    }
}

impl Lock {
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
    },
    /// The host closed it, or its lock descriptor.
    Lost,
}

/// Enters a descriptor that was just opened at `path`. `marked`: SQLite leaves its offset alone. Returns its number.
pub fn enter(path: &CStr, mut descriptor: c_int, marked: bool) -> Result<c_int> {
    fork::gate(|| {
        let Ok(mut table) = TABLE.lock() else { return Err(Error::from_raw_os_error(libc::EIO)) };
        let epoch = fork::epoch();
        // A number that SQLite still uses for a lost file must not lead it to this one.
        while table.opened.iter().any(|o| o.is(descriptor, epoch)) {
            descriptor = file::moved_up(descriptor, descriptor.saturating_add(1))?;
        }
        let file = if marked { File::marked(descriptor) } else { File::unmarked(descriptor) }?;
        let keystore = match path.to_bytes().strip_suffix(b"-journal") {
            Some(keystore) => std::fs::metadata(OsStr::from_bytes(keystore)).ok(),
            None => None,
        };
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
        let lock = table.locks.iter().rev().find(|l| l.file.id() == id && l.epoch == epoch).map(|l| l.serial);
        table.opened.try_reserve(1).map_err(|_| Error::from_raw_os_error(libc::ENOMEM))?;
        table.opened.push(Opened { epoch, file, lock });
        Ok(descriptor)
    })
}

/// Closes a descriptor, if it still is what it was; false if it was never entered.
pub fn leave(descriptor: c_int) -> bool {
    fork::gate(|| {
        let Ok(mut table) = TABLE.lock() else { return true };
        let epoch = fork::epoch();
        let Some(index) = table.opened.iter().position(|o| o.is(descriptor, epoch)) else { return false };
        if let Some(serial) = table.opened.swap_remove(index).lock {
            table.drop_unused(serial);
        }
        true
    })
}

/// How closely a descriptor is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// By its mark: for what is done many times in a transaction, between two closer looks.
    Mark,
    Identity,
    /// The other files of its keystore must be intact too.
    Together,
}

/// What `descriptor` is now.
pub fn look_up(descriptor: c_int, check: Check) -> Use {
    fork::gate(|| {
        let Ok(table) = TABLE.lock() else { return Use::Lost };
        let epoch = fork::epoch();
        let Some(opened) = table.opened.iter().find(|o| o.is(descriptor, epoch)) else { return Use::Unknown };
        let is_intact = |file: &File| match check {
            Check::Mark => file.identity().is_marked_at(file.number()),
            Check::Identity | Check::Together => file.verified().is_ok(),
        };
        if !is_intact(&opened.file) {
            return Use::Lost;
        }
        let Some(serial) = opened.lock else { return Use::Intact { lock: None } };
        let lock = table.locks.iter().find(|l| l.serial == serial && l.epoch == epoch);
        let Some(lock) = lock.filter(|l| is_intact(&l.file)) else { return Use::Lost };
        let of_same = |o: &&Opened| o.lock == Some(serial) && o.epoch == epoch;
        if check == Check::Together && table.opened.iter().filter(of_same).any(|o| o.file.verified().is_err()) {
            return Use::Lost;
        }
        Use::Intact { lock: Some((serial, lock.file.number())) }
    })
}
