//! Memory for libcrypto: locked into RAM, left out of core dumps, wiped when it is freed.
//!
//! Blocks are carved from chunks that are never unmapped; a freed block waits, all zeros, in the list of its size.
//! What libcrypto takes while it starts, its tables of names and algorithms, holds no key: it is in a heap that isn't
//! locked, so that a small RLIMIT_MEMLOCK is left for keys. So does what TLS needs, which holds no key of the keystore.
//!
//! A forked child makes its own heaps, because a lock may be held by a thread that it doesn't have, and because its
//! parent's pages aren't locked there: it wipes an inherited block when libcrypto frees it, and never lends it again.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::Zeroize;

use super::fault;
use super::fork::{self, PerProcess};
use super::locked::Chunk;
use super::memory;
use super::sync::Lock;
use crate::error::Result;

/// Blocks begin at a cache line, behind a header in the line before.
const LINE: usize = 64;
const CHUNK: usize = 64 * 1024;
/// A larger block is a separate mapping.
const MAX_LINES: usize = 129;
const CLASSES: usize = MAX_LINES / 2 + 1;

static HEAPS: OnceLock<PerProcess<Heaps>> = OnceLock::new();

thread_local! {
    static STARTS: Cell<bool> = const { Cell::new(false) };
}

/// The header before each block.
#[repr(C, align(16))]
struct BlockHeader {
    /// Of the block with its header: odd, so that the beginnings of many contexts spread over the CPU's cache; or, of a
    /// separate mapping, all of it.
    lines: usize,
    /// The process that made it; 0: holds no key.
    epoch: u64,
}

const HEADER: usize = size_of::<BlockHeader>();
const _: () = assert!(HEADER == 16 && CHUNK.is_multiple_of(4096));

/// A free block, in its own first bytes.
struct FreeBlock {
    next: Option<NonNull<FreeBlock>>,
}

struct Heaps {
    keys: Lock<Heap>,
    tables: Lock<Heap>,
    /// Whether all memory for keys so far is locked.
    locked: AtomicBool,
    epoch: u64,
    wipes: bool,
}

struct Heap {
    rest: *mut u8,
    left: usize,
    free: [Option<NonNull<FreeBlock>>; CLASSES],
}

// SAFETY: memory belongs to the process, not to a thread.
unsafe impl Send for Heap {}

impl Heap {
    const fn new() -> Self {
        Self { rest: ptr::null_mut(), left: 0, free: [None; CLASSES] }
    }

    fn take(&mut self, lines: usize, map: impl FnOnce() -> Result<Chunk>) -> Option<NonNull<u8>> {
        let list = self.free.get_mut(lines / 2)?;
        if let Some(block) = *list {
            // SAFETY: a block in a list is ours alone and begins with its `FreeBlock`.
            *list = unsafe { block.as_ref() }.next;
            return Some(block.cast());
        }
        if self.left < lines {
            self.give_rest();
            let chunk = map().ok()?;
            // SAFETY: inside the chunk, which is never unmapped.
            self.rest = unsafe { chunk.start().as_ptr().add(LINE) };
            self.left = (chunk.len() - LINE) / LINE;
            std::mem::forget(chunk);
        }
        let block = NonNull::new(self.rest);
        self.left -= lines;
        // SAFETY: the block is inside the chunk.
        self.rest = unsafe { self.rest.add(lines * LINE) };
        block
    }

    /// Puts what is left of a chunk, too small for the block asked for, into the list of its size.
    fn give_rest(&mut self) {
        let lines = self.left.saturating_sub(1) | 1;
        if self.left > 0
            && let Some(block) = NonNull::new(self.rest)
        {
            self.left = 0;
            self.give(block, lines);
        }
    }

    fn give(&mut self, block: NonNull<u8>, lines: usize) {
        if let Some(list) = self.free.get_mut(lines / 2) {
            let block = block.cast::<FreeBlock>();
            // SAFETY: an unused block of at least 48 bytes, aligned to 64.
            unsafe { block.write(FreeBlock { next: *list }) };
            *list = Some(block);
        }
    }
}

impl Heaps {
    fn new() -> Self {
        Self {
            keys: Lock::new(Heap::new()),
            tables: Lock::new(Heap::new()),
            locked: AtomicBool::new(true),
            epoch: fork::epoch(),
            wipes: !fault::wanted("KMS_FAULT_UNWIPED"),
        }
    }

    fn map_for_keys(&self, len: usize) -> Result<Chunk> {
        let chunk = Chunk::map(len)?;
        if !chunk.is_locked() {
            self.locked.store(false, Ordering::Relaxed);
        }
        Ok(chunk)
    }

    fn allocate(&self, size: usize) -> Option<NonNull<u8>> {
        let lines = size.checked_add(HEADER)?.div_ceil(LINE) | 1;
        let starts = STARTS.try_with(Cell::get).unwrap_or(false);
        let block = if lines > MAX_LINES {
            let len = lines.checked_mul(LINE)?.checked_add(LINE)?;
            let chunk = if starts { Chunk::map_unlocked(len) } else { self.map_for_keys(len) }.ok()?;
            let start = chunk.start();
            std::mem::forget(chunk);
            // SAFETY: one line into a mapping of more.
            unsafe { start.add(LINE) }
        } else if starts {
            self.tables.lock().ok()?.take(lines, || Chunk::map_unlocked(CHUNK))?
        } else {
            self.keys.lock().ok()?.take(lines, || self.map_for_keys(CHUNK))?
        };
        let epoch = if starts { 0 } else { self.epoch };
        // SAFETY: the bytes before a block are its header's: the end of the line before it, which no other block uses.
        unsafe { header(block).write(BlockHeader { lines, epoch }) };
        Some(block)
    }

    /// # Safety
    /// `block` is one that `allocate` returned, in this process or in one it was forked from, and no longer in use.
    unsafe fn free(&self, block: NonNull<u8>) {
        // SAFETY: a block has its header before it.
        let BlockHeader { lines, epoch } = unsafe { header(block).read() };
        if self.wipes {
            // SAFETY: the block belongs to the heap again, and has that many bytes.
            unsafe { std::slice::from_raw_parts_mut(block.as_ptr(), lines * LINE - HEADER) }.zeroize();
        }
        if lines > MAX_LINES {
            // SAFETY: the mapping that `allocate` made for this block alone.
            unsafe { libc::munmap(block.as_ptr().sub(LINE).cast(), lines * LINE + LINE) };
        } else if epoch == 0 || epoch == self.epoch {
            let heap = if epoch == 0 { &self.tables } else { &self.keys };
            if let Ok(mut heap) = heap.lock() {
                heap.give(block, lines);
            }
        }
    }
}

fn header(block: NonNull<u8>) -> NonNull<BlockHeader> {
    // SAFETY: a block begins at least a line into its mapping.
    unsafe { block.sub(HEADER) }.cast()
}

fn heaps() -> Option<&'static Heaps> {
    HEAPS.get_or_init(|| PerProcess::new(Heaps::new())).get(|_| Ok(Heaps::new())).ok()
}

/// Runs libcrypto's start, whose memory holds no key.
pub fn while_starting<R>(start: impl FnOnce() -> R) -> R {
    // Made here, inside the fork gate, so that no child finds it half made. Miri has neither libcrypto nor fork handlers.
    if !cfg!(miri) {
        heaps();
    }
    STARTS.set(true);
    let started = start();
    STARTS.set(false);
    started
}

/// Runs calls of libssl, whose memory holds no key of a keystore.
#[cfg(feature = "postgres")]
pub fn unlocked<R>(body: impl FnOnce() -> R) -> R {
    while_starting(body)
}

/// Whether all memory that libcrypto has for keys is locked into RAM.
pub fn is_locked() -> bool {
    heaps().is_none_or(|heaps| heaps.locked.load(Ordering::Relaxed))
}

/// As C's `malloc`; none of a length of 0.
pub extern "C" fn malloc(size: usize, _: *const c_char, _: c_int) -> *mut c_void {
    let block = if size == 0 { None } else { heaps().and_then(|heaps| heaps.allocate(size)) };
    if block.is_none() && size > 0 {
        memory::note_refusal();
    }
    block.map_or(ptr::null_mut(), |block| block.as_ptr().cast())
}

/// As C's `realloc`: wipes the block that it replaces.
///
/// # Safety
/// `old` is null, or a live block of this heap.
pub unsafe extern "C" fn realloc(old: *mut c_void, size: usize, file: *const c_char, line: c_int) -> *mut c_void {
    let Some(block) = NonNull::new(old.cast::<u8>()) else { return malloc(size, file, line) };
    if size == 0 {
        // SAFETY: the caller's word.
        unsafe { free(old, file, line) };
        return ptr::null_mut();
    }
    // SAFETY: a block has its header before it.
    let room = unsafe { header(block).read() }.lines * LINE - HEADER;
    if size <= room {
        return old;
    }
    let new = malloc(size, file, line);
    if !new.is_null() {
        // SAFETY: two blocks, the new one the larger; the old one is not used any more.
        unsafe {
            ptr::copy_nonoverlapping(block.as_ptr(), new.cast(), room);
            free(old, file, line);
        }
    }
    new
}

/// As C's `free`, and wipes.
///
/// # Safety
/// `block` is null, or a live block of this heap that nothing uses any more.
pub unsafe extern "C" fn free(block: *mut c_void, _: *const c_char, _: c_int) {
    if let (Some(block), Some(heaps)) = (NonNull::new(block.cast()), heaps()) {
        // SAFETY: the caller's word.
        unsafe { heaps.free(block) };
    }
}

#[cfg(test)]
mod tests;
