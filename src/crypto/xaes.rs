//! XAES-256-GCM (C2SP XAES-256-GCM), with derived keys kept for as long as that is safe.
//!
//! A 24-byte nonce is a 12-byte prefix, from which AES derives a message key, and the 12-byte nonce of AES-256-GCM
//! under that key. What is written is strictly XAES; only how long one random prefix serves is ours: at most
//! [`PREFIX_MESSAGES`], [`PREFIX_BYTES`] and [`PREFIX_SECONDS`] of one thread, so that the key schedule is paid once for
//! many messages. The 12 other bytes are fresh for each message ([`NoncePool`]), so a forked process
//! repeats none, nor does a copied machine whose CPU draws quick words (docs/security.md says what holds on others).
//!
//! Invariants, each proved by the test of the same name:
//! * `a_prefix_serves_at_most_64_messages`, `..._64_mebibytes`, `..._60_seconds`
//! * `a_failed_renewal_never_seals_under_the_old_prefix`
//! * `a_cipher_that_served_others_never_uses_their_keys`
//! * `a_failed_tag_zeroes_the_output`

mod nonce;
pub mod prefix;

use zeroize::{Zeroize, Zeroizing};

pub use nonce::Drawn;
use nonce::{NoncePool, Suffix};
use prefix::{PREFIX, Prefix};

pub use crate::crypto::openssl::Input;
use crate::crypto::openssl::{Block, Gcm, Start, TAG};
use crate::error::{Error, Result, Status};
use crate::sys::clocks;

/// Length of a nonce in bytes: prefix and suffix.
pub const NONCE: usize = 24;

/// Messages under one prefix.
pub const PREFIX_MESSAGES: u32 = 64;
/// Plaintext bytes under one prefix; a longer message gets its own prefix.
pub const PREFIX_BYTES: u64 = 64 << 20;
/// Age of a prefix in seconds, by the coarse monotonic clock.
pub const PREFIX_SECONDS: u64 = 60;

/// A version's 32 key bytes, lent for the length of a call: they may stay in locked memory or be unsealed on demand.
///
/// Taken as a trait object: the compiler would read a known type's fields before they are known to be needed, and with
/// many keys they are far away.
pub trait KeySource {
    fn lend(&self, user: &mut dyn FnMut(&[u8; 32]) -> Result<()>) -> Result<()>;

    /// A name that no other key ever has, if there is one: a block cipher keyed with it is used again.
    fn name(&self) -> Option<[u8; 16]> {
        None
    }
}

impl KeySource for [u8; 32] {
    fn lend(&self, user: &mut dyn FnMut(&[u8; 32]) -> Result<()>) -> Result<()> {
        user(self)
    }
}

/// Lends a key, and fails if the source says yes without lending: the cipher would keep another key.
fn borrow(source: &dyn KeySource, mut user: impl FnMut(&[u8; 32]) -> Result<()>) -> Result<()> {
    let mut lent = false;
    source.lend(&mut |key| {
        lent = true;
        user(key)
    })?;
    if lent { Ok(()) } else { Err(Status::Internal.error("a key source lent no key")) }
}

/// The message key of a prefix: KX of the specification. `block` is left keyed with `key`.
#[cfg(test)]
pub fn derive(block: &mut Block, key: &[u8; 32], prefix: &[u8; 12]) -> Result<Zeroizing<[u8; 32]>> {
    let mut derived = Zeroizing::new([0; 32]);
    derive_into(block, key, prefix, &mut derived)?;
    Ok(derived)
}

#[cfg(test)]
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
/// a nonce that repeats reveals everything.
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
    let derived = derive(&mut Block::new()?, key, prefix)?;
    gcm.seal(Start { key: Some(&derived), nonce: suffix }, aad, Input::Apart(plaintext), out)
}

/// What the ciphers of one thread share.
pub struct Shared {
    root: KeyDeriver,
    nonces: NoncePool,
    /// That of the message in work.
    suffix: Suffix,
    #[cfg(test)]
    seconds: fn() -> u64,
    /// The serial of the prefix derived last.
    serial: u64,
}

impl Shared {
    pub fn new() -> Result<Self> {
        Ok(Self {
            root: KeyDeriver::new()?,
            nonces: NoncePool::new()?,
            suffix: Suffix::ZERO,
            #[cfg(test)]
            seconds: clocks::coarse_seconds,
            serial: 0,
        })
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        #[cfg(test)]
        return (self.seconds)();
        #[cfg(not(test))]
        clocks::coarse_seconds()
    }

    /// Begins a call that encrypts many messages: what it draws, it draws for all under one prefix.
    pub fn begin_call(&mut self) {
        self.nonces.begin_call();
    }

    pub fn end_call(&mut self) {
        self.nonces.end_call();
    }

    /// Draws the CPU's word for one message.
    #[inline(always)]
    pub fn draw(&self) -> Drawn {
        self.nonces.draw()
    }

    /// The word of a call that encrypts many messages, between [`Shared::begin_call`] and [`Shared::end_call`].
    #[inline(always)]
    pub fn kept(&self) -> Drawn {
        self.nonces.kept()
    }

    /// Forgets the key that message keys were derived from last. Serials are not reset: keyed ciphers have them.
    pub fn forget(&mut self) -> Result<()> {
        self.root = KeyDeriver::new()?;
        Ok(())
    }

    /// Puts the message key of `prefix.bytes` in its place, under a new serial.
    fn derive(&mut self, key: &dyn KeySource, prefix: &mut Prefix) -> Result<()> {
        self.root.derive(key, &prefix.bytes, &mut prefix.key)?;
        self.serial += 1;
        prefix.serial = self.serial;
        Ok(())
    }
}

/// The block cipher that message keys are derived with; remembers its last key.
struct KeyDeriver {
    block: Block,
    k1: Zeroizing<[u8; 16]>,
    name: Option<[u8; 16]>,
}

impl KeyDeriver {
    fn new() -> Result<Self> {
        Ok(Self { block: Block::new()?, k1: Zeroizing::default(), name: None })
    }

    fn derive(&mut self, key: &dyn KeySource, prefix: &[u8; PREFIX], out: &mut [u8; 32]) -> Result<()> {
        let name = key.name();
        if name.is_none() || name != self.name {
            self.name = None;
            let (block, k1) = (&mut self.block, &mut self.k1);
            borrow(key, |key| {
                block.set_key(key)?;
                **k1 = *subkey(block)?;
                Ok(())
            })?;
            self.name = name;
        }
        derive_keyed(&mut self.block, &self.k1, prefix, out)
    }
}

#[inline]
fn serves(prefix: &Prefix, len: u64, now: u64) -> bool {
    // Seconds that it has left, less one. A clock that went back (it can't) makes a prefix look too young: refused as well.
    let left = u64::from(prefix.end).wrapping_sub(now).wrapping_sub(1);
    prefix.messages > 0 && len <= prefix.plaintext.into() && left < PREFIX_SECONDS
}

/// A cipher context, which may serve many prefixes in turn. One message is sealed or opened at a time.
pub struct Cipher {
    gcm: Gcm,
    /// The serial of the prefix whose key it has.
    serial: u64,
}

/// What a context has whose key is unknown. No prefix has this serial, nor one without a key, whose serial is 0.
const NO_SERIAL: u64 = u64::MAX;

impl Cipher {
    pub fn new() -> Result<Self> {
        Ok(Self { gcm: Gcm::new()?, serial: NO_SERIAL })
    }

    /// Whether it is keyed with the key of this serial.
    #[inline]
    pub fn has(&self, serial: u64) -> bool {
        self.serial == serial
    }

    /// Writes the nonce, and to `sealed`, which is 16 bytes longer than the plaintext, ciphertext and tag. `key` is asked
    /// for only when the prefix is renewed.
    ///
    /// Fails with `RandomFailed`, `Internal`, or what `key` fails with; `sealed` is then worth nothing.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "a message has that many parts")]
    pub fn seal(
        &mut self,
        shared: &mut Shared,
        prefix: &mut Prefix,
        key: &dyn KeySource,
        aad: &[u8],
        input: Input<'_>,
        drawn: Drawn,
        nonce: &mut [u8; NONCE],
        sealed: &mut [u8],
    ) -> Result<()> {
        let len = sealed.len().checked_sub(TAG).ok_or_else(wrong_length)? as u64;
        let now = shared.now();
        if !serves(prefix, len, now) {
            renew(shared, prefix, key, now)?;
        }
        // Counted before it is used: a failure costs a message, never lends one.
        prefix.messages -= 1;
        match u64::from(prefix.plaintext).checked_sub(len) {
            Some(left) => prefix.plaintext = left as u32,
            // Longer than a prefix serves: the only message of its prefix.
            None => prefix.messages = 0,
        }
        let Drawn(word) = drawn;
        if !shared.nonces.put(prefix.messages, word, &mut shared.suffix) {
            shared.nonces.put_slowly(prefix.messages, word, &mut shared.suffix)?;
        }
        let suffix = shared.suffix.bytes();
        let (head, tail) = nonce.split_at_mut(PREFIX);
        head.copy_from_slice(&prefix.bytes);
        tail.copy_from_slice(suffix);
        let start = self.start(prefix, suffix);
        self.gcm.seal(start, aad, input, sealed).map_err(|error| self.failed(error))
    }

    /// Opens ciphertext and tag; `out` is 16 bytes shorter than `sealed`. `key` is asked for only when `prefix` isn't
    /// that of the message already.
    ///
    /// Fails with `AuthenticationFailed`, `Internal`, or what `key` fails with; `out` is then untouched or all zeros.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "a message has that many parts")]
    pub fn open(
        &mut self,
        shared: &mut Shared,
        prefix: &mut Prefix,
        key: &dyn KeySource,
        nonce: &[u8; NONCE],
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        let (head, suffix) = split(nonce);
        if prefix.messages == 0 || prefix.bytes != *head {
            prefix.messages = 0;
            prefix.bytes = *head;
            shared.derive(key, prefix)?;
            prefix.messages = 1;
        }
        let start = self.start(prefix, suffix);
        self.gcm.open(start, aad, sealed, out).map_err(|error| self.failed(error))
    }

    /// How a message starts: with the prefix's key, unless the context has it.
    #[inline]
    fn start<'a>(&mut self, prefix: &'a Prefix, nonce: &'a [u8; PREFIX]) -> Start<'a> {
        if self.has(prefix.serial) {
            return Start { key: None, nonce };
        }
        self.serial = prefix.serial;
        Start { key: Some(&prefix.key), nonce }
    }

    /// After a failure of libcrypto the context's key is unknown; a wrong tag is found only after the key was set.
    #[cold]
    fn failed(&mut self, error: Error) -> Error {
        if error.status() != Status::AuthenticationFailed {
            self.serial = NO_SERIAL;
        }
        error
    }
}

#[cold]
fn renew(shared: &mut Shared, prefix: &mut Prefix, key: &dyn KeySource, now: u64) -> Result<()> {
    // Spent until the new one is complete.
    prefix.messages = 0;
    shared.nonces.fill_prefix(&mut prefix.bytes)?;
    shared.nonces.draw_again();
    shared.derive(key, prefix)?;
    prefix.messages = PREFIX_MESSAGES;
    prefix.plaintext = PREFIX_BYTES as u32;
    // Coarse seconds since boot fill 32 bits after 136 years; a prefix then serves one message.
    prefix.end = now.saturating_add(PREFIX_SECONDS).try_into().unwrap_or(u32::MAX);
    Ok(())
}

#[cold]
fn wrong_length() -> Error {
    Status::Internal.error("an output of the wrong length for nonce, ciphertext and tag")
}

#[cfg(test)]
pub mod alone;
#[cfg(test)]
mod tests;
