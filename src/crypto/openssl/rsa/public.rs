//! The public half: read with every check, and what it wraps.

use std::ptr::{self, NonNull};

use super::super::call::{check, failed, made};
use super::super::ffi::{self, OSSL_LIB_CTX};
use super::handle::RsaKey;
use super::{MODULUS, Padding, with_fresh_random};
use crate::error::{Error, Result, Status};

/// A SubjectPublicKeyInfo with our modulus and an exponent as long is shorter.
const MAX_PUBLIC_DER: usize = 1024;
// A selection of a decoder (openssl/evp.h).
const SELECT_PUBLIC_KEY: i32 = 0x86;

/// A recipient's public key, to wrap a key for.
pub struct PublicKey(RsaKey);

impl PublicKey {
    /// Reads what [`PrivateKey::public_der`] returns. `InvalidArgument` unless `der` is that form to the byte and holds
    /// an RSA key of 2048 bits that can be one: exponent and modulus odd, no small factors, no prime (NIST SP 800-56B
    /// r2 §6.4.2.2, except that exponents from 3 are taken).
    pub fn from_der(der: &[u8]) -> Result<Self> {
        if der.len() > MAX_PUBLIC_DER {
            return Err(not_a_public_key());
        }
        // The test for a prime draws its bases at random.
        with_fresh_random(|context| {
            let key = decode(context, der)?.filter(RsaKey::has_our_size).ok_or_else(not_a_public_key)?;
            // The decoder takes other forms as well, in spite of its arguments.
            if key.public_der()? != der {
                return Err(not_a_public_key());
            }
            let checking = key.context(context)?;
            // SAFETY: a live context with a public key.
            if unsafe { ffi::EVP_PKEY_public_check(checking.ptr()) } <= 0 {
                // SAFETY: clears the thread's own queue.
                unsafe { ffi::ERR_clear_error() };
                return Err(not_a_public_key());
            }
            Ok(Self(key))
        })
    }

    /// Wraps `plaintext`, at most `padding.max_message()` bytes (`InvalidArgument`); the result is as long as the
    /// modulus.
    pub fn wrap(&self, padding: Padding, plaintext: &[u8]) -> Result<Vec<u8>> {
        if plaintext.len() > padding.max_message() {
            return Err(Status::InvalidArgument.error(format!(
                "{} bytes are too many for this wrapping algorithm; at most {} fit",
                plaintext.len(),
                padding.max_message()
            )));
        }
        with_fresh_random(|context| {
            let context = self.0.context(context)?;
            // SAFETY: a live context.
            check(unsafe { ffi::EVP_PKEY_encrypt_init(context.ptr()) }, "EVP_PKEY_encrypt_init")?;
            context.set_padding(if padding.hash().is_some() { c"oaep" } else { c"pkcs1" }, padding.hash())?;
            let mut out = vec![0; MODULUS];
            let mut len = out.len();
            // SAFETY: a live context; both ranges are as long as said.
            let code = unsafe {
                ffi::EVP_PKEY_encrypt(context.ptr(), out.as_mut_ptr(), &mut len, plaintext.as_ptr(), plaintext.len())
            };
            check(code, "EVP_PKEY_encrypt")?;
            if len == MODULUS { Ok(out) } else { Err(failed("EVP_PKEY_encrypt")) }
        })
    }
}

pub(super) fn not_a_public_key() -> Error {
    Status::InvalidArgument.error("the public key must be a DER SubjectPublicKeyInfo of an RSA key of 2048 bits")
}

/// The RSA key that the whole of `der` is in some form, if it is one.
fn decode(context: *mut OSSL_LIB_CTX, der: &[u8]) -> Result<Option<RsaKey>> {
    let (mut key, mut rest, mut left) = (ptr::null_mut(), der.as_ptr(), der.len());
    // SAFETY: a live context, terminated names and a place for the key, which outlives the decoder; null means no
    // properties. The decoder reads inside `der` and is freed once. In the gate, as our callers are.
    let code = unsafe {
        let decoder = made(
            ffi::OSSL_DECODER_CTX_new_for_pkey(
                &mut key,
                c"DER".as_ptr(),
                c"SubjectPublicKeyInfo".as_ptr(),
                c"RSA".as_ptr(),
                SELECT_PUBLIC_KEY,
                context,
                ptr::null(),
            ),
            "OSSL_DECODER_CTX_new_for_pkey",
        )?;
        let code = ffi::OSSL_DECODER_from_data(decoder.as_ptr(), &mut rest, &mut left);
        ffi::OSSL_DECODER_CTX_free(decoder.as_ptr());
        // What it tried before it found the right form may have left errors behind.
        ffi::ERR_clear_error();
        code
    };
    let key = NonNull::new(key).map(RsaKey);
    Ok(key.filter(|_| code > 0 && left == 0))
}
