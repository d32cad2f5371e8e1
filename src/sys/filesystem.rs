//! Distinguishes network file systems from local ones, and mount points from other files.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whether something is mounted at this very path; `None` where the kernel doesn't say (before Linux 5.8).
pub fn is_mount_point(path: &Path) -> Option<bool> {
    const MOUNT_ROOT: u64 = 0x2000;
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: statx is plain data for which all zeroes is valid.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated path and a buffer of the right type. By number, because older C libraries lack the function.
    let done = unsafe { libc::syscall(libc::SYS_statx, libc::AT_FDCWD, path.as_ptr(), 0, 0, &raw mut found) };
    (done == 0 && found.stx_attributes_mask & MOUNT_ROOT != 0).then_some(found.stx_attributes & MOUNT_ROOT != 0)
}

/// The number of the file system that `path` is on (linux/magic.h and the file systems' own headers); 32 bits in the kernel.
fn magic(path: &CStr) -> Option<u32> {
    // SAFETY: statfs is plain data for which all zeroes is valid.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated path and a buffer of the right type.
    let done = unsafe { libc::statfs(path.as_ptr(), &mut found) };
    (done == 0).then_some(found.f_type as u32)
}

/// Whether `path` is on overlayfs, as in a container's image.
pub fn is_overlay(path: &Path) -> bool {
    let path = CString::new(path.as_os_str().as_bytes()).ok();
    path.and_then(|path| magic(&path)) == Some(0x794c_7630)
}

/// The name of the network file system that `path` is on, if it is. FUSE is taken for local.
pub fn network(path: &CStr) -> Option<&'static str> {
    match magic(path)? {
        0x6969 => Some("NFS"),
        0x517b => Some("SMB"),
        0xff53_4d42 => Some("CIFS"),
        0xfe53_4d42 => Some("SMB2"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        0x00c3_6400 => Some("Ceph"),
        0x0102_1997 => Some("9P"),
        0x7375_7245 => Some("Coda"),
        0x0bd0_0bd0 => Some("Lustre"),
        0x4750_4653 => Some("GPFS"),
        0x0116_1970 => Some("GFS2"),
        0x7461_636f => Some("OCFS2"),
        _ => None,
    }
}
