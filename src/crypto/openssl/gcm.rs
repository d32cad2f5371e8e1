//! AES-256-GCM.
//!
//! Two engines do the same: `provider` calls the functions of libcrypto's default provider, `evp` goes through EVP, which
//! costs a 64-byte message a third more. A libcrypto that belongs to the host as well is used through EVP, so that the
//! host's providers and their checks apply.

#[cfg(any(not(feature = "vendored"), test, miri))]
pub(super) mod evp;
#[cfg(all(any(feature = "vendored", test), not(miri)))]
pub(super) mod provider;

use std::ptr;

use zeroize::Zeroize;

use super::call::wrong_length;
use crate::error::Result;

#[cfg(any(not(feature = "vendored"), miri))]
use evp::EvpGcm as DefaultEngine;
#[cfg(all(feature = "vendored", not(miri)))]
use provider::ProviderGcm as DefaultEngine;

/// Length of a GCM tag and of an AES block, in bytes.
pub const TAG: usize = 16;

/// AES-256-GCM (NIST SP 800-38D) with 12-byte nonces and 16-byte tags. One context seals and opens: the key schedule
/// is the same, and a change of direction costs nothing.
pub type Gcm = GcmOf<DefaultEngine>;

/// [`Gcm`] by one of the engines.
pub struct GcmOf<E>(E);

/// What a message starts with. A new key is passed along with the nonce, because each call of libcrypto costs.
#[derive(Clone, Copy)]
pub struct Start<'a> {
    /// None: the context has it.
    pub key: Option<&'a [u8; 32]>,
    pub nonce: &'a [u8; 12],
}

impl<'a> From<&'a [u8; 12]> for Start<'a> {
    fn from(nonce: &'a [u8; 12]) -> Self {
        Self { key: None, nonce }
    }
}

/// The location of a message's plaintext.
pub enum Input<'a> {
    /// Apart from the output.
    Apart(&'a [u8]),
    /// Already in the output, at the place of the ciphertext.
    #[cfg_attr(not(feature = "capi"), allow(dead_code, reason = "only callers in C overlap buffers"))]
    InPlace,
}

impl<'a> From<&'a [u8]> for Input<'a> {
    fn from(plaintext: &'a [u8]) -> Self {
        Self::Apart(plaintext)
    }
}

impl Start<'_> {
    #[inline]
    fn key(&self) -> *const u8 {
        self.key.map_or(ptr::null(), |key| key.as_ptr())
    }
}

/// A cipher context of libcrypto, through one of its interfaces.
pub trait Engine: Sized {
    /// A context without a key; sealing or opening before a key is set is `Internal`.
    fn new() -> Result<Self>;

    fn set_key(&mut self, key: &[u8; 32]) -> Result<()>;

    /// # Safety
    /// `input` is readable for `len` bytes, `out` writable for `len + TAG`, and they are the same or apart.
    unsafe fn seal(&mut self, start: Start<'_>, aad: &[u8], input: *const u8, len: usize, out: *mut u8) -> Result<()>;

    /// Opens `text` into `out`, which is as long. What a failure leaves there is not to be shown.
    fn open(&mut self, start: Start<'_>, aad: &[u8], text: &[u8], tag: &[u8; TAG], out: &mut [u8]) -> Result<()>;
}

impl<E: Engine> GcmOf<E> {
    pub fn new() -> Result<Self> {
        Ok(Self(E::new()?))
    }

    pub fn set_key(&mut self, key: &[u8; 32]) -> Result<()> {
        self.0.set_key(key)
    }

    /// Writes ciphertext and tag; `out` is `TAG` bytes longer than the plaintext.
    #[inline(always)]
    pub fn seal<'a>(
        &mut self,
        start: impl Into<Start<'a>>,
        aad: &[u8],
        input: impl Into<Input<'a>>,
        out: &mut [u8],
    ) -> Result<()> {
        let len = out.len().checked_sub(TAG).ok_or_else(wrong_length)?;
        let out = out.as_mut_ptr();
        let text = match input.into() {
            Input::Apart(plaintext) if plaintext.len() != len => return Err(wrong_length()),
            Input::Apart(plaintext) => plaintext.as_ptr(),
            Input::InPlace => out,
        };
        // SAFETY: `out` has room for the text and the tag; the plaintext lies at its start, or in another borrow.
        unsafe { self.0.seal(start.into(), aad, text, len, out) }
    }

    /// Checks the tag at the end of `sealed` and writes the plaintext; `out` is `TAG` bytes shorter.
    ///
    /// A wrong tag is `AuthenticationFailed`; after it, and after any other failure, `out` is all zeros.
    #[inline(always)]
    pub fn open<'a>(&mut self, start: impl Into<Start<'a>>, aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<()> {
        let (text, tag) = sealed.split_last_chunk::<TAG>().ok_or_else(wrong_length)?;
        if text.len() != out.len() {
            return Err(wrong_length());
        }
        let opened = self.0.open(start.into(), aad, text, tag, out);
        if opened.is_err() {
            out.zeroize();
        }
        opened
    }
}
