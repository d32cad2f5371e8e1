//! Remembers which versions keys were seen to have, so that a ciphertext that names another is answered without reading all
//! of them again: a caller who may send ciphertexts could hold the connection with it.

use std::collections::HashMap;

use super::sealing::Chain;

/// How many versions of all keys together are remembered, in 8 bytes each.
const LIMIT: usize = 1 << 20;

/// The beginning of a version's id. Ids are random; one that begins like another is looked for in the rows.
pub type IdPrefix = u64;

pub fn start(version: &[u8; 16]) -> IdPrefix {
    version.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// By the chain over a key's rows, which changes with them.
#[derive(Debug, Default)]
pub struct Versions {
    seen: HashMap<Chain, Vec<IdPrefix>>,
    total: usize,
}

impl Versions {
    /// Whether the key whose rows make `chain` is known to have no such version.
    pub fn lacks(&self, chain: &Chain, version: &[u8; 16]) -> bool {
        self.seen.get(chain).is_some_and(|starts| starts.binary_search(&start(version)).is_err())
    }

    /// Keeps what all rows that make `chain` were seen to be.
    pub fn keep(&mut self, chain: Chain, mut starts: Vec<IdPrefix>) {
        if starts.len() > LIMIT {
            return;
        }
        if self.total + starts.len() > LIMIT {
            self.seen.clear();
            self.total = 0;
        }
        starts.sort_unstable();
        self.total += starts.len();
        if let Some(before) = self.seen.insert(chain, starts) {
            self.total -= before.len();
        }
    }
}

#[cfg(test)]
mod tests;
