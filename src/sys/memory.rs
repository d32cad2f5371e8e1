//! Memory that may be refused: every size that a caller or a file chooses is taken from here.
//!
//! Rust ends the process when a small allocation fails. A call therefore begins with [`headroom`], and a transaction with
//! [`headroom_of`]: both only prove that this much was available, and leave it to what follows.

use std::alloc::{Layout, alloc_zeroed};
use std::hint::black_box;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::Zeroizing;

use super::fault;
use crate::error::{Error, Result};

/// What a transaction, or the first call of a thread, may take in small pieces, SQLite's pages included.
pub const TRANSACTION: usize = 2 << 20;
/// What opening a keystore may take so, the start of libcrypto and SQLite included.
pub const OPENING: usize = 4 << 20;
/// What a call that stays in memory may take. Below the sizes that malloc maps by themselves, so that it costs no system
/// call.
const CALL: usize = 60 << 10;
/// Allocations above this are followed by a check that the small ones still have room.
const LARGE: usize = 64 << 10;

#[cold]
pub fn out_of_memory() -> Error {
    Error::out_of_memory()
}

/// Fails where a call's small allocations might.
pub fn headroom() -> Result<()> {
    if off() {
        return Ok(());
    }
    // SAFETY: malloc and free take any size and their own pointer; nothing is read or written.
    let found = unsafe {
        let found = black_box(libc::malloc(CALL));
        libc::free(found);
        !found.is_null()
    };
    if found { Ok(()) } else { Err(out_of_memory()) }
}

/// Fails where `size` bytes could not be mapped.
pub fn headroom_of(bytes: usize) -> Result<()> {
    if off() {
        return Ok(());
    }
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: an anonymous mapping, unmapped at once.
    let mapped = unsafe {
        let address = libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0);
        address != libc::MAP_FAILED && libc::munmap(address, bytes) == 0
    };
    if mapped { Ok(()) } else { Err(out_of_memory()) }
}

/// For the tests that show what happens without. Miri has no mmap of this kind.
fn off() -> bool {
    cfg!(miri) || fault::wanted("KMS_FAULT_NO_HEADROOM")
}

/// Whether memory for libcrypto was refused since it was asked last. It reports a failed call, not why.
static REFUSED: AtomicBool = AtomicBool::new(false);

pub fn note_refusal() {
    REFUSED.store(true, Ordering::Relaxed);
}

/// Whether a failed call of libcrypto may have failed for want of memory.
pub fn was_short() -> bool {
    REFUSED.swap(false, Ordering::Relaxed) || headroom().is_err()
}

fn after(len: usize) -> Result<()> {
    if len > LARGE { headroom_of(TRANSACTION) } else { Ok(()) }
}

/// Zeros; pages that are not written are never touched.
pub fn zeroed(len: usize) -> Result<Vec<u8>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    let layout = Layout::array::<u8>(len).map_err(|_| out_of_memory())?;
    // SAFETY: the layout is not empty; the result is checked.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        return Err(out_of_memory());
    }
    // SAFETY: from the global allocator, for exactly this many bytes, all of them initialised.
    let bytes = unsafe { Vec::from_raw_parts(start, len, len) };
    after(len)?;
    Ok(bytes)
}

/// The size of a cache line.
const LINE: usize = 64;

/// Bytes from the beginning of a cache line on, wiped when done: what files are read into and written from.
///
/// An allocation of this size begins 16 bytes after a page. AMD's Zen 3 copies a page of the kernel's to such an address at
/// a quarter of the speed.
pub struct FileBuffer {
    bytes: Zeroizing<Vec<u8>>,
    start: usize,
}

impl FileBuffer {
    /// Zeros.
    pub fn new(len: usize) -> Result<Self> {
        let mut bytes = Zeroizing::new(zeroed(len.checked_add(LINE).ok_or_else(out_of_memory)?)?);
        let start = bytes.as_ptr().addr().wrapping_neg() % LINE;
        bytes.truncate(start + len);
        Ok(Self { bytes, start })
    }
}

impl Deref for FileBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

impl DerefMut for FileBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }
}

/// Room for `more` elements.
pub fn reserve<T>(list: &mut Vec<T>, more: usize) -> Result<()> {
    list.try_reserve_exact(more).map_err(|_| out_of_memory())?;
    after(more.saturating_mul(size_of::<T>()))
}

/// An empty list with room for `len` elements.
pub fn list<T>(len: usize) -> Result<Vec<T>> {
    let mut list = Vec::new();
    reserve(&mut list, len)?;
    Ok(list)
}

pub fn copy(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut copy = list(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

pub fn text(from: &str) -> Result<String> {
    let mut text = String::new();
    text.try_reserve_exact(from.len()).map_err(|_| out_of_memory())?;
    after(from.len())?;
    text.push_str(from);
    Ok(text)
}

#[cfg(test)]
mod tests;
