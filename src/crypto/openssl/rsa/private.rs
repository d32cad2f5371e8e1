//! The private half: made, written and read, and what it unwraps.

use std::ffi::CStr;
use std::hint::black_box;
use std::ptr;

use zeroize::Zeroizing;

use super::super::call::{END, PARAM_UNSIGNED_INTEGER, check, failed, made, param};
use super::super::ffi::{self, OSSL_PARAM};
use super::super::library::init;
use super::handle::{KeyContext, RsaKey};
use super::{BITS, MODULUS, PKCS1_OVERHEAD, Padding, with_fresh_random};
use crate::error::{Error, Result, Status};
use crate::sys::{fork, random};

pub(super) const FACTOR: usize = MODULUS / 2;
/// The only public exponent of a key made here (NIST SP 800-56B r2 §6.2: odd, above 2^16).
pub(super) const EXPONENT: u32 = 65537;
/// The numbers of a private key as `PrivateKey::to_bytes` writes them, and their lengths (RFC 8017 §3.2).
pub(super) const NUMBERS: [(&CStr, usize); 7] = [
    (c"n", MODULUS),
    (c"d", MODULUS),
    (c"rsa-factor1", FACTOR),
    (c"rsa-factor2", FACTOR),
    (c"rsa-exponent1", FACTOR),
    (c"rsa-exponent2", FACTOR),
    (c"rsa-coefficient1", FACTOR),
];
/// Bytes of a written private key.
pub const PRIVATE_KEY: usize = 2 * MODULUS + 5 * FACTOR;
// A selection of EVP_PKEY_fromdata (openssl/evp.h).
const SELECT_KEYPAIR: i32 = 0x87;

/// The places of `NUMBERS` in `bytes`, as parameters with their end; the last but one stays free.
fn numbers(bytes: &mut [u8]) -> [OSSL_PARAM; NUMBERS.len() + 2] {
    let mut params = [END; NUMBERS.len() + 2];
    for ((key, number), place) in each_number(bytes).zip(&mut params) {
        [*place, _] = param(key, PARAM_UNSIGNED_INTEGER, number.as_mut_ptr().cast(), number.len());
    }
    params
}

fn each_number(mut bytes: &mut [u8]) -> impl Iterator<Item = (&'static CStr, &mut [u8])> {
    NUMBERS.iter().map_while(move |(key, len)| {
        let (number, rest) = std::mem::take(&mut bytes).split_at_mut_checked(*len)?;
        bytes = rest;
        Some((*key, number))
    })
}

/// Between big-endian, as we write numbers, and the machine's order, as OpenSSL takes them.
fn swap_order(bytes: &mut [u8]) {
    if cfg!(target_endian = "little") {
        each_number(bytes).for_each(|(_, number)| number.reverse());
    }
}

/// A pair of keys for one import. Freeing it wipes it.
pub struct PrivateKey(RsaKey);

impl PrivateKey {
    /// A new pair of 2048 bits with the exponent 65537.
    pub fn generate() -> Result<Self> {
        with_fresh_random(|context| {
            let making = KeyContext::named(context)?;
            let (mut bits, mut exponent, mut key) = (BITS, EXPONENT, ptr::null_mut());
            let [bits, _] = param(c"bits", PARAM_UNSIGNED_INTEGER, ptr::from_mut(&mut bits).cast(), size_of_val(&bits));
            let [exponent, end] =
                param(c"e", PARAM_UNSIGNED_INTEGER, ptr::from_mut(&mut exponent).cast(), size_of_val(&exponent));
            let params = [bits, exponent, end];
            // SAFETY: a live context; a list with its end, whose numbers outlive the call; a place for the key.
            unsafe {
                check(ffi::EVP_PKEY_keygen_init(making.ptr()), "EVP_PKEY_keygen_init")?;
                check(ffi::EVP_PKEY_CTX_set_params(making.ptr(), params.as_ptr()), "EVP_PKEY_CTX_set_params")?;
                check(ffi::EVP_PKEY_generate(making.ptr(), &mut key), "EVP_PKEY_generate")?;
            }
            Ok(Self(RsaKey(made(key, "EVP_PKEY_generate")?)))
        })
    }

    /// The `PRIVATE_KEY` bytes that [`PrivateKey::from_bytes`] reads: modulus, private exponent, both factors, their
    /// exponents and the coefficient, big-endian. Not PKCS#8, because OpenSSL's encoders and decoders leave copies in
    /// memory that is never wiped.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(vec![0; PRIVATE_KEY]);
        let mut params = numbers(&mut bytes);
        // SAFETY: a live key; a list with its end, whose places are apart and live.
        let code = fork::gate(|| unsafe { ffi::EVP_PKEY_get_params(self.0.ptr(), params.as_mut_ptr()) });
        check(code, "EVP_PKEY_get_params")?;
        // A number that is absent leaves its size as it was.
        if params.iter().zip(NUMBERS).any(|(found, (_, len))| found.return_size != len) {
            return Err(failed("EVP_PKEY_get_params"));
        }
        swap_order(&mut bytes);
        Ok(bytes)
    }

    /// The key that [`PrivateKey::to_bytes`] wrote. The numbers are believed: authenticate them first. Other lengths
    /// are `Internal`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() != PRIVATE_KEY {
            return Err(Status::Internal.error("a private key of the wrong length"));
        }
        let mut bytes = Zeroizing::new(bytes.to_vec());
        swap_order(&mut bytes);
        let (mut exponent, mut key) = (EXPONENT, ptr::null_mut());
        let mut params = numbers(&mut bytes);
        let [.., last, _] = &mut params;
        [*last, _] = param(c"e", PARAM_UNSIGNED_INTEGER, ptr::from_mut(&mut exponent).cast(), size_of_val(&exponent));
        fork::gate(|| {
            let making = KeyContext::named(init()?.context.as_ptr())?;
            // SAFETY: a live context; a list with its end, whose numbers outlive the call; a place for the key.
            unsafe {
                check(ffi::EVP_PKEY_fromdata_init(making.ptr()), "EVP_PKEY_fromdata_init")?;
                let code = ffi::EVP_PKEY_fromdata(making.ptr(), &mut key, SELECT_KEYPAIR, params.as_mut_ptr());
                check(code, "EVP_PKEY_fromdata")?;
            }
            let key = RsaKey(made(key, "EVP_PKEY_fromdata")?);
            if key.has_our_size() { Ok(Self(key)) } else { Err(failed("EVP_PKEY_fromdata")) }
        })
    }

    /// The public half, as a DER SubjectPublicKeyInfo.
    pub fn public_der(&self) -> Result<Vec<u8>> {
        self.0.public_der()
    }

    /// The message of `len` bytes inside `wrapped`. What is wrong with it apart from the padding of PKCS#1 v1.5, a message
    /// of another length included, is `InvalidKeyMaterial` with one text.
    ///
    /// Wrong padding of PKCS#1 v1.5 is no error here. Reported at once, or by another step than other faults, it lets an
    /// attacker who may try many texts decrypt (Bleichenbacher 1998). Random bytes then replace the message,
    /// [`Unwrapped::is_right`] says so, and the caller does all the same work and refuses last. To take these bytes, as
    /// implicit rejection alone does, is no solution: the keystore would bind the key to them.
    pub fn unwrap(&self, padding: Padding, wrapped: &[u8], len: usize) -> Result<Unwrapped> {
        // RFC 8017 §7.1.2 and §7.2.2, step 1; OpenSSL would take a shorter one for a small number.
        if wrapped.len() != MODULUS || len > padding.max_message() {
            return Err(not_unwrapped());
        }
        let decrypted = self.decrypt(padding, wrapped)?;
        match padding {
            Padding::Pkcs1V15 => {
                let mut message = Zeroizing::new(vec![0; len]);
                random::fill(&mut message)?;
                let wrong = pkcs1_message(&decrypted, &mut message).ok_or_else(not_unwrapped)?;
                Ok(Unwrapped { message, wrong })
            }
            Padding::OaepSha1 | Padding::OaepSha256 if decrypted.len() == len => {
                Ok(Unwrapped { message: decrypted, wrong: 0 })
            }
            Padding::OaepSha1 | Padding::OaepSha256 => Err(not_unwrapped()),
        }
    }

    /// RSADP, and the removal of OAEP; PKCS#1 v1.5 keeps its padding.
    pub(super) fn decrypt(&self, padding: Padding, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        with_fresh_random(|context| {
            let context = self.0.context(context)?;
            // SAFETY: a live context.
            check(unsafe { ffi::EVP_PKEY_decrypt_init(context.ptr()) }, "EVP_PKEY_decrypt_init")?;
            context.set_padding(if padding.hash().is_some() { c"oaep" } else { c"none" }, padding.hash())?;
            let mut out = Zeroizing::new(vec![0; MODULUS]);
            let mut len = out.len();
            // SAFETY: a live context; both ranges are as long as said, and no message is longer than the modulus.
            let code = unsafe {
                ffi::EVP_PKEY_decrypt(context.ptr(), out.as_mut_ptr(), &mut len, wrapped.as_ptr(), wrapped.len())
            };
            if code <= 0 {
                // SAFETY: clears the thread's own queue.
                unsafe { ffi::ERR_clear_error() };
                return Err(not_unwrapped());
            }
            out.truncate(len);
            Ok(out)
        })
    }
}

/// The one text of a failed unwrapping: it says nothing about what was wrong.
pub const NOT_UNWRAPPED: &str =
    "the key material could not be unwrapped: wrong public key, algorithm or length, or it was modified";

#[cold]
pub(super) fn not_unwrapped() -> Error {
    Status::InvalidKeyMaterial.error(NOT_UNWRAPPED)
}

/// A message that was unwrapped, or random bytes in the place of one whose padding was wrong.
pub struct Unwrapped {
    pub message: Zeroizing<Vec<u8>>,
    /// Nonzero if the padding was wrong.
    wrong: u8,
}

impl Unwrapped {
    /// A key that came in the clear. `InvalidKeyMaterial` for another length than 32 bytes.
    pub fn of_key(key: &[u8]) -> Result<Self> {
        if key.len() != 32 {
            return Err(
                Status::InvalidKeyMaterial.error(format!("key material must have exactly 32 bytes, not {}", key.len()))
            );
        }
        Ok(Self { message: Zeroizing::new(key.to_vec()), wrong: 0 })
    }

    /// Whether it is the message that was wrapped. To be asked last, when all other work is done.
    pub fn is_right(&self) -> bool {
        black_box(self.wrong) == 0
    }
}

/// Puts the last bytes of an EME-PKCS1-v1_5 encoding into `message` if 00 ‖ 02 ‖ nonzero bytes ‖ 00 precede them (RFC 8017
/// §7.2.2); returns 0 then. Reads every byte in any case, and takes no branch on it. `None` for an encoding or a
/// message of an impossible length.
pub(super) fn pkcs1_message(encoded: &[u8], message: &mut [u8]) -> Option<u8> {
    if encoded.len() != MODULUS || message.len() > MODULUS - PKCS1_OVERHEAD {
        return None;
    }
    let (head, found) = encoded.split_at_checked(MODULUS - message.len())?;
    let [first, second, padding @ .., separator] = head else { return None };
    let mut wrong = first | (second ^ 2) | separator;
    for &byte in padding {
        // All ones for a zero byte, else nothing.
        wrong |= (u16::from(byte).wrapping_sub(1) >> 8) as u8;
        wrong = black_box(wrong);
    }
    // All ones if anything is wrong.
    let mask = black_box((u16::from(wrong).wrapping_neg() >> 8) as u8);
    message.iter_mut().zip(found).for_each(|(to, from)| *to = (*to & mask) | (from & !mask));
    Some(wrong)
}
