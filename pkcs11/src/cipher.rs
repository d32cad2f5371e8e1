//! Encryption and decryption of a session, and wrapping keys.
//!
//! An operation leaves its session while it is worked on, and returns unless it has ended.

use std::sync::Arc;

use cryptoki_sys::*;
use kms::internal::Candidates;
use zeroize::Zeroizing;

use crate::fail::{Fail, Result};
use crate::mechanism::Mechanism;
use crate::operation::{CipherKey, Direction, Operation, Output, Written, keep_unless_done};
use crate::state::{self, Object, State, TokenId};

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
        Object::Token { token: TokenId { key, version }, .. } => {
            let (key, version) = (*key, *version);
            let slot = state.slot_of(session)?;
            let keystore = slot.keystore.clone().ok_or(Fail(CKR_USER_NOT_LOGGED_IN))?;
            let newest = Candidates::Newest(slot.config.trial_versions);
            Ok(CipherKey::Token { keystore, key, candidates: version.map_or(newest, Candidates::Only) })
        }
        Object::Session { key, .. } if key.is_key() => Ok(CipherKey::Session(Arc::clone(key))),
        Object::Session { .. } => Err(Fail(invalid)),
    }
}

fn check_purpose(key: &CipherKey, purpose: CK_ATTRIBUTE_TYPE) -> Result<()> {
    match key {
        // Only the key itself encrypts: its primary version changes.
        CipherKey::Token { candidates: Candidates::Only(_), .. } if matches!(purpose, CKA_ENCRYPT | CKA_WRAP) => {
            Err(Fail(CKR_KEY_FUNCTION_NOT_PERMITTED))
        }
        CipherKey::Session(key) if !key.is(purpose) => Err(Fail(CKR_KEY_FUNCTION_NOT_PERMITTED)),
        CipherKey::Session(key) if key.key_type() != CKK_AES => Err(Fail(CKR_KEY_TYPE_INCONSISTENT)),
        _ => Ok(()),
    }
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
        if !operation.is_started() {
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
            Object::Session { key, .. } if key.is_key() => Ok(Arc::clone(key)),
            Object::Session { .. } => Err(Fail(CKR_KEY_HANDLE_INVALID)),
        }
    })?;
    if !key.is(CKA_EXTRACTABLE) {
        return Err(Fail(CKR_KEY_UNEXTRACTABLE));
    }
    // No key of the module is trusted.
    if key.is(CKA_WRAP_WITH_TRUSTED) {
        return Err(Fail(CKR_KEY_NOT_WRAPPABLE));
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
