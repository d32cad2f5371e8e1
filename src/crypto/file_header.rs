//! The header of a file: two slots, each a complete header in its own 4 KiB block.
//!
//! | offset | length | |
//! |---:|---:|---|
//! | 0 | 4 | magic `8B 4B 4D 46` |
//! | 4 | 1 | format version `01` |
//! | 5 | 1 | body: `01` Cobblestone-256 |
//! | 6 | 2 | length of the header, both slots: `20 00` |
//! | 8 | 8 | sequence number; of two valid slots the higher counts |
//! | 16 | 16 | file id |
//! | 32 | 2 | length of the blob |
//! | 34 | n | blob that seals the input key |
//! | 34 + n | 32 | checksum: HMAC-SHA-256 of all before it, under 32 zero bytes |
//!
//! Zeros follow up to 4096. A slot of zeros alone is empty. Bytes only: `service/file` seals and opens.

use crate::crypto::blob::Blob;
use crate::crypto::openssl::{Hmac, equal};
use crate::error::{Error, Result, Status};

/// A slot, and what a disk writes at once.
pub const SLOT: usize = 4096;
/// Both slots. The body follows.
pub const HEADER: usize = 2 * SLOT;
const MAGIC: [u8; 4] = [0x8b, b'K', b'M', b'F'];
const VERSION: u8 = 1;
const COBBLESTONE_256: u8 = 1;
/// What precedes the blob.
const START: usize = 34;
const CHECKSUM: usize = 32;
/// The longest blob that a slot has room for.
const MOST_BLOB: usize = SLOT - START - CHECKSUM;
/// The name in the encryption context of a slot's blob that binds the rest of the slot.
pub const CONTEXT_NAME: &str = "kms:file";

pub type EncryptedFileId = [u8; 16];

/// What a slot has besides its blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotStart {
    pub file_id: EncryptedFileId,
    pub sequence: u64,
}

impl SlotStart {
    fn encode(&self, blob_len: u16) -> [u8; START] {
        let mut start = [0; START];
        let parts: [&[u8]; 6] = [
            &MAGIC,
            &[VERSION, COBBLESTONE_256],
            &(HEADER as u16).to_be_bytes(),
            &self.sequence.to_be_bytes(),
            &self.file_id,
            &blob_len.to_be_bytes(),
        ];
        start.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        start
    }

    /// The value of [`CONTEXT_NAME`] in the blob's context: all bytes before the blob, in hexadecimal digits.
    pub fn context_value(&self, blob_len: usize) -> Result<String> {
        let start = self.encode(u16::try_from(blob_len).map_err(|_| too_long())?);
        Ok(start.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// A whole slot.
    pub fn slot(&self, blob: &[u8]) -> Result<[u8; SLOT]> {
        if blob.len() > MOST_BLOB {
            return Err(too_long());
        }
        let start = self.encode(u16::try_from(blob.len()).map_err(|_| too_long())?);
        let checksum = checksum(&[&start, blob])?;
        let mut slot = [0; SLOT];
        slot.iter_mut().zip(start.iter().chain(blob).chain(&checksum)).for_each(|(to, from)| *to = *from);
        Ok(slot)
    }
}

fn too_long() -> Error {
    Status::Internal.error("a blob that is too long for the header of a file")
}

fn checksum(parts: &[&[u8]]) -> Result<[u8; CHECKSUM]> {
    Hmac::new(&[0; 32])?.mac(parts)
}

/// A slot that was written completely. Nothing of it is authenticated before its blob is opened.
#[derive(Debug, Clone, Copy)]
pub struct Slot<'a> {
    pub start: SlotStart,
    /// Which of the two it is: 0 or 1.
    pub place: usize,
    pub blob: &'a [u8],
}

/// A header taken apart; borrowed from its bytes.
#[derive(Debug)]
pub struct FileHeader<'a> {
    /// The slot that counts.
    pub slot: Slot<'a>,
    /// Whether the other slot has only zeros.
    pub other_is_empty: bool,
}

impl<'a> FileHeader<'a> {
    /// Takes a header apart.
    ///
    /// One slot may be damaged: its writer may have been killed. Fails with `MalformedCiphertext` where both are, or where a
    /// valid slot asks for a newer library.
    pub fn parse(bytes: &'a [u8; HEADER]) -> Result<Self> {
        let (first, second) = bytes.split_at(SLOT);
        let slots = [parse_slot(first, 0)?, parse_slot(second, 1)?];
        let [first, second] = &slots;
        let (slot, other) = match (first.valid(), second.valid()) {
            (Some(a), Some(b)) if a.start.file_id != b.start.file_id => {
                return Err(malformed("the slots of the encrypted file's header belong to two files"));
            }
            (Some(a), Some(b)) if b.start.sequence > a.start.sequence => (b, first),
            (Some(a), _) => (a, second),
            (None, Some(b)) => (b, first),
            (None, None) => return Err(not_a_file()),
        };
        Ok(Self { slot, other_is_empty: matches!(other, Found::Empty) })
    }
}

enum Found<'a> {
    Empty,
    Damaged,
    Valid(Slot<'a>),
}

impl<'a> Found<'a> {
    fn valid(&self) -> Option<Slot<'a>> {
        match self {
            Found::Valid(slot) => Some(*slot),
            _ => None,
        }
    }
}

fn parse_slot(bytes: &[u8], place: usize) -> Result<Found<'_>> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(Found::Empty);
    }
    Ok(match parse_written(bytes, place)? {
        Some(slot) => Found::Valid(slot),
        None => Found::Damaged,
    })
}

fn parse_written(bytes: &[u8], place: usize) -> Result<Option<Slot<'_>>> {
    let Some((start, rest)) = bytes.split_first_chunk::<START>() else { return Ok(None) };
    let [m0, m1, m2, m3, version, body, l0, l1, numbers @ .., b0, b1] = start;
    let blob_len = usize::from(u16::from_be_bytes([*b0, *b1]));
    let Some((blob, rest)) = rest.split_at_checked(blob_len) else { return Ok(None) };
    let Some((sum, padding)) = rest.split_first_chunk::<CHECKSUM>() else { return Ok(None) };
    let written = [*m0, *m1, *m2, *m3] == MAGIC && padding.iter().all(|byte| *byte == 0);
    if !written || !equal(sum, &checksum(&[start, blob])?) {
        return Ok(None);
    }
    if (*version, *body, usize::from(u16::from_be_bytes([*l0, *l1]))) != (VERSION, COBBLESTONE_256, HEADER) {
        return Err(malformed("an encrypted file of another format; use a newer libkms"));
    }
    let (sequence, file_id) = numbers.split_at(8);
    let (Ok(sequence), Ok(file_id)) = (sequence.try_into(), file_id.try_into()) else { return Ok(None) };
    Blob::parse(blob)?;
    Ok(Some(Slot { start: SlotStart { file_id, sequence: u64::from_be_bytes(sequence) }, place, blob }))
}

/// Whether one of the slots begins as a slot does: re-encryption empties the one that counted before.
pub fn has_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC) || bytes.get(SLOT..).is_some_and(|second| second.starts_with(&MAGIC))
}

pub fn not_a_file() -> Error {
    malformed("not a file that libkms encrypted, or its header is damaged")
}

fn malformed(text: &'static str) -> Error {
    Status::MalformedCiphertext.error(text)
}

#[cfg(test)]
mod tests;
