//! One 64-bit word that processes share through a mapped file, or a private one where no file can be mapped.
//!
//! The word keeps its address for life: another file is mapped over the page, in one step that a reader never sees half
//! of, so nothing is left behind however often the file is replaced. No descriptor stays open.
//!
//! Where another program truncates the file, the page becomes private and reads zeros (`bus`) until the file is mapped again.

use std::path::Path;
use std::ptr::NonNull;
use std::sync::OnceLock;

use super::bus::{self, Guarded};
use super::fault;
use super::file::{File, FileId};
use super::sync::Lock;
use super::sync::atomic::{AtomicU64, Ordering};
use crate::error::{Result, Status};

/// Bytes of the file; the word is its 8 bytes at [`WORD_AT`], little-endian.
pub const FILE_LEN: usize = bus::PAGE;
pub const WORD_AT: usize = 64;

/// The word's memory.
#[derive(Debug)]
pub struct Word {
    page: NonNull<u8>,
    /// The file that is mapped there; none while the page is private.
    file: Lock<Option<FileId>>,
    /// Set with the first file, under that lock.
    guarded: OnceLock<Guarded>,
    /// In the page's place where a model checker must see each access.
    #[cfg(all(test, kms_model))]
    modelled: AtomicU64,
}

// SAFETY: the page belongs to the process and is reached through an atomic only.
unsafe impl Send for Word {}
// SAFETY: as above.
unsafe impl Sync for Word {}

impl Word {
    pub fn private(value: u64) -> Result<Self> {
        let page = map(std::ptr::null_mut(), None, true).and_then(NonNull::new);
        let page = page.ok_or_else(|| Status::Internal.error("no memory for the generation word"))?;
        let word = Self {
            page,
            file: Lock::new(None),
            guarded: OnceLock::new(),
            #[cfg(all(test, kms_model))]
            modelled: AtomicU64::new(0),
        };
        word.atomic().store(value.to_le(), Ordering::Release);
        Ok(word)
    }

    /// Maps a complete file of [`FILE_LEN`] bytes in place of what was mapped; the caller has checked what it holds.
    pub fn share(&self, file: &File, writable: bool) -> Result<()> {
        let failed = || Status::KeystoreIo.error("the generation file can't be mapped");
        if file.facts().map_or(0, |facts| facts.len) < FILE_LEN as u64 {
            return Err(Status::KeystoreIo.error("the generation file is too short"));
        }
        let mut mapped = self.file.lock()?;
        // Without protection the word stays private, and the store is polled.
        if self.guarded.get().is_none() {
            let _ = self.guarded.set(Guarded::register(self.page).ok_or_else(failed)?);
        }
        // Somewhere else first: a file that can't be mapped must not cost the page.
        let tried = map(std::ptr::null_mut(), Some(file), writable).ok_or_else(failed)?;
        // SAFETY: just mapped; no other code has its address.
        unsafe { libc::munmap(tried.cast(), FILE_LEN) };
        self.guarded.get().inspect(|guarded| guarded.renew());
        *mapped = map(self.page.as_ptr(), Some(file), writable).map(|_| file.id());
        if mapped.is_none() {
            map(self.page.as_ptr(), None, true);
            return Err(failed());
        }
        Ok(())
    }

    #[inline]
    fn atomic(&self) -> &AtomicU64 {
        #[cfg(all(test, kms_model))]
        return &self.modelled;
        // SAFETY: the page is FILE_LEN bytes long and aligned, so the word is inside and aligned.
        #[cfg(not(all(test, kms_model)))]
        unsafe {
            &*self.page.as_ptr().add(WORD_AT).cast::<AtomicU64>()
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

    /// Whether the mapped file was truncated and its page became private: no other process sees what is counted there.
    pub fn is_lost(&self) -> bool {
        self.guarded.get().is_some_and(Guarded::is_lost)
    }

    pub fn is_shared(&self) -> bool {
        !self.is_lost() && self.file.lock().is_ok_and(|file| file.is_some())
    }

    /// Whether the file at `path` is the one that is mapped, and whole; otherwise no other process finds ours.
    pub fn is_at(&self, path: &Path) -> bool {
        // Loaded first: that is how a truncated file is noticed.
        self.load();
        let Ok(found) = std::fs::metadata(path) else { return false };
        found.len() >= FILE_LEN as u64
            && !self.is_lost()
            && self.file.lock().is_ok_and(|file| *file == Some(FileId::from(&found)))
    }
}

/// Maps a file, or private memory, at `at` if it isn't NULL.
fn map(at: *mut u8, file: Option<&File>, writable: bool) -> Option<*mut u8> {
    let access = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    let (kind, descriptor) = match file {
        Some(file) => (libc::MAP_SHARED, file.verified().ok()?),
        None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
    };
    let fixed = if at.is_null() { 0 } else { libc::MAP_FIXED };
    // SAFETY: a new mapping, or one over a page of this module that has no reference but the atomic word; the result is checked.
    let page = unsafe { libc::mmap(at.cast(), FILE_LEN, access, kind | fixed, descriptor, 0) };
    (page != libc::MAP_FAILED).then_some(page.cast())
}

impl Drop for Word {
    fn drop(&mut self) {
        drop(self.guarded.take());
        // SAFETY: the page is ours and there is no reference into it.
        unsafe { libc::munmap(self.page.as_ptr().cast(), FILE_LEN) };
    }
}

#[cfg(test)]
mod tests;
