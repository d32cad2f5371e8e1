//! Rotation: by hand, by policy, and all that the clock finds due in bounded batches.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::backup::BackupStatus;
use super::cache::Material;
use super::due::{KeyOutcome, is_irreversible, process_due_key};
use super::event::{Event, EventKind};
use super::key_ref::KeyRef;
use super::uses::SeenUses;
use super::{Changed, Core, Done, Keystore};
use crate::domain::id::{KeyId, VersionId};
use crate::domain::log::ChangeAction;
use crate::domain::rotation::{Interval, RotationStatus};
use crate::domain::state::{self, Operation};
use crate::domain::time::{Now, Time};
use crate::error::{Error, Result, Status};
use crate::store::{Change, DueRow, Stored};
use crate::sys::{clocks, random};

/// The work of a batch, under the lock of the store, takes about this long, and its commit some milliseconds more; batches
/// grow and shrink to fit.
const BATCH_TIME: Duration = Duration::from_millis(16);
/// SQLite has no queue: without a pause after each batch nobody else would get the lock.
pub(super) const PAUSE: Duration = Duration::from_micros(500);
const SMALLEST_BATCH: usize = 32;
const LARGEST_BATCH: usize = 4096;
const CONTRADICTIONS: usize = 128;
/// For so long a pass notes contradictions before it rotates.
const CONTRADICTION_TIME: Duration = Duration::from_secs(1);
/// A rotation that failed while a call was waiting for it is not tried again for this long.
const RETRY_MS: i64 = 1000;
const RETRY_READ_ONLY_MS: i64 = 60_000;

/// The results of one pass, which [`Keystore::tick`] ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TickReport {
    /// Keys that have a new version.
    pub rotated: usize,
    /// Keys that were destroyed.
    pub destroyed: usize,
    /// Key versions that were destroyed by a deletion of their own.
    pub versions_destroyed: usize,
    /// Keys whose rows cannot be read; [`Keystore::verify`] names them.
    pub damaged: usize,
}

impl TickReport {
    fn add(&mut self, other: &Self) {
        self.rotated += other.rotated;
        self.destroyed += other.destroyed;
        self.versions_destroyed += other.versions_destroyed;
        self.damaged += other.damaged;
    }
}

impl Keystore {
    /// Rotate a key: create a new version and make it the primary, whether or not a policy is on. The next interval
    /// starts now. The service has this call as CreateKeyVersion.
    ///
    /// # Errors
    /// `KeyNotFound` or `AliasNotFound` for an unknown key; `RejectedDisabled`, `RejectedPendingDeletion` or
    /// `RejectedPendingImport` by the key's state; `UnsupportedOperation` for EXTERNAL and service-managed keys; and
    /// the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let version = keystore.rotate(key)?;
    /// assert_eq!(keystore.describe_key(key)?.primary.map(|primary| primary.id), Some(version));
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn rotate<'k>(&self, key: impl Into<KeyRef<'k>>) -> Result<VersionId> {
        let key = key.into();
        self.manage(ChangeAction::CreateKeyVersion, Some(key.as_str()), |core| {
            let id = core.resolve(key.as_str())?;
            let done = core.change_key(ChangeAction::CreateKeyVersion, &id, |change, stored, now| {
                rotatable(&stored)?;
                state::check(stored.key.state_at(now.wall), Operation::CreateKeyVersion)?;
                let stored = new_version(change, stored, now.wall)?;
                core.rotated(change, stored, |version| version)
            })?;
            core.tell_rotation(id, done.value, done.at);
            done.value.ok_or_else(|| Status::Internal.error("a rotated key has no primary"))
        })
    }

    /// Set the rotation interval of a key; `None`: turn automatic rotation off. A key that becomes overdue by it
    /// rotates at once.
    ///
    /// # Errors
    /// `RejectedDisabled`, `RejectedPendingDeletion` or `RejectedPendingImport` by the key's state;
    /// `UnsupportedOperation` for EXTERNAL and service-managed keys; `KeyNotFound` for an unknown key,
    /// `UnsupportedAlias` for an alias in place of the key id; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Interval, Keystore, Options, Rotation};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.update_rotation_policy(key, Some(Interval::from_seconds(3600)?))?;
    /// assert_eq!(keystore.describe_key(key)?.automatic_rotation(), Rotation::Enabled);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn update_rotation_policy<'k>(
        &self,
        key_id: impl Into<KeyRef<'k>>,
        rotate_every: Option<Interval>,
    ) -> Result<()> {
        let key_id = key_id.into();
        self.manage(ChangeAction::UpdateRotationPolicy, Some(key_id.as_str()), |core| {
            let id = Core::id_only(key_id.as_str())?;
            let done = core.change_key(ChangeAction::UpdateRotationPolicy, &id, |change, mut stored, now| {
                rotatable(&stored)?;
                state::check(stored.key.state_at(now.wall), Operation::UpdateRotationPolicy)?;
                let unchanged = stored.key.policy == rotate_every;
                stored.key.policy = rotate_every;
                if unchanged && stored.key.schedule().status(now.wall) == RotationStatus::NotDue {
                    return Ok(Changed::none(None));
                }
                core.store_and_rotate(change, stored, now.wall)
            })?;
            core.tell_rotation(id, done.value, done.at);
            Ok(())
        })
    }

    /// Run one pass: rotate all keys that are due, and destroy those whose waiting period is over. The rotation
    /// thread does this by itself.
    ///
    /// # Errors
    /// The [errors of every call](Keystore#errors); what was committed before stays.
    ///
    /// ```
    /// # use kms::{Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// assert_eq!(keystore.tick()?.rotated, 0);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn tick(&self) -> Result<TickReport> {
        let core = self.core()?;
        let now = core.clock.now();
        core.begin_day(now.wall);
        let done = core.run_due(&now, &|| false)?;
        // Dates that cannot be stored now are kept for the next pass.
        let _ = core.record_uses(&|| false);
        Ok(done)
    }
}

fn rotatable(stored: &Stored) -> Result<()> {
    if stored.key.rotates() {
        return Ok(());
    }
    Err(Status::UnsupportedOperation
        .error("the key has one version for life, as EXTERNAL and service-managed keys do; create another key instead"))
}

pub(super) fn new_version(change: &mut Change<'_>, stored: Stored, now: Time) -> Result<Stored> {
    let material = Zeroizing::new(random::array::<32>()?);
    let id = VersionId::from_random(random::array()?);
    change.log_version(&id);
    change.rotate(stored, id, &material, now)
}

/// How many rows the next batch looks at, after one of `size` whose work took so long.
fn next_size(size: usize, took: Duration) -> usize {
    let fitting = size as u128 * BATCH_TIME.as_micros() / took.as_micros().max(1);
    usize::try_from(fitting).unwrap_or(LARGEST_BATCH).clamp(size / 2, size * 2).clamp(SMALLEST_BATCH, LARGEST_BATCH)
}

#[derive(Default)]
struct Batch {
    done: TickReport,
    /// The last row looked at; none when nothing was due.
    last: Option<DueRow>,
    looked_at: usize,
    changed: usize,
    /// Rows that need a transaction each.
    postponed: Vec<i64>,
    /// How long the work took, without the commit: a slow disk makes each commit long, however small it is.
    took: Duration,
}

impl Batch {
    /// Both halves of a batch that could not be looked at together.
    fn and(mut self, other: Self) -> Self {
        self.done.add(&other.done);
        self.changed += other.changed;
        self.postponed.extend(other.postponed);
        // The parts don't say how many rows fit.
        self.took = BATCH_TIME;
        self
    }
}

impl Core {
    /// Stores a changed key; if it is overdue now, with a new version in the same transaction. Returns that version.
    pub(super) fn store_and_rotate(
        &self,
        change: &mut Change<'_>,
        mut stored: Stored,
        now: Time,
    ) -> Result<Changed<Option<VersionId>>> {
        match stored.key.schedule().status(now) {
            // The next pass reports it, if it rotates without a backup then.
            RotationStatus::Due if self.backup_status(&stored.key, now) != BackupStatus::Covered => {}
            RotationStatus::Due => {
                let stored = new_version(change, stored, now)?;
                return self.rotated(change, stored, |version| version);
            }
            RotationStatus::FutureLast => stored.key.future_noticed = Some(now),
            RotationStatus::NoteVoid => stored.key.future_noticed = None,
            RotationStatus::NotDue => {}
        }
        Ok(Changed::one(None, change.update(stored)?))
    }

    /// What a rotation changed; `value` makes the result of its version.
    fn rotated<R>(
        &self,
        change: &mut Change<'_>,
        stored: Stored,
        value: impl FnOnce(Option<VersionId>) -> R,
    ) -> Result<Changed<R>> {
        let made = self.newest_in_use(change, &stored)?;
        let mut changed = Changed::one(value(stored.key.primary.map(|p| p.id)), stored);
        changed.made.extend(made);
        Ok(changed)
    }

    /// The newest version of a key that is in memory. It must be there as soon as it is committed: a thread that encrypts
    /// then finds it without the store, which may be busy with the next batch.
    fn newest_in_use(&self, change: &mut Change<'_>, stored: &Stored) -> Result<Option<Arc<Material>>> {
        let (id, Some(primary)) = (stored.key.id, stored.key.primary) else { return Ok(None) };
        if self.cache.key(&id)?.is_none() {
            return Ok(None);
        }
        let Some((version, mut bytes)) = change.material(stored, &primary.id)? else { return Ok(None) };
        Ok(Some(Arc::new(Material {
            key: id,
            version,
            secret: self.arena.keep(&mut bytes)?,
            seen: SeenUses::default(),
        })))
    }

    pub(super) fn tell_rotation(&self, key: KeyId, version: Option<VersionId>, now: Time) {
        if version.is_some() {
            self.counters.rotations.fetch_add(1, Ordering::Relaxed);
            self.emit(&Event::new(EventKind::Rotated, now).of_key(key).of_version(version));
        }
    }

    /// Before encrypting under an overdue key where no thread rotates. A failure is an event, and encryption
    /// continues under the old primary.
    pub(super) fn rotate_overdue(&self, id: &KeyId) {
        let done = self.change_key(ChangeAction::RecordDates, id, |change, stored, now| {
            Ok(match process_due_key(self, change, stored, now)? {
                KeyOutcome::Rotated(stored, events) => self.rotated(change, stored, |version| (version, events))?,
                KeyOutcome::Updated(stored, events) => Changed::one((None, events), stored),
                KeyOutcome::Destroyed(..) | KeyOutcome::Nothing => Changed::none((None, Vec::new())),
            })
        });
        // Another process may have been faster, and not have announced it yet.
        let done = done.and_then(|done| self.catch_up().map(|()| done));
        match done {
            Ok(Done { value: (version, events), at }) => {
                if version.is_none() && self.backup_wait.is_some() {
                    self.retry_after.store(clocks::coarse_ms() + RETRY_MS, Ordering::Relaxed);
                }
                self.tell_rotation(*id, version, at);
                self.report(&events);
            }
            Err(error) => {
                let pause = if error.status() == Status::KeystoreReadOnly { RETRY_READ_ONLY_MS } else { RETRY_MS };
                self.retry_after.store(clocks::coarse_ms() + pause, Ordering::Relaxed);
                self.tell_failure(&error, self.clock.wall(), Some(*id));
            }
        }
    }

    fn report(&self, events: &[Event]) {
        for event in events {
            if event.kind == EventKind::VersionDestroyed {
                self.counters.versions_destroyed.fetch_add(1, Ordering::Relaxed);
            }
            self.emit(event);
        }
    }

    pub(super) fn tell_failure(&self, error: &Error, now: Time, key: Option<KeyId>) {
        self.counters.rotation_failures.fetch_add(1, Ordering::Relaxed);
        self.emit(&Event { key, ..Event::new(EventKind::RotationFailed, now).because(error) });
    }

    /// One pass over everything due at `now`, in batches; `stop` is asked between them. What needs a transaction each comes
    /// last, so that no rotation waits for it.
    pub(super) fn run_due(&self, now: &Now, stop: &dyn Fn() -> bool) -> Result<TickReport> {
        let mut total = TickReport::default();
        let (mut after, mut postponed) = (None, Vec::new());
        let mut size = SMALLEST_BATCH;
        self.note_contradictions(stop)?;
        loop {
            let batch = self.batch(now, after, size)?;
            let Some(last) = batch.last else { break };
            total.add(&batch.done);
            postponed.extend(batch.postponed);
            // Not in order: the index is damaged.
            let went_back = after.is_some_and(|after| !self.store.follows(&after, &last));
            let is_last = batch.looked_at < size && self.store.shards().count() == 1;
            if stop() || is_last || went_back {
                break;
            }
            after = Some(last);
            size = next_size(size, batch.took);
            crate::sys::sync::sleep(PAUSE);
        }
        while let Some(row) = postponed.pop() {
            if stop() {
                break;
            }
            crate::sys::sync::sleep(PAUSE);
            let one = self.process_rows(&[row])?;
            total.add(&one.done);
            postponed.extend(one.postponed);
        }
        Ok(total)
    }

    /// Dates that a clock set back contradicts: noted, or forgotten. Bounded, because a clock that never stands still
    /// can contradict without end; what is left waits for the next pass.
    fn note_contradictions(&self, stop: &dyn Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + CONTRADICTION_TIME;
        loop {
            let now = self.clock.now();
            let found = self.store.read(|view| view.contradicted(&now, CONTRADICTIONS))?;
            if found.is_empty() || stop() || Instant::now() >= deadline {
                return Ok(());
            }
            let batch = self.process_rows(&found)?;
            // What is left could not be mended.
            if batch.changed == 0 {
                return Ok(());
            }
        }
    }

    /// Reads what is due without the write lock; only if something is, a transaction follows.
    fn batch(&self, now: &Now, after: Option<DueRow>, size: usize) -> Result<Batch> {
        let due = self.store.read(|view| view.due(now.wall, after, size))?;
        let Some(last) = due.last().copied() else { return Ok(Batch::default()) };
        let mut rows: Vec<i64> = due.iter().map(|due| due.row).collect();
        if self.backup_wait.is_some() {
            self.leave_held(&mut rows, now)?;
        }
        // Rows that lie together in the file are written together.
        rows.sort_unstable();
        let batch = self.process_rows(&rows)?;
        Ok(Batch { last: Some(last), looked_at: due.len(), ..batch })
    }

    /// Takes out the rows of keys that wait for a backup, so that a pass over them needs no transaction. A key with a version
    /// whose deletion is pending stays: that waits for no backup.
    fn leave_held(&self, rows: &mut Vec<i64>, now: &Now) -> Result<()> {
        let mut held = Vec::new();
        self.store.read(|view| {
            rows.retain(|row| match view.key_in_row(*row) {
                Ok(Some(stored))
                    if stored.key.schedule().status(now.wall) == RotationStatus::Due
                        && self.backup_status(&stored.key, now.wall) == BackupStatus::Wait =>
                {
                    held.extend(stored.key.primary.map(|primary| (stored.key.id, primary.id)));
                    stored.records.has_news(now)
                }
                _ => true,
            });
            Ok(())
        })?;
        for (id, primary) in held {
            if self.held.lock()?.insert(id, primary) != Some(primary) {
                self.emit(&Event::new(EventKind::RotationWaitsForBackup, now.wall).of_key(id));
            }
        }
        Ok(())
    }

    /// Does what is due in these rows, in one transaction. If one of them is inconsistent, each half gets its own
    /// transaction, so that it does not keep the others from rotating.
    fn process_rows(&self, rows: &[i64]) -> Result<Batch> {
        match self.process_together(rows) {
            Err(e) if e.status() == Status::KeystoreCorrupt && rows.len() > 1 => {
                let (first, second) = rows.split_at(rows.len() / 2);
                let first = self.process_rows(first)?;
                crate::sys::sync::sleep(PAUSE);
                Ok(first.and(self.process_rows(second)?))
            }
            Err(e) if e.status() == Status::KeystoreCorrupt => {
                let mut batch = Batch::default();
                batch.done.damaged = rows.len();
                for row in rows {
                    self.report_damaged(*row, &e)?;
                }
                Ok(batch)
            }
            done => done,
        }
    }

    /// Reported once; the row stays due, and every pass finds it again.
    fn report_damaged(&self, row: i64, error: &Error) -> Result<()> {
        if self.damaged.lock()?.insert(row) {
            self.emit(&Event::new(EventKind::KeyDamaged, self.clock.wall()).because(error));
        }
        Ok(())
    }

    fn process_together(&self, rows: &[i64]) -> Result<Batch> {
        let (mut events, mut damaged) = (Vec::new(), Vec::new());
        let is_alone = rows.len() == 1;
        let done = self.change(ChangeAction::RecordDates, |change, now| {
            let started = Instant::now();
            let (mut changed, mut rotated) = (Changed::none(Batch::default()), None);
            change.expect_rows(rows)?;
            for row in rows {
                let stored = match change.key_in_row(*row) {
                    Ok(Some(stored)) => stored,
                    Ok(None) => continue,
                    // One damaged row must not stop the others.
                    Err(e) if e.status() == Status::KeystoreCorrupt => {
                        damaged.push((*row, e));
                        continue;
                    }
                    Err(e) => return Err(e),
                };
                let id = stored.key.id;
                let event = |kind| Event::new(kind, now.wall).of_key(id);
                let irreversible = is_irreversible(&stored, now);
                // In a transaction of its own, so that the change log names the key.
                if irreversible && !is_alone {
                    changed.value.postponed.push(*row);
                    continue;
                }
                match process_due_key(self, change, stored, now)? {
                    KeyOutcome::Rotated(stored, found) => {
                        if self.backup_wait.is_some() {
                            self.held.lock()?.remove(&id);
                        }
                        changed.value.done.rotated += 1;
                        rotated = Some(id);
                        let version = stored.key.primary.map(|p| p.id);
                        events.extend(found);
                        events.push(event(EventKind::Rotated).of_version(version));
                        changed.made.extend(self.newest_in_use(change, &stored)?);
                        changed.keys.push(stored);
                    }
                    KeyOutcome::Updated(stored, found) => {
                        // Its rotation may be due, too.
                        changed.value.postponed.extend(irreversible.then_some(*row));
                        events.extend(found);
                        changed.keys.push(stored);
                    }
                    KeyOutcome::Destroyed(id, waited) => {
                        changed.value.done.destroyed += 1;
                        events.push(event(EventKind::KeyDestroyed).waited(waited));
                        changed.destroyed.push(id);
                    }
                    KeyOutcome::Nothing => {}
                }
            }
            if let Some(last) = rotated {
                change.log_as(ChangeAction::RotateKeyAuto, Some(last), changed.value.done.rotated as u64);
            }
            let destroyed = events.iter().filter(|event| event.kind == EventKind::VersionDestroyed).count();
            changed.value.done.versions_destroyed = destroyed;
            changed.value.changed = changed.keys.len() + changed.destroyed.len();
            changed.value.took = started.elapsed();
            Ok(changed)
        })?;
        let mut batch = done.value;
        batch.done.damaged = damaged.len();
        self.counters.rotations.fetch_add(batch.done.rotated as u64, Ordering::Relaxed);
        self.counters.destroyed.fetch_add(batch.done.destroyed as u64, Ordering::Relaxed);
        self.report(&events);
        for (row, error) in &damaged {
            self.report_damaged(*row, error)?;
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests;
