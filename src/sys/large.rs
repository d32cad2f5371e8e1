//! Calls on files whose offsets have 64 bits on every platform.
//!
//! 32-bit glibc has them under other names, and SQLite is compiled for those everywhere: a replacement for one of its
//! system calls must take the same types.

pub use names::*;

#[cfg(not(all(target_env = "gnu", target_pointer_width = "32")))]
mod names {
    pub use libc::{F_GETLK, F_SETLK, fallocate, fcntl, flock, fstat, ftruncate, lseek, off_t, pread, pwrite, stat};

    /// Lets open(2) open a file of 2 GiB and more.
    pub const O_LARGEFILE: libc::c_int = 0;
}

#[cfg(all(target_env = "gnu", target_pointer_width = "32"))]
mod names {
    pub use libc::{
        O_LARGEFILE, fallocate64 as fallocate, flock64 as flock, fstat64 as fstat, ftruncate64 as ftruncate,
        lseek64 as lseek, off64_t as off_t, pread64 as pread, pwrite64 as pwrite, stat64 as stat,
    };

    // The numbers of every 32-bit Linux but MIPS (asm-generic/fcntl.h); the crate `libc` leaves them out.
    pub const F_GETLK: libc::c_int = 12;
    pub const F_SETLK: libc::c_int = 13;

    unsafe extern "C" {
        #[link_name = "fcntl64"]
        pub fn fcntl(descriptor: libc::c_int, command: libc::c_int, ...) -> libc::c_int;
    }
}

/// A C number that has 32 bits on some platforms, as 64.
#[inline]
pub fn wide(number: impl Into<i64>) -> i64 {
    number.into()
}
