//! Makes our copy of SQLite take its file locks as open-file-description locks (OFD, fcntl(2)).
//!
//! POSIX locks vanish when any descriptor of the process on that file closes, and a process may well hold two copies
//! of us, or open the file with its own SQLite. SQLite's `fcntl` system call is therefore replaced: lock requests go
//! to one close-on-exec descriptor per file, shared by all connections of this copy, because an OFD lock belongs to
//! the descriptor it was taken through and SQLite counts its locks per file.
//!
//! `fstat` is replaced too: it mixes the fork epoch into the device number by which SQLite recognises a file, so that
//! a forked child doesn't inherit its parent's lock counts.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::OnceLock;

use rusqlite::{Connection, ffi};

use super::file::FileId;
use crate::error::{Result, Status};
use crate::sys::fault;
use crate::sys::fork::{self, ClosedInChild};
use crate::sys::sync::GlobalLock;

/// Keeps a file's lock descriptor open while a connection needs it.
#[derive(Debug)]
pub struct LockFile(FileId);

#[derive(Debug)]
struct Entry {
    id: FileId,
    epoch: u64,
    users: usize,
    file: File,
    _closed_in_child: ClosedInChild,
}

/// Touched only inside the fork gate, so a child never finds it locked.
static OPEN: GlobalLock<Vec<Entry>> = GlobalLock::new(Vec::new());

impl LockFile {
    /// The descriptor for the file at `path`, which must be `id`.
    pub fn of(path: &Path, id: FileId) -> Result<Self> {
        fork::gate(|| {
            replace_system_calls()?;
            let mut open = OPEN.lock()?;
            let epoch = fork::epoch();
            if let Some(entry) = open.iter_mut().find(|e| e.id == id && e.epoch == epoch) {
                entry.users += 1;
                return Ok(Self(id));
            }
            let cannot = || Status::KeystoreIo.error("the keystore's file can't be opened for locking");
            let file = OpenOptions::new().read(true).write(true).open(path);
            // A write lock needs a writable descriptor; a read-only keystore takes none.
            let file = file.or_else(|_| File::open(path)).map_err(|_| cannot())?;
            if FileId::of_open(&file)? != id {
                return Err(Status::KeystoreReplaced.error("another file was just moved to the keystore's path"));
            }
            let closed_in_child = ClosedInChild::register(file.as_raw_fd())?;
            open.push(Entry { id, epoch, users: 1, file, _closed_in_child: closed_in_child });
            Ok(Self(id))
        })
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        fork::gate(|| {
            let Ok(mut open) = OPEN.lock() else { return };
            let epoch = fork::epoch();
            let Some(index) = open.iter().position(|e| e.id == self.0 && e.epoch == epoch) else { return };
            if let Some(entry) = open.get_mut(index) {
                entry.users -= 1;
                if entry.users == 0 {
                    open.swap_remove(index);
                }
            }
        });
    }
}

/// The lock descriptor of the file behind `descriptor`, if it is one of ours.
fn lock_descriptor(descriptor: c_int) -> Option<c_int> {
    // SAFETY: stat is plain data for which all zeroes is valid; fstat fills it.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: any descriptor number is allowed; the result is checked.
    if unsafe { libc::fstat(descriptor, &mut found) } != 0 {
        return None;
    }
    let id = FileId { device: found.st_dev, inode: found.st_ino };
    if posix_locks_wanted() {
        return None;
    }
    let epoch = fork::epoch();
    let open = OPEN.lock().ok()?;
    open.iter().find(|e| e.id == id && e.epoch == epoch).map(|e| e.file.as_raw_fd())
}

/// Leaves SQLite's own locks in place, for the test that shows why they are replaced.
fn posix_locks_wanted() -> bool {
    static WANTED: OnceLock<bool> = OnceLock::new();
    cfg!(feature = "faults") && *WANTED.get_or_init(|| fault::wanted("KMS_FAULT_POSIX_LOCKS"))
}

/// Stands in for fcntl(2). Files that are not ours (another user of a shared SQLite copy) keep POSIX locks.
///
/// SAFETY of the signature: SQLite calls it as `int(int, int, ...)` with one pointer-sized argument; on Linux's C ABIs
/// a variadic call passes it exactly like this.
unsafe extern "C" fn ofd_fcntl(descriptor: c_int, command: c_int, argument: *mut c_void) -> c_int {
    let ofd = match command {
        libc::F_SETLK => Some(libc::F_OFD_SETLK),
        libc::F_GETLK => Some(libc::F_OFD_GETLK),
        _ => None,
    };
    if let (Some(ofd), Some(shared)) = (ofd, lock_descriptor(descriptor)) {
        let lock = argument.cast::<libc::flock>();
        // SAFETY: for these two commands SQLite passes a `struct flock` of its own; OFD locks want a zero pid.
        unsafe {
            (*lock).l_pid = 0;
            return libc::fcntl(shared, ofd, lock);
        }
    }
    // SAFETY: passed on as it came.
    unsafe { libc::fcntl(descriptor, command, argument) }
}

/// Stands in for fstat(2).
unsafe extern "C" fn epoch_fstat(descriptor: c_int, found: *mut libc::stat) -> c_int {
    // SAFETY: passed on as it came.
    let result = unsafe { libc::fstat(descriptor, found) };
    if result == 0 {
        // SAFETY: fstat succeeded, so `found` is a valid stat of SQLite's.
        unsafe { (*found).st_dev = (*found).st_dev.wrapping_add(fork::epoch() << 40) };
    }
    result
}

/// Leaves SQLite no write-ahead log on this connection, as if it were built without: a database in that mode is not
/// opened, whoever switched it and when.
pub(super) fn without_wal(connection: &Connection) -> Result<()> {
    struct Methods(ffi::sqlite3_io_methods);
    // SAFETY: function pointers, which any thread may read.
    unsafe impl Send for Methods {}
    // SAFETY: as above.
    unsafe impl Sync for Methods {}
    static METHODS: OnceLock<Methods> = OnceLock::new();

    let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
    // SAFETY: an open connection, which nobody else uses meanwhile; SQLite stores the pointer to the open file.
    let found = unsafe {
        let out = (&raw mut file).cast::<c_void>();
        ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_FILE_POINTER, out)
    };
    // SAFETY: that file is SQLite's, and lives as long as the connection; its methods live for ever.
    let replaced = unsafe {
        file.as_mut().filter(|_| found == ffi::SQLITE_OK).map(|file| {
            // Version 1 of the methods has no shared memory, without which there is no write-ahead log.
            let ours = METHODS.get_or_init(|| Methods(ffi::sqlite3_io_methods { iVersion: 1, ..*file.pMethods }));
            file.pMethods = &raw const ours.0;
        })
    };
    replaced.ok_or_else(|| Status::Internal.error("SQLite's file methods can't be replaced"))
}

fn replace_system_calls() -> Result<()> {
    static DONE: OnceLock<bool> = OnceLock::new();
    // SAFETY: the default VFS of this SQLite copy lives for ever; both functions have the C signatures of the calls
    // they stand for, and a function pointer is passed through the pointer type that SQLite declares.
    let done = *DONE.get_or_init(|| unsafe {
        let vfs = ffi::sqlite3_vfs_find(std::ptr::null());
        let Some(set) = vfs.as_ref().and_then(|v| v.xSetSystemCall) else { return false };
        let replace = |name: &CStr, call: *const ()| {
            let call: ffi::sqlite3_syscall_ptr = std::mem::transmute(call);
            set(vfs, name.as_ptr().cast::<c_char>(), call) == ffi::SQLITE_OK
        };
        replace(c"fcntl", ofd_fcntl as *const ()) && replace(c"fstat", epoch_fstat as *const ())
    });
    if done { Ok(()) } else { Err(Status::Internal.error("SQLite's lock calls can't be replaced")) }
}
