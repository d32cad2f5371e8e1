//! Memory for secrets: locked into RAM (mlock), left out of core dumps (MADV_DONTDUMP).

use std::ptr::NonNull;

use super::fault;
use crate::error::Result;

/// A separate mapping, zeros at first. Its user wipes secrets in it before it is dropped.
#[derive(Debug)]
pub struct Chunk {
    start: NonNull<u8>,
    len: usize,
    locked: bool,
}

// SAFETY: a mapping belongs to the process, not to a thread.
unsafe impl Send for Chunk {}

impl Chunk {
    /// `len` bytes, rounded up to pages. Where they can't be locked they are used unlocked.
    pub fn map(len: usize) -> Result<Self> {
        let mut chunk = Self::map_unlocked(len)?;
        // SAFETY: both calls are about the mapping just made.
        chunk.locked = unsafe {
            if !fault::wanted("KMS_FAULT_DUMPED") {
                libc::madvise(chunk.start.as_ptr().cast(), len, libc::MADV_DONTDUMP);
            }
            libc::mlock(chunk.start.as_ptr().cast(), len) == 0
        };
        Ok(chunk)
    }

    /// As [`Chunk::map`], for what isn't secret.
    pub fn map_unlocked(len: usize) -> Result<Self> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: an anonymous mapping; the result is checked before use.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), len, access, kind, -1, 0) };
        let start = match NonNull::new(address) {
            Some(start) if address != libc::MAP_FAILED => start.cast(),
            _ => return Err(super::memory::out_of_memory()),
        };
        Ok(Self { start, len, locked: false })
    }

    /// Lets a forked child find zeros in its place; false where the kernel can't.
    pub fn wipe_on_fork(&self) -> bool {
        // SAFETY: the range is the mapping that this value owns.
        unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, libc::MADV_WIPEONFORK) == 0 }
    }

    pub fn is_locked(&self) -> bool {
        self.locked
    }

    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and its users die first.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
