//! What a handle knows of a store on another machine: the newest state of each shard, for all of its connections.
//!
//! Several transactions run at once, and each finds the state of its own moment. What one finds may therefore be older than
//! what another has read or committed meanwhile. It is never older than what was known before the transaction began, unless
//! the store went back.

use std::cmp::Ordering;

use super::history::{Step, step};
use super::kept::Heads;
use super::shard::Shard;
use super::state::{Head, State};
use crate::sys::fault;

/// The history of a transaction of which it is unknown whether it reads an earlier or a later moment than what is known.
/// Nothing of what it reads is kept.
pub const UNPLACED: u64 = u64::MAX;

/// What was known before a transaction began.
#[derive(Clone, Default)]
pub(super) struct Beginning {
    pub heads: Heads,
    /// Counts the times that what was read may not continue what was known; or [`UNPLACED`].
    pub breaks: u64,
    /// Counts the times that the store was seen to have gone back.
    losses: u64,
    /// By shard: the losses when its head was recorded. What was recorded before a loss may be lost, and is no measure.
    recorded_at: Vec<u64>,
    /// Whether the transaction has found a shard at an earlier moment than another did.
    is_earlier: bool,
    /// Whether it was the first to find that the history is another.
    is_first: bool,
    /// The number of the newest checkpoint.
    pub checkpoint: i64,
}

impl Beginning {
    fn known(&self, shard: Shard) -> Option<State> {
        self.heads.get(shard).filter(|_| self.recorded_at.get(shard.index()) == Some(&self.losses))
    }

    fn keep(&mut self, state: State, head: Head) {
        let at = head.shard.index();
        if self.recorded_at.len() <= at {
            self.recorded_at.resize(at + 1, self.losses);
        }
        if let Some(recorded_at) = self.recorded_at.get_mut(at) {
            *recorded_at = self.losses;
        }
        self.heads.keep(state, head);
    }
}

#[derive(Default)]
pub(super) struct SharedHistory {
    newest: Beginning,
}

impl SharedHistory {
    /// What is known before a transaction begins.
    pub fn begin(&self, checkpoint: i64) -> Beginning {
        Beginning { checkpoint, ..self.newest.clone() }
    }

    /// Records what a transaction has found of a shard. Whether the store went back, which no other transaction reported since this
    /// one began.
    pub fn see(&mut self, begun: &mut Beginning, state: State, head: Head, recent: Option<&[u8]>) -> bool {
        let newest = self.newest.known(head.shard);
        // Found at an earlier moment than what another transaction knows.
        let is_earlier = newest.is_some_and(|newest| newest.generation() > state.generation());
        let is_same_history = begun.breaks == self.newest.breaks;
        let is_next = is_same_history && !is_earlier;
        let known = match is_next || fault::wanted("KMS_FAULT_MOMENTS_MIXED") {
            true => newest,
            false => begun.known(head.shard),
        };
        begun.is_earlier |= is_earlier;
        let went_back = match known.map_or(Step::On, |known| step(&known, &state, recent)) {
            Step::On if is_next => {
                self.newest.keep(state, head);
                return false;
            }
            Step::On => {
                // Others have read more since than what it would put in the place of theirs.
                if begun.is_first {
                    begun.breaks = UNPLACED;
                }
                return false;
            }
            Step::Unknown => false,
            Step::Older | Step::Other => begun.losses == self.newest.losses,
        };
        // What it finds, another has found before it, perhaps at a later moment; or a later transaction finds it again.
        if !went_back && (!is_next || begun.is_earlier) {
            begun.breaks = UNPLACED;
            return false;
        }
        if went_back {
            // What was known of the other shards may be lost, too, and that is no second loss.
            self.newest.losses += 1;
            (begun.losses, begun.is_earlier) = (self.newest.losses, false);
        }
        self.newest.keep(state, head);
        self.newest.breaks += 1;
        (begun.breaks, begun.is_first) = (self.newest.breaks, true);
        went_back
    }

    /// Whether this is the newest known state of a shard.
    pub fn is_at(&self, shard: Shard, state: &State) -> bool {
        self.newest.known(shard).is_some_and(|newest| newest == *state)
    }

    /// Records what a transaction has committed.
    pub fn committed(&mut self, begun: &Beginning, state: State, head: Head) {
        let order = self.newest.known(head.shard).map(|newest| newest.generation().cmp(&state.generation()));
        if begun.breaks == self.newest.breaks && order.is_none_or(|order| order == Ordering::Less) {
            self.newest.keep(state, head);
        }
    }
}

#[cfg(test)]
mod tests;
