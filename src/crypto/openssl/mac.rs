//! Message authentication codes.

use std::ptr;

use super::call::check;
use super::contexts::Mac;
use super::ffi;
use super::library::init;
use crate::error::Result;

/// AES-256-CMAC (NIST SP 800-38B) of the parts joined.
pub fn cmac(key: &[u8; 32], message: &[&[u8]]) -> Result<[u8; 16]> {
    Mac::keyed(&init()?.cmac, key)?.finish(message)
}

/// HMAC-SHA-256 (FIPS 198-1) under a kept key.
pub struct Hmac(Mac);

impl Hmac {
    pub fn new(key: &[u8; 32]) -> Result<Self> {
        Ok(Self(Mac::keyed(&init()?.hmac, key)?))
    }

    /// The MAC of the parts joined.
    pub fn mac(&mut self, parts: &[&[u8]]) -> Result<[u8; 32]> {
        // SAFETY: a live context; a null key restarts under the one it has.
        check(unsafe { ffi::EVP_MAC_init(self.0.0.as_ptr(), ptr::null(), 0, ptr::null()) }, "EVP_MAC_init")?;
        self.0.finish(parts)
    }
}

/// HMAC-SHA-512 (FIPS 198-1) of the parts joined.
pub fn hmac_sha512(key: &[u8; 32], message: &[&[u8]]) -> Result<[u8; 64]> {
    Mac::keyed(&init()?.hmac_sha512, key)?.finish(message)
}

/// Whether the bytes are equal, in a time that depends on the lengths alone.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    // SAFETY: both ranges have the compared length.
    a.len() == b.len() && unsafe { ffi::CRYPTO_memcmp(a.as_ptr().cast(), b.as_ptr().cast(), a.len()) } == 0
}
