//! XAES-256-GCM (C2SP XAES-256-GCM), with derived keys kept for as long as that is safe.
//!
//! A 24-byte nonce is a 12-byte prefix, from which AES derives a message key, and the 12-byte nonce of AES-256-GCM
//! under that key. What is written is strictly XAES; only how long one random prefix serves is ours: at most
//! [`PREFIX_MESSAGES`], [`PREFIX_BYTES`] and [`PREFIX_SECONDS`] of one thread, so that the key schedule is paid once for
//! many messages. The 12 other bytes are fresh for each message ([`NoncePool`]), so a copied process or machine
//! repeats none.
//!
//! Invariants, each proved by the test of the same name:
//! * `a_prefix_serves_at_most_64_messages`, `..._64_mebibytes`, `..._60_seconds`
//! * `a_failed_renewal_never_seals_under_the_old_prefix`
//! * `a_failed_tag_zeroes_the_output`

use zeroize::{Zeroize, Zeroizing};

use crate::crypto::openssl::{Block, Gcm, TAG};
use crate::error::{Result, Status};
use crate::sys::nonce::NoncePool;
use crate::sys::{clocks, random};

/// Length of a nonce in bytes: prefix and suffix.
pub const NONCE: usize = 24;
const PREFIX: usize = 12;

/// Messages under one prefix.
pub const PREFIX_MESSAGES: u32 = 64;
/// Plaintext bytes under one prefix; a longer message gets a prefix of its own.
pub const PREFIX_BYTES: u64 = 64 << 20;
/// Age of a prefix in seconds, by the coarse monotonic clock.
pub const PREFIX_SECONDS: u64 = 60;

/// A version's 32 key bytes, lent for the length of a call: they may stay in locked memory or be unsealed on demand.
pub trait KeySource {
    fn lend(&self, user: &mut dyn FnMut(&[u8; 32]) -> Result<()>) -> Result<()>;
}

impl KeySource for [u8; 32] {
    fn lend(&self, user: &mut dyn FnMut(&[u8; 32]) -> Result<()>) -> Result<()> {
        user(self)
    }
}

/// Lends a key, and fails if the source says yes without lending: the cipher would keep another key.
fn borrow(source: &impl KeySource, mut user: impl FnMut(&[u8; 32]) -> Result<()>) -> Result<()> {
    let mut lent = false;
    source.lend(&mut |key| {
        lent = true;
        user(key)
    })?;
    if lent { Ok(()) } else { Err(Status::Internal.error("a key source lent no key")) }
}

/// The message key of a prefix: KX of the specification. `block` is left keyed with `key`.
pub fn derive(block: &mut Block, key: &[u8; 32], prefix: &[u8; 12]) -> Result<Zeroizing<[u8; 32]>> {
    let mut derived = Zeroizing::new([0; 32]);
    derive_into(block, key, prefix, &mut derived)?;
    Ok(derived)
}

fn derive_into(block: &mut Block, key: &[u8; 32], prefix: &[u8; 12], out: &mut [u8; 32]) -> Result<()> {
    block.set_key(key)?;
    let k1 = subkey(block)?;
    derive_keyed(block, &k1, prefix, out)
}

/// K1 of the specification, from a block keyed with the root key.
pub(super) fn subkey(block: &mut Block) -> Result<Zeroizing<[u8; 16]>> {
    let mut k1 = Zeroizing::new([0; 16]);
    block.encrypt(&mut *k1)?;
    let doubled = Zeroizing::new(double(u128::from_be_bytes(*k1)));
    k1.copy_from_slice(&*Zeroizing::new(doubled.to_be_bytes()));
    Ok(k1)
}

/// Multiplies by x in GF(2^128) as CMAC does (NIST SP 800-38B §5.3), without a branch on the secret.
fn double(l: u128) -> u128 {
    (l << 1) ^ (0x87 & (l >> 127).wrapping_neg())
}

/// The message key from a keyed block and its K1.
pub(super) fn derive_keyed(block: &mut Block, k1: &[u8; 16], prefix: &[u8; 12], out: &mut [u8; 32]) -> Result<()> {
    let (halves, _) = out.as_chunks_mut::<16>();
    for (counter, half) in (1..).zip(halves) {
        *half = message(counter, prefix);
        for (byte, mask) in half.iter_mut().zip(k1) {
            *byte ^= mask;
        }
    }
    let encrypted = block.encrypt(out);
    if encrypted.is_err() {
        out.zeroize();
    }
    encrypted
}

/// M1 and M2 of the specification: counter, label 'X', separator, prefix.
fn message(counter: u8, prefix: &[u8; 12]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *prefix;
    [0, counter, b'X', 0, a, b, c, d, e, f, g, h, i, j, k, l]
}

pub(super) fn split(nonce: &[u8; NONCE]) -> (&[u8; PREFIX], &[u8; PREFIX]) {
    const EMPTY: &[u8; PREFIX] = &[0; PREFIX];
    (nonce.first_chunk().unwrap_or(EMPTY), nonce.last_chunk().unwrap_or(EMPTY))
}

/// Writes ciphertext and tag under a given nonce; `out` is 16 bytes longer than `plaintext`. For vectors and tests:
/// a nonce that repeats gives everything away.
#[cfg(test)]
pub fn seal_with_nonce(
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    aad: &[u8],
    plaintext: &[u8],
    out: &mut [u8],
) -> Result<()> {
    let (prefix, suffix) = split(nonce);
    let mut gcm = Gcm::new()?;
    gcm.set_key(&*derive(&mut Block::new()?, key, prefix)?)?;
    gcm.seal(suffix, aad, plaintext, out)
}

/// What the sealers and openers of one thread share.
pub struct Shared {
    block: Block,
    nonces: NoncePool,
    seconds: fn() -> u64,
}

impl Shared {
    pub fn new() -> Result<Self> {
        Ok(Self { block: Block::new()?, nonces: NoncePool::new()?, seconds: clocks::coarse_seconds })
    }
}

/// A prefix in use: its message key, and how much longer it serves. Wiped on drop.
///
/// It outlives the cipher context that was keyed with it: see [`Sealer::park`].
pub struct Prefix {
    bytes: [u8; PREFIX],
    key: Zeroizing<[u8; 32]>,
    messages: u32,
    plaintext: u64,
    /// The first second at which it no longer serves.
    end: u64,
}

impl Prefix {
    /// One that serves nothing: the first message renews it.
    pub fn spent() -> Self {
        Self { bytes: [0; PREFIX], key: Zeroizing::new([0; 32]), messages: 0, plaintext: 0, end: 0 }
    }

    #[inline]
    fn serves(&self, len: u64, now: u64) -> bool {
        // A clock that went back (it can't) makes a prefix look too young: refused as well.
        self.messages > 0 && len <= self.plaintext && now < self.end && self.end - now <= PREFIX_SECONDS
    }
}

/// Where the plaintext of a message lies.
pub enum Input<'a> {
    /// Apart from the output.
    Apart(&'a [u8]),
    /// Already in the output, at the place of the ciphertext.
    InPlace,
}

/// The encryptor of one key version in one thread.
pub struct Sealer {
    gcm: Gcm,
    prefix: Prefix,
}

impl Sealer {
    pub fn new() -> Result<Self> {
        Ok(Self { gcm: Gcm::new()?, prefix: Prefix::spent() })
    }

    /// Writes nonce, ciphertext and tag: `out` is 40 bytes longer than the plaintext. `key` is asked for only when the
    /// prefix is renewed.
    ///
    /// Fails with `RandomFailed`, `Internal`, or what `key` fails with; `out` then holds nothing that a key protects.
    #[inline]
    pub fn seal(
        &mut self,
        shared: &mut Shared,
        key: &impl KeySource,
        aad: &[u8],
        input: Input<'_>,
        out: &mut [u8],
    ) -> Result<()> {
        let Some((nonce, sealed)) = out.split_first_chunk_mut::<NONCE>() else { return Err(wrong_length()) };
        let len = sealed.len().checked_sub(TAG).ok_or_else(wrong_length)? as u64;
        let now = (shared.seconds)();
        if !self.prefix.serves(len, now) {
            self.renew(shared, key, now)?;
        }
        // Counted before it is used: a failure costs a message, never lends one.
        self.prefix.messages -= 1;
        match self.prefix.plaintext.checked_sub(len) {
            Some(left) => self.prefix.plaintext = left,
            // Longer than a prefix serves: the only message of its own.
            None => self.prefix.messages = 0,
        }
        let suffix = shared.nonces.suffix()?;
        let (head, tail) = nonce.split_at_mut(PREFIX);
        head.copy_from_slice(&self.prefix.bytes);
        tail.copy_from_slice(&suffix);
        match input {
            Input::Apart(plaintext) => self.gcm.seal(&suffix, aad, plaintext, sealed),
            Input::InPlace => self.gcm.seal_in_place(&suffix, aad, sealed),
        }
    }

    #[cold]
    fn renew(&mut self, shared: &mut Shared, key: &impl KeySource, now: u64) -> Result<()> {
        // Spent until the new one is complete.
        self.prefix.messages = 0;
        let Prefix { bytes, key: derived, .. } = &mut self.prefix;
        random::fill(bytes)?;
        borrow(key, |key| derive_into(&mut shared.block, key, bytes, derived))?;
        self.gcm.set_key(derived)?;
        self.prefix.messages = PREFIX_MESSAGES;
        self.prefix.plaintext = PREFIX_BYTES;
        self.prefix.end = now.saturating_add(PREFIX_SECONDS);
        Ok(())
    }
}

/// The decryptor of one key version in one thread: the same prefix again costs no derivation.
pub struct Opener {
    gcm: Gcm,
    prefix: Option<[u8; PREFIX]>,
}

impl Opener {
    pub fn new() -> Result<Self> {
        Ok(Self::reuse(Gcm::new()?))
    }

    /// Takes a cipher context over, whatever key it has.
    pub fn reuse(gcm: Gcm) -> Self {
        Self { gcm, prefix: None }
    }

    /// Opens ciphertext and tag; `out` is 16 bytes shorter than `sealed`. `key` is asked for only when the prefix isn't
    /// the last one.
    ///
    /// Fails with `AuthenticationFailed`, `Internal`, or what `key` fails with; `out` is then untouched or all zeros.
    #[inline]
    pub fn open(
        &mut self,
        shared: &mut Shared,
        key: &impl KeySource,
        nonce: &[u8; NONCE],
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        let (prefix, suffix) = split(nonce);
        if self.prefix.as_ref() != Some(prefix) {
            self.derive(shared, key, prefix)?;
        }
        self.gcm.open(suffix, aad, sealed, out)
    }

    #[cold]
    fn derive(&mut self, shared: &mut Shared, key: &impl KeySource, prefix: &[u8; PREFIX]) -> Result<()> {
        self.prefix = None;
        let gcm = &mut self.gcm;
        borrow(key, |key| gcm.set_key(&*derive(&mut shared.block, key, prefix)?))?;
        self.prefix = Some(*prefix);
        Ok(())
    }
}

fn wrong_length() -> crate::error::Error {
    Status::Internal.error("an output of the wrong length for nonce, ciphertext and tag")
}

#[cfg(test)]
mod tests;
