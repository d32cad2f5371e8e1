//! Where the result of a call goes: asked for room once all else is checked, filled once.

use zeroize::{Zeroize, Zeroizing};

use crate::crypto::blob::{HEADER, NONCE};
use crate::crypto::xaes::Input;
use crate::error::{Error, Result, Status};
use crate::sys::memory;

/// The parts of a ciphertext that is about to be written.
pub struct BlobPlace<'a> {
    pub header: &'a mut [u8; HEADER],
    pub nonce: &'a mut [u8; NONCE],
    /// Ciphertext and tag.
    pub sealed: &'a mut [u8],
}

impl<'a> BlobPlace<'a> {
    /// The parts of an output of the exact size.
    pub fn of(out: &'a mut [u8]) -> Result<Self> {
        let (header, rest) = out.split_first_chunk_mut().ok_or_else(no_room)?;
        let (nonce, sealed) = rest.split_first_chunk_mut().ok_or_else(no_room)?;
        Ok(Self { header, nonce, sealed })
    }

    /// Wipes what a failure leaves: a plaintext that was moved here, or lay here.
    #[inline(always)]
    pub fn wipe(self) {
        wipe(self.header, self.nonce, self.sealed);
    }
}

/// Takes references, so that a call that succeeds has its parts in registers.
#[cold]
fn wipe(header: &mut [u8; HEADER], nonce: &mut [u8; NONCE], sealed: &mut [u8]) {
    header.zeroize();
    nonce.zeroize();
    sealed.zeroize();
}

/// Where a ciphertext goes, and where its plaintext is.
pub trait SealTarget {
    /// Whether the plaintext exists before the call; false where [`SealTarget::room`] makes it.
    const IS_SETTLED: bool = true;

    /// Receives the exact size once everything else is checked; false for a caller who only asks for the size.
    fn room(&mut self, needed: usize) -> Result<bool>;

    /// The output of exactly that size. `Input::InPlace`: the plaintext was moved to the place of the ciphertext.
    fn output(&mut self) -> Result<(BlobPlace<'_>, Input<'_>)>;

    /// Called when the output is complete.
    #[inline]
    fn done(&mut self) {}
}

impl<T: SealTarget> SealTarget for &mut T {
    const IS_SETTLED: bool = T::IS_SETTLED;

    #[inline]
    fn room(&mut self, needed: usize) -> Result<bool> {
        (**self).room(needed)
    }

    #[inline]
    fn output(&mut self) -> Result<(BlobPlace<'_>, Input<'_>)> {
        (**self).output()
    }

    #[inline]
    fn done(&mut self) {
        (**self).done();
    }
}

/// Where a plaintext goes.
pub trait OpenTarget {
    /// Receives the exact size once everything else is checked; false for a caller who only asks for the size.
    fn room(&mut self, needed: usize) -> Result<bool>;

    /// The output of exactly that size, if it may be written while the ciphertext is still read.
    fn direct(&mut self) -> Option<&mut [u8]>;

    fn copy(&mut self, plaintext: &[u8]);

    /// Called when the output was written through `direct`.
    #[inline]
    fn done(&mut self) {}
}

impl<T: OpenTarget> OpenTarget for &mut T {
    #[inline]
    fn room(&mut self, needed: usize) -> Result<bool> {
        (**self).room(needed)
    }

    #[inline]
    fn direct(&mut self) -> Option<&mut [u8]> {
        (**self).direct()
    }

    #[inline]
    fn copy(&mut self, plaintext: &[u8]) {
        (**self).copy(plaintext);
    }

    #[inline]
    fn done(&mut self) {
        (**self).done();
    }
}

pub(super) struct VecSeal<'a> {
    pub plaintext: &'a [u8],
    pub out: Vec<u8>,
}

impl SealTarget for VecSeal<'_> {
    fn room(&mut self, needed: usize) -> Result<bool> {
        self.out = memory::zeroed(needed)?;
        Ok(true)
    }

    fn output(&mut self) -> Result<(BlobPlace<'_>, Input<'_>)> {
        Ok((BlobPlace::of(&mut self.out)?, Input::Apart(self.plaintext)))
    }
}

#[derive(Default)]
pub(super) struct VecOpen(pub Zeroizing<Vec<u8>>);

impl OpenTarget for VecOpen {
    fn room(&mut self, needed: usize) -> Result<bool> {
        if needed <= self.0.capacity() {
            self.0.resize(needed, 0);
        } else {
            self.0 = Zeroizing::new(memory::zeroed(needed)?);
        }
        Ok(true)
    }

    fn direct(&mut self) -> Option<&mut [u8]> {
        Some(&mut self.0)
    }

    fn copy(&mut self, plaintext: &[u8]) {
        self.0.copy_from_slice(plaintext);
    }
}

/// Memory of the caller's, asked for once and only borrowed while the cipher writes into it: code of the caller's that
/// runs before, such as its clock, never meets a borrow of the library.
pub(super) struct CallerMemory<'a, M, F> {
    plaintext: &'a [u8],
    give: Option<F>,
    memory: Option<M>,
}

impl<'a, M: AsMut<[u8]>, F: FnOnce(usize) -> Result<M>> CallerMemory<'a, M, F> {
    pub fn new(plaintext: &'a [u8], give: F) -> Self {
        Self { plaintext, give: Some(give), memory: None }
    }

    fn ask(&mut self, needed: usize) -> Result<bool> {
        if let Some(give) = self.give.take() {
            let mut memory = give(needed)?;
            if memory.as_mut().len() != needed {
                return Err(no_room());
            }
            self.memory = Some(memory);
        }
        Ok(true)
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.memory.as_mut().map(AsMut::as_mut).unwrap_or_default()
    }

    pub fn filled(self) -> Result<M> {
        self.memory.ok_or_else(no_room)
    }
}

impl<M: AsMut<[u8]>, F: FnOnce(usize) -> Result<M>> SealTarget for CallerMemory<'_, M, F> {
    fn room(&mut self, needed: usize) -> Result<bool> {
        self.ask(needed)
    }

    fn output(&mut self) -> Result<(BlobPlace<'_>, Input<'_>)> {
        let plaintext = self.plaintext;
        Ok((BlobPlace::of(self.bytes())?, Input::Apart(plaintext)))
    }
}

impl<M: AsMut<[u8]>, F: FnOnce(usize) -> Result<M>> OpenTarget for CallerMemory<'_, M, F> {
    fn room(&mut self, needed: usize) -> Result<bool> {
        self.ask(needed)
    }

    fn direct(&mut self) -> Option<&mut [u8]> {
        Some(self.bytes())
    }

    fn copy(&mut self, plaintext: &[u8]) {
        self.bytes().copy_from_slice(plaintext);
    }
}

pub(super) fn no_room() -> Error {
    Status::Internal.error("an output buffer of the wrong size")
}
