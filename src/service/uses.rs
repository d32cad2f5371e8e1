//! The last-used dates of key versions: a thread that prepares a version notes its use, and the next pass stores the day.
//!
//! A prepared version is checked again once anything changed, and when a day begins, so a use costs the hot path nothing.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::cache::Material;
use super::pass::{PAUSE, SMALLEST_BATCH};
use super::{Changed, Core};
use crate::domain::id::KeyId;
use crate::domain::log::ChangeAction;
use crate::domain::time::Time;
use crate::domain::version::{VersionRecord, VersionUse};
use crate::error::{Result, Status};
use crate::store::Stored;
use crate::sys::sync::{self, Lock};

/// Most uses that wait for a pass. One above this is noted when its version is prepared again.
const MOST_PENDING: usize = if cfg!(test) { 64 } else { 65_536 };

/// One use that is not stored yet.
#[derive(Debug, Clone, Copy)]
struct PendingUse {
    key: KeyId,
    number: u64,
    how: VersionUse,
    day: Time,
}

/// The uses that a handle has seen since its last pass.
#[derive(Debug)]
pub(super) struct Uses {
    /// The start of the current day; 0 where none are recorded, as in a read-only handle.
    today: AtomicI64,
    pending: Lock<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    noted: Vec<PendingUse>,
    /// How many the current pass took out; those that it can't store come back.
    taken: usize,
}

impl Uses {
    pub fn new(today: Option<Time>) -> Self {
        let today = today.map_or(0, |now| now.start_of_day().millis());
        Self { today: AtomicI64::new(today), pending: Lock::default() }
    }
}

impl Core {
    /// Notes that a version is about to be used. Whether the call succeeds is not known yet.
    pub(super) fn note_use(&self, material: &Material, how: VersionUse) {
        let today = self.uses.today.load(Ordering::Relaxed);
        let seen = material.seen.day(how);
        if today == seen.load(Ordering::Relaxed) || today == 0 {
            return;
        }
        let Ok(mut pending) = self.uses.pending.lock() else { return };
        if pending.noted.len() + pending.taken < MOST_PENDING && pending.noted.try_reserve(1).is_ok() {
            let day = Time::from_millis(today);
            pending.noted.push(PendingUse { key: material.key, number: material.version.number, how, day });
            seen.store(today, Ordering::Relaxed);
        }
    }

    /// Begins a new day at its first pass: each version that is in use is noted once more.
    pub(super) fn begin_day(&self, now: Time) {
        let today = now.start_of_day().millis();
        let before = self.uses.today.load(Ordering::Relaxed);
        if before != 0 && before < today && self.uses.today.swap(today, Ordering::Relaxed) != today {
            self.cache.touch();
        }
    }

    /// Stores what was noted. What fails is kept for the next pass.
    pub(super) fn record_uses(&self, stop: &dyn Fn() -> bool) -> Result<()> {
        let mut noted = {
            let mut pending = self.uses.pending.lock()?;
            let noted = std::mem::take(&mut pending.noted);
            pending.taken += noted.len();
            noted
        };
        let count = noted.len();
        noted.sort_unstable_by_key(|one| one.key);
        let (mut left, mut size) = (noted.as_slice(), SMALLEST_BATCH);
        let mut done = Ok(());
        while done.is_ok() && !left.is_empty() && !stop() {
            let (batch, rest) = left.split_at(left.len().min(size));
            match self.record_batch(batch) {
                Ok(took) => (left, size) = (rest, self.next_batch_size(size, took)),
                Err(error) => done = Err(error),
            }
            if !left.is_empty() {
                sync::sleep(PAUSE);
            }
        }
        let mut pending = self.uses.pending.lock()?;
        pending.taken -= count;
        // Their versions are marked as noted, so nothing else notes them again today.
        if pending.noted.try_reserve(left.len()).is_ok() {
            pending.noted.extend(left);
        }
        done
    }

    /// Returns how long the work took, without the commit. `batch` is in the order of keys.
    fn record_batch(&self, batch: &[PendingUse]) -> Result<Duration> {
        let by_key =
            || batch.chunk_by(|a, b| a.key == b.key).filter_map(|uses| uses.first().map(|one| (one.key, uses)));
        let started = Instant::now();
        // Without the write lock first: another process may have stored the same day.
        let is_new = self.store.read(|view| {
            if !view.has_version_rows() {
                return Ok(false);
            }
            for (id, uses) in by_key() {
                if undamaged(view.key(&id))?.is_some_and(|stored| !news(&stored, uses).is_empty()) {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        if !is_new {
            return Ok(started.elapsed());
        }
        let done = self.change(ChangeAction::RecordDates, |change, _| {
            let started = Instant::now();
            let mut changed = Changed::none(Duration::ZERO);
            for (id, uses) in by_key() {
                let Some(mut stored) = undamaged(change.key(&id))? else { continue };
                let records = news(&stored, uses);
                if !records.is_empty() {
                    change.put_records(&mut stored, &records)?;
                    changed.keys.push(change.update(stored)?);
                }
            }
            changed.value = started.elapsed();
            Ok(changed)
        })?;
        Ok(done.value)
    }
}

/// A damaged key, which a process may still have in memory, must not stop the dates of others.
fn undamaged(found: Result<Option<Stored>>) -> Result<Option<Stored>> {
    match found {
        Err(error) if error.status() == Status::KeystoreCorrupt => Ok(None),
        found => found,
    }
}

/// The records that these uses change.
fn news(stored: &Stored, uses: &[PendingUse]) -> Vec<VersionRecord> {
    let mut changed: Vec<VersionRecord> = Vec::new();
    for one in uses {
        let at = changed.iter().position(|record| record.number == one.number);
        let known = at.and_then(|at| changed.get(at).copied()).unwrap_or_else(|| stored.records.of(one.number));
        let mut record = known;
        record.note_use(one.how, one.day);
        if record != known {
            match at.and_then(|at| changed.get_mut(at)) {
                Some(found) => *found = record,
                None => changed.push(record),
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests;
