//! Makes our copy of SQLite take its file locks as open-file-description locks (OFD, fcntl(2)), and use a descriptor only
//! while it still is the file that was opened.
//!
//! POSIX locks vanish when any descriptor of the process on that file closes, and a process may well hold two copies
//! of us, or open the file with its own SQLite. SQLite's `fcntl` system call is therefore replaced: lock requests go
//! to one close-on-exec descriptor per file, shared by all connections of this copy, because an OFD lock belongs to
//! the descriptor it was taken through and SQLite counts its locks per file.
//!
//! `fstat` is replaced too: it mixes the serial of the lock descriptor into the device number by which SQLite recognises
//! a file, so that lock counts of a closed descriptor are not inherited: neither by a forked child from its parent, nor
//! by a new connection from before the host closed our descriptors.
//!
//! `open` and `close` enter each descriptor into `descriptors.rs`; what reads, writes, truncates or locks asks there.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Error;
use std::sync::OnceLock;

use rusqlite::{Connection, ffi};

use super::descriptors::{self, Check, Use};
use super::journal;
use crate::error::{Result, Status};
use crate::sys::{fault, file, fork, large};

thread_local! {
    /// What the system said when a call failed last.
    static FAILED: Cell<c_int> = const { Cell::new(0) };
}

/// What the system said when a call of SQLite's failed last on this thread; once.
pub fn take_failure() -> Option<Error> {
    Some(FAILED.with(|failed| failed.replace(0))).filter(|code| *code != 0).map(Error::from_raw_os_error)
}

/// The same, which stays to be taken.
pub fn last_failure() -> Option<c_int> {
    Some(FAILED.with(Cell::get)).filter(|code| *code != 0)
}

fn failed(error: &Error) -> c_int {
    let code = error.raw_os_error().unwrap_or(libc::EIO);
    FAILED.with(|failed| failed.set(code));
    // SAFETY: the address of this thread's errno, where SQLite finds it.
    unsafe { *libc::__errno_location() = code };
    -1
}

/// Runs a system call on a descriptor that still is the file SQLite opened.
fn on_intact(descriptor: c_int, check: Check, call: impl FnOnce() -> isize) -> isize {
    on_known(descriptor, check, |_| call())
}

/// The same; the call receives whether the file is a keystore's journal.
fn on_known(descriptor: c_int, check: Check, call: impl FnOnce(bool) -> isize) -> isize {
    let result = match descriptors::look_up(descriptor, check) {
        Use::Lost => return failed(&Error::from_raw_os_error(libc::EBADF)) as isize,
        Use::Busy => return failed(&Error::from_raw_os_error(libc::EBUSY)) as isize,
        Use::Unknown => call(false),
        Use::Intact { is_journal, .. } => call(is_journal),
    };
    if result < 0 {
        failed(&Error::last_os_error());
    }
    result
}

/// Leaves SQLite's own locks in place, for the test that shows why they are replaced.
fn posix_locks_wanted() -> bool {
    static WANTED: OnceLock<bool> = OnceLock::new();
    cfg!(kms_faults) && *WANTED.get_or_init(|| fault::wanted("KMS_FAULT_POSIX_LOCKS"))
}

/// Stands in for open(2).
///
/// SAFETY of this signature and of those below: SQLite declares them so.
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: SQLite passes a NUL-terminated path.
    let path = unsafe { CStr::from_ptr(path) };
    // A FIFO in the place of the journal must not block.
    let at_once = if journal::keystore_of(path).is_some() { libc::O_NONBLOCK } else { 0 };
    let is_writable = flags & libc::O_ACCMODE != libc::O_RDONLY;
    let opened = file::open(path, flags | at_once, mode.cast_unsigned());
    match opened.and_then(|descriptor| descriptors::enter(path, descriptor, is_writable, reads_by_offset())) {
        Ok(descriptor) => descriptor,
        Err(e) => {
            let result = failed(&e);
            if e.raw_os_error() == Some(libc::EBUSY) {
                // The one error after which SQLite doesn't try to open the journal for reading instead.
                // SAFETY: the address of this thread's errno, where SQLite finds it.
                unsafe { *libc::__errno_location() = libc::EISDIR };
            }
            result
        }
    }
}

/// Stands in for close(2). A descriptor that is no longer ours is left to its owner.
unsafe extern "C" fn close(descriptor: c_int) -> c_int {
    match descriptors::leave(descriptor) {
        true => 0,
        // SAFETY: passed on as it came.
        false => unsafe { libc::close(descriptor) },
    }
}

unsafe extern "C" fn read(descriptor: c_int, bytes: *mut c_void, len: usize) -> isize {
    // SAFETY: passed on as it came.
    on_intact(descriptor, Check::Mark, || unsafe { libc::read(descriptor, bytes, len) })
}

unsafe extern "C" fn pread(descriptor: c_int, bytes: *mut c_void, len: usize, at: large::off_t) -> isize {
    // SAFETY: passed on as it came.
    on_intact(descriptor, Check::Mark, || unsafe { large::pread(descriptor, bytes, len, at) })
}

unsafe extern "C" fn write(descriptor: c_int, bytes: *const c_void, len: usize) -> isize {
    // SAFETY: passed on as it came, or as many bytes instead.
    unsafe { write_marked(descriptor, bytes, len, |bytes| libc::write(descriptor, bytes, len)) }
}

unsafe extern "C" fn pwrite(descriptor: c_int, bytes: *const c_void, len: usize, at: large::off_t) -> isize {
    // SAFETY: passed on as it came, or as many bytes instead.
    unsafe { write_marked(descriptor, bytes, len, |bytes| large::pwrite(descriptor, bytes, len, at)) }
}

/// Writes what came, or a journal's header with its mark.
///
/// # Safety
///
/// `bytes` points to `len` bytes.
unsafe fn write_marked(
    descriptor: c_int,
    bytes: *const c_void,
    len: usize,
    write: impl FnOnce(*const c_void) -> isize,
) -> isize {
    on_known(descriptor, Check::Write, |is_journal| {
        // SAFETY: the caller vouches for it.
        let given = || unsafe { std::slice::from_raw_parts(bytes.cast(), len) };
        let header = if is_journal { journal::marked(given()) } else { None };
        write(header.as_ref().map_or(bytes, |header| header.as_ptr().cast()))
    })
}

/// Stands in for ftruncate(2). Truncating the journal is what commits: what went to a file that was closed before it was
/// synced must not be taken for durable.
unsafe extern "C" fn ftruncate(descriptor: c_int, len: large::off_t) -> c_int {
    // SAFETY: passed on as it came.
    let result = on_intact(descriptor, Check::Together, || unsafe { large::ftruncate(descriptor, len) } as isize);
    if result == 0 && len == 0 {
        descriptors::emptied(descriptor);
    }
    result as c_int
}

unsafe extern "C" fn fchmod(descriptor: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: passed on as it came.
    on_intact(descriptor, Check::Mark, || unsafe { libc::fchmod(descriptor, mode) } as isize) as c_int
}

unsafe extern "C" fn fchown(descriptor: c_int, user: libc::uid_t, group: libc::gid_t) -> c_int {
    // SAFETY: passed on as it came.
    on_intact(descriptor, Check::Mark, || unsafe { libc::fchown(descriptor, user, group) } as isize) as c_int
}

/// Stands in for fcntl(2). Files that are not ours (another user of a shared SQLite copy) keep POSIX locks.
///
/// SAFETY of the signature: SQLite calls it as `int(int, int, ...)` with one pointer-sized argument; on Linux's C ABIs
/// a variadic call passes it exactly like this.
unsafe extern "C" fn fcntl(descriptor: c_int, command: c_int, argument: *mut c_void) -> c_int {
    let ofd = match command {
        large::F_SETLK => Some(libc::F_OFD_SETLK),
        large::F_GETLK => Some(libc::F_OFD_GETLK),
        _ => None,
    };
    let found = descriptors::look_up(descriptor, Check::Identity);
    let result = match (ofd, found) {
        (Some(ofd), Use::Intact { lock: Some((_, shared)), .. }) if !posix_locks_wanted() => {
            let lock = argument.cast::<large::flock>();
            // SAFETY: for these two commands SQLite passes its own `struct flock`; OFD locks want a zero pid.
            unsafe {
                (*lock).l_pid = 0;
                large::fcntl(shared, ofd, lock)
            }
        }
        (Some(libc::F_OFD_SETLK), Use::Lost) if is_unlock(argument) => 0,
        (_, Use::Lost | Use::Busy) => return failed(&Error::from_raw_os_error(libc::EBADF)),
        // SAFETY: passed on as it came.
        _ => unsafe { large::fcntl(descriptor, command, argument) },
    };
    if result < 0 {
        failed(&Error::last_os_error());
    }
    result
}

/// A lock went with the descriptor that the host closed, so there is nothing left to release.
fn is_unlock(lock: *const c_void) -> bool {
    // SAFETY: for F_SETLK SQLite passes its own `struct flock`.
    unsafe { (*lock.cast::<large::flock>()).l_type == libc::F_UNLCK as libc::c_short }
}

/// Stands in for fstat(2).
unsafe extern "C" fn fstat(descriptor: c_int, found: *mut large::stat) -> c_int {
    let serial = match descriptors::look_up(descriptor, Check::Mark) {
        Use::Lost | Use::Busy => return failed(&Error::from_raw_os_error(libc::EBADF)),
        Use::Intact { lock: Some((serial, _)), .. } => serial << 1 | 1,
        Use::Unknown | Use::Intact { lock: None, .. } => fork::epoch() << 1,
    };
    // SAFETY: passed on as it came.
    let result = unsafe { large::fstat(descriptor, found) };
    if result == 0 {
        // SAFETY: fstat succeeded, so `found` is a valid stat of SQLite's.
        unsafe { (*found).st_dev = (*found).st_dev.wrapping_add(serial << 40) };
    }
    result
}

/// Whether SQLite was built to read and write by `pread` and `pwrite` (USE_PREAD), which leave a file's offset alone.
fn reads_by_offset() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    // SAFETY: the default VFS of this SQLite copy is never freed, and the name is NUL-terminated.
    *FOUND.get_or_init(|| unsafe {
        let vfs = ffi::sqlite3_vfs_find(std::ptr::null());
        let get = vfs.as_ref().and_then(|v| v.xGetSystemCall);
        get.is_some_and(|get| get(vfs, c"pread".as_ptr()).is_some())
    })
}

/// Leaves SQLite no write-ahead log on this connection, as if it were built without: a database in that mode is not
/// opened, no matter who switched it and when.
pub(super) fn without_wal(connection: &Connection) -> Result<()> {
    struct Methods(ffi::sqlite3_io_methods);
    // SAFETY: function pointers, which any thread may read.
    unsafe impl Send for Methods {}
    // SAFETY: as above.
    unsafe impl Sync for Methods {}
    static METHODS: OnceLock<Methods> = OnceLock::new();

    let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
    // SAFETY: an open connection, which no other code uses meanwhile; SQLite stores the pointer to the open file.
    let found = unsafe {
        let out = (&raw mut file).cast::<c_void>();
        ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_FILE_POINTER, out)
    };
    // SAFETY: that file is SQLite's, and lives as long as the connection; its methods are static.
    let replaced = unsafe {
        file.as_mut().filter(|_| found == ffi::SQLITE_OK).map(|file| {
            // Version 1 of the methods has no shared memory, without which there is no write-ahead log.
            let ours = METHODS.get_or_init(|| Methods(ffi::sqlite3_io_methods { iVersion: 1, ..*file.pMethods }));
            file.pMethods = &raw const ours.0;
        })
    };
    replaced.ok_or_else(|| Status::Internal.error("SQLite's file methods can't be replaced"))
}

/// Replaces the system calls of this copy of SQLite, once.
pub fn replace_system_calls() -> Result<()> {
    static DONE: OnceLock<bool> = OnceLock::new();
    // SAFETY: the default VFS of this SQLite copy is never freed; the functions have the C signatures of the calls
    // they replace, and a function pointer is passed through the pointer type that SQLite declares. Where SQLite was
    // built without a call, it never makes it.
    let done = *DONE.get_or_init(|| unsafe {
        let vfs = ffi::sqlite3_vfs_find(std::ptr::null());
        let Some((set, get)) = vfs.as_ref().and_then(|v| v.xSetSystemCall.zip(v.xGetSystemCall)) else { return false };
        let replace = |(name, call): &(&CStr, *const ())| {
            let call: ffi::sqlite3_syscall_ptr = std::mem::transmute(*call);
            get(vfs, name.as_ptr()).is_none() || set(vfs, name.as_ptr(), call) == ffi::SQLITE_OK
        };
        reads_by_offset();
        [
            (c"open", open as *const ()),
            (c"close", close as *const ()),
            (c"fstat", fstat as *const ()),
            (c"ftruncate", ftruncate as *const ()),
            (c"fcntl", fcntl as *const ()),
            (c"read", read as *const ()),
            (c"pread", pread as *const ()),
            (c"write", write as *const ()),
            (c"pwrite", pwrite as *const ()),
            (c"fchmod", fchmod as *const ()),
            (c"fchown", fchown as *const ()),
        ]
        .iter()
        .all(replace)
    });
    if done { Ok(()) } else { Err(Status::Internal.error("SQLite's system calls can't be replaced")) }
}
