//! A root slot: how a root wraps the store root key, and gets it back.
//!
//! A slot of a key or a passphrase commits to its wrapping key: an attacker who writes the file can't make one that many
//! guesses open. Nothing reveals which slot or guess was right until a whole description is authentic under what came out:
//! slots that don't fit, can't be read or cost too little or too much are passed over alike.

use zeroize::Zeroizing;

use super::backend::{SlotRow, WRAPPED_MAX};
use super::root::{ReadyRoot, Root, RootKey, RootKind, RootWrapper, exact};
use crate::crypto::openssl::{self, Hmac};
use crate::crypto::passphrase::{self, Argon2Params, ENCODED, MAX_WORK_KIB, SALT};
use crate::crypto::row::{self, OVERHEAD};
use crate::error::{Error, Result, Status};
use crate::sys::random;

/// What the kinds of a slot's row are above those of format 1, whose slots don't commit to their key, or pass the callback
/// nothing to bind. They stay readable.
const OF_FORMAT_2: i64 = 3;

/// A slot's root, and whether it has the form that is written today.
pub fn form(kind: i64) -> Option<(RootKind, bool)> {
    let current = kind > OF_FORMAT_2;
    let root = match if current { kind - OF_FORMAT_2 } else { kind } {
        1 => RootKind::Key,
        2 => RootKind::Passphrase,
        3 => RootKind::Callback,
        _ => return None,
    };
    Some((root, current))
}

/// A slot that holds `root` for this root, made at `created`. Runs Argon2 or the callback: no lock may be held.
pub fn wrap(by: &Root, root: &RootKey, uuid: &[u8; 16], created: i64, label: Option<&str>) -> Result<SlotRow> {
    let ready = by.ready()?;
    let kind = ready.kind() as i64 + OF_FORMAT_2;
    let mut parameters = Vec::new();
    let wrapped = match &ready {
        ReadyRoot::Key(key) => seal(key, root, &bound(uuid, kind, &parameters))?,
        ReadyRoot::Passphrase(text) => {
            parameters.extend(Argon2Params::DEFAULT.encode());
            parameters.extend(random::array::<SALT>()?);
            seal(&derive(text, &parameters, &mut 0)?.ok_or_else(lost)?, root, &bound(uuid, kind, &parameters))?
        }
        ReadyRoot::Callback(wrapper) => wrapped_by(*wrapper, root, uuid)?,
    };
    Ok(SlotRow { row: 0, kind, parameters, wrapped, created: Some(created), label: label.map(str::to_owned) })
}

/// The first root key that `by` unwraps from a slot and that is the `right` one, with the number of the slot; `None` where no
/// slot has it. All slots of the root's kind are tried, also after a failure. Runs Argon2 or the callback: no lock may
/// be held.
pub fn unwrap(
    by: &Root,
    slots: &[SlotRow],
    uuid: &[u8; 16],
    mut right: impl FnMut(&RootKey) -> Result<bool>,
) -> Result<Option<(usize, RootKey)>> {
    let ready = by.ready()?;
    let (mut refused, mut work) = (None, 0);
    for (at, slot) in slots.iter().enumerate() {
        match unwrap_one(&ready, slot, uuid, &mut work) {
            Ok(Some(key)) if right(&key)? => return Ok(Some((at, key))),
            Ok(_) => {}
            // The slot may be another callback's; if none opens, what this one said is the reason.
            Err(error) if ready.kind() == RootKind::Callback => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    refused.map_or(Ok(None), Err)
}

fn unwrap_one(ready: &ReadyRoot<'_>, slot: &SlotRow, uuid: &[u8; 16], work: &mut u64) -> Result<Option<RootKey>> {
    let Some((_, current)) = form(slot.kind).filter(|(kind, _)| *kind == ready.kind()) else { return Ok(None) };
    let bound = bound(uuid, slot.kind, &slot.parameters);
    let open = if current { open } else { open_uncommitted };
    match ready {
        ReadyRoot::Key(key) => open(key, &slot.wrapped, &bound),
        ReadyRoot::Passphrase(text) => match derive(text, &slot.parameters, work)? {
            Some(key) => open(&key, &slot.wrapped, &bound),
            None => Ok(None),
        },
        ReadyRoot::Callback(wrapper) => {
            // Nothing was bound in format 1.
            let aad = if current { aad(uuid) } else { Vec::new() };
            unwrapped_by(*wrapper, &slot.wrapped, &aad).map(Some)
        }
    }
}

/// The key of a passphrase slot; `None` for parameters that no slot has, or when all slots together ask for too much.
fn derive(text: &[u8], parameters: &[u8], work: &mut u64) -> Result<Option<RootKey>> {
    let Some((costs, salt)) = parameters.split_first_chunk::<ENCODED>() else { return Ok(None) };
    let (Ok(salt), Ok(costs)) = (salt.try_into(), Argon2Params::decode(costs)) else { return Ok(None) };
    *work += costs.work_kib();
    if *work > MAX_WORK_KIB {
        return Ok(None);
    }
    passphrase::derive(text, salt, &costs).map(Some)
}

/// What a slot's key is bound to.
fn bound(uuid: &[u8; 16], kind: i64, parameters: &[u8]) -> Vec<u8> {
    [b"libkms slot".as_slice(), uuid, &kind.to_be_bytes(), parameters].concat()
}

/// Bytes of a commitment.
const COMMITMENT: usize = 32;

/// HMAC-SHA-256 of what is bound, under the wrapping key: one value to store, which commits to the key, and one to seal
/// with.
fn subkeys(key: &RootKey, bound: &[u8]) -> Result<([u8; COMMITMENT], RootKey)> {
    let mut hmac = Hmac::new(key)?;
    Ok((hmac.mac(&[b"commitment\0", bound])?, Zeroizing::new(hmac.mac(&[b"encryption\0", bound])?)))
}

/// Commitment, nonce, ciphertext and tag.
fn seal(key: &RootKey, root: &RootKey, bound: &[u8]) -> Result<Vec<u8>> {
    let (commitment, key) = subkeys(key, bound)?;
    Ok([commitment.as_slice(), &row::seal_once(&key, bound, &**root)?].concat())
}

fn open(key: &RootKey, wrapped: &[u8], bound: &[u8]) -> Result<Option<RootKey>> {
    let Some((stored, sealed)) = wrapped.split_first_chunk::<COMMITMENT>() else { return Ok(None) };
    let (commitment, key) = subkeys(key, bound)?;
    match openssl::equal(stored, &commitment) {
        true => open_uncommitted(&key, sealed, bound),
        false => Ok(None),
    }
}

/// A slot of format 1, or what follows a commitment.
fn open_uncommitted(key: &RootKey, sealed: &[u8], bound: &[u8]) -> Result<Option<RootKey>> {
    if sealed.len() != OVERHEAD + 32 {
        return Ok(None);
    }
    match row::open_once(key, bound, sealed) {
        Ok(opened) => Ok(exact(&opened)),
        Err(error) if error.status() == Status::AuthenticationFailed => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a callback binds: the purpose, and the keystore.
fn aad(uuid: &[u8; 16]) -> Vec<u8> {
    format!("libkms root key of keystore {}", uuid::Uuid::from_bytes(*uuid).as_hyphenated()).into_bytes()
}

/// Wraps, and tries that the result opens again, and opens under nothing else than what was bound.
fn wrapped_by(wrapper: &dyn RootWrapper, root: &RootKey, uuid: &[u8; 16]) -> Result<Vec<u8>> {
    let aad = aad(uuid);
    let wrapped = wrapper.wrap(&**root, &aad)?;
    if wrapped.is_empty() || wrapped.len() > WRAPPED_MAX {
        return Err(unavailable("the wrap callback returned nothing, or more than 16 KiB; return the wrapped key"));
    }
    let is_root = |found: &RootKey| openssl::equal(&**found, &**root);
    let mut other = aad.clone();
    other.reverse();
    // What must fail comes first, so that the last thing that the callback did went well.
    if unwrapped_by(wrapper, &wrapped, &other).is_ok_and(|found| is_root(&found)) {
        return Err(unavailable(
            "the callback unwraps under other aad than it wrapped with; use authenticated symmetric encryption (an AEAD) \
             over key and aad, never public-key encryption",
        ));
    }
    match is_root(&unwrapped_by(wrapper, &wrapped, &aad)?) {
        true => Ok(wrapped),
        false => Err(unavailable("the unwrap callback does not return what the wrap callback was given")),
    }
}

fn unwrapped_by(wrapper: &dyn RootWrapper, wrapped: &[u8], aad: &[u8]) -> Result<RootKey> {
    let found = wrapper.unwrap(wrapped, aad)?;
    exact(&found)
        .ok_or_else(|| unavailable("the unwrap callback returned a key that is not 32 bytes long, or all zeros"))
}

fn unavailable(text: &'static str) -> Error {
    Status::RootKeyUnavailable.error(text)
}

fn lost() -> Error {
    Status::Internal.error("the cost of a new passphrase slot is out of bounds")
}

#[cfg(test)]
mod tests;
