//! The encryption context: the caller's map of texts that a ciphertext is bound to, and the AAD made of it.
//!
//! A context isn't stored in the blob: who opens it gives it again. Encoded (type 02, big-endian): `u16` count, then for
//! each entry, sorted by the bytes of its key, `u16` length, key, `u16` length, value. An empty map is type 00.

use zeroize::Zeroize;

use crate::crypto::blob::{ContextType, HEADER};
use crate::domain::limits;
use crate::error::{Error, Result, Status};

/// Entries kept without a heap allocation.
const INLINE: usize = 8;

type Entry<'a> = (&'a str, &'a str);

/// A checked context, sorted; borrows the caller's texts.
#[derive(Debug)]
pub struct Context<'a> {
    entries: Entries<'a>,
    encoded_len: usize,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "the large one is the common one, and it stays off the heap")]
enum Entries<'a> {
    None,
    /// Apart from the next, because filling an array costs as much as all the rest.
    One(Entry<'a>),
    Inline([Entry<'a>; INLINE], usize),
    Heap(Vec<Entry<'a>>),
}

impl<'a> Context<'a> {
    /// Checks and sorts. Fails with `InvalidArgument` for an empty key, a key given twice, a NUL, or a key, value or
    /// count above 65535.
    pub fn new(entries: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut context = Self::empty();
        for (key, value) in entries {
            if key.contains('\0') || value.contains('\0') {
                return Err(invalid("an encryption context has a NUL character"));
            }
            context.add(key, value)?;
        }
        context.sort()?;
        Ok(context)
    }

    /// Adds an entry without a NUL; `sort` comes after the last.
    #[inline]
    pub fn add(&mut self, key: &'a str, value: &'a str) -> Result<()> {
        if key.is_empty() {
            return Err(invalid("an encryption context has an empty key"));
        }
        if key.len() > u16::MAX.into() || value.len() > u16::MAX.into() {
            return Err(invalid("an encryption context has a key or value above 65535 bytes"));
        }
        self.entries.push((key, value))?;
        // The first entry brings the count; nothing above can make this overflow 64 bits.
        self.encoded_len = self.encoded_len.max(2).saturating_add(4 + key.len() + value.len());
        Ok(())
    }

    /// Puts the entries into their order. Fails for a key given twice.
    #[inline]
    pub fn sort(&mut self) -> Result<()> {
        if self.entries.as_slice().len() > 1 { self.sort_many() } else { Ok(()) }
    }

    fn sort_many(&mut self) -> Result<()> {
        let entries = self.entries.as_mut_slice();
        entries.sort_unstable_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
        if entries.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
            return Err(invalid("an encryption context has a key twice"));
        }
        Ok(())
    }

    #[inline]
    pub fn empty() -> Self {
        Self { entries: Entries::None, encoded_len: 0 }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.encoded_len == 0
    }

    #[inline]
    pub fn context_type(&self) -> ContextType {
        if self.is_empty() { ContextType::None } else { ContextType::Map }
    }

    /// Length of the encoding in bytes; 0 when empty.
    #[cfg(test)]
    pub fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// The limit that binds when sealing only. Fails with `LimitExceeded`.
    #[inline]
    pub fn check_limit(&self) -> Result<()> {
        if self.encoded_len > limits::CONTEXT_BYTES { Err(self.too_long()) } else { Ok(()) }
    }

    #[cold]
    fn too_long(&self) -> Error {
        Status::LimitExceeded.error(format!(
            "an encryption context of {} bytes; at most {} are allowed",
            self.encoded_len,
            limits::CONTEXT_BYTES
        ))
    }

    #[inline]
    fn encode(&self, mut put: impl FnMut(&[u8])) {
        let entries = self.entries.as_slice();
        if entries.is_empty() {
            return;
        }
        // Every length was checked to fit.
        put(&(entries.len() as u16).to_be_bytes());
        for (key, value) in entries {
            for text in [key, value] {
                put(&(text.len() as u16).to_be_bytes());
                put(text.as_bytes());
            }
        }
    }
}

impl<'a> Entries<'a> {
    #[inline]
    fn push(&mut self, entry: Entry<'a>) -> Result<()> {
        if let Entries::None = self {
            *self = Entries::One(entry);
            return Ok(());
        }
        self.push_another(entry)
    }

    fn push_another(&mut self, entry: Entry<'a>) -> Result<()> {
        match self {
            Entries::None => *self = Entries::One(entry),
            Entries::One(first) => {
                let mut entries = [("", ""); INLINE];
                for (slot, entry) in entries.iter_mut().zip([*first, entry]) {
                    *slot = entry;
                }
                *self = Entries::Inline(entries, 2);
            }
            Entries::Inline(entries, len) if *len < INLINE => {
                if let Some(slot) = entries.get_mut(*len) {
                    *slot = entry;
                    *len += 1;
                }
            }
            Entries::Heap(entries) if entries.len() == usize::from(u16::MAX) => {
                return Err(invalid("an encryption context has more than 65535 entries"));
            }
            Entries::Heap(entries) => entries.push(entry),
            Entries::Inline(entries, _) => *self = Entries::Heap(entries.iter().copied().chain([entry]).collect()),
        }
        Ok(())
    }

    #[inline]
    fn as_slice(&self) -> &[Entry<'a>] {
        match self {
            Entries::None => &[],
            Entries::One(entry) => std::slice::from_ref(entry),
            Entries::Inline(entries, len) => entries.get(..*len).unwrap_or_default(),
            Entries::Heap(entries) => entries,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Entry<'a>] {
        match self {
            Entries::None => &mut [],
            Entries::One(entry) => std::slice::from_mut(entry),
            Entries::Inline(entries, len) => entries.get_mut(..*len).unwrap_or_default(),
            Entries::Heap(entries) => entries,
        }
    }
}

#[cold]
fn invalid(text: &'static str) -> Error {
    Status::InvalidArgument.error(text)
}

/// Bytes of AAD kept without a heap allocation.
const BLOCK: usize = 1024;

/// The memory that an AAD is built in, contiguous because the cipher takes one piece fastest. Wiped on drop; a thread
/// may keep one and build each message's AAD in it.
pub struct Aad {
    block: [u8; BLOCK],
    heap: Vec<u8>,
}

impl Aad {
    pub const fn new() -> Self {
        Self { block: [0; BLOCK], heap: Vec::new() }
    }

    /// `header`, the context's length as `u64`, the context, and zeros up to a multiple of 16 bytes; 48 bytes without a
    /// context. Allocates only above 1 KiB.
    #[inline]
    pub fn build(&mut self, header: &[u8; HEADER], context: &Context<'_>) -> &[u8] {
        let len = (HEADER + 8 + context.encoded_len).next_multiple_of(16);
        let bytes = match self.block.get_mut(..len) {
            Some(bytes) => bytes,
            None => {
                self.heap.zeroize();
                self.heap.resize(len, 0);
                self.heap.as_mut_slice()
            }
        };
        // What is not written over afterwards is the padding.
        if let Some(end) = bytes.last_chunk_mut::<16>() {
            *end = [0; 16];
        }
        if let Some((start, rest)) = bytes.split_first_chunk_mut::<HEADER>()
            && let Some((len, mut rest)) = rest.split_first_chunk_mut::<8>()
        {
            *start = *header;
            *len = (context.encoded_len as u64).to_be_bytes();
            context.encode(|part| {
                if let Some((place, after)) = std::mem::take(&mut rest).split_at_mut_checked(part.len()) {
                    place.copy_from_slice(part);
                    rest = after;
                }
            });
        }
        bytes
    }
}

impl Default for Aad {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Aad {
    fn drop(&mut self) {
        self.block.zeroize();
        self.heap.zeroize();
    }
}

#[cfg(test)]
mod tests;
