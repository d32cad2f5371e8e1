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

/// What was known before a transaction began.
#[derive(Clone, Default)]
pub(super) struct Beginning {
    pub heads: Heads,
    /// Counts the times that what was read may not continue what was known.
    pub breaks: u64,
    /// Counts the times that the store was seen to have gone back.
    losses: u64,
    /// The number of the newest checkpoint.
    pub checkpoint: i64,
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
        let newest = self.newest.heads.get(head.shard);
        // Found at an earlier moment than what another transaction knows.
        let is_earlier = newest.is_some_and(|newest| newest.generation() > state.generation());
        let is_same_history = begun.breaks == self.newest.breaks;
        let known = match is_same_history && !is_earlier || fault::wanted("KMS_FAULT_MOMENTS_MIXED") {
            true => newest,
            false => begun.heads.get(head.shard),
        };
        let went_back = match known.map_or(Step::On, |known| step(&known, &state, recent)) {
            Step::On => {
                if is_same_history && !is_earlier {
                    self.newest.heads.keep(state, head);
                }
                return false;
            }
            Step::Unknown => false,
            Step::Older | Step::Other => begun.losses == self.newest.losses,
        };
        self.newest.breaks += 1;
        if went_back {
            self.newest.losses += 1;
            begun.losses = self.newest.losses;
        }
        if went_back || !is_earlier {
            self.newest.heads.keep(state, head);
        }
        begun.breaks = self.newest.breaks;
        went_back
    }

    /// Whether this is the newest known state of a shard.
    pub fn is_at(&self, shard: Shard, state: &State) -> bool {
        self.newest.heads.get(shard).is_some_and(|newest| newest == *state)
    }

    /// Records what a transaction has committed.
    pub fn committed(&mut self, begun: &Beginning, state: State, head: Head) {
        let order = self.newest.heads.get(head.shard).map(|newest| newest.generation().cmp(&state.generation()));
        if begun.breaks == self.newest.breaks && order.is_none_or(|order| order == Ordering::Less) {
            self.newest.heads.keep(state, head);
        }
    }
}

#[cfg(test)]
mod tests;
