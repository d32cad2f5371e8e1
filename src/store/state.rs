//! The state of a shard: which description it has, and what that says.

use super::shard::Shard;
use super::unchecked::unchecked;
use crate::error::{Result, Status};

/// A state of the keystore: its generation, and the MAC of its description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    generation: i64,
    mac: [u8; 32],
}

impl State {
    pub fn new(generation: i64, mac: [u8; 32]) -> Self {
        Self { generation, mac }
    }

    pub fn generation(&self) -> i64 {
        self.generation
    }

    pub fn mac(&self) -> &[u8; 32] {
        &self.mac
    }

    /// Whether a shard in this state lacks something of one in the state `known`.
    pub fn is_behind(&self, known: &Self) -> bool {
        self.generation < known.generation || (self.generation == known.generation && self != known)
    }

    /// Checks that a keystore in this state has everything that was anchored.
    pub fn check(&self, anchored: Option<Self>) -> Result<()> {
        match anchored {
            Some(_) if unchecked() => Ok(()),
            Some(anchored) if self.generation < anchored.generation => Err(Status::KeystoreRolledBack.error(
                "the keystore is older than its anchor: an older copy was put in its place; restore the newest one, \
                 or empty the anchor to accept the loss",
            )),
            Some(anchored) if self.generation == anchored.generation && self.mac != anchored.mac => {
                Err(Status::KeystoreRolledBack
                    .error("the keystore was changed after an older copy replaced it; restore the newest copy, or empty the anchor to accept the loss"))
            }
            _ => Ok(()),
        }
    }
}

/// The head of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub shard: Shard,
    pub generation: i64,
    /// How often a key was destroyed, or its imported material erased.
    pub destroyed: i64,
    /// How many times aliases were made, moved or deleted.
    pub renamed: i64,
}
