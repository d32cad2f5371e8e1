//! AES-256-GCM.

use std::mem::MaybeUninit;
use std::ptr;

use zeroize::Zeroize;

use super::call::{PARAM_OCTET_STRING, check, param, wrong_length};
use super::contexts::CipherContext;
use super::ffi;
use super::library::init;
use crate::error::{Result, Status};

/// Length of a GCM tag and of an AES block, in bytes.
pub const TAG: usize = 16;
const BLOCK: usize = 16;

/// AES-256-GCM (NIST SP 800-38D) with 12-byte nonces and 16-byte tags. One context seals and opens: the key schedule
/// is the same, and a change of direction costs nothing.
pub struct Gcm(CipherContext);

/// What a message starts with. A new key is given along with the nonce, because each call of libcrypto costs.
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

impl Gcm {
    /// A context without a key; sealing or opening before it was given one is `Internal`.
    pub fn new() -> Result<Self> {
        Ok(Self(CipherContext::new(init()?.gcm)?))
    }

    pub fn set_key(&mut self, key: &[u8; 32]) -> Result<()> {
        self.0.set_key(key)
    }

    /// Writes ciphertext and tag; `out` is `TAG` bytes longer than `plaintext`.
    #[inline]
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
        unsafe { self.seal_raw(start.into(), aad, plaintext.as_ptr(), plaintext.len(), out.as_mut_ptr()) }
    }

    /// Replaces the plaintext at the start of `buf` by ciphertext and its last `TAG` bytes by the tag.
    pub fn seal_in_place<'a>(&mut self, start: impl Into<Start<'a>>, aad: &[u8], buf: &mut [u8]) -> Result<()> {
        let len = buf.len().checked_sub(TAG).ok_or_else(wrong_length)?;
        let text = buf.as_mut_ptr();
        // SAFETY: input and output are the same range of `buf`, and the tag follows inside it.
        unsafe { self.seal_raw(start.into(), aad, text, len, text) }
    }

    /// # Safety
    /// `input` is readable for `len` bytes, `out` writable for `len + TAG`, and they are the same or apart.
    #[inline]
    unsafe fn seal_raw(
        &mut self,
        start: Start<'_>,
        aad: &[u8],
        input: *const u8,
        len: usize,
        out: *mut u8,
    ) -> Result<()> {
        let ctx = self.0.ptr();
        // SAFETY: the context is of GCM, whose key has 32 bytes, or null, and whose nonce has 12; AAD is a slice; text and
        // tag are the caller's word. The end of GCM writes no text, but wants a place for it.
        unsafe {
            let (key, nonce) = (start.key(), start.nonce.as_ptr());
            let code = ffi::EVP_EncryptInit_ex(ctx, ptr::null(), ptr::null_mut(), key, nonce);
            check(code, "EVP_EncryptInit_ex")?;
            self.0.update(ffi::EVP_EncryptUpdate, ptr::null_mut(), aad.as_ptr(), aad.len())?;
            self.0.update(ffi::EVP_EncryptUpdate, out, input, len)?;
            let (mut rest, mut written) = (MaybeUninit::<[u8; BLOCK]>::uninit(), 0);
            check(ffi::EVP_EncryptFinal_ex(ctx, rest.as_mut_ptr().cast(), &mut written), "EVP_EncryptFinal_ex")?;
            let mut tag = param(c"tag", PARAM_OCTET_STRING, out.add(len).cast(), TAG);
            check(ffi::EVP_CIPHER_CTX_get_params(ctx, tag.as_mut_ptr()), "EVP_CIPHER_CTX_get_params")
        }
    }

    /// Checks the tag at the end of `sealed` and writes the plaintext; `out` is `TAG` bytes shorter.
    ///
    /// A wrong tag is `AuthenticationFailed`; after it, and after any other failure, `out` is all zeros.
    #[inline]
    pub fn open<'a>(&mut self, start: impl Into<Start<'a>>, aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<()> {
        let (text, tag) = sealed.split_last_chunk::<TAG>().ok_or_else(wrong_length)?;
        if text.len() != out.len() {
            return Err(wrong_length());
        }
        let opened = self.open_unwiped(start.into(), aad, text, tag, out);
        if opened.is_err() {
            out.zeroize();
        }
        opened
    }

    #[inline]
    fn open_unwiped(
        &mut self,
        start: Start<'_>,
        aad: &[u8],
        text: &[u8],
        tag: &[u8; TAG],
        out: &mut [u8],
    ) -> Result<()> {
        let ctx = self.0.ptr();
        // SAFETY: the context is of GCM, whose key has 32 bytes, or null, and whose nonce has 12; the other ranges are
        // slices, `out` as long as `text`. The tag is only read, through a pointer that C calls mutable.
        let code = unsafe {
            let tag = param(c"tag", PARAM_OCTET_STRING, tag.as_ptr().cast_mut().cast(), TAG);
            let code = ffi::EVP_DecryptInit_ex2(ctx, ptr::null(), start.key(), start.nonce.as_ptr(), tag.as_ptr());
            check(code, "EVP_DecryptInit_ex2")?;
            self.0.update(ffi::EVP_DecryptUpdate, ptr::null_mut(), aad.as_ptr(), aad.len())?;
            self.0.update(ffi::EVP_DecryptUpdate, out.as_mut_ptr(), text.as_ptr(), text.len())?;
            let (mut rest, mut written) = (MaybeUninit::<[u8; BLOCK]>::uninit(), 0);
            ffi::EVP_DecryptFinal_ex(ctx, rest.as_mut_ptr().cast(), &mut written)
        };
        if code > 0 {
            return Ok(());
        }
        // SAFETY: clears the thread's own queue.
        unsafe { ffi::ERR_clear_error() };
        Err(Status::AuthenticationFailed.error(AUTHENTICATION_FAILED))
    }
}

/// The one text of a failed tag: it says nothing about what differed.
pub const AUTHENTICATION_FAILED: &str = "authentication failed: wrong context or key, or the ciphertext was modified";
