//! The body of a file: a message of C2SP chunked-encryption, Cobblestone-256 (`docs/file-format.md` has its rules).
//!
//! HKDF-Expand-SHA-512 derives key, base nonce and commitment from an input key, a salt and a context. Chunks of 16 KiB
//! are sealed with AES-256-GCM, each under the base nonce XOR its number. The last chunk is always shorter, so no cut-off
//! message is a message.
//!
//! Two chunks with one number and different bytes would break AES-GCM. So a number is a value that cannot be copied
//! ([`ChunkNumber`]), and [`ChunkNumbers`] makes each once. A [`ChunkSealer`] takes its input key by value from
//! [`InputKey::random`], never from an existing message.

use std::ops::Range;
use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

use crate::crypto::openssl::{AUTHENTICATION_FAILED, Gcm, Start, equal, hmac_sha512};
use crate::error::{Error, Result, Status};
use crate::sys::secret::{Arena, KEY_LEN, Secret};
use crate::sys::sync::atomic::{AtomicU64, Ordering};
use crate::sys::{fork, random};

pub use crate::crypto::openssl::TAG;

/// Plaintext of every chunk but the last, which is shorter.
pub const CHUNK: usize = 16 * 1024;
/// A full chunk, sealed.
pub const SEALED: usize = CHUNK + TAG;
const SALT: usize = 24;
const COMMITMENT: usize = 32;
/// Salt and commitment, which precede the first chunk.
pub const PREFIX: usize = SALT + COMMITMENT;
const NONCE: usize = 12;
/// A message has at most this many chunks: 4 PiB.
const MOST_CHUNKS: u64 = 1 << 38;
/// What the derivation's `info` starts with, the NUL included.
const INFO: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// A fresh input key: the one secret of a message.
pub struct InputKey(Zeroizing<[u8; KEY_LEN]>);

impl InputKey {
    pub fn random() -> Result<Self> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        random::fill(&mut *key)?;
        Ok(Self(key))
    }

    /// The key itself, to be sealed into a header.
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

/// What the input key, the salt and the context derive.
struct Derived {
    key: Secret,
    base: [u8; NONCE],
    commitment: [u8; COMMITMENT],
}

fn derive(arena: &Arc<Arena>, input_key: &[u8; KEY_LEN], salt: &[u8; SALT], context: &[&[u8]]) -> Result<Derived> {
    let mut blocks = Zeroizing::new([0; 2 * 64]);
    let mut previous: Zeroizing<Vec<u8>> = Zeroizing::new(Vec::new());
    for (count, block) in (1u8..).zip(blocks.as_chunks_mut::<64>().0) {
        let count = [count];
        let mut parts: Vec<&[u8]> = vec![&previous, INFO, salt];
        parts.extend_from_slice(context);
        parts.push(&count);
        *block = hmac_sha512(input_key, &parts)?;
        previous = Zeroizing::new(block.to_vec());
    }
    let short = || Status::Internal.error("a derived key is too short");
    let (key, rest) = blocks.split_first_chunk::<KEY_LEN>().ok_or_else(short)?;
    let (base, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let commitment = rest.first_chunk().ok_or_else(short)?;
    let key = arena.keep(&mut Zeroizing::new(*key))?;
    Ok(Derived { key, base: *base, commitment: *commitment })
}

fn nonce(base: &[u8; NONCE], number: u64) -> [u8; NONCE] {
    let mut nonce = *base;
    let last = nonce.iter_mut().rev();
    last.zip(number.to_be_bytes().iter().rev()).for_each(|(byte, with)| *byte ^= with);
    nonce
}

/// A cipher context for the chunks of one message; each thread has its own.
pub struct ChunkCipher(Gcm);

impl ChunkCipher {
    fn new(key: &Secret) -> Result<Self> {
        let mut cipher = Gcm::new()?;
        cipher.set_key(key.expose())?;
        Ok(Self(cipher))
    }
}

/// The number of a chunk that has not been sealed yet. Sealing uses it up.
#[derive(Debug)]
pub struct ChunkNumber(u64);

impl ChunkNumber {
    /// The number itself, for opening: a chunk may be opened as often as one likes.
    pub fn value(&self) -> u64 {
        self.0
    }
}

/// Consecutive numbers.
#[derive(Debug)]
pub struct ChunkRun(Range<u64>);

impl ChunkRun {
    /// The first number, for the place of the chunk in its file.
    pub fn first(&self) -> u64 {
        self.0.start
    }
}

impl Iterator for ChunkRun {
    type Item = ChunkNumber;

    fn next(&mut self) -> Option<ChunkNumber> {
        self.0.next().map(ChunkNumber)
    }
}

/// Makes the numbers of one message's chunks, each once: not by another thread again, nor in a forked child.
#[derive(Debug)]
pub struct ChunkNumbers {
    next: AtomicU64,
    epoch: u64,
}

impl ChunkNumbers {
    pub fn new() -> Self {
        Self { next: AtomicU64::new(0), epoch: fork::epoch() }
    }

    /// The next `count` numbers. Fails with `LimitExceeded` above 4 PiB, and with `Forked` in a child.
    pub fn take(&self, count: u64) -> Result<ChunkRun> {
        self.check_process()?;
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        let end = first.saturating_add(count);
        if end > MOST_CHUNKS {
            // Never reached again, however often it is tried.
            self.next.store(MOST_CHUNKS, Ordering::Relaxed);
            return Err(Status::LimitExceeded.error("a file has at most 4 PiB; split it"));
        }
        Ok(ChunkRun(first..end))
    }

    /// Fails in a child of the process that began the message: both would seal chunks with the same numbers.
    pub fn check_process(&self) -> Result<()> {
        if fork::epoch() == self.epoch {
            return Ok(());
        }
        Err(Status::Forked.error("a stream belongs to the process that made it; make a new one after fork"))
    }
}

/// Seals the chunks of a new message.
#[derive(Debug)]
pub struct ChunkSealer {
    key: Secret,
    base: [u8; NONCE],
    prefix: [u8; PREFIX],
}

impl ChunkSealer {
    /// The context is the parts joined.
    pub fn new(arena: &Arc<Arena>, input_key: InputKey, context: &[&[u8]]) -> Result<Self> {
        Self::salted(arena, input_key, &random::array()?, context)
    }

    fn salted(arena: &Arc<Arena>, input_key: InputKey, salt: &[u8; SALT], context: &[&[u8]]) -> Result<Self> {
        let Derived { key, base, commitment } = derive(arena, input_key.expose(), salt, context)?;
        let mut prefix = [0; PREFIX];
        prefix.iter_mut().zip(salt.iter().chain(&commitment)).for_each(|(to, from)| *to = *from);
        Ok(Self { key, base, prefix })
    }

    /// What precedes the first chunk.
    pub fn prefix(&self) -> &[u8; PREFIX] {
        &self.prefix
    }

    pub fn cipher(&self) -> Result<ChunkCipher> {
        ChunkCipher::new(&self.key)
    }

    /// Writes ciphertext and tag of one chunk; `out` is `TAG` bytes longer.
    pub fn seal(&self, cipher: &mut ChunkCipher, number: ChunkNumber, plaintext: &[u8], out: &mut [u8]) -> Result<()> {
        let nonce = nonce(&self.base, number.0);
        cipher.0.seal(Start { key: None, nonce: &nonce }, &[], plaintext, out)
    }
}

/// Opens the chunks of a message.
#[derive(Debug)]
pub struct ChunkOpener {
    key: Secret,
    base: [u8; NONCE],
}

impl ChunkOpener {
    /// Fails with `AuthenticationFailed` where input key and context are not those that the prefix commits to.
    pub fn new(
        arena: &Arc<Arena>,
        input_key: &[u8; KEY_LEN],
        prefix: &[u8; PREFIX],
        context: &[&[u8]],
    ) -> Result<Self> {
        let (salt, commitment) = prefix.split_first_chunk().ok_or_else(unauthentic)?;
        let mut derived = derive(arena, input_key, salt, context)?;
        let same = equal(&derived.commitment, commitment);
        derived.commitment.zeroize();
        if same { Ok(Self { key: derived.key, base: derived.base }) } else { Err(unauthentic()) }
    }

    pub fn cipher(&self) -> Result<ChunkCipher> {
        ChunkCipher::new(&self.key)
    }

    /// Checks the tag of chunk `number` and writes its plaintext; `out` is `TAG` bytes shorter, and all zeros after a failure.
    pub fn open(&self, cipher: &mut ChunkCipher, number: u64, sealed: &[u8], out: &mut [u8]) -> Result<()> {
        if number >= MOST_CHUNKS {
            out.zeroize();
            return Err(unauthentic());
        }
        let nonce = nonce(&self.base, number);
        cipher.0.open(Start { key: None, nonce: &nonce }, &[], sealed, out)
    }
}

fn unauthentic() -> Error {
    Status::AuthenticationFailed.error(AUTHENTICATION_FAILED)
}

/// The length of the plaintext in a body, prefix included, of `len` bytes.
///
/// Fails with `MalformedCiphertext` for a length that no body has, as after a cut between two chunks.
pub fn plaintext_len(len: u64) -> Result<u64> {
    let chunks = len.checked_sub(PREFIX as u64).ok_or_else(cut_off)?;
    let (full, last) = (chunks / SEALED as u64, chunks % SEALED as u64);
    let last = last.checked_sub(TAG as u64).ok_or_else(cut_off)?;
    if full >= MOST_CHUNKS {
        return Err(Status::MalformedCiphertext.error("longer than any encrypted file"));
    }
    Ok(full * CHUNK as u64 + last)
}

/// What a message without its short last chunk is.
pub fn cut_off() -> Error {
    Status::MalformedCiphertext.error("the encrypted file is cut off; get the whole file again")
}

#[cfg(test)]
mod tests;
