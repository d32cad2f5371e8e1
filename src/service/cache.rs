//! The keys and key material of one handle that are in memory: loaded on first use, bounded, kept current.
//!
//! The cache has one generation for each of the store's shards. A call that finds a newer generation reads the keys
//! changed since, or drops everything when they are many. An entry is never changed, only replaced. A replaced or
//! evicted entry is marked, so that a thread can check without a lock whether its copy is current.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use super::seen::SeenUses;
use crate::domain::id::{KeyId, VersionId};
use crate::domain::key::Key;
use crate::domain::version::{Version, VersionRecords};
use crate::error::{Result, Status};
use crate::store::{Commit, Head, Store, Stored, UNPLACED, View};
use crate::sys::fault;
use crate::sys::secret::Secret;
use crate::sys::sync::Lock;
use crate::sys::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How many keys a handle keeps by default.
pub const DEFAULT_KEYS: usize = 32_768;
/// An announced word that no entry covers.
const NONE_COVERED: u64 = u64::MAX;
/// Above this many changed keys, dropping everything is cheaper than checking each.
const MANY: usize = 1_000;
/// How often a check is made again whose snapshot says nothing of what is here.
const LOOKS: usize = 16;

/// What a cache keeps up with.
pub trait ChangeSource {
    /// What was announced.
    fn word(&self) -> u64;
    /// Shows a snapshot of the store.
    fn look(&self, body: impl FnOnce(&mut dyn Changes) -> Result<()>) -> Result<()>;
}

impl ChangeSource for Store {
    fn word(&self) -> u64 {
        Store::word(self)
    }

    fn look(&self, body: impl FnOnce(&mut dyn Changes) -> Result<()>) -> Result<()> {
        self.read(|view| body(view))
    }
}

/// What a snapshot shows of changes.
pub trait Changes {
    fn history(&self) -> u64;
    /// Whether the store may have lost what a process knows, which then names it.
    fn may_lose(&self) -> bool {
        false
    }
    /// The heads of all shards.
    fn heads(&mut self) -> Result<Vec<Head>>;
    /// Keys of the shard that changed since `head`.
    fn changed_since(&mut self, head: &Head, limit: usize) -> Result<Vec<KeyId>>;
}

impl Changes for View<'_> {
    fn history(&self) -> u64 {
        View::history(self)
    }

    fn may_lose(&self) -> bool {
        View::is_remote(self)
    }

    fn heads(&mut self) -> Result<Vec<Head>> {
        View::heads(self)
    }

    fn changed_since(&mut self, head: &Head, limit: usize) -> Result<Vec<KeyId>> {
        View::changed_since(self, head.shard, head.generation, limit)
    }
}

/// A key's metadata as of the cache's generation.
#[derive(Debug)]
pub struct CachedKey {
    pub key: Key,
    pub records: Arc<VersionRecords>,
    revision: i64,
    /// Whether it is in the cache, which then replaces it when the key changes.
    current: AtomicBool,
}

/// One version's key, unsealed.
#[derive(Debug)]
pub struct Material {
    pub key: KeyId,
    pub version: Version,
    pub secret: Secret,
    pub seen: SeenUses,
}

#[derive(Debug)]
pub struct Cache {
    entries: Lock<Entries>,
    capacity: usize,
    /// Counts the times that entries changed.
    epoch: AtomicU64,
    /// Counts the times that material was taken out because it is destroyed.
    erased: AtomicU64,
    /// The announced word at the last check.
    looked_at: AtomicU64,
    /// Versions that were in memory when the store was found to be another history.
    dropped: Lock<Vec<(KeyId, VersionId)>>,
}

#[derive(Debug)]
struct Entries {
    keys: Bounded<KeyId, CachedKey>,
    materials: Bounded<VersionId, Material>,
    aliases: Bounded<Arc<str>, KeyId>,
    /// The history of the store that they belong to, and the head of each of its shards; empty where nothing is known.
    history: u64,
    heads: Vec<Head>,
    /// Where changes of this handle led that were not taken over, until those heads are reached.
    missed: Vec<Head>,
}

impl Entries {
    fn head(&self, shard: &Head) -> Option<&Head> {
        self.heads.get(shard.shard.index())
    }

    /// Whether what was read while its shard was at `head` may lack a change of this handle.
    fn lacks_ours(&self, head: &Head) -> bool {
        let is_before = |missed: &Head| missed.shard == head.shard && head.generation < missed.generation;
        self.missed.iter().any(is_before) && !fault::wanted("KMS_FAULT_MISSED_FORGOTTEN")
    }

    /// Notes the head of a change of this handle that is not taken over.
    fn miss(&mut self, head: Head) {
        match self.missed.iter_mut().find(|missed| missed.shard == head.shard) {
            Some(missed) if missed.generation < head.generation => *missed = head,
            Some(_) => {}
            None => self.missed.push(head),
        }
    }

    /// The heads that moved, with those they moved to. Heads that may be read at an earlier moment move forward only.
    fn moved_to(&self, found: &[Head], may_be_earlier: bool) -> Vec<(Head, Head)> {
        let is_moved = |(now, to): &(Head, Head)| match may_be_earlier {
            true => now.generation < to.generation,
            false => now.generation != to.generation,
        };
        self.heads.iter().copied().zip(found.iter().copied()).filter(is_moved).collect()
    }

    /// Takes over heads, and forgets which changes of this handle they contain.
    fn follow(&mut self, moved: Vec<(Head, Head)>) {
        for (_, to) in moved {
            if let Some(head) = self.heads.get_mut(to.shard.index()) {
                *head = to;
            }
        }
        let Self { heads, missed, .. } = self;
        let generation = |of: &Head| heads.get(of.shard.index()).map_or(i64::MIN, |head| head.generation);
        missed.retain(|missed| generation(missed) < missed.generation);
    }
}

impl Cache {
    pub fn new(capacity: usize) -> Self {
        let entries = Entries {
            keys: Bounded::new(capacity),
            materials: Bounded::new(capacity),
            aliases: Bounded::new(capacity),
            history: 0,
            heads: Vec::new(),
            missed: Vec::new(),
        };
        Self {
            entries: Lock::new(entries),
            capacity,
            epoch: AtomicU64::new(1),
            erased: AtomicU64::new(0),
            looked_at: AtomicU64::new(NONE_COVERED),
            dropped: Lock::default(),
        }
    }

    /// Takes the versions that were in memory when the store was found to be another history.
    pub fn take_dropped(&self) -> Result<Vec<(KeyId, VersionId)>> {
        Ok(std::mem::take(&mut *self.dropped.lock()?))
    }

    /// How many keys are kept, here and by each thread in each direction.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Changes whenever an entry did.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Changes whenever material was destroyed, which every thread then forgets.
    pub fn erased(&self) -> u64 {
        self.erased.load(Ordering::Acquire)
    }

    /// Stops threads from using entries until the store has been checked.
    pub fn uncover(&self) {
        self.looked_at.store(NONE_COVERED, Ordering::Release);
        self.touch();
    }

    /// Makes every thread check again.
    pub fn touch(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Checks the store for changes. The word is read first: a change that is announced later causes another check.
    #[cold]
    pub fn look(&self, source: &impl ChangeSource) -> Result<()> {
        for _ in 0..LOOKS {
            let (word, mut is_taken) = (source.word(), false);
            source.look(|view| {
                is_taken = self.catch_up(view, word)?;
                Ok(())
            })?;
            if is_taken || fault::wanted("KMS_FAULT_LOOK_NOT_REPEATED") {
                return Ok(());
            }
        }
        Err(Status::KeystoreBusy.error("the keystore changes too fast to be read; try again"))
    }

    /// Whether everything announced by `word` has been seen here.
    pub fn covers(&self, word: u64) -> bool {
        word == self.looked_at.load(Ordering::Acquire)
    }

    /// Our own change, which was taken over, was announced on top of the word `before`; if that was covered, the next is
    /// too.
    pub fn announced(&self, before: u64) {
        let next = before.wrapping_add(1);
        let _ = self.looked_at.compare_exchange(before, next, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The number of changes of the store that is covered; of several shards, their sum.
    pub fn generation(&self) -> Result<i64> {
        let sum = |sum: i64, head: &Head| sum.wrapping_add(head.generation);
        Ok(self.entries.lock()?.heads.iter().fold(0, sum))
    }

    /// How many keys are in memory.
    pub fn len(&self) -> Result<usize> {
        Ok(self.entries.lock()?.keys.map.len())
    }

    /// Brings the cache to the generation of `view`; `word` is what was announced before the view was taken.
    ///
    /// Another thread may have brought it further meanwhile, from a later moment: no shard goes back within one history.
    /// False if the view says nothing of the history that is here.
    pub fn catch_up(&self, view: &mut dyn Changes, word: u64) -> Result<bool> {
        let (found, history) = (view.heads()?, view.history());
        if history == UNPLACED {
            return Ok(false);
        }
        let (known, known_history) = {
            let entries = self.entries.lock()?;
            if entries.heads == found && entries.history == history {
                self.looked_at.store(word, Ordering::Release);
                return Ok(true);
            }
            (entries.heads.clone(), entries.history)
        };
        // A store that is behind the cache, or has another history, need not contain anything that the cache holds. One on
        // another machine says by its history that it went back; otherwise it is seen at an earlier moment.
        let may_be_earlier = view.may_lose() && !fault::wanted("KMS_FAULT_HEADS_SET_BACK");
        let went_back = |from: &Head, to: &Head| to.generation < from.generation && !may_be_earlier;
        let is_unknown = known.len() != found.len() || known.iter().zip(&found).any(|(from, to)| went_back(from, to));
        // Read before the lock.
        let mut changed = Vec::new();
        for (from, to) in known.iter().zip(&found).filter(|_| !is_unknown) {
            if from.generation < to.generation && changed.len() <= MANY {
                changed.extend(view.changed_since(from, MANY + 1)?);
            }
        }
        let history = view.history();
        let mut entries = self.entries.lock()?;
        // Taken before the store was seen to be another one: it says nothing of that.
        if history < entries.history || history == UNPLACED {
            return Ok(false);
        }
        let is_other = history != entries.history || entries.heads.len() != found.len();
        let moved = entries.moved_to(&found, may_be_earlier);
        // What changed was read for a cache that was no further than it is now.
        let is_covered = |now: &Head| {
            let from = known.get(now.shard.index()).filter(|_| known_history == entries.history);
            from.is_some_and(|from| from.generation <= now.generation)
        };
        let is_unknown = is_other || !moved.iter().all(|(now, _)| is_covered(now) && !is_unknown);
        if is_unknown && view.may_lose() && !entries.materials.map.is_empty() {
            let versions = entries.materials.map.values().map(|material| (material.key, material.version.id));
            *self.dropped.lock()? = versions.collect();
        }
        if is_unknown || changed.len() > MANY || moved.iter().any(|(from, to)| from.destroyed != to.destroyed) {
            entries.keys.clear();
            entries.materials.clear();
            self.erased.fetch_add(1, Ordering::AcqRel);
        }
        for id in changed.iter().take(MANY) {
            entries.keys.remove(id);
        }
        if is_unknown || moved.iter().any(|(from, to)| from.renamed != to.renamed) {
            entries.aliases.clear();
        }
        if is_other {
            (entries.heads, entries.history) = (found, history);
            entries.missed.clear();
        } else {
            entries.follow(moved);
        }
        self.touch();
        self.looked_at.store(word, Ordering::Release);
        Ok(true)
    }

    /// Takes over what this handle itself has just committed; false where another's change came in between, which has
    /// to be read.
    pub fn publish(&self, commit: &Commit, changed: &[Stored], made: &[Arc<Material>], gone: &[KeyId]) -> bool {
        let Ok(mut entries) = self.entries.lock() else { return false };
        let stands = |before: &Head| entries.head(before).is_some_and(|head| head.generation == before.generation);
        let follows = entries.history == commit.history && commit.moved.iter().all(|moved| stands(&moved.before));
        if follows {
            for material in made {
                entries.materials.insert(material.version.id, Arc::clone(material));
            }
            for stored in changed {
                if entries.keys.contains(&stored.key.id) {
                    entries.keys.insert(stored.key.id, Arc::new(CachedKey::new(stored)));
                }
                if stored.key.imported.is_some_and(|imported| !imported.present) {
                    entries.materials.map.retain(|_, m| m.key != stored.key.id);
                }
                for version in stored.records.tombstones() {
                    entries.materials.map.remove(&version.id);
                }
            }
            for id in gone {
                entries.keys.remove(id);
                entries.materials.map.retain(|_, m| m.key != *id);
            }
            if commit.moved.iter().any(|moved| moved.before.renamed != moved.after.renamed) {
                entries.aliases.clear();
            }
            if commit.moved.iter().any(|moved| moved.before.destroyed != moved.after.destroyed) {
                self.erased.fetch_add(1, Ordering::AcqRel);
            }
            for moved in &commit.moved {
                if let Some(head) = entries.heads.get_mut(moved.after.shard.index()) {
                    *head = moved.after;
                }
            }
        } else {
            // Built on another's change that was not seen here, and perhaps never announced: the store must be checked
            // before the next use, regardless of the word. Where no call may wait for that check, as while a database
            // does not answer, at least nothing is used that this handle itself has changed.
            if !fault::wanted("KMS_FAULT_GAP_UNNOTICED") {
                for id in changed.iter().map(|stored| &stored.key.id).chain(gone) {
                    entries.keys.remove(id);
                }
                if commit.moved.iter().any(|moved| moved.before.renamed != moved.after.renamed) {
                    entries.aliases.clear();
                }
                // Nor is anything that another thread has read before the change kept after it.
                commit.moved.iter().for_each(|moved| entries.miss(moved.after));
                self.looked_at.store(NONE_COVERED, Ordering::Release);
            }
        }
        self.touch();
        follows
    }

    pub fn key(&self, id: &KeyId) -> Result<Option<Arc<CachedKey>>> {
        Ok(self.entries.lock()?.keys.get(id))
    }

    /// Keeps a key that was read of this history while its shard was at `head`; a newer cache only returns it.
    pub fn keep_key(&self, stored: &Stored, history: u64, head: &Head) -> Result<Arc<CachedKey>> {
        let mut entries = self.entries.lock()?;
        let is_same = entries.history == history;
        let newest = entries.keys.get(&stored.key.id).filter(|found| found.revision >= stored.revision);
        if let Some(found) = newest.filter(|_| is_same) {
            return Ok(found);
        }
        let entry = Arc::new(CachedKey::new(stored));
        let is_at = entries.head(head).is_some_and(|known| known.generation == head.generation);
        if is_same && is_at && !entries.lacks_ours(head) {
            entries.keys.insert(stored.key.id, Arc::clone(&entry));
        }
        Ok(entry)
    }

    pub fn alias(&self, name: &str) -> Result<Option<KeyId>> {
        Ok(self.entries.lock()?.aliases.get(name).map(|id| *id))
    }

    /// Keeps the target of an alias that was read of this history while its shard was at `head`.
    pub fn keep_alias(&self, name: &str, id: KeyId, history: u64, head: &Head) -> Result<()> {
        let mut entries = self.entries.lock()?;
        let is_at = entries.head(head).is_some_and(|known| known.generation == head.generation);
        if entries.history == history && is_at && !entries.lacks_ours(head) {
            entries.aliases.insert(name.into(), Arc::new(id));
        }
        Ok(())
    }

    pub fn material(&self, id: &VersionId) -> Result<Option<Arc<Material>>> {
        Ok(self.entries.lock()?.materials.get(id))
    }

    /// Forgets all, because the store that it is of is no longer at its place.
    pub fn forget(&self) -> Result<()> {
        let mut entries = self.entries.lock()?;
        entries.keys.clear();
        entries.materials.clear();
        entries.aliases.clear();
        entries.heads.clear();
        entries.missed.clear();
        self.erased.fetch_add(1, Ordering::AcqRel);
        self.touch();
        Ok(())
    }

    /// Keeps material, which never changes; the first caller wins. `history` and `head` are what the store said where it
    /// was read: what has been destroyed since isn't kept.
    pub fn keep_material(&self, material: Material, history: u64, head: &Head) -> Result<Arc<Material>> {
        let mut entries = self.entries.lock()?;
        let id = material.version.id;
        if let Some(found) = entries.materials.get(&id) {
            return Ok(found);
        }
        let entry = Arc::new(material);
        let is_same = entries.head(head).is_some_and(|known| known.destroyed == head.destroyed);
        if is_same && entries.history == history && !entries.lacks_ours(head) {
            entries.materials.insert(id, Arc::clone(&entry));
        }
        Ok(entry)
    }
}

impl CachedKey {
    fn new(stored: &Stored) -> Self {
        let (key, records) = (stored.key.clone(), stored.records.clone());
        Self { key, records, revision: stored.revision, current: AtomicBool::new(false) }
    }

    /// Whether this is still what the cache says of the key; asked once the cache covers what was announced.
    #[inline]
    pub fn is_current(&self) -> bool {
        self.current.load(Ordering::Acquire)
    }
}

/// A value that is notified when the cache keeps or drops it.
trait Kept {
    fn keep(&self, _: bool) {}
}

impl Kept for CachedKey {
    fn keep(&self, kept: bool) {
        self.current.store(kept, Ordering::Release);
    }
}
impl Kept for Material {}
impl Kept for KeyId {}

/// A map that forgets its oldest entry when it is full.
#[derive(Debug)]
struct Bounded<K, V> {
    map: HashMap<K, Arc<V>>,
    order: VecDeque<K>,
    capacity: usize,
}

impl<K: Clone + Eq + Hash, V: Kept> Bounded<K, V> {
    fn new(capacity: usize) -> Self {
        Self { map: HashMap::new(), order: VecDeque::new(), capacity }
    }

    fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.map.get(key).cloned()
    }

    fn contains(&self, key: &K) -> bool {
        self.map.contains_key(key)
    }

    fn insert(&mut self, key: K, value: Arc<V>) {
        value.keep(true);
        if let Some(old) = self.map.insert(key.clone(), value) {
            old.keep(false);
            return;
        }
        self.order.push_back(key);
        // Removed keys linger in the order; they count, so that it stays bounded too.
        while self.order.len() > self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.remove(&oldest);
            }
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some(old) = self.map.remove(key) {
            old.keep(false);
        }
    }

    fn clear(&mut self) {
        self.map.drain().for_each(|(_, old)| old.keep(false));
        self.order.clear();
    }
}

#[cfg(all(test, kms_model))]
mod model;
#[cfg(all(test, not(kms_model)))]
mod tests;
