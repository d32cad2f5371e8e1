//! AES-256-GCM through EVP.

use std::mem::MaybeUninit;
use std::ptr;

use super::{Engine, Start, TAG};
use crate::crypto::openssl::call::{PARAM_OCTET_STRING, check, param, unauthentic};
use crate::crypto::openssl::contexts::CipherContext;
use crate::crypto::openssl::ffi;
use crate::crypto::openssl::library::init;
use crate::error::Result;

/// Length of an AES block in bytes.
const BLOCK: usize = 16;

pub struct EvpGcm(CipherContext);

impl Engine for EvpGcm {
    fn new() -> Result<Self> {
        Ok(Self(CipherContext::new(init()?.gcm)?))
    }

    fn set_key(&mut self, key: &[u8; 32]) -> Result<()> {
        self.0.set_key(key)
    }

    #[inline]
    unsafe fn seal(&mut self, start: Start<'_>, aad: &[u8], input: *const u8, len: usize, out: *mut u8) -> Result<()> {
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

    #[inline]
    fn open(&mut self, start: Start<'_>, aad: &[u8], text: &[u8], tag: &[u8; TAG], out: &mut [u8]) -> Result<()> {
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
        if code > 0 { Ok(()) } else { Err(unauthentic()) }
    }
}
