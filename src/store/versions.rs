//! Remembers what was read of the versions of keys.
//!
//! * Which versions keys were seen to have, so that a ciphertext that names another is answered without reading all of them
//!   again: a caller who may send ciphertexts could hold the connection with it.
//! * The records of versions. A key that is used for years has one for each of its versions, which only days of use and
//!   changes of state alter.

use std::collections::HashMap;
use std::sync::Arc;

use super::sealing::Chain;
use crate::domain::version::VersionRecords;

/// How many versions of all keys together are remembered, in 8 bytes each.
const LIMIT: usize = 1 << 20;

/// The beginning of a version's id. Ids are random; one that begins like another is searched in the rows.
pub type IdPrefix = u64;

pub fn start(version: &[u8; 16]) -> IdPrefix {
    version.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// How many records of versions of all keys together are remembered, in some 200 bytes each.
const RECORDS: usize = 1 << 15;

/// Known versions, by the chain over a key's rows, which changes with them, and by the MAC over its records.
#[derive(Debug, Default)]
pub struct Versions {
    seen: HashMap<Chain, Vec<IdPrefix>>,
    total: usize,
    records: HashMap<[u8; 32], Arc<VersionRecords>>,
    total_records: usize,
}

impl Versions {
    /// Whether the key whose rows make `chain` is known to have no such version.
    pub fn lacks(&self, chain: &Chain, version: &[u8; 16]) -> bool {
        self.seen.get(chain).is_some_and(|starts| starts.binary_search(&start(version)).is_err())
    }

    /// The records that this MAC covers, if they are known.
    pub fn records(&self, mac: &[u8; 32]) -> Option<Arc<VersionRecords>> {
        self.records.get(mac).cloned()
    }

    pub fn keep_records(&mut self, mac: [u8; 32], records: &Arc<VersionRecords>) {
        let len = records.all().len();
        // Few records are read as quickly as they are found.
        if !(2..=RECORDS).contains(&len) {
            return;
        }
        if self.total_records + len > RECORDS || self.records.try_reserve(1).is_err() {
            self.records.clear();
            self.total_records = 0;
            if self.records.try_reserve(1).is_err() {
                return;
            }
        }
        if self.records.insert(mac, Arc::clone(records)).is_none() {
            self.total_records += len;
        }
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
