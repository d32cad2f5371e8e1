//! What each thread keeps for the hot path: ready ciphers for the keys and versions it used last.
//!
//! Everything here was checked against the cache at some announced word and epoch. While both stand still, a call
//! needs no lock; once one moves, each entry is checked again before its next use.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::cache::{CachedKey, Material};
use crate::crypto::context::Aad;
use crate::crypto::xaes::{KeySource, Opener, Sealer, Shared};
use crate::domain::id::VersionId;
use crate::error::{Result, Status};
use crate::sys::secret::Secret;

/// Contexts of a thread in each direction. Above this, setting a key again is faster than the cache misses.
const CONTEXTS: usize = 256;

/// Dropped, and so wiped, with the handle or the thread.
pub struct ThreadState {
    pub shared: Option<Shared>,
    pub aad: Aad,
    pub seals: Slots<Box<str>, Seal>,
    pub opens: Slots<VersionId, Open>,
    /// The word and epoch at which entries stamped with `stamp` were current.
    pub word: u64,
    pub epoch: u64,
    pub stamp: u64,
}

impl Default for ThreadState {
    fn default() -> Self {
        Self { shared: None, aad: Aad::new(), seals: Slots::new(), opens: Slots::new(), word: 0, epoch: 0, stamp: 0 }
    }
}

/// Ready to encrypt under a key's primary version.
pub struct Seal {
    pub key: Arc<CachedKey>,
    pub material: Arc<Material>,
    pub sealer: Sealer,
    pub stamp: u64,
}

/// Ready to decrypt what one version encrypted.
pub struct Open {
    pub key: Arc<CachedKey>,
    pub material: Arc<Material>,
    pub opener: Opener,
    pub stamp: u64,
}

impl KeySource for Secret {
    fn lend(&self, user: &mut dyn FnMut(&[u8; 32]) -> Result<()>) -> Result<()> {
        user(self.expose())
    }
}

/// What sealers and openers of a thread share, made on first use.
pub fn shared(slot: &mut Option<Shared>) -> Result<&mut Shared> {
    if slot.is_none() {
        *slot = Some(Shared::new()?);
    }
    slot.as_mut().ok_or_else(|| Status::Internal.error("a thread has no cipher state"))
}

/// A bounded map whose last used entry is found without hashing; when full, entries are replaced in turn.
pub struct Slots<K, V> {
    entries: Vec<(K, V)>,
    index: HashMap<K, usize>,
    last: usize,
    turn: usize,
}

impl<K: Eq + Hash + Clone, V> Slots<K, V> {
    fn new() -> Self {
        Self { entries: Vec::new(), index: HashMap::new(), last: 0, turn: 0 }
    }

    #[inline]
    pub fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let at = match self.entries.get(self.last) {
            Some((found, _)) if found.borrow() == key => self.last,
            _ => *self.index.get(key)?,
        };
        self.last = at;
        self.entries.get_mut(at).map(|(_, value)| value)
    }

    pub fn put(&mut self, key: K, value: V) {
        if let Some(entry) = self.index.get(&key).and_then(|at| self.entries.get_mut(*at)) {
            entry.1 = value;
            return;
        }
        if self.entries.len() < CONTEXTS {
            self.index.insert(key.clone(), self.entries.len());
            self.entries.push((key, value));
            return;
        }
        self.turn = (self.turn + 1) % CONTEXTS;
        if let Some(entry) = self.entries.get_mut(self.turn) {
            self.index.remove(&entry.0);
            self.index.insert(key.clone(), self.turn);
            *entry = (key, value);
        }
    }

    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some(at) = self.index.remove(key) {
            self.entries.swap_remove(at);
            if let Some((moved, _)) = self.entries.get(at) {
                self.index.insert(moved.clone(), at);
            }
        }
    }
}

#[cfg(test)]
mod tests;
