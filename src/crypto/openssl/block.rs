//! AES-256 of single blocks.

use super::call::{check, wrong_length};
use super::contexts::CipherContext;
use super::ffi;
use super::library::init;
use crate::error::Result;

const BLOCK: usize = 16;

/// AES-256 of single blocks (FIPS 197), for deriving keys.
pub struct Block(CipherContext);

impl Block {
    /// A context without a key; encrypting before `set_key` is `Internal`.
    pub fn new() -> Result<Self> {
        let cipher = CipherContext::new(init()?.ecb)?;
        // SAFETY: a live context.
        check(unsafe { ffi::EVP_CIPHER_CTX_set_padding(cipher.ptr(), 0) }, "EVP_CIPHER_CTX_set_padding")?;
        Ok(Self(cipher))
    }

    pub fn set_key(&mut self, key: &[u8; 32]) -> Result<()> {
        self.0.set_key(key)
    }

    /// Encrypts each 16 bytes of `blocks` in place.
    pub fn encrypt(&mut self, blocks: &mut [u8]) -> Result<()> {
        if !blocks.len().is_multiple_of(BLOCK) {
            return Err(wrong_length());
        }
        let start = blocks.as_mut_ptr();
        // SAFETY: input and output are the same whole blocks, so nothing is held back or added.
        unsafe { self.0.update(ffi::EVP_EncryptUpdate, start, start, blocks.len()) }
    }
}
