//! One 64-bit word that processes share through a mapped file, or a private one where no file can be mapped.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use super::fault;
use super::sync::atomic::{AtomicU64, Ordering};
use crate::error::{Result, Status};

/// Bytes of the file; the word is its 8 bytes at [`WORD_AT`], little-endian.
pub const FILE_LEN: usize = 4096;
pub const WORD_AT: usize = 64;

/// The word's memory.
#[derive(Debug)]
pub enum Word {
    Private(AtomicU64),
    Shared(Mapping),
}

#[derive(Debug)]
pub struct Mapping {
    page: NonNull<u8>,
    file: File,
}

// SAFETY: the mapping belongs to the process and is reached through an atomic only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Word {
    pub fn private(value: u64) -> Self {
        Self::Private(AtomicU64::new(value))
    }

    /// Maps a complete file of [`FILE_LEN`] bytes; the caller has checked what it holds.
    ///
    /// Nothing ever truncates such a file, or the next load would end the process with SIGBUS.
    pub fn shared(file: File, writable: bool) -> Result<Self> {
        let len = file.metadata().map_or(0, |m| m.len());
        if len < FILE_LEN as u64 {
            return Err(Status::KeystoreIo.error("the generation file is too short"));
        }
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a new shared mapping of an open file; the result is checked.
        let page =
            unsafe { libc::mmap(std::ptr::null_mut(), FILE_LEN, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        match NonNull::new(page.cast::<u8>()) {
            Some(address) if page != libc::MAP_FAILED => Ok(Self::Shared(Mapping { page: address, file })),
            _ => Err(Status::KeystoreIo.error("the generation file can't be mapped")),
        }
    }

    #[inline]
    fn atomic(&self) -> &AtomicU64 {
        match self {
            Self::Private(word) => word,
            // SAFETY: the mapping is FILE_LEN bytes long and page-aligned, so the word is inside and aligned.
            Self::Shared(mapping) => unsafe { &*mapping.page.as_ptr().add(WORD_AT).cast::<AtomicU64>() },
        }
    }

    #[inline]
    pub fn load(&self) -> u64 {
        u64::from_le(self.atomic().load(Ordering::Acquire))
    }

    /// Counts one change, for every process that maps the file. Returns the value before.
    ///
    /// A count and not a value to store: of two announcements that overtake each other neither may hide the other.
    pub fn count(&self) -> u64 {
        if fault::wanted("KMS_FAULT_KILLED_BEFORE_ANNOUNCING") {
            // SAFETY: ends this process, as the test wants.
            unsafe { libc::raise(libc::SIGKILL) };
        }
        let next = |word| Some(u64::from_le(word).wrapping_add(1).to_le());
        match self.atomic().fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(before) | Err(before) => u64::from_le(before),
        }
    }

    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// Whether it is mapped from a file that still has a name; without one nobody else will find it.
    pub fn is_linked(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        match self {
            Self::Private(_) => false,
            Self::Shared(mapping) => mapping.file.metadata().is_ok_and(|m| m.nlink() > 0),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody holds a reference into it.
        unsafe { libc::munmap(self.page.as_ptr().cast(), FILE_LEN) };
    }
}

#[cfg(test)]
mod tests;
