//! Whether a store on another machine has all that was seen of it.
//!
//! A database can go back: a standby that lacked the last second was promoted, a backup was restored, rows were put back. A
//! process that has seen more notices it, as does any by the checkpoint or the anchor. From then on no
//! process changes anything until an operator accepts the present state. Reads continue with it.

use std::sync::atomic::Ordering;

use super::backend::{News, Transaction};
use super::checkpoint::{self, Checkpoint};
use super::connection::{Connection, busy, gated};
use super::handle::Store;
use super::shard::Shard;
use super::state::State;
use super::tree::Rows;
use crate::error::{Result, Status};
use crate::sys::fault;

/// How often an operator's acceptance is tried while others make changes.
const TRIES: usize = 100;

impl Store {
    /// Whether the store went back, so that nothing is changed.
    pub fn is_rolled_back(&self) -> bool {
        self.freshness.is_rolled_back.load(Ordering::Acquire)
    }

    /// How often it was seen to go back.
    pub fn rollbacks(&self) -> u64 {
        self.freshness.rollbacks.load(Ordering::Relaxed)
    }

    pub(super) fn check_fresh(&self) -> Result<()> {
        match self.is_rolled_back() {
            true => Err(Status::KeystoreRolledBack.error(
                "the database lost changes that were seen before, as after a failover or a restored backup; restore the \
                 newest state, or open the keystore with accept_rollback to continue with what is there",
            )),
            false => Ok(()),
        }
    }

    /// Compares what a poll found with what was seen before.
    pub(super) fn take_news(&self, connection: &mut Connection) -> Result<()> {
        let Connection { kept, sealing, begun, .. } = connection;
        let Some(News { states, clock, checkpoint }) = kept.news.take() else { return Ok(()) };
        if let Some(reading) = clock {
            self.server_clock.take(reading);
        }
        let found = checkpoint.map(|record| Checkpoint::decode(sealing, &record)).transpose()?;
        self.freshness.take(found.as_ref(), &states, begun.checkpoint)
    }

    /// After a poll: anchors the present checkpoint. Makes a new one where it is too old, or doesn't say that changes
    /// are stopped.
    pub fn keep_checkpoint(&self) -> Result<()> {
        let freshness = &self.freshness;
        let now = self.server_clock.wall_ms().unwrap_or(0);
        let age = now.saturating_sub(freshness.at_ms.load(Ordering::Relaxed));
        let is_old = !(0..checkpoint::INTERVAL_MS).contains(&age);
        let stops = self.is_rolled_back() && !freshness.is_stopped.load(Ordering::Relaxed);
        if !self.settings.read_only && (stops || (is_old && !self.is_rolled_back())) {
            let next = freshness.number.load(Ordering::Relaxed).saturating_add(1);
            self.make_checkpoint(next, stops)?;
        }
        self.anchor_checkpoint()
    }

    /// In a forked child, which knows what its parent has seen.
    pub(super) fn inherit(&self, parent: &Self) {
        if !self.is_remote {
            return;
        }
        let number = |store: &Self| store.freshness.number.load(Ordering::Relaxed);
        let is_behind = self.seen.iter().zip(&parent.seen).any(|(ours, theirs)| {
            let theirs = theirs.load(Ordering::Relaxed);
            ours.load(Ordering::Relaxed) < theirs
        });
        let is_same_epoch = checkpoint::epoch(number(self)) == checkpoint::epoch(number(parent));
        if is_same_epoch && (is_behind || number(self) < number(parent) || parent.is_rolled_back()) {
            self.freshness.note_rollback();
        }
    }

    /// Begins a new epoch with the present state: every process continues with it.
    pub(super) fn accept_rollback(&self) -> Result<()> {
        self.check_writable()?;
        let next = checkpoint::next_epoch(self.freshness.number.load(Ordering::Relaxed));
        self.make_checkpoint(next, false)
    }

    /// Whether each change makes a checkpoint, which the anchor holds.
    pub(super) fn is_strict(&self) -> bool {
        self.is_remote
            && self.settings.is_anchor_strict
            && self.settings.anchor.is_some()
            && !fault::wanted("KMS_FAULT_ANCHOR_NOT_STRICT")
    }

    /// Makes the checkpoint of a change in its own transaction: the present one, with the new states of the shards that
    /// move. Strict changes follow one another, as each holds the checkpoint's lock until it is committed.
    pub(super) fn certify(
        &self,
        rows: &mut Rows<'_>,
        moved: &[(Shard, State, State)],
        anchored: Option<State>,
    ) -> Result<State> {
        let freshness = &self.freshness;
        let newest = freshness.number.load(Ordering::Relaxed);
        let Some(record) = rows.backend.lock_checkpoint()? else {
            if newest != 0 {
                freshness.note_rollback();
            }
            self.check_fresh()?;
            // The next poll makes the first one.
            return Err(busy());
        };
        let there = Checkpoint::decode(rows.sealing, &record)?;
        there.state().check(anchored)?;
        let is_covered = moved.iter().all(|(shard, before, _)| there.is_covered_at(shard.index(), before));
        if there.number < newest || there.is_stopped || !is_covered {
            freshness.note_rollback();
        }
        self.check_fresh()?;
        let moved = moved.iter().map(|(shard, _, after)| (shard.index(), *after));
        let (number, record) = there.after(rows.sealing, moved)?;
        rows.backend.put_checkpoint(number, &record)?;
        let mac = record.first_chunk().copied().unwrap_or_default();
        Ok(State::new(number, mac))
    }

    /// Records the checkpoint that a change has committed.
    pub(super) fn note_certified(&self, made: State) -> Result<()> {
        let mut there = self.freshness.there.lock()?;
        // Another change may have been certified after it, and recorded before.
        if self.freshness.number.fetch_max(made.generation(), Ordering::Relaxed) < made.generation() {
            *there = Some(made);
        }
        Ok(())
    }

    /// Makes a checkpoint of what this process knows, if that is still the store's state, and anchors it.
    fn make_checkpoint(&self, number: i64, is_stopped: bool) -> Result<()> {
        self.transact(Transaction::Write, |connection| {
            Self::put_checkpoint(connection, number, is_stopped).map(|is_made| ((), is_made))
        })
    }

    fn put_checkpoint(connection: &mut Connection, number: i64, is_stopped: bool) -> Result<bool> {
        let Connection { backend, sealing, kept, .. } = connection;
        let backend = backend.get()?;
        let Some(News { states, clock, .. }) = gated(backend, |backend| backend.news())? else { return Ok(false) };
        // Only what was read and checked is certified.
        if !states.iter().enumerate().all(|(at, state)| kept.has_checked(at, state)) {
            return Ok(false);
        }
        let at_ms = clock.map_or(0, |clock| clock.theirs_ms);
        let record = Checkpoint::encode(sealing, number, at_ms, is_stopped, &states)?;
        gated(backend, |backend| backend.put_checkpoint(number, &record)).map(|()| true)
    }

    /// Writes the present checkpoint to the anchor. One that this process has just made is in the store only if no
    /// other process was faster, so it is read first.
    fn anchor_checkpoint(&self) -> Result<()> {
        let Some(there) = *self.freshness.there.lock()? else { return Ok(()) };
        let is_newer = self.freshness.anchored.load(Ordering::Relaxed) < there.generation();
        if self.settings.anchor.is_some() && is_newer && !self.settings.read_only && !self.is_rolled_back() {
            self.raise_anchor(&there)?;
            self.freshness.anchored.fetch_max(there.generation(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// At open: reads the state of the store, and compares it with the checkpoint and with the anchor's.
    pub(super) fn check_checkpoint(&self) -> Result<()> {
        // The anchor is read first: another process may raise it at any moment.
        let anchored = self.anchored()?;
        self.read(|view| view.heads().map(drop))?;
        let there = *self.freshness.there.lock()?;
        if let Err(error) = there.unwrap_or(State::new(i64::MIN, [0; 32])).check(anchored) {
            if !self.settings.accepts_rollback {
                return Err(error);
            }
            self.freshness.note_rollback();
            self.freshness.number.fetch_max(anchored.map_or(0, |anchored| anchored.generation()), Ordering::Relaxed);
        }
        // A shard that moves meanwhile is read again before it is certified.
        for _ in 0..TRIES {
            if !self.settings.accepts_rollback || !self.is_rolled_back() {
                break;
            }
            self.accept_rollback()?;
            self.read(|view| view.heads().map(drop))?;
        }
        // One that cannot be made now is made after a poll.
        let _ = self.keep_checkpoint();
        if there.is_none() {
            self.read(|view| view.heads().map(drop))?;
        }
        self.anchor_checkpoint()
    }
}
