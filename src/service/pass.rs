//! A pass: all that the clock finds due, in bounded batches.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::backup::BackupStatus;
use super::due::{KeyOutcome, is_irreversible, process_due_key};
use super::event::{Event, EventKind};
use super::rotation::TickReport;
use super::{Changed, Core};
use crate::domain::log::ChangeAction;
use crate::domain::rotation::RotationStatus;
use crate::domain::time::Now;
use crate::error::{Error, Result, Status};
use crate::store::{Change, DueRow, Shard};
use crate::sys::sync::sleep;

/// The work of a batch, under the lock of the store, takes about this long, and its commit some milliseconds more; batches
/// grow and shrink to fit.
const BATCH_TIME: Duration = Duration::from_millis(16);
/// SQLite has no queue: without a pause after each batch no other process would get the lock.
pub(super) const PAUSE: Duration = Duration::from_micros(500);
pub(super) const SMALLEST_BATCH: usize = 32;
const LARGEST_BATCH: usize = 4096;
/// The most keys of a transaction of a store that many hosts share, and how long its work may take: calls of this process wait
/// for the connection meanwhile.
const SHARED_BATCH: usize = 250;
const SHARED_BATCH_TIME: Duration = Duration::from_millis(100);
const CONTRADICTIONS: usize = 128;
/// For so long a pass notes contradictions before it rotates.
const CONTRADICTION_TIME: Duration = Duration::from_secs(1);

/// How many rows the next batch reads, after one of `size` rows that took this long.
fn next_size(size: usize, took: Duration) -> usize {
    let fitting = size as u128 * BATCH_TIME.as_micros() / took.as_micros().max(1);
    usize::try_from(fitting).unwrap_or(LARGEST_BATCH).clamp(size / 2, size * 2).clamp(SMALLEST_BATCH, LARGEST_BATCH)
}

/// The same alongside other hosts, where a transaction has round trips in addition to its work.
fn next_shared_size(size: usize, took: Duration) -> usize {
    let fitting = size as u128 * SHARED_BATCH_TIME.as_micros() / took.as_micros().max(1);
    usize::try_from(fitting).unwrap_or(SHARED_BATCH).clamp(SMALLEST_BATCH, SHARED_BATCH)
}

#[derive(Default)]
struct Batch {
    done: TickReport,
    /// The last row that was checked; none when nothing was due.
    last: Option<DueRow>,
    looked_at: usize,
    changed: usize,
    /// Rows that need a transaction each.
    postponed: Vec<i64>,
    /// How long the work took, without the commit: a slow disk makes each commit long, however small it is.
    took: Duration,
}

impl Batch {
    /// Both halves of a batch that could not be processed together.
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
    /// How many rows the next batch has, after one of `size` rows whose work took this long.
    pub(super) fn next_batch_size(&self, size: usize, took: Duration) -> usize {
        if self.store.is_remote() { next_shared_size(size, took) } else { next_size(size, took) }
    }

    /// One pass over everything due at `now`, in batches; `stop` is asked between them. What needs a transaction each comes
    /// last, so that no rotation waits for it.
    pub(super) fn run_due(&self, now: &Now, stop: &dyn Fn() -> bool) -> Result<TickReport> {
        let mut total = TickReport::default();
        let (mut after, mut postponed) = (None, Vec::new());
        let mut size = SMALLEST_BATCH;
        self.note_contradictions(stop)?;
        if self.store.is_remote() {
            self.read_backed_up()?;
            return self.run_due_beside_others(stop);
        }
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
            size = self.next_batch_size(size, batch.took);
            sleep(PAUSE);
        }
        self.process_postponed(postponed, stop, &mut total)?;
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
                sleep(PAUSE);
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
        let done = self.change(ChangeAction::RecordDates, |change, now| {
            self.process_due_rows(change, now, rows, (&mut events, &mut damaged))
        })?;
        self.report_batch(done.value, &events, &damaged)
    }

    /// What is due in these rows, inside of a transaction.
    fn process_due_rows(
        &self,
        change: &mut Change<'_>,
        now: &Now,
        rows: &[i64],
        (events, damaged): (&mut Vec<Event>, &mut Vec<(i64, Error)>),
    ) -> Result<Changed<Batch>> {
        let started = Instant::now();
        let (mut changed, mut rotated, mut made) = (Changed::none(Batch::default()), None, Vec::new());
        let is_alone = rows.len() == 1;
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
            let irreversible = is_irreversible(self, &stored, now);
            // In a separate transaction, so that the change log names the key.
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
                    made.push(changed.keys.len());
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
        // New material of all these keys is read back at once.
        change.read_back()?;
        for at in made {
            if let Some(stored) = changed.keys.get(at) {
                changed.made.extend(self.newest_in_use(change, stored)?);
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
    }

    fn report_batch(&self, mut batch: Batch, events: &[Event], damaged: &[(i64, Error)]) -> Result<Batch> {
        batch.done.damaged = damaged.len();
        self.counters.rotations.fetch_add(batch.done.rotated as u64, Ordering::Relaxed);
        self.counters.destroyed.fetch_add(batch.done.destroyed as u64, Ordering::Relaxed);
        self.report(events);
        for (row, error) in damaged {
            self.report_damaged(*row, error)?;
        }
        Ok(batch)
    }

    /// One pass alongside many other processes, which divide the shards among them: each transaction locks a shard that
    /// no other has, and rotates at most [`SHARED_BATCH`] of its keys.
    fn run_due_beside_others(&self, stop: &dyn Fn() -> bool) -> Result<TickReport> {
        let (mut total, mut postponed, mut size) = (TickReport::default(), Vec::new(), SMALLEST_BATCH);
        let (mut finished, mut last): (Vec<Shard>, HashMap<Shard, DueRow>) = Default::default();
        loop {
            let (mut events, mut damaged, mut claimed) = (Vec::new(), Vec::new(), None);
            let done = self.change(ChangeAction::RecordDates, |change, now| {
                let found = change.claim_due(now.wall, &finished, |shard| last.get(&shard).copied(), size)?;
                let Some((shard, due)) = found else { return Ok(Changed::none(Batch::default())) };
                let rows: Vec<i64> = due.iter().map(|due| due.row).collect();
                claimed = Some((shard, due));
                self.process_due_rows(change, now, &rows, (&mut events, &mut damaged))
            });
            let Some((shard, due)) = claimed else {
                done?;
                break;
            };
            let batch = match done {
                Err(error) if error.status() == Status::KeystoreCorrupt => {
                    self.process_rows(&due.iter().map(|due| due.row).collect::<Vec<i64>>())?
                }
                done => self.report_batch(done?.value, &events, &damaged)?,
            };
            let took = batch.took;
            total.add(&batch.done);
            postponed.extend(batch.postponed);
            match due.last() {
                Some(due_last) if due.len() >= size => {
                    last.insert(shard, *due_last);
                }
                _ => finished.push(shard),
            }
            if stop() {
                break;
            }
            size = self.next_batch_size(size, took);
            // Calls of this process need the connection, too.
            sleep(PAUSE);
        }
        self.process_postponed(postponed, stop, &mut total)?;
        Ok(total)
    }

    fn process_postponed(
        &self,
        mut postponed: Vec<i64>,
        stop: &dyn Fn() -> bool,
        total: &mut TickReport,
    ) -> Result<()> {
        while let Some(row) = postponed.pop() {
            if stop() {
                break;
            }
            sleep(PAUSE);
            let one = self.process_rows(&[row])?;
            total.add(&one.done);
            postponed.extend(one.postponed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
