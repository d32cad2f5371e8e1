//! Encryption and decryption, in one part or in several, and wrapping keys.
//!
//! Messages with a tag are collected and processed as a whole at the end, so no plaintext leaves before its tag was
//! checked. An operation leaves its session while it is worked on, and returns unless it has ended.

use std::sync::Arc;

use cryptoki_sys::*;
use kms::internal::{
    AES_BLOCK, AesMode, AesStream, AnyGcm, MOST_WRAPPED, WRAP_OVERHEAD, fill_random, unwrap_key, wrap_key,
};
use kms::{KeyId, Keystore, Status};
use zeroize::Zeroizing;

use crate::attribute::SessionKey;
use crate::fail::{Fail, Result};
use crate::mechanism::Mechanism;
use crate::state::{self, Object, State};

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
    /// So many bytes are needed; the operation stays.
    Size(usize),
    /// The buffer is too small for so many bytes; the operation stays.
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
    Token { keystore: Arc<Keystore>, key: KeyId, trials: usize },
    Session(Arc<SessionKey>),
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
}

/// The key of a handle for a purpose, which is an attribute such as CKA_ENCRYPT.
pub fn find_key(
    session: CK_SESSION_HANDLE,
    handle: CK_OBJECT_HANDLE,
    purpose: CK_ATTRIBUTE_TYPE,
    invalid: CK_RV,
) -> Result<CipherKey> {
    let key = state::with(|state| key_of(state, session, handle, invalid))?;
    check_purpose(&key, purpose)?;
    Ok(key)
}

fn key_of(
    state: &mut State,
    session: CK_SESSION_HANDLE,
    handle: CK_OBJECT_HANDLE,
    invalid: CK_RV,
) -> Result<CipherKey> {
    let slot = state.session(session)?.slot;
    match state.object(slot, handle).ok_or(Fail(invalid))? {
        Object::Token { key, .. } => {
            let key = *key;
            let slot = state.slot_of(session)?;
            let keystore = slot.keystore.clone().ok_or(Fail(CKR_USER_NOT_LOGGED_IN))?;
            Ok(CipherKey::Token { keystore, key, trials: slot.config.trial_versions })
        }
        Object::Session { key, .. } => Ok(CipherKey::Session(Arc::clone(key))),
    }
}

fn check_purpose(key: &CipherKey, purpose: CK_ATTRIBUTE_TYPE) -> Result<()> {
    match key {
        CipherKey::Session(key) if !key.is(purpose) => Err(Fail(CKR_KEY_FUNCTION_NOT_PERMITTED)),
        CipherKey::Session(key) if key.key_type() != CKK_AES => Err(Fail(CKR_KEY_TYPE_INCONSISTENT)),
        _ => Ok(()),
    }
}

impl Operation {
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
    fn result_len(&self, len: usize) -> Result<usize> {
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
    fn process(&self, input: &[u8], out: Output<'_>) -> Result<Written> {
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
    fn decrypt(&self, input: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(Vec::new());
        match (&self.mechanism, &self.key) {
            (Mechanism::Blob { aad }, CipherKey::Token { keystore, key, .. }) => {
                // A blob of another key, or of another keystore, is none of this object.
                if keystore.inspect(input).map_err(of_blob)?.key != *key {
                    return Err(Fail(CKR_ENCRYPTED_DATA_INVALID));
                }
                with_context(aad, |context| {
                    let opened = keystore.decrypt(input, context)?;
                    out.extend_from_slice(&opened);
                    Ok(())
                })?;
            }
            (Mechanism::Gcm(gcm), CipherKey::Token { keystore, key, trials }) => {
                zeros(&mut out, len)?;
                keystore.decrypt_gcm(*key, *trials, &gcm.parts(), input, &mut out)?;
            }
            (Mechanism::Gcm(gcm), CipherKey::Session(key)) => {
                zeros(&mut out, len)?;
                AnyGcm::new(&key.value)?.open(&gcm.parts(), input, &mut out)?;
            }
            (Mechanism::KeyWrap { padded }, CipherKey::Token { keystore, key, trials }) => {
                out = keystore.unwrap_with_subkey(*key, *trials, *padded, input)?;
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
    fn part(&mut self, input: &[u8], mut out: Output<'_>) -> Result<Written> {
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
            Progress::Started => Err(Fail(CKR_GENERAL_ERROR)),
        }
    }

    /// Ends a message that came in parts.
    fn finish(self, out: Output<'_>) -> (Option<Self>, Result<Written>) {
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
                let most = match (padded, encrypts) {
                    (true, _) if !encrypts && held != AES_BLOCK => return (None, Err(range)),
                    (true, _) => AES_BLOCK,
                    (false, _) => 0,
                };
                if !padded && self.mechanism.is_of_blocks() && held > 0 {
                    return (None, Err(range));
                }
                let needed = if encrypts { most } else { 0 };
                let answer = match &out {
                    Output::Size => Some(Written::Size(most)),
                    // The padding takes at least a byte of the last block.
                    Output::Buffer(buffer) if buffer.len() < needed.max(most.saturating_sub(1)) => {
                        Some(Written::TooSmall(most))
                    }
                    Output::Buffer(_) => None,
                };
                if let Some(answer) = answer {
                    let progress = Progress::Streaming(stream, held);
                    return (Some(Self { progress, ..self }), Ok(answer));
                }
                let mut last = Zeroizing::new([0; AES_BLOCK]);
                let done = stream.finish(&mut last).map_err(Fail::from);
                (None, done.and_then(|len| Ok(out.put(last.get(..len).ok_or(Fail(CKR_GENERAL_ERROR))?))))
            }
        }
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

fn keep_unless_done(operation: Operation, done: Result<Written>) -> (Option<Operation>, Result<Written>) {
    let kept = matches!(done, Ok(Written::Size(_) | Written::TooSmall(_)));
    (kept.then_some(operation), done)
}

/// A version that has served its messages and a key that cannot rotate: no length is out of range.
fn of_gcm(error: kms::Error) -> Fail {
    match error.status() {
        Status::LimitExceeded if !error.text().contains("plaintext") => Fail(CKR_KEY_FUNCTION_NOT_PERMITTED),
        _ => error.into(),
    }
}

fn of_blob(error: kms::Error) -> Fail {
    match error.status() {
        Status::KeyNotFound => Fail(CKR_ENCRYPTED_DATA_INVALID),
        _ => error.into(),
    }
}

/// The encryption context that stands for AAD: `pkcs11.aad` with the bytes in hexadecimal.
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

/// Begins an operation; what is returned must be written to the caller's IV.
pub fn init(
    session: CK_SESSION_HANDLE,
    direction: Direction,
    mechanism: Result<Mechanism>,
    key: CK_OBJECT_HANDLE,
) -> Result<Option<[u8; 12]>> {
    let purpose = match direction {
        Direction::Encrypt => CKA_ENCRYPT,
        Direction::Decrypt => CKA_DECRYPT,
    };
    let (key, mechanism) = state::with(|state| {
        if place(state.session(session)?, direction).is_some() {
            return Err(Fail(CKR_OPERATION_ACTIVE));
        }
        let mechanism = mechanism?;
        Ok((key_of(state, session, key, CKR_KEY_HANDLE_INVALID)?, mechanism))
    })?;
    check_purpose(&key, purpose)?;
    let mut operation = Operation::new(key, direction, mechanism)?;
    let iv = operation.draw_iv()?;
    state::with(|state| {
        let place = place(state.session(session)?, direction);
        if place.is_some() {
            return Err(Fail(CKR_OPERATION_ACTIVE));
        }
        *place = Some(operation);
        Ok(iv)
    })
}

fn place(session: &mut state::Session, direction: Direction) -> &mut Option<Operation> {
    match direction {
        Direction::Encrypt => &mut session.encrypt,
        Direction::Decrypt => &mut session.decrypt,
    }
}

/// Ends an operation without a result.
pub fn cancel(session: CK_SESSION_HANDLE, direction: Direction) -> Result<()> {
    let ended = state::with(|state| Ok(place(state.session(session)?, direction).take()))?;
    drop(ended);
    Ok(())
}

/// Takes an operation out of its session, and puts back what `body` leaves of it.
fn work(
    session: CK_SESSION_HANDLE,
    direction: Direction,
    body: impl FnOnce(Operation) -> (Option<Operation>, Result<Written>),
) -> Result<Written> {
    let taken = state::with(|state| place(state.session(session)?, direction).take().ok_or(NOT_INITIALIZED))?;
    let (left, done) = body(taken);
    if let Some(left) = left {
        // The session may have been closed meanwhile.
        let _ = state::with(|state| {
            *place(state.session(session)?, direction) = Some(left);
            Ok(())
        });
    }
    done
}

const NOT_INITIALIZED: Fail = Fail(CKR_OPERATION_NOT_INITIALIZED);

pub fn whole(session: CK_SESSION_HANDLE, direction: Direction, input: &[u8], out: Output<'_>) -> Result<Written> {
    work(session, direction, |operation| {
        if !matches!(operation.progress, Progress::Started) {
            // Only C_EncryptFinal or C_DecryptFinal ends what came in parts.
            return (None, Err(Fail(CKR_OPERATION_ACTIVE)));
        }
        let done = operation.process(input, out);
        keep_unless_done(operation, done)
    })
}

pub fn part(session: CK_SESSION_HANDLE, direction: Direction, input: &[u8], out: Output<'_>) -> Result<Written> {
    work(session, direction, |mut operation| {
        let done = operation.part(input, out);
        (done.is_ok().then_some(operation), done)
    })
}

pub fn finish(session: CK_SESSION_HANDLE, direction: Direction, out: Output<'_>) -> Result<Written> {
    work(session, direction, |operation| operation.finish(out))
}

/// Wraps the value of a session key.
pub fn wrap(
    session: CK_SESSION_HANDLE,
    mechanism: Mechanism,
    wrapping: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    out: Output<'_>,
) -> Result<(Written, Option<[u8; 12]>)> {
    let wrapping = find_key(session, wrapping, CKA_WRAP, CKR_WRAPPING_KEY_HANDLE_INVALID)?;
    let key = state::with(|state| {
        let slot = state.session(session)?.slot;
        match state.object(slot, key).ok_or(Fail(CKR_KEY_HANDLE_INVALID))? {
            Object::Token { .. } => Err(Fail(CKR_KEY_UNEXTRACTABLE)),
            Object::Session { key, .. } => Ok(Arc::clone(key)),
        }
    })?;
    if !key.is(CKA_EXTRACTABLE) {
        return Err(Fail(CKR_KEY_UNEXTRACTABLE));
    }
    let mut operation = Operation::new(wrapping, Direction::Encrypt, mechanism)?;
    let iv = if matches!(out, Output::Size) { None } else { operation.draw_iv()? };
    let done = operation.process(&key.value, out);
    Ok((done.map_err(|fail| if fail.0 == CKR_DATA_LEN_RANGE { Fail(CKR_KEY_SIZE_RANGE) } else { fail })?, iv))
}

/// The value of a wrapped key.
pub fn unwrap(
    session: CK_SESSION_HANDLE,
    mechanism: Mechanism,
    unwrapping: CK_OBJECT_HANDLE,
    wrapped: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let key = find_key(session, unwrapping, CKA_UNWRAP, CKR_UNWRAPPING_KEY_HANDLE_INVALID)?;
    let operation = Operation::new(key, Direction::Decrypt, mechanism)?;
    let opened = operation.result_len(wrapped.len()).and_then(|len| operation.decrypt(wrapped, len));
    opened.map_err(|fail| match fail.0 {
        CKR_ENCRYPTED_DATA_LEN_RANGE => Fail(CKR_WRAPPED_KEY_LEN_RANGE),
        CKR_ENCRYPTED_DATA_INVALID => Fail(CKR_WRAPPED_KEY_INVALID),
        _ => fail,
    })
}
