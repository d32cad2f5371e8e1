//! OpenSSL's key and key context, with their owners.

use std::ffi::CStr;
use std::ptr::{self, NonNull};

use super::super::call::{END, PARAM_UTF8_STRING, check, failed, made, param};
use super::super::ffi::{self, EVP_PKEY, EVP_PKEY_CTX, OSSL_LIB_CTX, OSSL_PARAM};
use super::BITS;
use crate::error::Result;
use crate::sys::fork;

/// An EVP_PKEY: counted, wiped and freed.
pub struct RsaKey(pub NonNull<EVP_PKEY>);

// SAFETY: a key has no ties to its thread. It isn't Sync.
unsafe impl Send for RsaKey {}

impl RsaKey {
    pub fn ptr(&self) -> *mut EVP_PKEY {
        self.0.as_ptr()
    }

    pub fn has_our_size(&self) -> bool {
        // SAFETY: a live key.
        usize::try_from(unsafe { ffi::EVP_PKEY_get_bits(self.ptr()) }) == Ok(BITS)
    }

    pub fn context(&self, context: *mut OSSL_LIB_CTX) -> Result<KeyContext> {
        // SAFETY: both are live; the new context counts the key; null means no properties.
        let made = made(
            unsafe { ffi::EVP_PKEY_CTX_new_from_pkey(context, self.ptr(), ptr::null()) },
            "EVP_PKEY_CTX_new_from_pkey",
        )?;
        Ok(KeyContext(made))
    }

    /// SubjectPublicKeyInfo (RFC 5280 §4.1.2.7, RFC 3279 §2.3.1).
    pub fn public_der(&self) -> Result<Vec<u8>> {
        fork::gate(|| {
            // SAFETY: a live key; null asks for the length alone.
            let len = usize::try_from(unsafe { ffi::i2d_PUBKEY(self.ptr(), ptr::null_mut()) }).unwrap_or(0);
            let mut der = vec![0; len];
            let mut end = der.as_mut_ptr();
            // SAFETY: a live key; there is room for as many bytes as were asked for, unless they were none.
            let written = if len == 0 { 0 } else { unsafe { ffi::i2d_PUBKEY(self.ptr(), &mut end) } };
            if len > 0 && usize::try_from(written) == Ok(len) { Ok(der) } else { Err(failed("i2d_PUBKEY")) }
        })
    }
}

impl Drop for RsaKey {
    fn drop(&mut self) {
        // SAFETY: we hold one count of it, given back once. In the gate, because libcrypto locks its table of
        // destructors.
        fork::gate(|| unsafe { ffi::EVP_PKEY_free(self.ptr()) });
    }
}

/// An EVP_PKEY_CTX: made and freed, always inside the gate.
pub struct KeyContext(NonNull<EVP_PKEY_CTX>);

impl KeyContext {
    pub fn named(context: *mut OSSL_LIB_CTX) -> Result<Self> {
        // SAFETY: a live context and a terminated name; null means no properties.
        let made = made(
            unsafe { ffi::EVP_PKEY_CTX_new_from_name(context, c"RSA".as_ptr(), ptr::null()) },
            "EVP_PKEY_CTX_new_from_name",
        )?;
        Ok(Self(made))
    }

    pub fn ptr(&self) -> *mut EVP_PKEY_CTX {
        self.0.as_ptr()
    }

    /// Chooses the padding `mode`, and `hash` for both places where OAEP has one.
    pub fn set_padding(&self, mode: &'static CStr, hash: Option<&'static CStr>) -> Result<()> {
        let hash_or_none = |key| hash.map_or(END, |hash| text(key, hash));
        let params = [text(c"pad-mode", mode), hash_or_none(c"digest"), hash_or_none(c"mgf1-digest"), END];
        // SAFETY: a live context, initialised; a list with its end, of texts that are only read.
        check(unsafe { ffi::EVP_PKEY_CTX_set_params(self.ptr(), params.as_ptr()) }, "EVP_PKEY_CTX_set_params")
    }
}

impl Drop for KeyContext {
    fn drop(&mut self) {
        // SAFETY: made by EVP_PKEY_CTX_new_from_*, freed once.
        fork::gate(|| unsafe { ffi::EVP_PKEY_CTX_free(self.ptr()) });
    }
}

fn text(key: &'static CStr, value: &'static CStr) -> OSSL_PARAM {
    let [text, _] = param(key, PARAM_UTF8_STRING, value.as_ptr().cast_mut().cast(), value.count_bytes());
    text
}
