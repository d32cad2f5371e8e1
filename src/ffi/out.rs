//! A caller's output buffer: asked for its size, too small, or filled, by the rules of the header's contract.

use super::ptr;
use crate::crypto::blob::{HEADER, NONCE, TAG};
use crate::crypto::xaes::Input;
use crate::error::{Error, Result, Status};
use crate::service::{BlobPlace, DataKeyTarget, OpenTarget, Place, SealTarget};
use crate::sys::memory;

/// `out`, `out_cap`, `out_len`.
pub struct Out {
    buffer: *mut u8,
    cap: usize,
    len: *mut usize,
    needed: usize,
}

impl Out {
    /// Zeroes `*out_len`, which must be there.
    ///
    /// SAFETY: `len` is NULL or valid for a write; `buffer` is NULL or valid for `cap` bytes, for the call.
    pub unsafe fn new(buffer: *mut u8, cap: usize, len: *mut usize, what: &'static str) -> Result<Self> {
        // SAFETY: the caller's promise.
        *unsafe { ptr::exclusive(len, what) }? = 0;
        if isize::try_from(cap).is_err() {
            Self::check_cap(buffer)?;
        }
        Ok(Self { buffer, cap, len, needed: 0 })
    }

    /// The size of no buffer doesn't matter.
    #[cold]
    fn check_cap(buffer: *mut u8) -> Result<()> {
        match buffer.is_null() {
            true => Ok(()),
            false => {
                Err(Status::InvalidArgument.error("out_cap is larger than any buffer; pass the size of the buffer"))
            }
        }
    }

    /// Both outputs of a call: what is wrong with one leaves neither with an old length.
    ///
    /// SAFETY: as for `new`.
    pub unsafe fn pair(
        one: (*mut u8, usize, *mut usize, &'static str),
        two: (*mut u8, usize, *mut usize, &'static str),
    ) -> Result<(Self, Self)> {
        // SAFETY: the caller's promise.
        let (one, two) = unsafe { (Self::new(one.0, one.1, one.2, one.3), Self::new(two.0, two.1, two.2, two.3)) };
        Ok((one?, two?))
    }

    /// Whether the result is wanted; stores its size where it isn't, or doesn't fit.
    #[inline(always)]
    pub fn room(&mut self, needed: usize) -> Result<bool> {
        self.needed = needed;
        if self.buffer.is_null() {
            self.store_len();
            return Ok(false);
        }
        if self.cap < needed {
            self.store_len();
            return Err(too_small(needed));
        }
        Ok(true)
    }

    #[inline(always)]
    fn store_len(&mut self) {
        // SAFETY: checked in `new`.
        unsafe { self.len.write(self.needed) };
    }

    /// The buffer, of exactly the size needed.
    #[inline(always)]
    fn slice(&mut self) -> &mut [u8] {
        // SAFETY: `room` found the buffer there and large enough; only this call uses it.
        unsafe { std::slice::from_raw_parts_mut(self.buffer, self.needed) }
    }

    /// Lets `write` fill exactly `needed` bytes, where they are wanted and fit.
    pub fn fill_with(mut self, needed: usize, write: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        if self.room(needed)? {
            write(self.slice())?;
            self.store_len();
        }
        Ok(())
    }

    pub fn fill(&mut self, bytes: &[u8]) {
        // SAFETY: `room` found the buffer large enough for exactly these bytes.
        unsafe { ptr::write_bytes(self.buffer, bytes) };
        self.store_len();
    }

    /// After success: the size that was written.
    pub fn finish(mut self) {
        self.store_len();
    }

    /// After `room`: whether what is written here shares bytes with what is written to another output.
    pub fn meets(&self, other: &Self) -> bool {
        !self.buffer.is_null()
            && !other.buffer.is_null()
            && ptr::overlap(self.buffer, self.needed, other.buffer, other.needed)
    }

    /// Whether the buffer shares bytes with an input.
    pub fn overlaps(&self, input: *const u8, len: usize) -> bool {
        !self.buffer.is_null() && ptr::overlap(self.buffer, self.cap, input, len)
    }
}

#[cold]
fn too_small(needed: usize) -> Error {
    Status::BufferTooSmall.error(format!("the output needs {needed} bytes; nothing was done"))
}

/// The output of a re-encryption. `own`: where it shares bytes with the ciphertext, which a failure must not cost, the new
/// one is made here.
pub struct MoveOut {
    pub out: Out,
    pub own: Option<Vec<u8>>,
}

impl MoveOut {
    /// After success.
    pub fn finish(mut self) {
        match self.own.take() {
            Some(moved) if !moved.is_empty() => self.out.fill(&moved),
            _ => self.out.finish(),
        }
    }
}

impl Place for MoveOut {
    fn room(&mut self, needed: usize) -> Result<bool> {
        let wanted = self.out.room(needed)?;
        if wanted && let Some(own) = &mut self.own {
            *own = memory::zeroed(needed)?;
        }
        Ok(wanted)
    }

    fn buffer(&mut self) -> &mut [u8] {
        match &mut self.own {
            Some(own) => own,
            None => self.out.slice(),
        }
    }
}

/// The output of an encryption, with its plaintext, which it may overlap.
pub struct SealOut {
    pub out: Out,
    pub plaintext: *const u8,
    pub plaintext_len: usize,
}

impl SealOut {
    /// The buffer's parts.
    #[inline(always)]
    fn place(&mut self) -> BlobPlace<'_> {
        let (buffer, text) = (self.out.buffer, HEADER + NONCE);
        // SAFETY: `room` found the buffer there and large enough for the ciphertext of this plaintext; only this call uses it.
        unsafe {
            BlobPlace {
                header: &mut *buffer.cast(),
                nonce: &mut *buffer.add(HEADER).cast(),
                sealed: std::slice::from_raw_parts_mut(buffer.add(text), self.plaintext_len + TAG),
            }
        }
    }
}

impl SealTarget for SealOut {
    #[inline(always)]
    fn room(&mut self, needed: usize) -> Result<bool> {
        self.out.room(needed)
    }

    #[inline(always)]
    fn output(&mut self) -> Result<(BlobPlace<'_>, Input<'_>)> {
        let (mut plaintext, len) = (self.plaintext, self.plaintext_len);
        if len == 0 {
            plaintext = std::ptr::dangling();
        } else if ptr::checked_overlap(self.out.buffer, self.out.cap, plaintext, len) {
            // SAFETY: the text lies inside the buffer, which `room` found large enough for the ciphertext.
            unsafe { std::ptr::copy(plaintext, self.out.buffer.add(HEADER + NONCE), len) };
            return Ok((self.place(), Input::InPlace));
        }
        // SAFETY: empty, or checked by `ptr::check` when the call began, and it doesn't overlap the output.
        Ok((self.place(), Input::Apart(unsafe { std::slice::from_raw_parts(plaintext, len) })))
    }

    #[inline(always)]
    fn done(&mut self) {
        self.out.store_len();
    }
}

/// The output of a decryption. `apart`: it shares no byte with the ciphertext, so it may be written directly.
pub struct OpenOut {
    pub out: Out,
    pub apart: bool,
}

impl OpenTarget for OpenOut {
    #[inline(always)]
    fn room(&mut self, needed: usize) -> Result<bool> {
        self.out.room(needed)
    }

    #[inline(always)]
    fn direct(&mut self) -> Option<&mut [u8]> {
        self.apart.then(|| self.out.slice())
    }

    #[inline(always)]
    fn copy(&mut self, plaintext: &[u8]) {
        self.out.fill(plaintext);
    }

    fn done(&mut self) {
        self.out.store_len();
    }
}

/// The two outputs of a data key.
pub struct DataKeyOut {
    pub blob: Out,
    /// NULL: without plaintext.
    pub plaintext: *mut u8,
}

impl DataKeyTarget for DataKeyOut {
    fn room(&mut self, needed: usize) -> Result<bool> {
        self.blob.room(needed)
    }

    fn put(&mut self, plaintext: &[u8], blob: &[u8]) {
        if !self.plaintext.is_null() {
            // SAFETY: the caller's buffer has room for the number of bytes he asked for.
            unsafe { ptr::write_bytes(self.plaintext, plaintext) };
        }
        self.blob.fill(blob);
    }
}
