//! What is at the keystore's path: the keystore that is open, another one, or nothing.

use std::sync::atomic::Ordering;

use super::backend::MetaRow;
use super::connection::Connection;
use super::driver::Standing;
use super::handle::Store;
use super::history::{History, Step};
use super::sealing::{Meta, Sealing};
use super::shard::Shard;
use super::shared_history::Beginning;
use super::state::{Head, State};
use crate::error::{Result, Status};
use crate::sys::fault;

impl Store {
    /// Checks that a store found at our path, of which this is the first shard, is the one that was open: same uuid,
    /// and not older than what was seen of it.
    pub(super) fn check_same(&self, found: &MetaRow, sealing: &mut Sealing) -> Result<()> {
        if found.uuid != self.uuid {
            return Err(Status::KeystoreReplaced
                .error("another keystore is at this path now; close the handle and open it again"));
        }
        let generation = sealing.check_meta(found)?.generation;
        // One on another machine that went back is the same keystore: `see_remote` stops its changes.
        if self.is_remote && !fault::wanted("KMS_FAULT_ROLLBACK_REPLACES") {
            return Ok(());
        }
        self.check_newer(Shard::FIRST, generation)
    }

    /// Checks that what was read is not older than what was seen before. Even the open file may have been overwritten
    /// with an older copy.
    fn check_newer(&self, shard: Shard, generation: i64) -> Result<()> {
        if self.note_seen(shard, generation) > generation {
            return Err(Status::KeystoreReplaced
                .error("an older copy of the keystore is at this path now; close the handle and open it again"));
        }
        Ok(())
    }

    /// The newest generation that was seen of a shard before this one.
    pub(super) fn note_seen(&self, shard: Shard, generation: i64) -> i64 {
        self.seen.get(shard.index()).map_or(i64::MIN, |seen| seen.fetch_max(generation, Ordering::Relaxed))
    }

    /// Records the description that a transaction finds of a shard. Returns how many other histories were read instead of the
    /// known one.
    pub(super) fn see(
        &self,
        (history, begun): (&mut History, &mut Beginning),
        shard: Shard,
        found: &MetaRow,
    ) -> Result<u64> {
        if self.is_remote {
            self.see_remote(begun, shard, found)?;
            return Ok(begun.breaks);
        }
        let newer = self.check_newer(shard, found.generation);
        self.note_place(newer.is_err());
        newer?;
        let displaced = history.displaced;
        match history.see(shard, State::of(found), found.recent.as_deref()) {
            Step::Other => {}
            // The handle's user should know of another file, whether or not it continues the one before.
            Step::Unknown if displaced => {}
            _ => return Ok(history.breaks),
        }
        self.turns.fetch_add(1, Ordering::Relaxed);
        Ok(history.breaks)
    }

    /// The same for a store on another machine. Reads continue with the rows that it has now; changes stop.
    fn see_remote(&self, begun: &mut Beginning, shard: Shard, found: &MetaRow) -> Result<()> {
        let mut history = self.shared_history.lock()?;
        let went_back = history.see(begun, State::of(found), head_of(shard, found), found.recent.as_deref());
        if went_back {
            // What was seen of the other shards may be lost, too.
            self.seen.iter().for_each(|seen| seen.store(i64::MIN, Ordering::Relaxed));
            self.note_seen(shard, found.generation);
            self.freshness.note_rollback();
        } else if history.is_at(shard, &State::of(found)) {
            self.note_seen(shard, found.generation);
        }
        Ok(())
    }

    /// What is known of a store on another machine before a transaction begins.
    pub(super) fn beginning(&self) -> Result<Beginning> {
        Ok(self.shared_history.lock()?.begin(self.freshness.number.load(Ordering::Relaxed)))
    }

    /// Records what a transaction of this handle has committed of a shard.
    pub(super) fn note_committed(&self, connection: &mut Connection, shard: Shard, meta: &MetaRow) -> Result<()> {
        let (state, head) = (State::of(meta), head_of(shard, meta));
        connection.kept.keep(state, head);
        if !self.is_remote {
            connection.history.committed(shard, state);
            self.note_seen(shard, meta.generation);
            return Ok(());
        }
        let mut history = self.shared_history.lock()?;
        history.committed(&connection.begun, state, head);
        if history.is_at(shard, &state) {
            self.note_seen(shard, meta.generation);
        }
        Ok(())
    }

    /// Keeps whether the keystore was found at its path.
    pub(super) fn note_place(&self, replaced: bool) {
        let standing = if replaced { self.driver.standing() } else { Standing::Here };
        self.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// The description of a keystore that is about to be changed: by our path, unless that is seen to be a second one.
    pub(super) fn take_place(&self, meta: Meta) -> Result<Meta> {
        let Some(ours) = self.driver.place() else { return Ok(meta) };
        if meta.place.as_deref() == Some(ours) {
            return Ok(meta);
        }
        self.driver.check_place(meta.place.as_deref())?;
        // From now on this is the path that others are compared with.
        self.only_path.store(self.driver.check_place(Some(ours))?, Ordering::Relaxed);
        Ok(Meta { place: Some(ours.to_vec()), ..meta })
    }

    /// Whether it is certain that the keystore has no other path.
    pub fn is_only_path(&self) -> bool {
        self.only_path.load(Ordering::Relaxed)
    }

    /// What was at the keystore's path at the last check.
    pub fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            here if here == Standing::Here as u8 => Standing::Here,
            nothing if nothing == Standing::Nothing as u8 => Standing::Nothing,
            _ => Standing::Another,
        }
    }

    /// How often another history of the keystore was found in its place, and taken for it.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }
}

fn head_of(shard: Shard, meta: &MetaRow) -> Head {
    let MetaRow { generation, destroyed, renamed, .. } = *meta;
    Head { shard, generation, destroyed, renamed }
}
