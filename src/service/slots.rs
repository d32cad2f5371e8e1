//! A bounded map of what a thread used last; when it is full, entries are replaced in turn.
//!
//! An entry keeps its number while it lives, so that other tables can run parallel to this one. The index holds a part
//! of the hashes: a lookup touches one line of it and the entry, and nothing else. It is kept small, so that the CPU's
//! nearer caches can hold more of it.

use crate::error::{Error, Status};

/// A key of [`Slots`], found by what it is called in a call.
pub trait Called<Q: ?Sized> {
    fn of(name: &Q) -> Self;
    fn is(&self, name: &Q) -> bool;
    /// Cheap and uneven at worst: entries are compared in full.
    fn hash(name: &Q) -> u32;
}

/// Bits of an entry's number in the index.
const NUMBER: u32 = 24;
/// Most entries, for any capacity.
const MOST: usize = (1 << NUMBER) - 1;

#[cold]
pub fn lost() -> Error {
    Status::Internal.error("a thread lost an entry of its own")
}

pub struct Slots<K, V> {
    entries: Vec<Option<Entry<K, V>>>,
    /// Open addressing at the hash's lower bits: its upper eight above the entry's number plus one; zero is empty.
    index: Vec<u32>,
    len: usize,
    vacant: Vec<usize>,
    last: usize,
    turn: usize,
}

/// Begins at a cache line, so that a lookup touches as few as possible.
#[repr(align(64))]
struct Entry<K, V> {
    key: K,
    value: V,
    hash: u32,
    /// For the user of the map; 0 at first.
    mark: u32,
}

impl<K, V> Slots<K, V> {
    /// Bytes that an entry takes.
    #[cfg(test)]
    pub const ENTRY: usize = size_of::<Option<Entry<K, V>>>();

    pub const fn new() -> Self {
        Self { entries: Vec::new(), index: Vec::new(), len: 0, vacant: Vec::new(), last: 0, turn: 0 }
    }

    #[inline]
    pub fn find<Q: ?Sized>(&mut self, name: &Q) -> Option<usize>
    where
        K: Called<Q>,
    {
        self.find_beside(name, |_| {})
    }

    /// The same. `likely` receives each number before its entry is read, which may be far away.
    #[inline]
    pub fn find_beside<Q: ?Sized>(&mut self, name: &Q, likely: impl Fn(usize)) -> Option<usize>
    where
        K: Called<Q>,
    {
        if let Some(Some(entry)) = self.entries.get(self.last)
            && entry.key.is(name)
        {
            return Some(self.last);
        }
        let at = self.look(name, likely)?;
        self.last = at;
        Some(at)
    }

    /// The entry that was found or put last, if it has this name: its number, its value and its mark.
    #[inline(always)]
    pub fn latest<Q: ?Sized>(&mut self, name: &Q) -> Option<(usize, &mut V, &mut u32)>
    where
        K: Called<Q>,
    {
        let entry = self.entries.get_mut(self.last)?.as_mut()?;
        entry.key.is(name).then_some((self.last, &mut entry.value, &mut entry.mark))
    }

    #[inline]
    pub fn get(&mut self, at: usize) -> Option<&mut V> {
        self.entries.get_mut(at)?.as_mut().map(|entry| &mut entry.value)
    }

    /// An entry's value and its mark.
    #[inline]
    pub fn get_marked(&mut self, at: usize) -> Option<(&mut V, &mut u32)> {
        self.entries.get_mut(at)?.as_mut().map(|entry| (&mut entry.value, &mut entry.mark))
    }

    /// The entry that the next `put` replaces.
    pub fn next_out(&self, capacity: usize) -> Option<usize> {
        let full = self.vacant.is_empty() && self.entries.len() >= capacity.min(MOST);
        full.then(|| self.turn % self.entries.len().max(1))
    }

    /// Inserts an entry that is not present yet and returns its number, which may have been another entry's.
    pub fn put<Q: ?Sized>(&mut self, name: &Q, value: V, capacity: usize) -> usize
    where
        K: Called<Q>,
    {
        let at = match self.vacant.pop() {
            Some(at) => at,
            None if self.entries.len() < capacity.min(MOST) => {
                self.entries.push(None);
                self.entries.len() - 1
            }
            None => {
                let at = self.turn % self.entries.len().max(1);
                self.clear(at);
                self.turn = at + 1;
                at
            }
        };
        if let Some(place) = self.entries.get_mut(at) {
            *place = Some(Entry { key: K::of(name), value, hash: K::hash(name), mark: 0 });
        }
        self.enter(at);
        self.last = at;
        at
    }

    /// Takes an entry out; returns the number that is vacant now.
    pub fn remove<Q: ?Sized>(&mut self, name: &Q) -> Option<usize>
    where
        K: Called<Q>,
    {
        let at = self.look(name, |_| {})?;
        self.clear(at);
        self.vacant.push(at);
        Some(at)
    }

    #[inline]
    fn look<Q: ?Sized>(&self, name: &Q, likely: impl Fn(usize)) -> Option<usize>
    where
        K: Called<Q>,
    {
        let hash = K::hash(name);
        let mask = self.index.len().wrapping_sub(1);
        let mut place = hash as usize & mask;
        loop {
            let slot = *self.index.get(place)?;
            let at = number(slot)?;
            if slot >> NUMBER == hash >> NUMBER {
                likely(at);
                if let Some(Some(entry)) = self.entries.get(at)
                    && entry.key.is(name)
                {
                    return Some(at);
                }
            }
            place = (place + 1) & mask;
        }
    }

    /// Puts a new entry into the index.
    fn enter(&mut self, at: usize) {
        self.len += 1;
        if self.len * 4 <= self.index.len() * 3 {
            return self.place(at);
        }
        self.index = vec![0; (self.index.len() * 2).max(8)];
        (0..self.entries.len()).for_each(|at| self.place(at));
    }

    fn place(&mut self, at: usize) {
        let Some(hash) = self.hash(at) else { return };
        let mask = self.index.len().wrapping_sub(1);
        let mut place = hash as usize & mask;
        while let Some(found) = self.index.get_mut(place) {
            if *found == 0 {
                *found = hash >> NUMBER << NUMBER | (at as u32 + 1);
                return;
            }
            place = (place + 1) & mask;
        }
    }

    fn hash(&self, at: usize) -> Option<u32> {
        self.entries.get(at)?.as_ref().map(|entry| entry.hash)
    }

    /// Empties a place, and closes the gap that it leaves in the index.
    fn clear(&mut self, at: usize) {
        let Some(Some(gone)) = self.entries.get_mut(at).map(Option::take) else { return };
        self.len -= 1;
        let mask = self.index.len().wrapping_sub(1);
        let mut hole = gone.hash as usize & mask;
        // Every entry is in the index, at its hash or after it without a gap.
        while self.index.get(hole).and_then(|slot| number(*slot)).is_some_and(|found| found != at) {
            hole = (hole + 1) & mask;
        }
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let slot = self.index.get(place).copied().unwrap_or(0);
            let Some(hash) = number(slot).and_then(|at| self.hash(at)) else { break };
            let home = hash as usize & mask;
            if place.wrapping_sub(home) & mask >= place.wrapping_sub(hole) & mask {
                self.set(hole, slot);
                hole = place;
            }
        }
        self.set(hole, 0);
    }

    fn set(&mut self, place: usize, slot: u32) {
        if let Some(found) = self.index.get_mut(place) {
            *found = slot;
        }
    }
}

/// The entry's number in a slot of the index; `None` for an empty one.
#[inline]
fn number(slot: u32) -> Option<usize> {
    (slot as usize & MOST).checked_sub(1)
}

#[cfg(test)]
mod tests;
