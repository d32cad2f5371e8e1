//! What each thread keeps for the hot path: ready ciphers for the keys and versions it used last.
//!
//! Everything here was checked against the cache at some announced word and epoch. While both stand still, a call
//! needs no lock; once one moves, each entry is checked again before its next use.

use std::sync::Arc;

use super::cache::{CachedKey, Material};
use super::slots::{Called, Slots, lost};
use super::subkey::ReadySubkeys;
use crate::crypto::context::{Aad, BareAad, ContextSource};
use crate::crypto::xaes::prefix::{Prefix, Prefixes};
use crate::crypto::xaes::{Cipher, Drawn, KeySource, Shared};
use crate::domain::id::{KeyId, TEXT_LEN, VersionId};
use crate::error::Result;
use crate::sys::secret::Arena;
use crate::sys::wide::is_same;

/// Cipher contexts of a thread in each direction. Above this, setting a key again is faster than the cache misses.
const CONTEXTS: usize = 256;
/// One of this many uses of keys without a context gets one, so a key in frequent use has it soon.
const ADMISSION: u32 = 64;

/// A plaintext up to this size is decrypted into the library's memory first, so that a failed tag leaves no trace outside.
pub const SMALL: usize = 4096;

/// Dropped, and so wiped, with the handle or the thread.
pub struct ThreadState {
    pub shared: Option<Shared>,
    pub aad: Aad,
    /// Where small plaintexts are decrypted; wiped after each.
    pub small: Box<[u8; SMALL]>,
    pub seals: Ready<SealName, Seal>,
    pub opens: Ready<VersionId, Open>,
    pub subkeys: ReadySubkeys,
    /// The word and epoch at which entries stamped with `stamp` were current.
    pub word: u64,
    pub epoch: u64,
    pub stamp: u64,
    /// What was destroyed when keys to encrypt, and keys to decrypt, were last forgotten.
    erased: [u64; 2],
}

impl Default for ThreadState {
    fn default() -> Self {
        Self {
            shared: None,
            aad: Aad::new(),
            small: Box::new([0; SMALL]),
            seals: Ready::new(),
            opens: Ready::new(),
            subkeys: ReadySubkeys::default(),
            word: 0,
            epoch: 0,
            stamp: 0,
            erased: [0; 2],
        }
    }
}

impl ThreadState {
    /// Takes the context of the next message to encrypt, checked to the limit.
    #[inline(always)]
    pub fn take_context_to_seal(&mut self, context: impl ContextSource) -> Result<()> {
        context.put(&mut self.aad)?;
        self.aad.check_limit()
    }

    /// Draws the CPU's word for the next message, once that and its context are settled: a copy of the machine must not encrypt
    /// another one with it. Drawn before the key is looked up, because the CPU does both at once.
    #[inline(always)]
    pub fn draw(&self) -> Drawn {
        self.shared.as_ref().map_or(Drawn::NONE, Shared::draw)
    }

    /// Forgets all keys if some were destroyed since. The number of an entry to encrypt means nothing after this.
    pub fn forget_destroyed(&mut self, erased: u64) -> Result<()> {
        let [seals, _] = &mut self.erased;
        if *seals != erased {
            *seals = erased;
            self.seals = Ready::new();
        }
        self.forget_opens(erased)
    }

    /// The same for decrypting alone.
    pub fn forget_opens(&mut self, erased: u64) -> Result<()> {
        let [_, opens] = &mut self.erased;
        if *opens != erased {
            *opens = erased;
            self.opens = Ready::new();
            self.subkeys.forget();
            if let Some(shared) = &mut self.shared {
                shared.forget()?;
            }
        }
        Ok(())
    }
}

/// Ready to encrypt under a key's primary version.
pub struct Seal {
    pub stamp: u64,
    /// The header and the AAD of a ciphertext without a context.
    pub bare: BareAad,
    /// Whether the clock decides about the key's use, or about a rotation before it.
    pub asks_clock: bool,
    pub key: Arc<CachedKey>,
    pub material: Arc<Material>,
}

/// Ready to decrypt what one version encrypted.
pub struct Open {
    pub stamp: u64,
    pub id: KeyId,
    /// The AAD of a ciphertext without a context.
    pub bare: BareAad,
    /// Whether the clock decides about the key's use.
    pub asks_clock: bool,
    pub key: Arc<CachedKey>,
    pub material: Arc<Material>,
}

impl KeySource for Material {
    fn lend(&self, user: &mut dyn FnMut(&[u8; 32]) -> Result<()>) -> Result<()> {
        user(self.secret.expose())
    }

    fn name(&self) -> Option<[u8; 16]> {
        Some(*self.version.id.as_bytes())
    }
}

/// What the ciphers of a thread share, made on first use.
#[inline]
pub fn shared(slot: &mut Option<Shared>) -> Result<&mut Shared> {
    match slot {
        Some(shared) => Ok(shared),
        None => make_shared(slot),
    }
}

#[cold]
fn make_shared(slot: &mut Option<Shared>) -> Result<&mut Shared> {
    Ok(slot.insert(Shared::new()?))
}

/// What a key is called in a call to encrypt: an id's text, or an alias.
pub enum SealName {
    Id([u8; TEXT_LEN]),
    Other(Box<[u8]>),
}

impl Called<[u8]> for SealName {
    fn of(name: &[u8]) -> Self {
        match name.try_into() {
            Ok(id) => Self::Id(id),
            Err(_) => Self::Other(name.into()),
        }
    }

    #[inline(always)]
    fn is(&self, name: &[u8]) -> bool {
        match self {
            Self::Id(id) => <&[u8; TEXT_LEN]>::try_from(name).is_ok_and(|name| is_same(name, id)),
            Self::Other(other) => **other == *name,
        }
    }

    #[inline]
    fn hash(name: &[u8]) -> u32 {
        const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
        let (words, rest) = name.as_chunks::<8>();
        let mix = |hash: u64, word: u64| {
            let mixed = (hash ^ word).wrapping_mul(MIX);
            mixed ^ mixed >> 32
        };
        let hash = match words {
            // The first and the last digits of an id are random; an alias begins with "alias/".
            [first, _, _, last] if name.len() == TEXT_LEN && first.get(1) != Some(&b'l') => {
                mix(u64::from_le_bytes(*first), u64::from_le_bytes(*last))
            }
            _ => {
                let hash = words.iter().fold(0, |hash, word| mix(hash, u64::from_le_bytes(*word)));
                rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
            }
        };
        hash as u32
    }
}

impl Called<VersionId> for VersionId {
    fn of(name: &VersionId) -> Self {
        *name
    }

    #[inline]
    fn is(&self, name: &VersionId) -> bool {
        self == name
    }

    /// Version ids are random.
    #[inline]
    fn hash(name: &VersionId) -> u32 {
        name.as_bytes().first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }
}

/// What is ready in one direction. An entry's prefix and message key outlive the cipher context that had it.
pub struct Ready<K, V> {
    /// An entry's mark is the number of the context that served it last.
    slots: Slots<K, V>,
    prefixes: Prefixes,
    ciphers: Ciphers,
}

impl<K, V> Ready<K, V> {
    const fn new() -> Self {
        Self { slots: Slots::new(), prefixes: Prefixes::new(), ciphers: Ciphers { all: Vec::new(), turn: 0, asked: 0 } }
    }

    #[inline]
    pub fn find<Q: ?Sized>(&mut self, name: &Q) -> Option<usize>
    where
        K: Called<Q>,
    {
        let Self { slots, prefixes, .. } = self;
        // With many keys both miss the CPU's caches: they are fetched together.
        slots.find_beside(name, |at| prefixes.prefetch(at))
    }

    #[inline]
    pub fn get(&mut self, at: usize) -> Option<&mut V> {
        self.slots.get(at)
    }

    /// The entry that was used last, if it has this name.
    #[inline(always)]
    pub fn latest<Q: ?Sized>(&mut self, name: &Q) -> Option<ReadyEntry<'_, V>>
    where
        K: Called<Q>,
    {
        let (at, value, context) = self.slots.latest(name)?;
        let prefix = self.prefixes.get(at)?;
        Some(ReadyEntry { value, prefix, lender: Lender { ciphers: &mut self.ciphers, at: context } })
    }

    #[inline]
    pub fn take(&mut self, at: usize) -> Result<ReadyEntry<'_, V>> {
        match (self.slots.get_marked(at), self.prefixes.get(at)) {
            (Some((value, context)), Some(prefix)) => {
                Ok(ReadyEntry { value, prefix, lender: Lender { ciphers: &mut self.ciphers, at: context } })
            }
            _ => Err(lost()),
        }
    }

    /// Puts a new entry, or replaces one, without a prefix.
    pub fn put<Q: ?Sized>(&mut self, name: &Q, value: V, capacity: usize, arena: &Arena) -> Result<usize>
    where
        K: Called<Q>,
    {
        self.remove(name);
        let capacity = capacity.max(CONTEXTS);
        if let Some(at) = self.slots.next_out(capacity) {
            self.wipe(at);
        }
        let at = self.slots.put(name, value, capacity);
        match self.prefixes.grow_to(at) {
            Ok(Some(added)) => arena.note(added),
            Ok(None) => {}
            Err(error) => {
                // An entry without a place for its prefix would be found again, and serve nothing.
                self.slots.remove(name);
                return Err(error);
            }
        }
        Ok(at)
    }

    pub fn remove<Q: ?Sized>(&mut self, name: &Q)
    where
        K: Called<Q>,
    {
        if let Some(at) = self.slots.find(name) {
            self.wipe(at);
            self.slots.remove(name);
        }
    }

    /// Wipes what belonged to an entry: its message key, and the context that has it.
    fn wipe(&mut self, at: usize) {
        if let Some(prefix) = self.prefixes.get(at) {
            self.ciphers.forget(prefix.serial);
            prefix.wipe();
        }
    }
}

/// An entry with its prefix and what lends it a cipher.
pub struct ReadyEntry<'a, V> {
    pub value: &'a mut V,
    pub prefix: &'a mut Prefix,
    pub lender: Lender<'a>,
}

/// What lends a cipher to one entry.
pub struct Lender<'a> {
    ciphers: &'a mut Ciphers,
    at: &'a mut u32,
}

impl<'a> Lender<'a> {
    /// The context that has the key of this serial, or another to be keyed with it.
    #[inline(always)]
    pub fn lend(self, serial: u64) -> Result<&'a mut Cipher> {
        self.ciphers.lend(self.at, serial)
    }
}

/// Cipher contexts: one for each entry while there are few; then the first serves all entries without one.
pub struct Ciphers {
    all: Vec<Cipher>,
    turn: usize,
    asked: u32,
}

impl Ciphers {
    /// The context that has the key of this serial, or another, whose number is then noted in `at`.
    #[inline(always)]
    fn lend(&mut self, at: &mut u32, serial: u64) -> Result<&mut Cipher> {
        if !self.all.get(*at as usize).is_some_and(|cipher| cipher.has(serial)) {
            *at = self.choose()?;
        }
        self.all.get_mut(*at as usize).ok_or_else(lost)
    }

    /// Frees, and so wipes, each context that has the key of this serial: there are two where another took over the
    /// number of a freed one, and was then no longer found by its entry.
    fn forget(&mut self, serial: u64) {
        while let Some(at) = self.all.iter().position(|cipher| cipher.has(serial)) {
            self.all.swap_remove(at);
        }
    }

    fn choose(&mut self) -> Result<u32> {
        if self.all.len() < CONTEXTS {
            self.all.push(Cipher::new()?);
            return Ok(self.all.len() as u32 - 1);
        }
        self.asked = self.asked.wrapping_add(1);
        if !self.asked.is_multiple_of(ADMISSION) {
            return Ok(0);
        }
        self.turn = self.turn % (CONTEXTS - 1) + 1;
        Ok(self.turn as u32)
    }
}

#[cfg(test)]
mod tests;
