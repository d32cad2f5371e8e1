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

    /// Writes ciphertext and tag; `out` is `TAG` bytes longer than `plaintext`.
    #[inline(always)]
    pub fn seal<'a>(
        &mut self,
        start: impl Into<Start<'a>>,
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        if Some(out.len()) != plaintext.len().checked_add(TAG) {
            return Err(wrong_length());
        }
        // SAFETY: `out` has room for the text and the tag, and two borrows don't overlap.
        unsafe { self.0.seal(start.into(), aad, plaintext.as_ptr(), plaintext.len(), out.as_mut_ptr()) }
    }

    /// Replaces the plaintext at the start of `buf` by ciphertext and its last `TAG` bytes by the tag.
    pub fn seal_in_place<'a>(&mut self, start: impl Into<Start<'a>>, aad: &[u8], buf: &mut [u8]) -> Result<()> {
        let len = buf.len().checked_sub(TAG).ok_or_else(wrong_length)?;
        let text = buf.as_mut_ptr();
        // SAFETY: input and output are the same range of `buf`, and the tag follows inside it.
        unsafe { self.0.seal(start.into(), aad, text, len, text) }
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
