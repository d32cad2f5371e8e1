//! AES in the modes of PKCS#11: keys of 16, 24 and 32 bytes, GCM with any IV and tag, key wrapping.
//!
//! What libkms itself seals goes through `gcm`, whose sizes are fixed and whose calls are fewer.

use std::ffi::{CStr, c_int, c_void};
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use zeroize::Zeroize;

use super::call::AUTHENTICATION_FAILED;
use super::call::{PARAM_OCTET_STRING, PARAM_UNSIGNED_INTEGER, check, param, wrong_length};
use super::contexts::{CipherContext, MAX_UPDATE};
use super::ffi::{self, EVP_CIPHER};
use super::library::{fetch_cipher, init};
use crate::error::{Error, Result, Status};
use crate::sys::fork;

/// Length of an AES block in bytes.
pub const AES_BLOCK: usize = 16;
/// What a wrapped key is longer than the key, without padding.
pub const WRAP_OVERHEAD: usize = 8;

/// EVP_CIPHER_CTX_FLAG_WRAP_ALLOW: libcrypto refuses key wrapping otherwise.
const WRAP_ALLOWED: c_int = 1;

/// How AES is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AesMode {
    /// Whole blocks, each by itself.
    Ecb,
    /// Whole blocks, chained.
    Cbc,
    /// Chained, with the padding of PKCS #7.
    CbcPadded,
    /// A stream.
    Ctr,
}

/// An algorithm as libcrypto names it, by the length of its key.
#[derive(Clone, Copy)]
enum Algorithms {
    Ecb,
    Cbc,
    Ctr,
    Gcm,
    Wrap,
    WrapPadded,
}

impl Algorithms {
    /// For keys of 16, 24 and 32 bytes.
    fn names(self) -> [&'static CStr; 3] {
        match self {
            Self::Ecb => [c"AES-128-ECB", c"AES-192-ECB", c"AES-256-ECB"],
            Self::Cbc => [c"AES-128-CBC", c"AES-192-CBC", c"AES-256-CBC"],
            Self::Ctr => [c"AES-128-CTR", c"AES-192-CTR", c"AES-256-CTR"],
            Self::Gcm => [c"AES-128-GCM", c"AES-192-GCM", c"AES-256-GCM"],
            Self::Wrap => [c"AES-128-WRAP", c"AES-192-WRAP", c"AES-256-WRAP"],
            Self::WrapPadded => [c"AES-128-WRAP-PAD", c"AES-192-WRAP-PAD", c"AES-256-WRAP-PAD"],
        }
    }
}

/// An algorithm that was fetched once and is never freed.
struct Fetched(NonNull<EVP_CIPHER>);

// SAFETY: fetched algorithms are immutable and counted atomically.
unsafe impl Send for Fetched {}
// SAFETY: as above.
unsafe impl Sync for Fetched {}

static FETCHED: [[OnceLock<Fetched>; 3]; 6] = [const { [const { OnceLock::new() }; 3] }; 6];

/// A context of the algorithm, without a key.
fn context(named: Algorithms, key: &[u8]) -> Result<CipherContext> {
    let library = init()?;
    let by_length = match key.len() {
        16 => 0,
        24 => 1,
        32 => 2,
        _ => return Err(wrong_length()),
    };
    let place = FETCHED.get(named as usize).and_then(|row| row.get(by_length)).ok_or_else(wrong_length)?;
    let algorithm = match place.get() {
        Some(found) => found.0,
        None => {
            let name = *named.names().get(by_length).ok_or_else(wrong_length)?;
            // In the gate, because libcrypto locks its table of algorithms. Two threads may both fetch; one is kept.
            let fetched = fork::gate(|| fetch_cipher(library.context.as_ptr(), name))?;
            place.get_or_init(|| Fetched(fetched)).0
        }
    };
    CipherContext::new(algorithm)
}

fn direction(encrypts: bool) -> c_int {
    encrypts.into()
}

fn unauthentic() -> Error {
    // SAFETY: clears the thread's own queue.
    unsafe { ffi::ERR_clear_error() };
    Status::AuthenticationFailed.error(AUTHENTICATION_FAILED)
}

impl CipherContext {
    /// Set the key, the IV, or both; an empty one keeps the current value.
    fn start(&mut self, key: &[u8], iv: &[u8], encrypts: c_int) -> Result<()> {
        let given = |bytes: &[u8]| if bytes.is_empty() { ptr::null() } else { bytes.as_ptr() };
        // SAFETY: a live context; the caller has checked the lengths of key and IV against its algorithm.
        let code = unsafe {
            let (key, iv) = (given(key), given(iv));
            ffi::EVP_CipherInit_ex(self.ptr(), ptr::null(), ptr::null_mut(), key, iv, encrypts)
        };
        check(code, "EVP_CipherInit_ex")
    }

    /// One update into `out`, which is a block longer than `input` at least; how much was written.
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> std::result::Result<usize, ()> {
        let fits = input.len().checked_add(AES_BLOCK).is_some_and(|most| most <= out.len());
        let len = if fits { c_int::try_from(input.len()).map_err(drop)? } else { return Err(()) };
        let mut written = 0;
        // SAFETY: two slices that don't overlap; no mode writes more than a block beyond its input.
        let code = unsafe { ffi::EVP_CipherUpdate(self.ptr(), out.as_mut_ptr(), &mut written, input.as_ptr(), len) };
        if code > 0 { usize::try_from(written).map_err(drop) } else { Err(()) }
    }
}

/// A message of ECB, CBC or CTR that passes in pieces.
pub struct AesStream(CipherContext);

/// Shows no key.
impl fmt::Debug for AesStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AesStream").finish_non_exhaustive()
    }
}

/// Shows no key.
impl fmt::Debug for AnyGcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyGcm").finish_non_exhaustive()
    }
}

impl AesStream {
    /// `key` has 16, 24 or 32 bytes; `iv` has 16, and none for ECB. Otherwise `Internal`.
    pub fn new(mode: AesMode, key: &[u8], iv: &[u8], encrypts: bool) -> Result<Self> {
        let (named, iv_len) = match mode {
            AesMode::Ecb => (Algorithms::Ecb, 0),
            AesMode::Cbc | AesMode::CbcPadded => (Algorithms::Cbc, AES_BLOCK),
            AesMode::Ctr => (Algorithms::Ctr, AES_BLOCK),
        };
        if iv.len() != iv_len {
            return Err(wrong_length());
        }
        let mut stream = Self(context(named, key)?);
        stream.0.start(key, iv, direction(encrypts))?;
        let padded = c_int::from(mode == AesMode::CbcPadded);
        // SAFETY: a live context.
        check(unsafe { ffi::EVP_CIPHER_CTX_set_padding(stream.0.ptr(), padded) }, "EVP_CIPHER_CTX_set_padding")?;
        Ok(stream)
    }

    /// Passes a piece; returns how much of `out` was written. `out` is a block longer than `input`.
    pub fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        for piece in input.chunks(MAX_UPDATE) {
            let out = out.get_mut(done..).ok_or_else(wrong_length)?;
            done += self.0.step(piece, out).map_err(|()| super::call::failed("EVP_CipherUpdate"))?;
        }
        Ok(done)
    }

    /// Writes what is left. `AuthenticationFailed` where the padding is wrong or a block is not complete.
    pub fn finish(self, out: &mut [u8; AES_BLOCK]) -> Result<usize> {
        let mut written = 0;
        // SAFETY: a live context; a block is the most that any mode writes at its end.
        let code = unsafe { ffi::EVP_CipherFinal_ex(self.0.ptr(), out.as_mut_ptr(), &mut written) };
        if code > 0 { usize::try_from(written).map_err(|_| wrong_length()) } else { Err(unauthentic()) }
    }
}

/// AES-GCM (NIST SP 800-38D) with IVs of 1 to 128 bytes and tags of 4 to 16, under one key.
pub struct AnyGcm {
    context: CipherContext,
    iv_len: usize,
}

/// The parts of a GCM message except its text.
#[derive(Debug, Clone, Copy)]
pub struct GcmParts<'a> {
    /// 1 to 128 bytes.
    pub iv: &'a [u8],
    /// The additional authenticated data.
    pub aad: &'a [u8],
    /// The length of the tag: 4 to 16 bytes.
    pub tag_len: usize,
}

impl AnyGcm {
    /// `key` has 16, 24 or 32 bytes; otherwise `Internal`.
    pub fn new(key: &[u8]) -> Result<Self> {
        let mut context = context(Algorithms::Gcm, key)?;
        context.start(key, &[], direction(true))?;
        Ok(Self { context, iv_len: 12 })
    }

    /// Writes ciphertext and tag; `out` is `tag_len` bytes longer than `plaintext`.
    pub fn seal(&mut self, parts: &GcmParts<'_>, plaintext: &[u8], out: &mut [u8]) -> Result<()> {
        if Some(out.len()) != plaintext.len().checked_add(parts.tag_len) {
            return Err(wrong_length());
        }
        self.begin(parts, true)?;
        let (text, tag) = out.split_at_mut(plaintext.len());
        // SAFETY: `text` is as long as `plaintext`, and they don't overlap; `tag` is a slice.
        unsafe {
            self.context.update(ffi::EVP_CipherUpdate, text.as_mut_ptr(), plaintext.as_ptr(), plaintext.len())?;
            check(self.end(), "EVP_CipherFinal_ex")?;
            let mut tag = param(c"tag", PARAM_OCTET_STRING, tag.as_mut_ptr().cast(), tag.len());
            check(ffi::EVP_CIPHER_CTX_get_params(self.context.ptr(), tag.as_mut_ptr()), "EVP_CIPHER_CTX_get_params")
        }
    }

    /// Checks the tag at the end of `sealed` and writes the plaintext; `out` is `tag_len` bytes shorter.
    ///
    /// A wrong tag is `AuthenticationFailed`; after it, and after any other failure, `out` is all zeros.
    pub fn open(&mut self, parts: &GcmParts<'_>, sealed: &[u8], out: &mut [u8]) -> Result<()> {
        let at = sealed.len().checked_sub(parts.tag_len).ok_or_else(wrong_length)?;
        let (text, tag) = sealed.split_at(at);
        if text.len() != out.len() {
            return Err(wrong_length());
        }
        let opened = self.open_unwiped(parts, text, tag, out);
        if opened.is_err() {
            out.zeroize();
        }
        opened
    }

    fn open_unwiped(&mut self, parts: &GcmParts<'_>, text: &[u8], tag: &[u8], out: &mut [u8]) -> Result<()> {
        self.begin(parts, false)?;
        // SAFETY: the tag is only read, through a pointer that C calls mutable; `out` is as long as `text`.
        let code = unsafe {
            let tag = param(c"tag", PARAM_OCTET_STRING, tag.as_ptr().cast_mut().cast(), tag.len());
            check(ffi::EVP_CIPHER_CTX_set_params(self.context.ptr(), tag.as_ptr()), "EVP_CIPHER_CTX_set_params")?;
            self.context.update(ffi::EVP_CipherUpdate, out.as_mut_ptr(), text.as_ptr(), text.len())?;
            self.end()
        };
        if code > 0 { Ok(()) } else { Err(unauthentic()) }
    }

    /// Set the IV and the AAD of a message.
    fn begin(&mut self, parts: &GcmParts<'_>, encrypts: bool) -> Result<()> {
        if !(1..=128).contains(&parts.iv.len()) || !(4..=16).contains(&parts.tag_len) {
            return Err(wrong_length());
        }
        if parts.iv.len() != self.iv_len {
            let mut len = parts.iv.len();
            let data: *mut c_void = ptr::from_mut(&mut len).cast();
            let len = param(c"ivlen", PARAM_UNSIGNED_INTEGER, data, size_of::<usize>());
            // SAFETY: a live context; the parameter and its value outlive the call.
            let code = unsafe { ffi::EVP_CIPHER_CTX_set_params(self.context.ptr(), len.as_ptr()) };
            // The length that a failed call leaves is unknown.
            self.iv_len = 0;
            check(code, "EVP_CIPHER_CTX_set_params")?;
            self.iv_len = parts.iv.len();
        }
        self.context.start(&[], parts.iv, direction(encrypts))?;
        // SAFETY: AAD is a slice; null takes it as such.
        unsafe { self.context.update(ffi::EVP_CipherUpdate, ptr::null_mut(), parts.aad.as_ptr(), parts.aad.len()) }
    }

    fn end(&mut self) -> c_int {
        let (mut rest, mut written) = ([0; AES_BLOCK], 0);
        // SAFETY: a live context; the end of GCM writes no text, but wants a place for it.
        unsafe { ffi::EVP_CipherFinal_ex(self.context.ptr(), rest.as_mut_ptr(), &mut written) }
    }
}

/// Wraps a key by RFC 3394, or with `padded` by RFC 5649; returns the wrapped key. Without padding, `key` must be a
/// multiple of 8 bytes and at least 16.
pub fn wrap_key(wrapping: &[u8], padded: bool, key: &[u8]) -> Result<Vec<u8>> {
    let fits = if padded { !key.is_empty() } else { key.len() >= 16 && key.len().is_multiple_of(8) };
    if !fits || key.len() > MOST_WRAPPED {
        return Err(wrong_length());
    }
    wrapped(wrapping, padded, true, key).map_err(|()| super::call::failed("EVP_CipherUpdate"))
}

/// Unwraps what [`wrap_key`] made. `AuthenticationFailed` where the wrapping key is another.
pub fn unwrap_key(wrapping: &[u8], padded: bool, wrapped_key: &[u8]) -> Result<Vec<u8>> {
    let least = if padded { 16 } else { 24 };
    if wrapped_key.len() < least || !wrapped_key.len().is_multiple_of(8) || wrapped_key.len() > MOST_WRAPPED + 16 {
        return Err(unauthentic());
    }
    wrapped(wrapping, padded, false, wrapped_key).map_err(|()| unauthentic())
}

/// The longest key that is wrapped.
pub const MOST_WRAPPED: usize = 64 << 10;

fn wrapped(wrapping: &[u8], padded: bool, encrypts: bool, input: &[u8]) -> std::result::Result<Vec<u8>, ()> {
    let named = if padded { Algorithms::WrapPadded } else { Algorithms::Wrap };
    let mut context = context(named, wrapping).map_err(drop)?;
    // SAFETY: a live context.
    unsafe { ffi::EVP_CIPHER_CTX_set_flags(context.ptr(), WRAP_ALLOWED) };
    context.start(wrapping, &[], direction(encrypts)).map_err(drop)?;
    let mut out = crate::sys::memory::zeroed(input.len() + AES_BLOCK).map_err(drop)?;
    match context.step(input, &mut out) {
        // A wrong check value may leave nothing, and no error.
        Ok(written) if written > 0 => {
            if let Some(rest) = out.get_mut(written..) {
                rest.zeroize();
            }
            out.truncate(written);
            Ok(out)
        }
        _ => {
            out.zeroize();
            Err(())
        }
    }
}

#[cfg(test)]
mod tests;
