//! Descriptors by their number: opened above the standard streams, moved, asked about.

use std::ffi::{CStr, c_int};
use std::io::{Error, ErrorKind, Result};

use super::{Facts, FileId};
use crate::sys::{fault, fork, large};

/// Opens a path close-on-exec, at a number of at least 3; the caller owns the descriptor.
pub fn open(path: &CStr, flags: c_int, mode: u32) -> Result<c_int> {
    // A placeholder shows the lowest free number. It has no access: what the host writes to it fails as on a closed one.
    // SAFETY: a NUL-terminated path; the result is checked.
    let probe = || retried(|| unsafe { libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) });
    // SAFETY: a NUL-terminated path; the result is checked.
    let real = || retried(|| unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC | large::O_LARGEFILE, mode) });
    let lowest = probe()?;
    if lowest > 2 || fault::wanted("KMS_FAULT_LOW_DESCRIPTORS") {
        close(lowest);
        return real().and_then(|descriptor| moved_up(descriptor, 3));
    }
    // No child may inherit the placeholders in place of the descriptors that its parent closed.
    fork::gate(|| {
        let mut kept = vec![lowest];
        let opened = loop {
            match probe() {
                Ok(number) if number > 2 => {
                    close(number);
                    break real();
                }
                Ok(number) => kept.push(number),
                Err(e) => break Err(e),
            }
        };
        kept.into_iter().filter(|number| is_placeholder(*number)).for_each(close);
        opened.and_then(|descriptor| moved_up(descriptor, 3))
    })
}

/// Whether a number below 3 still is the placeholder that was opened there. The host may open its standard streams again
/// meanwhile, and `dup2` takes a number that another file has.
pub fn is_placeholder(number: c_int) -> bool {
    if fault::wanted("KMS_FAULT_DESCRIPTORS_TRUSTED") {
        return true;
    }
    // SAFETY: fcntl takes any number; the result is checked.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
    flags >= 0 && flags & libc::O_PATH != 0 && facts(number).is_ok_and(|found| found.is_folder())
}

/// The descriptor at a number of at least `least`, moved there if it is lower.
pub fn moved_up(descriptor: c_int, least: c_int) -> Result<c_int> {
    if descriptor >= least || fault::wanted("KMS_FAULT_LOW_DESCRIPTORS") {
        return Ok(descriptor);
    }
    let before = facts(descriptor)?.id;
    // SAFETY: fcntl takes any number; the result is checked.
    let moved = retried(|| unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, least) })?;
    // Meanwhile the host may have opened its own file under a low number.
    let is_ours = |number| facts(number).is_ok_and(|found| found.id == before);
    match is_ours(moved) {
        true => {
            if is_ours(descriptor) {
                close(descriptor);
            }
            Ok(moved)
        }
        false => {
            close(moved);
            Err(Error::from_raw_os_error(libc::EBADF))
        }
    }
}

pub fn close(descriptor: c_int) {
    // SAFETY: a descriptor that was just opened here, unknown to other code.
    unsafe { libc::close(descriptor) };
}

pub fn retried(mut call: impl FnMut() -> c_int) -> Result<c_int> {
    loop {
        match call() {
            -1 => interrupted_or_failed()?,
            done => return Ok(done),
        }
    }
}

pub fn interrupted_or_failed() -> Result<()> {
    match Error::last_os_error() {
        e if e.kind() == ErrorKind::Interrupted => Ok(()),
        e => Err(e),
    }
}

pub fn checked(result: c_int) -> Result<()> {
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// What `fstat` reports of a number.
pub fn facts(descriptor: c_int) -> Result<Facts> {
    // SAFETY: stat is plain data for which all zeroes is valid; fstat fills it, and takes any number.
    let (result, found) = unsafe {
        let mut found: large::stat = std::mem::zeroed();
        (large::fstat(descriptor, &mut found), found)
    };
    checked(result)?;
    Ok(Facts {
        id: FileId { device: found.st_dev, inode: found.st_ino },
        len: found.st_size.try_into().unwrap_or(0),
        mode: found.st_mode,
        owner: found.st_uid,
        modified: (large::wide(found.st_mtime), large::wide(found.st_mtime_nsec)),
    })
}
