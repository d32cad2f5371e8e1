//! Key bytes in locked, non-dumpable memory, wiped when done.
//!
//! An [`Arena`] takes memory in chunks and lends 32-byte places. Where RLIMIT_MEMLOCK is too small the memory stays
//! unlocked and [`Arena::is_locked`] says so.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::Zeroize;

use super::fault;
use super::locked::Chunk;
use super::sync::Lock;
use crate::error::{Result, Status};

/// Bytes of a key.
pub const KEY_LEN: usize = 32;
const CHUNK: usize = 16 * 1024;

/// Memory for secrets; each keystore handle has its own, so that a forked child needs none of its parent's locks.
#[derive(Debug)]
pub struct Arena {
    memory: Lock<SecretSlots>,
    locked: AtomicBool,
}

#[derive(Debug, Default)]
struct SecretSlots {
    chunks: Vec<Chunk>,
    free: Vec<SecretSlot>,
}

/// 32 bytes inside a chunk, owned by this value.
#[derive(Debug)]
struct SecretSlot(NonNull<[u8; KEY_LEN]>);
// SAFETY: a place is plain memory with a single owner.
unsafe impl Send for SecretSlot {}

impl Arena {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { memory: Lock::default(), locked: AtomicBool::new(true) })
    }

    /// Whether all memory mapped so far is locked into RAM.
    pub fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed)
    }

    /// Records memory for secrets outside of the arena.
    pub fn note(&self, chunk: &Chunk) {
        if !chunk.is_locked() {
            self.locked.store(false, Ordering::Relaxed);
        }
    }

    /// Moves `key` into the arena and wipes the original.
    pub fn keep(self: &Arc<Self>, key: &mut [u8; KEY_LEN]) -> Result<Secret> {
        let place = self.place()?;
        // SAFETY: the place is ours alone and valid for 32 bytes; a byte array has alignment 1.
        unsafe { place.0.as_ptr().write(*key) };
        key.zeroize();
        Ok(Secret { place: Some(place), arena: Arc::clone(self) })
    }

    fn place(&self) -> Result<SecretSlot> {
        let mut memory = self.memory.lock()?;
        if memory.free.is_empty() {
            let chunk = Chunk::map(CHUNK)?;
            self.note(&chunk);
            memory.free.extend(places(&chunk));
            memory.chunks.push(chunk);
        }
        memory.free.pop().ok_or_else(|| Status::Internal.error("no place for a secret"))
    }
}

fn places(chunk: &Chunk) -> impl Iterator<Item = SecretSlot> + use<> {
    let start = chunk.start().cast::<[u8; KEY_LEN]>();
    // SAFETY: the index stays inside the chunk.
    (0..chunk.len() / KEY_LEN).rev().map(move |index| SecretSlot(unsafe { start.add(index) }))
}

/// A 32-byte key in an arena. No Clone, no Debug of its bytes; wiped on drop.
pub struct Secret {
    place: Option<SecretSlot>,
    arena: Arc<Arena>,
}

// SAFETY: the bytes are only read through `&Secret` once made.
unsafe impl Sync for Secret {}

impl Secret {
    /// The key itself. Grep for this to find every use of key bytes.
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        static NONE: [u8; KEY_LEN] = [0; KEY_LEN];
        match &self.place {
            // SAFETY: the place is valid and unchanged while this secret lives.
            Some(place) => unsafe { place.0.as_ref() },
            None => &NONE,
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let Some(mut place) = self.place.take() else { return };
        // SAFETY: this secret owns the place.
        fault::wipe(unsafe { place.0.as_mut() });
        if let Ok(mut memory) = self.arena.memory.lock() {
            memory.free.push(place);
        }
    }
}

#[cfg(test)]
mod tests;
