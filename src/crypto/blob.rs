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
        fixed.copy_from_slice(&start_of(self.algorithm, self.context_type).to_be_bytes());
        let (key, version) = ids.split_at_mut(16);
        key.copy_from_slice(self.key.as_bytes());
        version.copy_from_slice(self.version.as_bytes());
        bytes
    }

    #[inline(always)]
    fn decode(bytes: &[u8; HEADER]) -> Result<Self> {
        const BARE: u64 = start_of(Algorithm::Xaes256Gcm, ContextType::None);
        const WITH_CONTEXT: u64 = start_of(Algorithm::Xaes256Gcm, ContextType::Map);
        let ([start, ids @ ..], []) = bytes.as_chunks::<8>() else { return Err(unreadable(bytes)) };
        let context_type = match u64::from_be_bytes(*start) {
            BARE => ContextType::None,
            WITH_CONTEXT => ContextType::Map,
            _ => return Err(unreadable(bytes)),
        };
        let ([key, version], []) = ids.as_flattened().as_chunks::<16>() else { return Err(unreadable(bytes)) };
        let (key, version) = (KeyId::from_bytes(*key), VersionId::from_bytes(*version));
        Ok(Self { algorithm: Algorithm::Xaes256Gcm, context_type, key, version })
    }
}

/// The first 8 bytes of a header.
const fn start_of(algorithm: Algorithm, context_type: ContextType) -> u64 {
    let [a, b, c, d] = MAGIC;
    u64::from_be_bytes([a, b, c, d, FORMAT, algorithm as u8, context_type as u8, 0])
}

/// What is wrong with a header.
#[cold]
fn unreadable(bytes: &[u8; HEADER]) -> Error {
    let [a, b, c, d, format, algorithm, context_type, zero, ..] = bytes;
    malformed(match (algorithm, context_type) {
        _ if [*a, *b, *c, *d] != MAGIC => "not a ciphertext of this library",
        _ if *format != FORMAT => "a ciphertext of another format version; a newer library may read it",
        (2, _) => "a key-committing ciphertext; a newer library may read it",
        (0 | 3.., _) => "a ciphertext of an unknown algorithm; a newer library may read it",
        (_, 1) => "a ciphertext with a reserved context type",
        (_, 3..) => "a ciphertext with an unknown context type",
        _ if *zero != 0 => "a ciphertext with a reserved byte set",
        _ => "a ciphertext without ids",
    })
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
    pub nonce: &'a [u8; NONCE],
    /// Ciphertext and tag.
    pub sealed: &'a [u8],
}

impl<'a> Blob<'a> {
    /// Fails with `MalformedCiphertext`, with a text for each reason.
    #[inline(always)]
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let (Some((header, rest)), OVERHEAD..) = (bytes.split_first_chunk(), bytes.len()) else { return Err(short()) };
        let Some((nonce, sealed)) = rest.split_first_chunk() else { return Err(short()) };
        Ok(Self { header: Header::decode(header)?, nonce, sealed })
    }

    /// Length of the plaintext in bytes.
    pub fn plaintext_len(&self) -> usize {
        self.sealed.len().saturating_sub(TAG)
    }
}

#[cold]
fn short() -> Error {
    malformed("too short for a ciphertext")
}

fn malformed(text: &'static str) -> Error {
    Status::MalformedCiphertext.error(text)
}

#[cfg(test)]
mod tests;
