//! What is at the keystore's path: the keystore that is open, another one, or nothing.

use std::sync::atomic::Ordering;

use super::backend::MetaRow;
use super::driver::Standing;
use super::handle::Store;
use super::history::{History, Step};
use super::sealing::{Meta, Sealing};
use super::shard::Shard;
use super::state::State;
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

    /// Records the description that a transaction finds of a shard.
    pub(super) fn see(&self, history: &mut History, shard: Shard, found: &MetaRow) -> Result<()> {
        if self.is_remote {
            self.see_remote(history, shard, found);
            return Ok(());
        }
        let newer = self.check_newer(shard, found.generation);
        self.note_place(newer.is_err());
        newer?;
        let displaced = history.displaced;
        match history.see(shard, State::of(found), found.recent.as_deref()) {
            Step::Other => {}
            // The handle's user should know of another file, whether or not it continues the one before.
            Step::Unknown if displaced => {}
            _ => return Ok(()),
        }
        self.turns.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The same for a store on another machine. Reads continue with the rows that it has now; changes stop.
    fn see_remote(&self, history: &mut History, shard: Shard, found: &MetaRow) {
        let state = State::of(found);
        let seen = self.note_seen(shard, found.generation);
        match history.see(shard, state, found.recent.as_deref()) {
            // A forked child knows what its parent has seen.
            Step::On if seen <= found.generation => return,
            Step::Unknown => return,
            Step::Older => history.restart(shard, state),
            Step::On | Step::Other => {}
        }
        if let Some(seen) = self.seen.get(shard.index()) {
            seen.store(found.generation, Ordering::Relaxed);
        }
        self.freshness.note_rollback();
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
