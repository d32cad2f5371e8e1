//! The nonce prefixes in use by one thread, each with the message key derived for it.
//!
//! They stay when the cipher contexts that were keyed with them are given to other keys, so that a key that comes back
//! costs one key set-up and no derivation. They lie in locked memory that a forked child finds wiped; all zeros is a
//! prefix that serves nothing.

use std::ptr::NonNull;

use zeroize::Zeroize;

use super::fault;
use super::locked::Chunk;
use crate::error::Result;

/// Length of a prefix in bytes.
pub const PREFIX: usize = 12;
/// Prefixes in one mapping.
const IN_CHUNK: usize = 256;

/// A prefix, its message key, and how much longer it serves: one cache line.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Prefix {
    pub bytes: [u8; PREFIX],
    /// How many messages it serves; 0: none, and the other fields mean nothing.
    pub messages: u32,
    pub key: [u8; 32],
    /// How many bytes of plaintext it serves.
    pub plaintext: u32,
    /// The first second at which it no longer serves.
    pub end: u32,
    /// Names this key in its thread: a cipher context of the same serial is keyed with it.
    pub serial: u64,
}

const _: () = assert!(size_of::<Prefix>() == 64);

impl Prefix {
    /// Forgets the key. What is left serves nothing.
    pub fn wipe(&mut self) {
        self.bytes.zeroize();
        fault::wipe(&mut self.key);
        (self.messages, self.plaintext, self.end, self.serial) = (0, 0, 0, 0);
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// Prefixes by number; grows, and is wiped, as a whole.
pub struct Prefixes {
    chunks: Vec<Chunk>,
}

impl Prefixes {
    pub const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    #[inline]
    pub fn get(&mut self, at: usize) -> Option<&mut Prefix> {
        let chunk = self.chunks.get(at / IN_CHUNK)?;
        let start: NonNull<Prefix> = chunk.start().cast();
        // SAFETY: the number stays below those of the chunk, which is page-aligned and lives as long as `self`, lent
        // once; zeros, as at first and after a fork, are a valid `Prefix`.
        Some(unsafe { start.add(at % IN_CHUNK).as_mut() })
    }

    /// Lets the CPU fetch a prefix that will be asked for soon.
    #[inline]
    #[cfg_attr(not(all(target_arch = "x86_64", not(miri))), allow(unused_variables, reason = "only x86-64 prefetches"))]
    pub fn expect(&self, at: usize) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if let Some(chunk) = self.chunks.get(at / IN_CHUNK) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            #[allow(unused_unsafe, reason = "some intrinsics became safe after Rust 1.90")]
            // SAFETY: inside the chunk; a prefetch touches nothing that a program could see.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(chunk.start().as_ptr().cast::<Prefix>().add(at % IN_CHUNK).cast());
            }
        }
    }

    /// Makes room for one more than `at`; returns the chunk that was added.
    pub fn grow_to(&mut self, at: usize) -> Result<Option<&Chunk>> {
        if at / IN_CHUNK < self.chunks.len() {
            return Ok(None);
        }
        let chunk = Chunk::map(IN_CHUNK * size_of::<Prefix>())?;
        if !fault::wanted("KMS_FAULT_FORK_UNNOTICED") {
            // Where the kernel can't, the child has a copy that it never uses: its handle makes new state.
            chunk.wipe_on_fork();
        }
        self.chunks.push(chunk);
        Ok(self.chunks.last())
    }

    fn len(&self) -> usize {
        self.chunks.len() * IN_CHUNK
    }
}

impl Drop for Prefixes {
    fn drop(&mut self) {
        for at in 0..self.len() {
            if let Some(prefix) = self.get(at) {
                prefix.wipe();
            }
        }
    }
}

#[cfg(test)]
mod tests;
