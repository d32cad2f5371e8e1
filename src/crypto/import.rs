//! Import tokens, and the digest that holds a key to its imported material.
//!
//! A token carries the private half of its own wrapping key, sealed for the keystore that issued it, so that the
//! keystore keeps nothing. It serves one key and may be used again until it expires.
//!
//! ```text
//! off len
//! 0   1   format version 01
//! 1   24  nonce
//! 25  n   sealed (XAES-256-GCM, AAD: a label and the format version), 16 bytes of tag included:
//!         0   16   key id
//!         16  16   token id, random
//!         32  8    expiry, Unix milliseconds, big-endian
//!         40  1    wrapping algorithm: 01 PKCS#1 v1.5 | 02 OAEP SHA-1 | 03 OAEP SHA-256
//!         41  1152 private key (`PrivateKey::to_bytes`)
//! ```

use zeroize::Zeroizing;

use crate::crypto::openssl::Hmac;
use crate::crypto::openssl::rsa::{PRIVATE_KEY, Padding, PrivateKey, Unwrapped};
use crate::crypto::row::{OVERHEAD, RowCipher};
use crate::domain::id::KeyId;
use crate::domain::time::Time;
use crate::error::{Error, Result, Status};
use crate::sys::random;

const FORMAT: u8 = 1;
const AAD: &[u8] = b"libkms import token\0\x01";
const DIGEST: &[u8] = b"libkms imported material\0\x01";
const CONTENTS: usize = 16 + 16 + 8 + 1 + PRIVATE_KEY;
/// Bytes of a sealed token.
pub const TOKEN: usize = 1 + CONTENTS + OVERHEAD;

/// What a sealed import token holds.
pub struct Token {
    pub key: KeyId,
    pub id: [u8; 16],
    pub expires: Time,
    pub padding: Padding,
    pub private_key: PrivateKey,
}

impl Token {
    /// A token with its own wrapping key, for the key `key`.
    pub fn issue(key: KeyId, padding: Padding, expires: Time) -> Result<Self> {
        Ok(Self { key, id: random::array()?, expires, padding, private_key: PrivateKey::generate()? })
    }

    /// The token as the caller gets it. `cipher` is of a key that seals nothing but tokens.
    pub fn seal(&self, cipher: &mut RowCipher) -> Result<Vec<u8>> {
        let mut contents = Zeroizing::new(Vec::with_capacity(CONTENTS));
        contents.extend_from_slice(self.key.as_bytes());
        contents.extend_from_slice(&self.id);
        contents.extend_from_slice(&self.expires.millis().to_be_bytes());
        contents.push(number(self.padding));
        contents.extend_from_slice(&self.private_key.to_bytes()?);
        let mut token = Vec::with_capacity(TOKEN);
        token.push(FORMAT);
        token.extend_from_slice(&cipher.seal(AAD, &contents, random::array()?)?);
        Ok(token)
    }

    /// What [`Token::seal`] sealed. Any fault in `bytes` is `InvalidImportToken` with one text.
    pub fn open(cipher: &mut RowCipher, bytes: &[u8]) -> Result<Self> {
        if bytes.len() != TOKEN {
            return Err(invalid());
        }
        let sealed = bytes.strip_prefix(&[FORMAT]).ok_or_else(invalid)?;
        let contents = cipher.open(AAD, sealed).map_err(|error| match error.status() {
            Status::AuthenticationFailed => invalid(),
            _ => error,
        })?;
        Self::parse(&contents).ok_or_else(invalid)?
    }

    fn parse(contents: &[u8]) -> Option<Result<Self>> {
        let (key, rest) = contents.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let (&algorithm, private_key) = rest.split_first()?;
        let padding = padding(algorithm)?;
        Some(PrivateKey::from_bytes(private_key).map(|private_key| Self {
            key: KeyId::from_bytes(*key),
            id: *id,
            expires: Time::from_millis(i64::from_be_bytes(*expires)),
            padding,
            private_key,
        }))
    }

    /// Whether the token serves `key` at `now`: `InvalidImportToken` for another key, then `ExpiredImportToken` from its
    /// expiry on.
    pub fn check(&self, key: &KeyId, now: Time) -> Result<()> {
        if self.key != *key {
            return Err(invalid());
        }
        if now >= self.expires {
            return Err(Status::ExpiredImportToken
                .error("the import token has expired; get new parameters with GetParametersForImport"));
        }
        Ok(())
    }

    /// The key material inside `wrapped`; see [`PrivateKey::unwrap`] for what a wrong text returns.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<Unwrapped> {
        self.private_key.unwrap(self.padding, wrapped, 32)
    }
}

/// A token's text for every fault, so that it does not reveal where another key's token would fit.
#[cold]
fn invalid() -> Error {
    Status::InvalidImportToken
        .error("the import token is not for this key of this keystore, or was changed; get new parameters for the key")
}

fn number(padding: Padding) -> u8 {
    match padding {
        Padding::Pkcs1V15 => 1,
        Padding::OaepSha1 => 2,
        Padding::OaepSha256 => 3,
    }
}

fn padding(number: u8) -> Option<Padding> {
    match number {
        1 => Some(Padding::Pkcs1V15),
        2 => Some(Padding::OaepSha1),
        3 => Some(Padding::OaepSha256),
        _ => None,
    }
}

/// What stays of imported material for the life of its key, so that only the same can come back (HMAC-SHA-256, FIPS
/// 198-1).
///
/// `key` is a subkey of the store that serves nothing else. The same material has another digest under another key id.
/// Compare with `openssl::equal`.
pub fn material_digest(key: &[u8; 32], key_id: &KeyId, material: &[u8; 32]) -> Result<[u8; 32]> {
    Hmac::new(key)?.mac(&[DIGEST, key_id.as_bytes(), material])
}

#[cfg(all(test, not(miri)))]
mod tests;
