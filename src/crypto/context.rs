//! The encryption context: the caller's map of texts that a ciphertext is bound to, and the AAD made of it.
//!
//! A context isn't stored in the blob: decryption passes it again. Encoded (type 02, big-endian): `u16` count, then for
//! each entry, sorted by the bytes of its key, `u16` length, key, `u16` length, value. An empty map is type 00.

use std::ops::Range;

use zeroize::Zeroize;

use crate::crypto::blob::{self, ContextType, HEADER};
use crate::domain::limits;
use crate::error::{Error, Result, Status};
use crate::sys::memory;

/// Pairs kept without a heap allocation.
const INLINE: usize = 8;

type Pair<'a> = (&'a str, &'a str);

/// A checked context, sorted; borrows the caller's texts.
#[derive(Debug)]
pub struct Context<'a> {
    entries: Pairs<'a>,
    encoded_len: usize,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "the large one is the common one, and it stays off the heap")]
enum Pairs<'a> {
    None,
    /// Apart from the next, because filling an array costs as much as all the rest.
    One(Pair<'a>),
    Inline([Pair<'a>; INLINE], usize),
    Heap(Vec<Pair<'a>>),
}

impl<'a> Context<'a> {
    /// Checks and sorts. Fails with `InvalidArgument` for an empty key, a duplicate key, a NUL, or a key, value or
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

    /// Sorts the entries. Fails for a duplicate key.
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
        Self { entries: Pairs::None, encoded_len: 0 }
    }

    /// Length of the encoding in bytes; 0 when empty.
    #[cfg(test)]
    pub fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// The limit that binds when sealing only. Fails with `LimitExceeded`.
    pub fn check_limit(&self) -> Result<()> {
        check_limit(self.encoded_len)
    }

    /// The encoding, as a ciphertext's AAD has it; empty when the context is.
    pub fn encoded(&self) -> Result<Vec<u8>> {
        let mut bytes = memory::list(self.encoded_len)?;
        self.encode(|part| bytes.extend_from_slice(part));
        Ok(bytes)
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

impl<'a> Pairs<'a> {
    #[inline]
    fn push(&mut self, entry: Pair<'a>) -> Result<()> {
        if let Pairs::None = self {
            *self = Pairs::One(entry);
            return Ok(());
        }
        self.push_another(entry)
    }

    fn push_another(&mut self, entry: Pair<'a>) -> Result<()> {
        match self {
            Pairs::None => *self = Pairs::One(entry),
            Pairs::One(first) => {
                let mut entries = [("", ""); INLINE];
                for (slot, entry) in entries.iter_mut().zip([*first, entry]) {
                    *slot = entry;
                }
                *self = Pairs::Inline(entries, 2);
            }
            Pairs::Inline(entries, len) if *len < INLINE => {
                if let Some(slot) = entries.get_mut(*len) {
                    *slot = entry;
                    *len += 1;
                }
            }
            Pairs::Heap(entries) if entries.len() == usize::from(u16::MAX) => {
                return Err(invalid("an encryption context has more than 65535 entries"));
            }
            Pairs::Heap(entries) => {
                entries.try_reserve(1).map_err(|_| memory::out_of_memory())?;
                entries.push(entry);
            }
            Pairs::Inline(entries, _) => {
                let mut more = memory::list(2 * INLINE)?;
                more.extend(entries.iter().copied().chain([entry]));
                *self = Pairs::Heap(more);
            }
        }
        Ok(())
    }

    #[inline]
    fn as_slice(&self) -> &[Pair<'a>] {
        match self {
            Pairs::None => &[],
            Pairs::One(entry) => std::slice::from_ref(entry),
            Pairs::Inline(entries, len) => entries.get(..*len).unwrap_or_default(),
            Pairs::Heap(entries) => entries,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Pair<'a>] {
        match self {
            Pairs::None => &mut [],
            Pairs::One(entry) => std::slice::from_mut(entry),
            Pairs::Inline(entries, len) => entries.get_mut(..*len).unwrap_or_default(),
            Pairs::Heap(entries) => entries,
        }
    }
}

#[inline]
fn check_limit(encoded_len: usize) -> Result<()> {
    if encoded_len > limits::CONTEXT_BYTES { Err(too_long(encoded_len)) } else { Ok(()) }
}

#[cold]
fn too_long(encoded_len: usize) -> Error {
    Status::LimitExceeded.error(format!(
        "the encryption context has {encoded_len} encoded bytes; shorten it to at most {}",
        limits::CONTEXT_BYTES
    ))
}

#[cold]
fn invalid(text: &'static str) -> Error {
    Status::InvalidArgument.error(text)
}

/// Bytes of AAD kept without a heap allocation, and room for padding.
const BLOCK: usize = 1024 + 16;
/// The header and the context's length.
const START: usize = HEADER + 8;

/// The AAD of a message without a context.
pub type BareAad = [u8; START];

/// The AAD of a message with this header, but without a context.
pub fn bare_aad(header: &[u8; HEADER]) -> BareAad {
    let mut aad = [0; START];
    if let Some(start) = aad.first_chunk_mut() {
        *start = *header;
        blob::set_context_type(start, ContextType::None);
    }
    aad
}

/// Whether the block has room for a context of this length and for its padding, which is written whole.
const fn fits(len: usize) -> bool {
    len <= BLOCK - START - 16
}

const fn padded(len: usize) -> usize {
    (START + len).next_multiple_of(16)
}

/// What writes a message's context into its AAD.
pub trait ContextSource {
    /// Checks it and puts it into `aad`. Fails as [`Context::new`] does.
    fn put(&self, aad: &mut Aad) -> Result<()>;
}

impl<C: ContextSource + ?Sized> ContextSource for &C {
    #[inline(always)]
    fn put(&self, aad: &mut Aad) -> Result<()> {
        (**self).put(aad)
    }
}

impl ContextSource for Context<'_> {
    fn put(&self, aad: &mut Aad) -> Result<()> {
        aad.put_map(self)
    }
}

impl ContextSource for [Pair<'_>] {
    #[inline]
    fn put(&self, aad: &mut Aad) -> Result<()> {
        let copy = |text: &str, room: &mut [u8]| {
            room.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
            (!text.contains('\0')).then_some(text.len())
        };
        let done = aad.put_sorted(self, |(key, _), room| copy(key, room), |(_, value), room| copy(value, room));
        if !done {
            aad.put_map(&Context::new(self.iter().copied())?)?;
        }
        Ok(())
    }
}

/// What an `LazyContext` context passes its entries to.
pub type ContextSink<'a> = &'a mut dyn FnMut(&[Pair<'_>]) -> Result<()>;

/// A context that is asked for when its message's turn has come.
pub struct LazyContext<F>(pub F);

impl<F: Fn(ContextSink<'_>) -> Result<()>> ContextSource for LazyContext<F> {
    #[inline]
    fn put(&self, aad: &mut Aad) -> Result<()> {
        let mut is_put = false;
        (self.0)(&mut |entries| {
            is_put = true;
            entries.put(aad)
        })?;
        // Never the last message's.
        if is_put { Ok(()) } else { [].put(aad) }
    }
}

/// The memory that an AAD is built in, contiguous because the cipher takes one piece fastest. Wiped on drop; a thread
/// keeps one for all its messages.
///
/// Bytes: the header, the context's length as `u64`, the context, and zeros up to a multiple of 16; 48 without a context.
pub struct Aad {
    block: [u8; BLOCK],
    /// Used above [`BLOCK`].
    heap: Vec<u8>,
    encoded_len: usize,
}

impl Aad {
    pub const fn new() -> Self {
        Self { block: [0; BLOCK], heap: Vec::new(), encoded_len: 0 }
    }

    /// Puts a context whose entries come in their order, as most do, straight from the caller's memory. `key` and `value`
    /// copy an entry's text to the start of their buffer, and return its length.
    ///
    /// False, with no context in place, where more care is needed: entries out of order, one to be refused, or too many.
    #[inline]
    pub fn put_sorted<T>(
        &mut self,
        entries: &[T],
        key: impl Fn(&T, &mut [u8]) -> Option<usize>,
        value: impl Fn(&T, &mut [u8]) -> Option<usize>,
    ) -> bool {
        self.encoded_len = 0;
        let done = self.block.get_mut(START..).and_then(|room| encode_sorted(room, entries, key, value));
        done.is_some_and(|len| self.finish(len))
    }

    /// Puts a checked context; allocates only above 1 KiB.
    fn put_map(&mut self, context: &Context<'_>) -> Result<()> {
        let len = context.encoded_len;
        let bytes = if fits(len) {
            self.block.as_mut_slice()
        } else {
            self.heap.zeroize();
            if padded(len) <= self.heap.capacity() {
                self.heap.resize(padded(len), 0);
            } else {
                self.heap = memory::zeroed(padded(len))?;
            }
            self.heap.as_mut_slice()
        };
        let mut rest = bytes.get_mut(START..).unwrap_or_default();
        context.encode(|part| {
            if let Some((place, after)) = std::mem::take(&mut rest).split_at_mut_checked(part.len()) {
                place.copy_from_slice(part);
                rest = after;
            }
        });
        if !self.finish(len) {
            self.encoded_len = len;
        }
        Ok(())
    }

    /// Notes the length of what was encoded into the block; what isn't written over there is the padding.
    #[inline]
    fn finish(&mut self, len: usize) -> bool {
        let Some(end) = self.block.get_mut(START + len..).and_then(|end| end.first_chunk_mut::<16>()) else {
            return false;
        };
        *end = [0; 16];
        self.encoded_len = len;
        true
    }

    /// Puts no context.
    #[cfg(feature = "capi")]
    #[inline]
    pub fn clear(&mut self) {
        self.encoded_len = 0;
    }

    #[inline]
    pub fn context_type(&self) -> ContextType {
        if self.encoded_len == 0 { ContextType::None } else { ContextType::Map }
    }

    /// The limit that binds when sealing only. Fails with `LimitExceeded`.
    #[inline]
    pub fn check_limit(&self) -> Result<()> {
        check_limit(self.encoded_len)
    }

    /// The AAD of a message with the context that was put last, and of this type. `bare` is its AAD without one.
    #[inline(always)]
    pub fn bind<'a>(&'a mut self, bare: &'a BareAad, context_type: ContextType) -> &'a [u8] {
        if self.encoded_len == 0 { bare } else { self.bind_context(bare, context_type) }
    }

    #[inline(never)]
    fn bind_context(&mut self, bare: &BareAad, context_type: ContextType) -> &[u8] {
        let bytes = match self.block.get_mut(..padded(self.encoded_len)) {
            Some(bytes) if fits(self.encoded_len) => bytes,
            _ => self.heap.as_mut_slice(),
        };
        if let Some(start) = bytes.first_chunk_mut::<START>() {
            *start = *bare;
            if let Some((header, len)) = start.split_first_chunk_mut::<HEADER>() {
                blob::set_context_type(header, context_type);
                len.copy_from_slice(&(self.encoded_len as u64).to_be_bytes());
            }
        }
        bytes
    }
}

/// The encoding of entries at the start of `room`, and its length; `None` as in [`Aad::put_sorted`].
#[inline]
fn encode_sorted<T>(
    room: &mut [u8],
    entries: &[T],
    key: impl Fn(&T, &mut [u8]) -> Option<usize>,
    value: impl Fn(&T, &mut [u8]) -> Option<usize>,
) -> Option<usize> {
    if entries.is_empty() {
        return Some(0);
    }
    let count = u16::try_from(entries.len()).ok()?;
    *room.first_chunk_mut()? = count.to_be_bytes();
    let (mut end, mut last) = (2, None);
    for entry in entries {
        let this = encode_text(room, end, |room| key(entry, room))?;
        let follows = last.is_none_or(|last: Range<usize>| room.get(last) < room.get(this.clone()));
        if this.is_empty() || !follows {
            return None;
        }
        end = encode_text(room, this.end, |room| value(entry, room))?.end;
        last = Some(this);
    }
    Some(end)
}

/// A text behind its length, from `at` on; returns the place of the text.
#[inline]
fn encode_text(room: &mut [u8], at: usize, text: impl Fn(&mut [u8]) -> Option<usize>) -> Option<Range<usize>> {
    let (start, rest) = room.get_mut(at..)?.split_first_chunk_mut()?;
    let len = text(rest)?;
    *start = u16::try_from(len).ok()?.to_be_bytes();
    Some(at + 2..at + 2 + len)
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
