//! What a process has seen of the checkpoints of a store on another machine, and whether that went back.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use super::checkpoint::{self, Checkpoint};
use super::state::State;
use crate::error::Result;
use crate::sys::fault;
use crate::sys::sync::Lock;

/// What was seen of the checkpoints. Shared by all threads.
#[derive(Debug, Default)]
pub struct Freshness {
    /// The newest checkpoint that was seen, and when it was made; 0 before the first.
    pub number: AtomicI64,
    pub at_ms: AtomicI64,
    /// The one that the last poll found.
    pub there: Lock<Option<State>>,
    /// The one that the anchor holds.
    pub anchored: AtomicI64,
    pub is_rolled_back: AtomicBool,
    /// Whether the present checkpoint stops all processes.
    pub is_stopped: AtomicBool,
    pub rollbacks: AtomicU64,
}

impl Freshness {
    /// Records that the store has an older state than was seen.
    pub fn note_rollback(&self) {
        if !fault::wanted("KMS_FAULT_ROLLBACK_UNNOTICED") && !self.is_rolled_back.swap(true, Ordering::AcqRel) {
            self.rollbacks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Compares what a poll has found with what was seen before it began; `begun` is the number of the newest checkpoint then.
    pub fn take(&self, found: Option<&Checkpoint>, states: &[State], begun: i64) -> Result<()> {
        let mut there = self.there.lock()?;
        let newest = self.number.load(Ordering::Relaxed);
        // Another poll has found a newer one since, at a later moment, and compared that.
        let number = found.map_or(0, |found| found.number);
        let is_compared = number >= begun || checkpoint::epoch(newest) > checkpoint::epoch(begun);
        if number < newest && is_compared && !fault::wanted("KMS_FAULT_MOMENTS_MIXED") {
            return Ok(());
        }
        *there = found.map(Checkpoint::state);
        let Some(found) = found else {
            if newest != 0 {
                self.note_rollback();
            }
            return Ok(());
        };
        if newest != 0 && checkpoint::epoch(found.number) > checkpoint::epoch(newest) {
            // An operator has accepted the present state.
            self.is_rolled_back.store(false, Ordering::Release);
        }
        if found.number < newest || found.is_stopped || !found.is_covered(states) {
            self.note_rollback();
        }
        self.is_stopped.store(found.is_stopped, Ordering::Relaxed);
        if found.number > newest {
            self.number.store(found.number, Ordering::Relaxed);
            self.at_ms.store(found.at_ms, Ordering::Relaxed);
        }
        Ok(())
    }
}
