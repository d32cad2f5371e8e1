//! An operation in progress: encryption or decryption, in one part or in several.
//!
//! Messages with a tag are collected and processed as a whole at the end, so no plaintext leaves before its tag was checked.

use std::sync::Arc;

use cryptoki_sys::*;
use kms::internal::{
    AES_BLOCK, AesMode, AesStream, AnyGcm, Candidates, MOST_WRAPPED, WRAP_OVERHEAD, fill_random, unwrap_key, wrap_key,
};
use kms::{KeyId, Keystore, Status};
use zeroize::Zeroizing;

use crate::attribute::SessionObject;
use crate::fail::{Fail, Result};
use crate::mechanism::Mechanism;

/// What libkms adds to a plaintext.
const BLOB_OVERHEAD: usize = 80;
/// The longest message that is collected.
const MOST_COLLECTED: usize = 1 << 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Encrypt,
    Decrypt,
}

/// Where a result goes.
pub enum Output<'a> {
    /// The caller asks for the size.
    Size,
    Buffer(&'a mut [u8]),
}

/// What a call wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The result needs this many bytes. The operation remains active.
    Size(usize),
    /// The buffer is too small for a result of this many bytes. The operation remains active.
    TooSmall(usize),
    Done(usize),
}

impl Output<'_> {
    /// Copies a result, if there is room.
    pub fn put(self, result: &[u8]) -> Written {
        match self {
            Output::Size => Written::Size(result.len()),
            Output::Buffer(buffer) => match buffer.get_mut(..result.len()) {
                Some(room) => {
                    room.copy_from_slice(result);
                    Written::Done(result.len())
                }
                None => Written::TooSmall(result.len()),
            },
        }
    }

    /// What to answer before anything is done for a result of `needed` bytes; none: there is room.
    fn lacks(&self, needed: usize) -> Option<Written> {
        match self {
            Output::Size => Some(Written::Size(needed)),
            Output::Buffer(buffer) if buffer.len() < needed => Some(Written::TooSmall(needed)),
            Output::Buffer(_) => None,
        }
    }
}

/// The key of an operation.
#[derive(Clone)]
pub enum CipherKey {
    Token { keystore: Arc<Keystore>, key: KeyId, candidates: Candidates },
    Session(Arc<SessionObject>),
}

/// An operation in progress.
pub struct Operation {
    key: CipherKey,
    direction: Direction,
    mechanism: Mechanism,
    progress: Progress,
}

enum Progress {
    Started,
    /// Parts of a message with a tag, or of a key that is wrapped.
    Collected(Zeroizing<Vec<u8>>),
    /// A mode of AES, and how many bytes it holds back.
    Streaming(AesStream, usize),
    /// The last bytes, for which the caller had no room yet.
    Ended(Zeroizing<[u8; AES_BLOCK]>, usize),
}

impl Operation {
    /// Whether nothing was passed yet.
    pub fn is_started(&self) -> bool {
        matches!(self.progress, Progress::Started)
    }

    pub fn new(key: CipherKey, direction: Direction, mechanism: Mechanism) -> Result<Self> {
        match (&key, &mechanism) {
            (CipherKey::Token { .. }, Mechanism::Stream { .. }) => return Err(Fail(CKR_MECHANISM_INVALID)),
            (CipherKey::Token { .. }, Mechanism::Gcm(gcm)) => gcm.check_for_token()?,
            (CipherKey::Session(_), Mechanism::Blob { .. }) => return Err(Fail(CKR_KEY_TYPE_INCONSISTENT)),
            _ => {}
        }
        if let CipherKey::Token { keystore, key, .. } = &key {
            keystore.check_usable(*key)?;
        }
        Ok(Self { key, direction, mechanism, progress: Progress::Started })
    }

    /// Draws the IV where the caller left it to the module: 12 zero bytes for a customer master key. Returned is what
    /// the caller must get.
    pub fn draw_iv(&mut self) -> Result<Option<[u8; 12]>> {
        match (&self.key, self.direction, &mut self.mechanism) {
            (CipherKey::Token { .. }, Direction::Encrypt, Mechanism::Gcm(gcm)) if gcm.iv == [0; 12] => {
                let mut iv = [0; 12];
                fill_random(&mut iv)?;
                gcm.iv = iv.to_vec();
                Ok(Some(iv))
            }
            _ => Ok(None),
        }
    }

    /// The length of the result for an input of `len` bytes; for a decryption it may be less.
    pub fn result_len(&self, len: usize) -> Result<usize> {
        let encrypts = self.direction == Direction::Encrypt;
        let range = Fail(if encrypts { CKR_DATA_LEN_RANGE } else { CKR_ENCRYPTED_DATA_LEN_RANGE });
        let longer = |by: usize| len.checked_add(by).ok_or(range);
        let shorter = |by: usize| len.checked_sub(by).ok_or(range);
        match (&self.mechanism, encrypts) {
            (Mechanism::Blob { .. }, true) => longer(BLOB_OVERHEAD),
            (Mechanism::Blob { .. }, false) => shorter(BLOB_OVERHEAD),
            (Mechanism::Gcm(gcm), true) => longer(gcm.tag_len),
            (Mechanism::Gcm(gcm), false) => shorter(gcm.tag_len),
            (Mechanism::KeyWrap { .. }, _) if len > MOST_WRAPPED => Err(range),
            (Mechanism::KeyWrap { padded: false }, true) if len < 16 || !len.is_multiple_of(8) => Err(range),
            (Mechanism::KeyWrap { padded: true }, true) if len == 0 => Err(range),
            (Mechanism::KeyWrap { .. }, true) => Ok(len.next_multiple_of(8) + WRAP_OVERHEAD),
            (Mechanism::KeyWrap { padded }, false) => {
                let least = if *padded { 16 } else { 24 };
                if len < least || !len.is_multiple_of(8) { Err(range) } else { Ok(len - WRAP_OVERHEAD) }
            }
            (Mechanism::Stream { mode: AesMode::Ctr, .. }, _) => Ok(len),
            (Mechanism::Stream { mode: AesMode::CbcPadded, .. }, true) => longer(AES_BLOCK - len % AES_BLOCK),
            (Mechanism::Stream { mode: AesMode::CbcPadded, .. }, false) if len == 0 => Err(range),
            (Mechanism::Stream { .. }, _) if !len.is_multiple_of(AES_BLOCK) => Err(range),
            (Mechanism::Stream { .. }, _) => Ok(len),
        }
    }

    /// Processes a whole message.
    pub fn process(&self, input: &[u8], out: Output<'_>) -> Result<Written> {
        let most = self.result_len(input.len())?;
        match self.direction {
            Direction::Encrypt => {
                if let Some(answer) = out.lacks(most) {
                    return Ok(answer);
                }
                let Output::Buffer(buffer) = out else { return Ok(Written::Size(most)) };
                let room = buffer.get_mut(..most).ok_or(Fail(CKR_GENERAL_ERROR))?;
                self.encrypt(input, room)?;
                Ok(Written::Done(most))
            }
            Direction::Decrypt => {
                if matches!(out, Output::Size) {
                    return Ok(Written::Size(most));
                }
                // Only what unpads may turn out shorter than `most`.
                if matches!(self.mechanism, Mechanism::Blob { .. } | Mechanism::Gcm(_))
                    && let Some(answer) = out.lacks(most)
                {
                    return Ok(answer);
                }
                Ok(out.put(&self.decrypt(input, most)?))
            }
        }
    }

    /// `room` has the exact length of the result.
    fn encrypt(&self, input: &[u8], room: &mut [u8]) -> Result<()> {
        match (&self.mechanism, &self.key) {
            (Mechanism::Blob { aad }, CipherKey::Token { keystore, key, .. }) => {
                with_context(aad, |context| keystore.encrypt_into(*key, input, context, |_| Ok(&mut *room)).map(drop))?;
            }
            (Mechanism::Gcm(gcm), CipherKey::Token { keystore, key, .. }) => {
                keystore.encrypt_gcm(*key, &gcm.parts(), input, room).map_err(of_gcm)?;
            }
            (Mechanism::Gcm(gcm), CipherKey::Session(key)) => {
                AnyGcm::new(&key.value)?.seal(&gcm.parts(), input, room)?;
            }
            (Mechanism::KeyWrap { padded }, CipherKey::Token { keystore, key, .. }) => {
                copy(room, &keystore.wrap_with_subkey(*key, *padded, input)?)?;
            }
            (Mechanism::KeyWrap { padded }, CipherKey::Session(key)) => {
                copy(room, &wrap_key(&key.value, *padded, input)?)?;
            }
            (Mechanism::Stream { mode, iv }, CipherKey::Session(key)) => {
                copy(room, &stream_all(*mode, &key.value, iv, true, input)?)?;
            }
            _ => return Err(Fail(CKR_MECHANISM_INVALID)),
        }
        Ok(())
    }

    /// `len` is the length of the plaintext, or more where padding decides.
    pub fn decrypt(&self, input: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(Vec::new());
        match (&self.mechanism, &self.key) {
            (Mechanism::Blob { aad }, CipherKey::Token { keystore, key, candidates }) => {
                // A blob of another key, version or keystore is none of this object.
                let found = keystore.inspect(input).map_err(of_blob)?;
                let is_candidate = match candidates {
                    Candidates::Newest(_) => true,
                    Candidates::Only(version) => found.version == *version,
                };
                if found.key != *key || !is_candidate {
                    return Err(Fail(CKR_ENCRYPTED_DATA_INVALID));
                }
                with_context(aad, |context| {
                    let opened = keystore.decrypt(input, context)?;
                    out.extend_from_slice(&opened);
                    Ok(())
                })?;
            }
            (Mechanism::Gcm(gcm), CipherKey::Token { keystore, key, candidates }) => {
                zeros(&mut out, len)?;
                keystore.decrypt_gcm(*key, *candidates, &gcm.parts(), input, &mut out)?;
            }
            (Mechanism::Gcm(gcm), CipherKey::Session(key)) => {
                zeros(&mut out, len)?;
                AnyGcm::new(&key.value)?.open(&gcm.parts(), input, &mut out)?;
            }
            (Mechanism::KeyWrap { padded }, CipherKey::Token { keystore, key, candidates }) => {
                out = keystore.unwrap_with_subkey(*key, *candidates, *padded, input)?;
            }
            (Mechanism::KeyWrap { padded }, CipherKey::Session(key)) => {
                out = Zeroizing::new(unwrap_key(&key.value, *padded, input)?);
            }
            (Mechanism::Stream { mode, iv }, CipherKey::Session(key)) => {
                out = stream_all(*mode, &key.value, iv, false, input)?;
            }
            _ => return Err(Fail(CKR_MECHANISM_INVALID)),
        }
        Ok(out)
    }

    /// Takes a part of a message.
    pub fn part(&mut self, input: &[u8], mut out: Output<'_>) -> Result<Written> {
        if matches!(self.progress, Progress::Started) {
            self.progress = match (&self.mechanism, &self.key) {
                (Mechanism::Stream { mode, iv }, CipherKey::Session(key)) => {
                    let encrypts = self.direction == Direction::Encrypt;
                    Progress::Streaming(AesStream::new(*mode, &key.value, iv, encrypts)?, 0)
                }
                _ => Progress::Collected(Zeroizing::new(Vec::new())),
            };
        }
        let mode = self.mode();
        let unpads = mode == Some(AesMode::CbcPadded) && self.direction == Direction::Decrypt;
        match &mut self.progress {
            Progress::Collected(parts) => {
                if matches!(out, Output::Size) {
                    return Ok(Written::Size(0));
                }
                let len = parts.len().checked_add(input.len()).filter(|len| *len <= MOST_COLLECTED);
                len.ok_or(Fail(CKR_DATA_LEN_RANGE))?;
                grow(parts, input)?;
                Ok(Written::Done(0))
            }
            Progress::Streaming(stream, held) => {
                let total = held.checked_add(input.len()).ok_or(Fail(CKR_DATA_LEN_RANGE))?;
                let passes = match mode {
                    Some(AesMode::Ctr) => total,
                    // The last block may be padding, so it is held back.
                    _ if unpads => total.saturating_sub(1) / AES_BLOCK * AES_BLOCK,
                    _ => total / AES_BLOCK * AES_BLOCK,
                };
                if let Some(answer) = out.lacks(passes) {
                    return Ok(answer);
                }
                let mut passed = Zeroizing::new(Vec::new());
                zeros(&mut passed, input.len().checked_add(AES_BLOCK).ok_or(Fail(CKR_DATA_LEN_RANGE))?)?;
                let written = stream.update(input, &mut passed)?;
                *held = total.saturating_sub(written);
                passed.truncate(written);
                if let Output::Buffer(buffer) = &mut out
                    && written > buffer.len()
                {
                    return Err(Fail(CKR_GENERAL_ERROR));
                }
                Ok(out.put(&passed))
            }
            // The padding is checked and gone: only the rest of the result is left to fetch.
            Progress::Ended(..) => Err(Fail(CKR_OPERATION_ACTIVE)),
            Progress::Started => Err(Fail(CKR_GENERAL_ERROR)),
        }
    }

    /// Ends a message that came in parts.
    pub fn finish(self, out: Output<'_>) -> (Option<Self>, Result<Written>) {
        let encrypts = self.direction == Direction::Encrypt;
        let range = Fail(if encrypts { CKR_DATA_LEN_RANGE } else { CKR_ENCRYPTED_DATA_LEN_RANGE });
        match self.progress {
            // No part came: an empty message.
            Progress::Started => {
                let done = self.process(&[], out);
                keep_unless_done(self, done)
            }
            Progress::Collected(ref parts) => {
                let done = self.process(parts, out);
                keep_unless_done(self, done)
            }
            Progress::Streaming(stream, held) => {
                let padded = matches!(self.mechanism, Mechanism::Stream { mode: AesMode::CbcPadded, .. });
                let complete = match (padded, encrypts) {
                    (true, true) => true,
                    (true, false) => held == AES_BLOCK,
                    (false, _) => held == 0 || !self.mechanism.is_of_blocks(),
                };
                if !complete {
                    return (None, Err(range));
                }
                // How long unpadded plaintext is, only its last block shows.
                let known = match (padded, encrypts) {
                    (true, true) => Some(AES_BLOCK),
                    (true, false) => None,
                    (false, _) => Some(0),
                };
                if let Some(answer) = known.and_then(|len| out.lacks(len)) {
                    return (Some(Self { progress: Progress::Streaming(stream, held), ..self }), Ok(answer));
                }
                let mut last = Zeroizing::new([0; AES_BLOCK]);
                match stream.finish(&mut last) {
                    Ok(len) => Self { progress: Progress::Ended(last, len), ..self }.hand_out(out),
                    Err(error) => (None, Err(error.into())),
                }
            }
            Progress::Ended(..) => self.hand_out(out),
        }
    }

    /// Passes the last bytes on; the operation remains active until the caller has room for them.
    fn hand_out(self, out: Output<'_>) -> (Option<Self>, Result<Written>) {
        let done = match &self.progress {
            Progress::Ended(last, len) => last.get(..*len).ok_or(Fail(CKR_GENERAL_ERROR)).map(|rest| out.put(rest)),
            _ => Err(Fail(CKR_GENERAL_ERROR)),
        };
        keep_unless_done(self, done)
    }

    fn mode(&self) -> Option<AesMode> {
        match self.mechanism {
            Mechanism::Stream { mode, .. } => Some(mode),
            _ => None,
        }
    }
}

impl Mechanism {
    fn is_of_blocks(&self) -> bool {
        matches!(self, Self::Stream { mode: AesMode::Ecb | AesMode::Cbc | AesMode::CbcPadded, .. })
    }
}

pub fn keep_unless_done(operation: Operation, done: Result<Written>) -> (Option<Operation>, Result<Written>) {
    let kept = matches!(done, Ok(Written::Size(_) | Written::TooSmall(_)));
    (kept.then_some(operation), done)
}

/// A version that has served its messages and a key that cannot rotate: no length is out of range. A read-only keystore cannot
/// count messages.
fn of_gcm(error: kms::Error) -> Fail {
    match error.status() {
        Status::LimitExceeded if !error.text().contains("plaintext") => Fail(CKR_KEY_FUNCTION_NOT_PERMITTED),
        Status::KeystoreReadOnly => Fail(CKR_KEY_FUNCTION_NOT_PERMITTED),
        _ => error.into(),
    }
}

fn of_blob(error: kms::Error) -> Fail {
    match error.status() {
        Status::KeyNotFound => Fail(CKR_ENCRYPTED_DATA_INVALID),
        _ => error.into(),
    }
}

/// The encryption context that represents AAD: `pkcs11.aad` with the bytes in hexadecimal.
fn with_context(aad: &[u8], call: impl FnOnce(&[(&str, &str)]) -> kms::Result<()>) -> Result<()> {
    if aad.is_empty() {
        return Ok(call(&[])?);
    }
    let mut text = String::new();
    text.try_reserve(aad.len() * 2).map_err(|_| Fail(CKR_HOST_MEMORY))?;
    for byte in aad {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or_default());
        }
    }
    Ok(call(&[("pkcs11.aad", &text)])?)
}

fn copy(room: &mut [u8], result: &[u8]) -> Result<()> {
    if room.len() != result.len() {
        return Err(Fail(CKR_GENERAL_ERROR));
    }
    room.copy_from_slice(result);
    Ok(())
}

fn zeros(out: &mut Zeroizing<Vec<u8>>, len: usize) -> Result<()> {
    out.try_reserve_exact(len).map_err(|_| Fail(CKR_HOST_MEMORY))?;
    out.resize(len, 0);
    Ok(())
}

/// Appends without leaving an unwiped copy where the memory must move.
fn grow(parts: &mut Zeroizing<Vec<u8>>, input: &[u8]) -> Result<()> {
    let needed = parts.len() + input.len();
    if needed > parts.capacity() {
        let mut larger = Zeroizing::new(Vec::new());
        larger.try_reserve_exact(needed.max(parts.len() * 2)).map_err(|_| Fail(CKR_HOST_MEMORY))?;
        larger.extend_from_slice(parts);
        *parts = larger;
    }
    parts.extend_from_slice(input);
    Ok(())
}

fn stream_all(mode: AesMode, key: &[u8], iv: &[u8], encrypts: bool, input: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let mut stream = AesStream::new(mode, key, iv, encrypts)?;
    let mut out = Zeroizing::new(Vec::new());
    zeros(&mut out, input.len().checked_add(2 * AES_BLOCK).ok_or(Fail(CKR_DATA_LEN_RANGE))?)?;
    let written = stream.update(input, &mut out)?;
    let mut last = Zeroizing::new([0; AES_BLOCK]);
    let len = stream.finish(&mut last)?;
    let rest = last.get(..len).ok_or(Fail(CKR_GENERAL_ERROR))?;
    out.truncate(written);
    out.extend_from_slice(rest);
    Ok(out)
}
