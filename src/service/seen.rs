//! What a handle knows of the uses of a version in memory: the days, and the GCM messages that it reserved.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::domain::version::VersionUse;

/// What a handle knows of the uses of a version in memory.
#[derive(Debug, Default)]
pub(super) struct SeenUses {
    encrypt: AtomicI64,
    decrypt: AtomicI64,
    /// GCM messages that the handle has reserved and not encrypted yet.
    reserved: AtomicU64,
    /// What the last reservation was for.
    block: AtomicU64,
}

/// GCM messages that a handle reserves first, and at most. Short-lived processes must not wear out a version, and a process
/// that encrypts much must not store often: each reservation is for twice as many as the one before.
const FIRST_BLOCK: u64 = 1 << 8;
const LARGEST_BLOCK: u64 = 1 << 20;

impl SeenUses {
    /// Takes one of the reserved GCM messages; false: none is left.
    #[inline]
    pub fn take_message(&self) -> bool {
        self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// How many GCM messages to reserve now; 0 where another thread has just done it.
    pub fn wanted_messages(&self) -> u64 {
        match self.reserved.load(Ordering::Relaxed) {
            0 => (self.block.load(Ordering::Relaxed) * 2).clamp(FIRST_BLOCK, LARGEST_BLOCK),
            _ => 0,
        }
    }

    /// Adds what the keystore has reserved for this handle.
    pub fn add_messages(&self, count: u64) {
        self.block.store(count, Ordering::Relaxed);
        self.reserved.fetch_add(count, Ordering::Relaxed);
    }

    pub fn day(&self, how: VersionUse) -> &AtomicI64 {
        match how {
            VersionUse::Encrypt => &self.encrypt,
            VersionUse::Decrypt => &self.decrypt,
        }
    }
}
