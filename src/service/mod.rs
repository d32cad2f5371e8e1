//! The use cases: what a program can ask of a keystore.
//!
//! * `open`: options and handles. `key`, `version`, `rotation`, `crypt`, `data_key`, `import`, `alias`, `tag`: the
//!   operations.
//! * `batch`: many records in one call. `target`: where the results of calls go.
//! * `cache`: keys in memory. `thread`: what each thread keeps for the hot path, in `slots`. `ticker`: the rotation clock.
//! * `name`: what keys are called in arguments. `call`: all of it once more, by action names and JSON.
//! * `event`, `delivery`, `health`, `verify`: what a keystore tells of itself.

mod alias;
mod batch;
mod cache;
mod call;
mod crypt;
mod data_key;
mod delivery;
mod event;
mod health;
mod import;
mod key;
mod name;
mod open;
mod rotation;
mod slots;
mod tag;
mod target;
mod thread;
mod ticker;
mod verify;
mod backup;
mod root;
mod version;

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use crate::clock::Clock;
use crate::domain::id::{KeyId, VersionId};
use crate::domain::limits;
use crate::domain::time::{Now, Time};
use crate::error::{Error, Result, Status};
use crate::store::{self, Change, Standing, Store, Stored};
use crate::sys::clocks;
use crate::sys::fork::PerProcess;
use crate::sys::per_thread::PerThread;
use crate::sys::secret::Arena;
use crate::sys::shield::Shield;
use crate::sys::stack;
use crate::sys::sync::{Alarm, Lock};
use crate::sys::waiting;
use cache::{Cache, CachedKey, Material};
use delivery::Delivery;
use name::{missing_version, not_found, version_not_found};
use thread::ThreadState;
use ticker::Ticker;

pub use crate::crypto::context::Take;
pub use crate::store::Fault;
pub use batch::{Moved, Place, Record};
pub use call::CallFailed;
pub use crypt::BlobInfo;
pub use data_key::DataKeyTarget;
pub use event::{Event, EventKind};
pub use health::Health;
pub use import::{ImportParameters, Wrapping};
pub use key::CreateKey;
#[cfg(feature = "capi")]
pub(crate) use key::description_of;
pub use open::Options;
#[cfg(feature = "capi")]
pub(crate) use open::passphrase_of;
pub use rotation::Ticked;
pub use target::{OpenTarget, SealTarget};

/// An open keystore. Share it between threads; after a fork, parent and child each go on with their own state.
pub struct Keystore {
    process: PerProcess<Inner>,
}

/// What a handle is in one process. Its threads end before the core goes.
struct Inner {
    core: Arc<Core>,
    options: Options,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.core.stop_ticker();
        if let Some(events) = &self.core.events {
            events.close();
        }
    }
}

/// The state that calls and the ticker share.
///
/// Lock order: the store's connection, then the cache, then the arena; each is let go before user code runs.
struct Core {
    threads: PerThread<ThreadState>,
    cache: Cache,
    store: Store,
    arena: Arc<Arena>,
    clock: Arc<dyn Clock>,
    events: Option<Arc<Delivery>>,
    me: Weak<Core>,
    /// Where no thread rotates, calls rotate what they find overdue.
    ticker: Ticker,
    alarm: Alarm,
    /// Wall time for which the ticker has set its alarm.
    wakes_at: AtomicI64,
    /// Coarse time of the last look at the store itself.
    polled_at: AtomicI64,
    /// Coarse time before which a failed rotation is not tried again.
    retry_after: AtomicI64,
    counters: health::Counters,
    /// Rows that were told to be damaged.
    damaged: Lock<HashSet<i64>>,
    /// What stood in the keystore's place at the last look, and how many other histories of it were found there.
    place: Lock<(Standing, u64)>,
}

/// Runs a call only if it need not wait for the disk, another process or another thread; none if it had to, and it has then
/// changed nothing. For a host that holds a lock of its own, which it lets go before it makes the call again.
#[inline]
pub fn without_waiting<R>(call: impl FnOnce() -> R) -> Option<R> {
    waiting::without(call)
}

/// Runs a function of the user's inside of [`without_waiting`]: what it calls may wait.
pub fn waiting_again<R>(function: impl FnOnce() -> R) -> R {
    waiting::again(function)
}

impl Keystore {
    #[inline]
    fn core(&self) -> Result<&Core> {
        let core = self.living_or_dead()?;
        core.check_alive()?;
        Ok(core)
    }

    #[inline]
    fn living_or_dead(&self) -> Result<&Core> {
        self.process.get(Inner::in_child).map(|inner| &*inner.core)
    }
}

impl Core {
    fn check_alive(&self) -> Result<()> {
        if self.counters.thread_died.load(Ordering::Relaxed) {
            return Err(
                Status::Poisoned.error("the rotation thread died of a panic; close the keystore and open it again")
            );
        }
        Ok(())
    }

    /// Sees to it that the cache covers all announced changes; returns what was announced.
    #[inline]
    fn fresh(&self) -> Result<u64> {
        if !self.ticker.ticks() {
            self.poll_if_late()?;
        }
        let word = self.store.word();
        if self.cache.covers(word) { Ok(word) } else { self.catch_up().map(|()| word) }
    }

    #[cold]
    fn catch_up(&self) -> Result<()> {
        let looked = self.cache.look(&self.store);
        self.heed_place()?;
        looked
    }

    /// After a look at the store: what follows when another file stands in its place, or none, or it is back.
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

    fn poll_if_late(&self) -> Result<()> {
        let now = clocks::coarse_ms();
        let polled_at = self.polled_at.load(Ordering::Relaxed);
        if now - polled_at < store::poll_interval_ms(self.store.is_mapped())
            || self.polled_at.compare_exchange(polled_at, now, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return Ok(());
        }
        let _shield = Shield::raise();
        self.start_ticker();
        match self.catch_up() {
            // The call is made again.
            Err(error) if waiting::refused() => {
                self.polled_at.store(polled_at, Ordering::Relaxed);
                Err(error)
            }
            // Nothing was announced, so what is in memory goes on serving while the disk is in trouble.
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
    fn key(&self, id: &KeyId) -> Result<Arc<CachedKey>> {
        self.fresh()?;
        match self.cache.key(id)? {
            Some(found) => Ok(found),
            None => self.load_key(id),
        }
    }

    #[cold]
    fn load_key(&self, id: &KeyId) -> Result<Arc<CachedKey>> {
        let word = self.store.word();
        self.store.read(|view| {
            self.cache.catch_up(view, word)?;
            let stored = view.key(id)?.ok_or_else(|| not_found(id))?;
            self.cache.keep_key(&stored, view.generation())
        })
    }

    /// The material of one version, which must belong to the key named beside it.
    fn material(&self, key: &KeyId, version: &VersionId) -> Result<Arc<Material>> {
        match self.cache.material(version)? {
            Some(found) if found.key == *key => Ok(found),
            _ => self.load_material(key, version),
        }
    }

    #[cold]
    fn load_material(&self, id: &KeyId, version: &VersionId) -> Result<Arc<Material>> {
        stack::swept(|| self.unseal_material(id, version))
    }

    fn unseal_material(&self, id: &KeyId, version: &VersionId) -> Result<Arc<Material>> {
        let (found, history, destroyed) = self.store.read(|view| {
            let stored = view.key(id)?.ok_or_else(|| not_found(id))?;
            match view.material(&stored, version)? {
                None if stored.key.imported.is_none()
                    && stored.key.primary.is_some_and(|primary| primary.id == *version) =>
                {
                    Err(missing_version(id))
                }
                found => Ok((found, view.history(), view.destroyed())),
            }
        })?;
        let (version, mut bytes) = found.ok_or_else(|| version_not_found(id, version))?;
        let secret = self.arena.keep(&mut bytes)?;
        self.cache.keep_material(Material { key: *id, version, secret }, history, destroyed)
    }

    /// One write transaction, its results taken over by the cache before anybody else hears of it.
    ///
    /// The time that `body` is told is read under the write lock, so that transactions follow each other in time also
    /// between processes; only a clock that may run user code is read before.
    fn change<R>(&self, body: impl FnOnce(&mut Change<'_>, &Now) -> Result<Changed<R>>) -> Result<Done<R>> {
        stack::swept(|| self.change_unswept(body))
    }

    fn change_unswept<R>(&self, body: impl FnOnce(&mut Change<'_>, &Now) -> Result<Changed<R>>) -> Result<Done<R>> {
        let mut at = self.clock.now();
        let done = self.store.write(
            |change| {
                if !self.clock.is_manual() {
                    at = self.clock.now();
                }
                body(change, &at)
            },
            |changed, commit| self.cache.publish(commit, &changed.keys, &changed.made, &changed.destroyed),
            |before| self.cache.announced(before),
        )?;
        let earliest = done.keys.iter().filter_map(|stored| stored.key.next_look()).min();
        if earliest.is_some_and(|time| time.millis() < self.wakes_at.load(Ordering::Relaxed)) {
            self.alarm.nudge();
        }
        Ok(Done { value: done.value, at: at.wall })
    }

    /// Changes one key that exists.
    fn change_key<R>(
        &self,
        id: &KeyId,
        body: impl FnOnce(&mut Change<'_>, Stored, &Now) -> Result<Changed<R>>,
    ) -> Result<Done<R>> {
        self.change(|change, now| {
            let stored = change.key(id)?.ok_or_else(|| not_found(id))?;
            body(change, stored, now).map_err(|error| error.of_key(id))
        })
    }

    fn emit(&self, event: &Event) {
        if let Some(events) = &self.events {
            events.tell(event);
        }
    }
}

/// The result of a write transaction, and the time it was told.
struct Done<R> {
    value: R,
    at: Time,
}

/// What a write transaction did: its result, the keys it changed and those it destroyed.
struct Changed<R> {
    value: R,
    keys: Vec<Stored>,
    /// New material of keys that are in memory.
    made: Vec<Arc<Material>>,
    destroyed: Vec<KeyId>,
}

impl<R> Changed<R> {
    fn none(value: R) -> Self {
        Self { value, keys: Vec::new(), made: Vec::new(), destroyed: Vec::new() }
    }

    fn one(value: R, key: Stored) -> Self {
        Self { value, keys: vec![key], made: Vec::new(), destroyed: Vec::new() }
    }
}

#[inline]
pub(crate) fn check_plaintext_len(len: usize) -> Result<()> {
    if len <= limits::PLAINTEXT_BYTES { Ok(()) } else { Err(plaintext_too_long(len)) }
}

#[cold]
fn plaintext_too_long(len: usize) -> Error {
    Status::LimitExceeded
        .error(format!("the plaintext of {len} bytes is above 1 GiB; encrypt it in parts or by a data key"))
}
