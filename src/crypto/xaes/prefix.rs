//! The nonce prefixes in use by one thread, each with the message key derived for it.
//!
//! They stay when their cipher contexts move to other keys, so that a key that comes back costs one key set-up and no
//! derivation. They are in locked memory that a forked child finds wiped; all zeros is a prefix that serves nothing.

use zeroize::Zeroize;

use crate::error::Result;
use crate::sys::fault;
use crate::sys::locked::Chunk;
use crate::sys::zeroed::{LockedValues, zeroed};

/// Length of a prefix in bytes.
pub const PREFIX: usize = 12;
zeroed! {
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
pub struct Prefixes(LockedValues<Prefix>);

impl Prefixes {
    pub const fn new() -> Self {
        Self(LockedValues::new())
    }

    #[inline]
    pub fn get(&mut self, at: usize) -> Option<&mut Prefix> {
        self.0.get(at)
    }

    /// Lets the CPU fetch a prefix that will be needed soon.
    #[inline]
    pub fn prefetch(&self, at: usize) {
        self.0.prefetch(at);
    }

    /// Makes room for one more than `at`; returns the chunk that was added.
    pub fn grow_to(&mut self, at: usize) -> Result<Option<&Chunk>> {
        self.0.grow_to(at)
    }
}

impl Drop for Prefixes {
    fn drop(&mut self) {
        for at in 0..self.0.len() {
            if let Some(prefix) = self.get(at) {
                prefix.wipe();
            }
        }
    }
}

#[cfg(test)]
mod tests;
