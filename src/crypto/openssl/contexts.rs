//! libcrypto's contexts of ciphers and MACs: made, wiped and freed.

use std::ffi::{CStr, c_int};
use std::ptr::{self, NonNull};

use super::call::{PARAM_UTF8_STRING, check, made, param, wrong_length};
use super::ffi::{self, EVP_CIPHER, EVP_CIPHER_CTX, EVP_MAC, EVP_MAC_CTX, OSSL_LIB_CTX};
use crate::error::Result;

/// Most bytes of one update: OpenSSL counts in int. Small in tests, so that they cross it.
pub(super) const MAX_UPDATE: usize = if cfg!(miri) {
    64
} else if cfg!(test) {
    4096
} else {
    1 << 30
};

/// An EVP_CIPHER_CTX: made, wiped and freed.
pub(super) struct CipherContext(NonNull<EVP_CIPHER_CTX>);

// SAFETY: a context is plain memory without ties to its thread; it isn't Sync, and every use takes `&mut`.
unsafe impl Send for CipherContext {}

impl CipherContext {
    pub(super) fn new(algorithm: NonNull<EVP_CIPHER>) -> Result<Self> {
        // SAFETY: takes nothing.
        let cipher = Self(made(unsafe { ffi::EVP_CIPHER_CTX_new() }, "EVP_CIPHER_CTX_new")?);
        // SAFETY: both objects are live; null key and iv mean "later".
        let code = unsafe {
            ffi::EVP_EncryptInit_ex(cipher.ptr(), algorithm.as_ptr(), ptr::null_mut(), ptr::null(), ptr::null())
        };
        check(code, "EVP_EncryptInit_ex")?;
        Ok(cipher)
    }

    pub(super) fn ptr(&self) -> *mut EVP_CIPHER_CTX {
        self.0.as_ptr()
    }

    pub(super) fn set_key(&mut self, key: &[u8; 32]) -> Result<()> {
        // SAFETY: the context is of a cipher with 32 key bytes; null cipher, engine and iv mean "as it is".
        let code =
            unsafe { ffi::EVP_EncryptInit_ex(self.ptr(), ptr::null(), ptr::null_mut(), key.as_ptr(), ptr::null()) };
        check(code, "EVP_EncryptInit_ex")
    }

    /// Runs `len` bytes at `input` through `update` into `out`; null `out` takes them as AAD.
    ///
    /// # Safety
    /// `input` is readable for `len` bytes; `out` is null, or writable for `len` bytes and either `input` itself or apart
    /// from it.
    #[inline]
    pub(super) unsafe fn update(&mut self, update: Update, out: *mut u8, input: *const u8, len: usize) -> Result<()> {
        if len <= MAX_UPDATE {
            if len == 0 {
                return Ok(());
            }
            let mut written = 0;
            // SAFETY: the caller's promise; the length fits an int.
            let code = unsafe { update(self.ptr(), out, &mut written, input, len as c_int) };
            return check(code, "EVP_CipherUpdate");
        }
        // SAFETY: the caller's promise.
        unsafe { self.update_in_steps(update, out, input, len) }
    }

    /// # Safety
    /// As for `update`.
    #[cold]
    pub(super) unsafe fn update_in_steps(
        &mut self,
        update: Update,
        out: *mut u8,
        input: *const u8,
        len: usize,
    ) -> Result<()> {
        let mut done = 0;
        while done < len {
            let step = (len - done).min(MAX_UPDATE);
            let mut written = 0;
            // SAFETY: `done + step <= len`, so both ranges stay inside what the caller vouches for, and the output of
            // a stream cipher or of whole blocks is as long as its input; `step` fits an int.
            let code = unsafe {
                let out = if out.is_null() { out } else { out.add(done) };
                update(self.ptr(), out, &mut written, input.add(done), step as c_int)
            };
            check(code, "EVP_CipherUpdate")?;
            done += step;
        }
        Ok(())
    }
}

impl Drop for CipherContext {
    fn drop(&mut self) {
        // SAFETY: made by EVP_CIPHER_CTX_new, freed once.
        unsafe { ffi::EVP_CIPHER_CTX_free(self.ptr()) };
    }
}

pub(super) type Update = unsafe extern "C" fn(*mut EVP_CIPHER_CTX, *mut u8, *mut c_int, *const u8, c_int) -> c_int;

/// An EVP_MAC_CTX: made, wiped and freed.
pub(super) struct Mac(pub(super) NonNull<EVP_MAC_CTX>);

// SAFETY: as for `CipherContext`.
unsafe impl Send for Mac {}

impl Mac {
    /// A context of MAC `name` whose parameter `key` is `value`, keyed with zeros so that it can be copied.
    pub(super) fn fetch(context: *mut OSSL_LIB_CTX, name: &CStr, key: &'static CStr, value: &CStr) -> Result<Self> {
        // SAFETY: a live context and terminated names; the algorithm is never freed; the parameter outlives the call
        // that reads it, and its value is only read.
        unsafe {
            let algorithm: NonNull<EVP_MAC> =
                made(ffi::EVP_MAC_fetch(context, name.as_ptr(), ptr::null()), "EVP_MAC_fetch")?;
            let mac = Self(made(ffi::EVP_MAC_CTX_new(algorithm.as_ptr()), "EVP_MAC_CTX_new")?);
            let value_ptr = value.as_ptr().cast_mut().cast();
            let choice = param(key, PARAM_UTF8_STRING, value_ptr, value.count_bytes());
            let zeros = [0u8; 32];
            let code = ffi::EVP_MAC_init(mac.0.as_ptr(), zeros.as_ptr(), zeros.len(), choice.as_ptr());
            check(code, "EVP_MAC_init")?;
            Ok(mac)
        }
    }

    /// A copy of `template` with its own key.
    pub(super) fn keyed(template: &Mac, key: &[u8; 32]) -> Result<Self> {
        // SAFETY: a live context that is not written; the copy is ours.
        let mac = Self(made(unsafe { ffi::EVP_MAC_CTX_dup(template.0.as_ptr()) }, "EVP_MAC_CTX_dup")?);
        // SAFETY: a live context and a key of 32 bytes; no parameters.
        let code = unsafe { ffi::EVP_MAC_init(mac.0.as_ptr(), key.as_ptr(), key.len(), ptr::null()) };
        check(code, "EVP_MAC_init")?;
        Ok(mac)
    }

    pub(super) fn finish<const N: usize>(&mut self, parts: &[&[u8]]) -> Result<[u8; N]> {
        let (mut out, mut written) = ([0; N], 0);
        // SAFETY: a live context; each part is a slice; `out` has the N bytes it is said to have.
        unsafe {
            for part in parts {
                check(ffi::EVP_MAC_update(self.0.as_ptr(), part.as_ptr(), part.len()), "EVP_MAC_update")?;
            }
            let code = ffi::EVP_MAC_final(self.0.as_ptr(), out.as_mut_ptr(), &mut written, N);
            check(code, "EVP_MAC_final")?;
        }
        if written == N { Ok(out) } else { Err(wrong_length()) }
    }
}

impl Drop for Mac {
    fn drop(&mut self) {
        // SAFETY: made by EVP_MAC_CTX_new or _dup, freed once.
        unsafe { ffi::EVP_MAC_CTX_free(self.0.as_ptr()) };
    }
}
