//! The state of an open keystore that calls and the rotation thread share, and how both read and change the store.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use super::backup::BackupWait;
use super::cache::{Cache, CachedKey, Material};
use super::delivery::Delivery;
use super::event::{Event, EventKind};
use super::health;
use super::name::{missing_version, not_found, of_version, version_not_found};
use super::news::NewsThread;
use super::presence::Presence;
use super::seen::SeenUses;
use super::thread::ThreadState;
use super::ticker::Ticker;
use super::uses::Uses;
use crate::clock::Clock;
use crate::domain::id::{KeyId, VersionId};
use crate::domain::log::ChangeAction;
use crate::domain::time::{Now, Time};
use crate::error::{Error, Result, Status};
use crate::store::{Change, Refusal, Standing, Store, Stored};
use crate::sys::clocks;
use crate::sys::per_thread::PerThread;
use crate::sys::secret::Arena;
use crate::sys::shield::Shield;
use crate::sys::stack;
use crate::sys::sync::{Alarm, Lock};
use crate::sys::waiting;

/// The state that calls and the ticker share.
///
/// Lock order: the store's connection, then the cache, then the arena; each is released before user code runs.
pub(super) struct Core {
    pub(super) threads: PerThread<ThreadState>,
    pub(super) cache: Cache,
    pub(super) store: Store,
    pub(super) arena: Arc<Arena>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: Option<Arc<Delivery>>,
    pub(super) me: Weak<Core>,
    /// Where no thread rotates, calls rotate what they find overdue.
    pub(super) ticker: Ticker,
    pub(super) alarm: Alarm,
    /// Wall time for which the ticker has set its alarm: an earlier one wakes it. During a pass, which looks for itself, none does.
    pub(super) wakes_at: AtomicI64,
    /// Coarse time of the last read of the store itself.
    pub(super) polled_at: AtomicI64,
    /// Coarse time before which a failed rotation is not tried again.
    pub(super) retry_after: AtomicI64,
    pub(super) counters: health::Counters,
    /// Whether the machine that has the keystore answers.
    pub(super) presence: Presence,
    pub(super) news: Arc<NewsThread>,
    /// Uses of versions whose days are not stored yet.
    pub(super) uses: Uses,
    /// Rows that an event reported as damaged.
    pub(super) damaged: Lock<HashSet<i64>>,
    /// Keys whose due rotation waits for a backup of this version, as an event reported.
    pub(super) held: Lock<HashMap<KeyId, VersionId>>,
    /// Whether due rotations wait for backups.
    pub(super) backup_wait: Option<BackupWait>,
    /// What was at the keystore's path at the last check, and how many other histories of it were found there.
    pub(super) place: Lock<(Standing, u64)>,
}

impl Core {
    pub(super) fn check_alive(&self) -> Result<()> {
        if self.counters.thread_died.load(Ordering::Relaxed) {
            return Err(
                Status::Poisoned.error("the rotation thread died of a panic; close the keystore and open it again")
            );
        }
        Ok(())
    }

    /// Makes the cache cover all announced changes; returns what was announced.
    #[inline]
    pub(super) fn fresh(&self) -> Result<u64> {
        if !self.ticker.ticks() {
            self.poll_if_late()?;
        }
        let word = self.store.word();
        if self.cache.covers(word) { Ok(word) } else { self.catch_up().map(|()| word) }
    }

    /// Makes the cache cover what is announced. While the machine that has the keystore is away, no call waits for it.
    #[cold]
    pub(super) fn catch_up(&self) -> Result<()> {
        if self.store.is_remote() {
            self.presence.check()?;
            if self.presence.is_away() {
                return Ok(());
            }
        }
        self.look()
    }

    pub(super) fn look(&self) -> Result<()> {
        let looked = self.cache.look(&self.store);
        self.heed_place()?;
        looked
    }

    /// After a read of the store: what follows when another file stands in its place, or none, or it is back.
    fn heed_place(&self) -> Result<()> {
        let (now, turns) = (self.store.standing(), self.store.turns());
        let before = std::mem::replace(&mut *self.place.lock()?, (now, turns));
        if before == (now, turns) {
            return Ok(());
        }
        if now == Standing::Another {
            self.cache.forget()?;
        }
        // Each thread checks what it has ready before it is used again.
        self.cache.touch();
        if before.1 != turns || (before.0 == Standing::Here && now != Standing::Here) {
            let event = Event::new(EventKind::KeystoreReplaced, self.clock.wall());
            self.emit(&Event { status: Some(Status::KeystoreReplaced), ..event });
        }
        Ok(())
    }

    pub(super) fn poll_if_late(&self) -> Result<()> {
        if self.ticker.runs() {
            return Ok(());
        }
        let now = clocks::coarse_ms();
        let polled_at = self.polled_at.load(Ordering::Relaxed);
        if now - polled_at < self.store.poll_interval_ms()
            || self.polled_at.compare_exchange(polled_at, now, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return Ok(());
        }
        let _shield = Shield::raise();
        self.start_ticker();
        // No pass may come before the handle is closed, which stores the dates.
        self.begin_day(self.clock.wall());
        match self.poll() {
            // The call is made again.
            Err(error) if waiting::refused() => {
                self.polled_at.store(polled_at, Ordering::Relaxed);
                Err(error)
            }
            Err(_) if self.store.is_remote() => self.presence.check(),
            // Nothing was announced, so keys in memory stay usable while the disk fails.
            Err(_) if self.store.is_mapped() => Ok(()),
            Err(error) => {
                // The next call asks again.
                self.polled_at.store(i64::MIN / 2, Ordering::Relaxed);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// The key as it is now, from memory or from the store.
    pub(super) fn key(&self, id: &KeyId) -> Result<Arc<CachedKey>> {
        self.fresh()?;
        match self.cache.key(id)? {
            Some(found) => Ok(found),
            None => self.load_key(id),
        }
    }

    #[cold]
    fn load_key(&self, id: &KeyId) -> Result<Arc<CachedKey>> {
        let word = self.store.word();
        let found = self.store.read(|view| {
            self.cache.catch_up(view, word)?;
            let stored = view.key(id)?.ok_or_else(|| not_found(id))?;
            let head = view.head_of(id)?;
            self.cache.keep_key(&stored, view.history(), &head)
        });
        found.map_err(|error| self.perhaps_lost(error))
    }

    /// The material of one version, which must belong to the key named with it.
    pub(super) fn material(&self, key: &KeyId, version: &VersionId) -> Result<Arc<Material>> {
        match self.cache.material(version)? {
            Some(found) if found.key == *key => Ok(found),
            _ => self.load_material(key, version),
        }
    }

    #[cold]
    fn load_material(&self, id: &KeyId, version: &VersionId) -> Result<Arc<Material>> {
        stack::with_stack_wiped(|| self.unseal_material(id, version)).map_err(|error| self.perhaps_lost(error))
    }

    /// What is missing from a database that lost changes may have been among them: its error says so, in processes too that
    /// never knew it.
    fn perhaps_lost(&self, error: Error) -> Error {
        match error.status() {
            Status::KeyNotFound | Status::KeyVersionNotFound if self.store.is_rolled_back() => error.status().error(
                format!("{}; the database lost its newest changes, so restore its newest state first", error.text()),
            ),
            _ => error,
        }
    }

    fn unseal_material(&self, id: &KeyId, version: &VersionId) -> Result<Arc<Material>> {
        let (found, history, head) = self.store.read(|view| {
            let stored = view.key(id)?.ok_or_else(|| not_found(id))?;
            let found = view.material(&stored, version)?;
            if found.is_none() && stored.key.imported.is_none() && stored.key.primary.is_some_and(|p| p.id == *version)
            {
                return Err(missing_version(id));
            }
            // Another process may have destroyed it since its key was read.
            if let Some(gone) = stored.records.tombstone(version) {
                stored.records.check_use(&gone).map_err(|error| of_version(error, id, version))?;
            }
            Ok((found, view.history(), view.head_of(id)?))
        })?;
        let (version, mut bytes) = found.ok_or_else(|| version_not_found(id, version))?;
        let secret = self.arena.keep(&mut bytes)?;
        self.cache.keep_material(Material { key: *id, version, secret, seen: SeenUses::default() }, history, &head)
    }

    /// One write transaction, whose results the cache takes over before other processes are notified.
    ///
    /// The time passed to `body` is read under the write lock, so that transactions follow each other in time also
    /// between processes; only a clock that may run user code is read before.
    pub(super) fn change<R>(
        &self,
        action: ChangeAction,
        body: impl FnOnce(&mut Change<'_>, &Now) -> Result<Changed<R>>,
    ) -> Result<Done<R>> {
        stack::with_stack_wiped(|| self.change_unwiped(action, body))
    }

    fn change_unwiped<R>(
        &self,
        action: ChangeAction,
        body: impl FnOnce(&mut Change<'_>, &Now) -> Result<Changed<R>>,
    ) -> Result<Done<R>> {
        let before = self.clock.now();
        let mut at = before;
        let done = self.store.write(
            action,
            || if self.clock.is_manual() { before } else { self.clock.now() },
            |change, now| {
                at = *now;
                body(change, now)
            },
            |changed, commit| self.cache.publish(&commit, &changed.keys, &changed.made, &changed.destroyed),
            |before| self.cache.announced(before),
        )?;
        let earliest = done.keys.iter().filter_map(|stored| stored.next_look()).min();
        if earliest.is_some_and(|time| time.millis() < self.wakes_at.load(Ordering::Relaxed)) {
            self.alarm.nudge();
        }
        Ok(Done { value: done.value, at: at.wall })
    }

    /// Changes one key that exists.
    pub(super) fn change_key<R>(
        &self,
        action: ChangeAction,
        id: &KeyId,
        body: impl FnOnce(&mut Change<'_>, Stored, &Now) -> Result<Changed<R>>,
    ) -> Result<Done<R>> {
        self.change(action, |change, now| {
            let stored = change.key(id)?.ok_or_else(|| not_found(id))?;
            body(change, stored, now).map_err(|error| error.of_key(id))
        })
    }

    /// Logs a management call that was refused. What failed otherwise, as by a full disk, is no refusal.
    #[cold]
    pub(super) fn log_refusal(&self, action: ChangeAction, key: Option<&str>, status: Status) {
        if !is_refusal(status) || self.store.is_read_only() {
            return;
        }
        let key = key.and_then(|key| self.resolve(key).ok());
        let before = self.clock.now();
        self.store.log_refusal(
            Refusal { action, key, status },
            || if self.clock.is_manual() { before } else { self.clock.now() },
            |commit| self.cache.publish(&commit, &[], &[], &[]),
            |before| self.cache.announced(before),
        );
    }

    /// Logs how many refused calls have no entry, at the end of the handle.
    pub(super) fn log_omitted(&self) -> Result<()> {
        self.store.log_omitted(
            || self.clock.now(),
            |commit| self.cache.publish(&commit, &[], &[], &[]),
            |before| self.cache.announced(before),
        )
    }

    pub(super) fn emit(&self, event: &Event) {
        if let Some(events) = &self.events {
            events.tell(event);
        }
    }
}

fn is_refusal(status: Status) -> bool {
    matches!(status, Status::RootKeyUnavailable | Status::RootSlotNotFound | Status::RootSlotExists)
        || (100..500).contains(&(status as i32))
}

/// The result of a write transaction, and the time it was made at.
pub(super) struct Done<R> {
    pub(super) value: R,
    pub(super) at: Time,
}

/// What a write transaction did: its result, the keys it changed and those it destroyed.
pub(super) struct Changed<R> {
    pub(super) value: R,
    pub(super) keys: Vec<Stored>,
    /// New material of keys that are in memory.
    pub(super) made: Vec<Arc<Material>>,
    pub(super) destroyed: Vec<KeyId>,
}

impl<R> Changed<R> {
    pub(super) fn none(value: R) -> Self {
        Self { value, keys: Vec::new(), made: Vec::new(), destroyed: Vec::new() }
    }

    pub(super) fn one(value: R, key: Stored) -> Self {
        Self { value, keys: vec![key], made: Vec::new(), destroyed: Vec::new() }
    }
}
