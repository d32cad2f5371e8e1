//! RSA-2048 for wrapping a key on its way in or out: PKCS#1 v1.5 and OAEP of RFC 8017 §7.
//!
//! OpenSSL draws randomness by itself here (primes, OAEP seeds, PKCS#1 padding, blinding), from generators that notice
//! a fork by the pid alone. So every call first reseeds both generators of its thread with bytes of the kernel and the CPU. That mixes: what
//! their parent adds, which a process in a new pid namespace may share with another, takes nothing away. The parent
//! itself is never drawn from except by those two.
//!
//! Each call runs inside `fork::gate` as a whole, because the generators take a lock at every draw. Making a key takes
//! 60 ms on average and sometimes a few times that, and a fork waits for it.

mod handle;
mod private;
mod public;

use std::ffi::CStr;
use std::ptr;

use zeroize::Zeroizing;

use super::call::{check, made};
use super::ffi::{self, OSSL_LIB_CTX};
use super::library::init;
use crate::error::Result;
use crate::sys::{fork, random};

pub use private::{NOT_UNWRAPPED, PRIVATE_KEY, PrivateKey, Unwrapped};
pub use public::PublicKey;

/// Length of the modulus, and so of everything wrapped.
pub const BITS: usize = 2048;
const MODULUS: usize = BITS / 8;
/// What PKCS#1 v1.5 adds at least: 00 02, eight bytes of padding, 00.
const PKCS1_OVERHEAD: usize = 11;
/// Entropy of a reseed: all that the generator's state can hold (NIST SP 800-90A r1 §10.2.1, AES-256).
const SEED: usize = 48;

/// The padding with which RSA wraps a key. OAEP uses MGF1 with the same hash and an empty label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Padding {
    /// PKCS #1 v1.5 (`RSAES_PKCS1_V1_5`), for at most 245 bytes.
    Pkcs1V15,
    /// OAEP with SHA-1 (`RSAES_OAEP_SHA_1`), for at most 214 bytes.
    OaepSha1,
    /// OAEP with SHA-256 (`RSAES_OAEP_SHA_256`), for at most 190 bytes.
    OaepSha256,
}

impl Padding {
    /// Longest message (RFC 8017 §7.1.1 and §7.2.1).
    pub const fn max_message(self) -> usize {
        match self {
            Padding::Pkcs1V15 => MODULUS - PKCS1_OVERHEAD,
            Padding::OaepSha1 => MODULUS - 2 * 20 - 2,
            Padding::OaepSha256 => MODULUS - 2 * 32 - 2,
        }
    }

    fn hash(self) -> Option<&'static CStr> {
        match self {
            Padding::Pkcs1V15 => None,
            Padding::OaepSha1 => Some(c"SHA1"),
            Padding::OaepSha256 => Some(c"SHA256"),
        }
    }
}

/// Runs `body` with our library context, inside the gate, after reseeding both of this thread's generators.
fn with_fresh_random<R>(body: impl FnOnce(*mut OSSL_LIB_CTX) -> Result<R>) -> Result<R> {
    fork::gate(|| {
        let context = init()?.context.as_ptr();
        // SAFETY: a live context; the generators are this thread's own and live as long as it does.
        let generators = unsafe {
            [
                made(ffi::RAND_get0_public(context), "RAND_get0_public")?,
                made(ffi::RAND_get0_private(context), "RAND_get0_private")?,
            ]
        };
        for generator in generators {
            let mut seed = Zeroizing::new([0; SEED]);
            random::fill(&mut *seed)?;
            // SAFETY: a live generator that no other thread uses; the seed has the length it is said to have, and there
            // is no additional input.
            let code =
                unsafe { ffi::EVP_RAND_reseed(generator.as_ptr(), 0, seed.as_ptr(), seed.len(), ptr::null(), 0) };
            check(code, "EVP_RAND_reseed")?;
        }
        body(context)
    })
}

#[cfg(all(test, not(miri)))]
mod tests;
