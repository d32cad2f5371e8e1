//! What a keystore knows about its own condition: flags that weaken a promise, and counters.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Keystore;
use crate::crypto::openssl::{self, Memory};
use crate::error::Result;
use crate::store::Standing;
use crate::sys::random::cpu;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub rotations: AtomicU64,
    pub rotation_failures: AtomicU64,
    pub destroyed: AtomicU64,
    pub versions_destroyed: AtomicU64,
    /// Whether the rotation thread's last pass failed.
    pub failing: AtomicBool,
    /// Whether the rotation thread died of a panic.
    pub thread_died: AtomicBool,
}

/// The condition of an open keystore: flags for each promise that currently holds less, and counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Key bytes may be swapped out: RLIMIT_MEMLOCK is too small.
    pub memory_not_locked: bool,
    /// Cipher contexts, which hold keys, are in ordinary memory: OpenSSL is the system's, or started before.
    pub cipher_memory_unprotected: bool,
    /// The CPU has no quick instructions for AES-GCM or for random words, or libcrypto doesn't use them.
    pub slow_cpu: bool,
    /// Other processes' changes are seen within 100 ms instead of at once.
    pub polling: bool,
    /// The last pass of the rotation thread failed; it is tried again.
    pub rotation_failing: bool,
    /// The rotation thread died of a panic; every other call fails.
    pub thread_stopped: bool,
    /// The keystore was opened read-only.
    pub read_only: bool,
    /// Another file stands in the keystore's place, or none: nothing is changed or encrypted until it is back.
    pub keystore_replaced: bool,
    /// The keystore may have a second path, through which a crash would damage it: its file has several names, or the kernel
    /// doesn't show whether it is mounted as a single file.
    pub path_unverified: bool,
    /// No thread rotates: call `tick`.
    pub no_rotation_thread: bool,
    /// The rotation thread could not be started, because the process or its user has too many. Calls rotate the overdue keys
    /// that they use, and one of them tries again every 5 s.
    pub thread_not_started: bool,
    /// The rotation thread has not reported for 10 s: a clock, a disk or another process delays it.
    pub thread_stalled: bool,
    /// The database that has the keystore does not answer. Keys in memory stay usable for `Options::offline_limit`.
    pub keystore_unavailable: bool,
    /// The clock of this host differs by more than 2 s from the clock of the database.
    pub host_clock_wrong: bool,
    /// The database lost changes that were seen before: nothing is changed until the keystore is opened with
    /// `Options::accept_rollback`.
    pub rolled_back: bool,
    /// Rotations that this handle carried out since it was opened.
    pub rotations: u64,
    /// Due rotations that this handle could not store; each is tried again.
    pub rotation_failures: u64,
    /// Keys that this handle destroyed since it was opened.
    pub keys_destroyed: u64,
    /// Key versions that this handle destroyed since it was opened, without those of destroyed keys.
    pub versions_destroyed: u64,
    /// Events that were dropped because the handler was too slow.
    pub events_dropped: u64,
    /// Keys in the cache.
    pub keys_cached: u64,
    /// The generation of the keystore: it grows by one with every change, by any process.
    pub generation: u64,
    /// How often the database was asked for changes, and answered.
    pub polls: u64,
    /// How often the database became unavailable.
    pub absences: u64,
    /// How often the database was seen to have lost changes.
    pub rollbacks: u64,
    /// How long ago the database was last asked for changes with an answer, in milliseconds; 0 for other keystores.
    pub age_ms: u64,
    /// How far the clock of this host is ahead of the clock of the database, in milliseconds; negative if it is behind.
    pub clock_ahead_ms: i64,
}

impl Keystore {
    /// Report degraded operation, and counters. Works even when every other call fails.
    ///
    /// # Errors
    /// `Forked` for a `memory:` keystore in a forked child; `OutOfMemory`.
    ///
    /// ```
    /// # use kms::{Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// let health = keystore.health()?;
    /// assert!(!health.rotation_failing && !health.thread_stopped);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn health(&self) -> Result<Health> {
        let core = self.core_even_if_poisoned()?;
        // A keystore in trouble is what this call is for.
        let _ = core.fresh();
        let counters = &core.counters;
        Ok(Health {
            memory_not_locked: !core.arena.is_locked() || openssl::memory() == Memory::NotLocked,
            cipher_memory_unprotected: openssl::memory() == Memory::Ordinary,
            slow_cpu: !openssl::is_quick() || cpu::speed() != cpu::Speed::Quick,
            polling: !core.store.is_mapped() && !core.store.is_remote(),
            rotation_failing: counters.failing.load(Ordering::Relaxed),
            thread_stopped: counters.thread_died.load(Ordering::Relaxed),
            read_only: core.store.is_read_only(),
            path_unverified: !core.store.is_only_path(),
            keystore_replaced: core.store.standing() != Standing::Here,
            no_rotation_thread: !core.ticker.is_wanted(),
            thread_not_started: core.ticker.is_wanted() && !core.ticker.ticks(),
            keystore_unavailable: core.presence.is_away(),
            host_clock_wrong: core.presence.is_clock_wrong(),
            rolled_back: core.store.is_rolled_back(),
            thread_stalled: core.ticker.is_late(),
            events_dropped: core.events.as_ref().map_or(0, |events| events.dropped()),
            rotations: counters.rotations.load(Ordering::Relaxed),
            rotation_failures: counters.rotation_failures.load(Ordering::Relaxed),
            keys_destroyed: counters.destroyed.load(Ordering::Relaxed),
            versions_destroyed: counters.versions_destroyed.load(Ordering::Relaxed),
            keys_cached: core.cache.len()? as u64,
            generation: core.cache.generation()?.cast_unsigned(),
            polls: core.presence.polls.load(Ordering::Relaxed),
            absences: core.presence.absences.load(Ordering::Relaxed),
            rollbacks: core.store.rollbacks(),
            age_ms: if core.store.is_remote() { core.presence.age_ms().max(0).cast_unsigned() } else { 0 },
            clock_ahead_ms: core.store.server_clock().ahead_ms(),
        })
    }
}
