//! A checkpoint: a record of the state of all shards of a store at one moment, and of whether changes are stopped.
//!
//! A single shard can be put back to an older state unnoticed by a process that never saw the newer one. A checkpoint
//! is in the store and is authentic; a process that finds it older than 10 s makes the next one. No shard may be older
//! than it. The anchor holds the checkpoint, so that the store can't be put back together with it.
//!
//! Checkpoints are numbered. An operator who accepts a loss begins a new epoch, whose numbers are above all that could
//! be lost: every process then continues with the present state.

use super::sealing::Sealing;
use super::state::State;
use crate::error::{Error, Result, Status};

/// A checkpoint older than this is made again.
pub const INTERVAL_MS: i64 = 10_000;
/// Numbers of an epoch.
const EPOCH: i64 = 1 << 40;
/// A MAC, a number, a time, whether changes are stopped.
const HEAD: usize = 32 + 8 + 8 + 1;
const STATE: usize = 8 + 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub number: i64,
    /// By the clock of the machine that has the rows.
    pub at_ms: i64,
    /// A process has seen more than the store has: nothing is changed until an operator accepts the loss.
    pub is_stopped: bool,
    /// By shard.
    pub states: Vec<State>,
    pub mac: [u8; 32],
}

fn damaged() -> Error {
    Status::KeystoreCorrupt.error("the checkpoint of the keystore is damaged; restore the database from a backup")
}

impl Checkpoint {
    /// The record of a checkpoint with this number.
    pub fn encode(
        sealing: &mut Sealing,
        number: i64,
        at_ms: i64,
        is_stopped: bool,
        states: &[State],
    ) -> Result<Vec<u8>> {
        let mut body = Vec::with_capacity(HEAD + states.len() * STATE);
        body.extend(number.to_be_bytes());
        body.extend(at_ms.to_be_bytes());
        body.push(u8::from(is_stopped));
        for state in states {
            body.extend(state.generation().to_be_bytes());
            body.extend(state.mac());
        }
        let mut record = sealing.checkpoint_mac(&body)?.to_vec();
        record.append(&mut body);
        Ok(record)
    }

    pub fn decode(sealing: &mut Sealing, record: &[u8]) -> Result<Self> {
        let (mac, body) = record.split_first_chunk::<32>().ok_or_else(damaged)?;
        if sealing.checkpoint_mac(body)? != *mac {
            return Err(damaged());
        }
        let (number, rest) = body.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (at_ms, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (is_stopped, rest) = rest.split_first().ok_or_else(damaged)?;
        let states = rest.chunks_exact(STATE).map(|state| {
            let (generation, mac) = state.split_first_chunk::<8>()?;
            Some(State::new(i64::from_be_bytes(*generation), mac.try_into().ok()?))
        });
        Ok(Self {
            number: i64::from_be_bytes(*number),
            at_ms: i64::from_be_bytes(*at_ms),
            is_stopped: *is_stopped != 0,
            states: states.collect::<Option<_>>().ok_or_else(damaged)?,
            mac: *mac,
        })
    }

    /// The next checkpoint, of a store that moved on in these shards only: the number and the record.
    ///
    /// It keeps the time, as the other shards were not checked.
    pub fn after(&self, sealing: &mut Sealing, moved: impl Iterator<Item = (usize, State)>) -> Result<(i64, Vec<u8>)> {
        let mut states = self.states.clone();
        for (at, state) in moved {
            *states.get_mut(at).ok_or_else(damaged)? = state;
        }
        let number = self.number.saturating_add(1);
        Ok((number, Self::encode(sealing, number, self.at_ms, false, &states)?))
    }

    /// As the state of a store, for its anchor.
    pub fn state(&self) -> State {
        State::new(self.number, self.mac)
    }

    /// Whether a store whose shards have these states has all that the checkpoint has.
    pub fn is_covered(&self, found: &[State]) -> bool {
        self.states.len() == found.len() && !self.states.iter().zip(found).any(|(known, found)| found.is_behind(known))
    }

    /// Whether the shard with this number, in this state, has all that the checkpoint has of it.
    pub fn is_covered_at(&self, at: usize, found: &State) -> bool {
        self.states.get(at).is_some_and(|known| !found.is_behind(known))
    }
}

pub fn epoch(number: i64) -> i64 {
    number / EPOCH
}

/// The first number of the epoch after that of `number`.
pub fn next_epoch(number: i64) -> i64 {
    (epoch(number) + 1).saturating_mul(EPOCH)
}

#[cfg(test)]
mod tests;
