//! The ciphertext's form: 40 bytes that name algorithm, key and version, then nonce, ciphertext and tag.
//!
//! ```text
//! off len
//! 0   4   magic 8B 4B 4D 53
//! 4   1   format version 01
//! 5   1   algorithm: 01 XAES-256-GCM, 02 its key-committing form (reserved)
//! 6   1   context: 00 none, 01 reserved, 02 map
//! 7   1   00
//! 8   16  key id
//! 24  16  key version id
//! 40  24  nonce
//! 64  n   ciphertext, then 16 bytes of tag
//! ```
//!
//! Pure bytes: nothing here is authenticated. The header is the start of the AAD, so a changed one fails there.

use crate::domain::id::{KeyId, VersionId};
use crate::error::{Error, Result, Status};

/// Bytes before the nonce.
pub const HEADER: usize = 40;
pub const NONCE: usize = 24;
pub const TAG: usize = 16;
/// Bytes that a ciphertext is longer than its plaintext.
pub const OVERHEAD: usize = HEADER + NONCE + TAG;

/// Never valid text, so that a blob mangled as text is caught early.
const MAGIC: [u8; 4] = [0x8B, 0x4B, 0x4D, 0x53];
const FORMAT: u8 = 1;
/// Offset of the context's type.
const CONTEXT_TYPE: usize = 6;

/// How a blob is sealed; the numbers are those of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Algorithm {
    Xaes256Gcm = 1,
}

/// Whether a context is needed to open a blob, and how it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ContextType {
    None = 0,
    Map = 2,
}

/// What a blob says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub algorithm: Algorithm,
    pub context_type: ContextType,
    pub key: KeyId,
    pub version: VersionId,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let (fixed, ids) = bytes.split_at_mut(8);
        let [a, b, c, d] = MAGIC;
        fixed.copy_from_slice(&[a, b, c, d, FORMAT, self.algorithm as u8, self.context_type as u8, 0]);
        let (key, version) = ids.split_at_mut(16);
        key.copy_from_slice(self.key.as_bytes());
        version.copy_from_slice(self.version.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER]) -> Result<Self> {
        let [a, b, c, d, format, algorithm, context_type, zero, ids @ ..] = bytes;
        if [*a, *b, *c, *d] != MAGIC {
            return Err(malformed("not a ciphertext of this library"));
        }
        if *format != FORMAT {
            return Err(malformed("a ciphertext of another format version; a newer library may read it"));
        }
        let algorithm = match algorithm {
            1 => Algorithm::Xaes256Gcm,
            2 => return Err(malformed("a key-committing ciphertext; a newer library may read it")),
            _ => return Err(malformed("a ciphertext of an unknown algorithm; a newer library may read it")),
        };
        let context_type = match context_type {
            0 => ContextType::None,
            1 => return Err(malformed("a ciphertext with a reserved context type")),
            2 => ContextType::Map,
            _ => return Err(malformed("a ciphertext with an unknown context type")),
        };
        if *zero != 0 {
            return Err(malformed("a ciphertext with a reserved byte set"));
        }
        let (halves, _) = ids.as_chunks::<16>();
        let [key, version] = halves else { return Err(malformed("a ciphertext without ids")) };
        Ok(Self { algorithm, context_type, key: KeyId::from_bytes(*key), version: VersionId::from_bytes(*version) })
    }
}

#[inline]
pub fn set_context_type(header: &mut [u8; HEADER], context_type: ContextType) {
    if let Some(byte) = header.get_mut(CONTEXT_TYPE) {
        *byte = context_type as u8;
    }
}

/// A blob taken apart; borrowed from its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Blob<'a> {
    pub header: Header,
    pub header_bytes: &'a [u8; HEADER],
    pub nonce: &'a [u8; NONCE],
    /// Ciphertext and tag.
    pub sealed: &'a [u8],
}

impl<'a> Blob<'a> {
    /// Fails with `MalformedCiphertext`, with a text for each reason.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let short = || malformed("too short for a ciphertext");
        if bytes.len() < OVERHEAD {
            return Err(short());
        }
        let (header_bytes, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        let (nonce, sealed) = rest.split_first_chunk().ok_or_else(short)?;
        Ok(Self { header: Header::decode(header_bytes)?, header_bytes, nonce, sealed })
    }

    /// Length of the plaintext in bytes.
    pub fn plaintext_len(&self) -> usize {
        self.sealed.len().saturating_sub(TAG)
    }
}

fn malformed(text: &'static str) -> Error {
    Status::MalformedCiphertext.error(text)
}

#[cfg(test)]
mod tests;
