//! RSA-2048 for wrapping a key on its way in or out: PKCS#1 v1.5 and OAEP of RFC 8017 §7.
//!
//! OpenSSL draws randomness by itself here (primes, OAEP seeds, PKCS#1 padding, blinding), from generators that notice
//! a fork by the pid alone. So every call first reseeds both generators of its thread with bytes of the kernel and the CPU. That mixes: what
//! their parent adds, which a process in a new pid namespace may share with another, takes nothing away. The parent
//! itself is never drawn from except by those two.
//!
//! Each call runs inside `fork::gate` as a whole, because the generators take a lock at every draw. Making a key takes
//! 60 ms on average and sometimes a few times that, and a fork waits for it.

use std::ffi::CStr;
use std::hint::black_box;
use std::ptr::{self, NonNull};

use zeroize::Zeroizing;

use super::call::{END, PARAM_UNSIGNED_INTEGER, PARAM_UTF8_STRING, check, failed, made, param};
use super::ffi::{self, EVP_PKEY, EVP_PKEY_CTX, OSSL_LIB_CTX, OSSL_PARAM};
use super::library::init;
use crate::error::{Error, Result, Status};
use crate::sys::{fork, random};

/// Length of the modulus, and so of everything wrapped.
pub const BITS: usize = 2048;
const MODULUS: usize = BITS / 8;
const FACTOR: usize = MODULUS / 2;
/// The only public exponent of a key made here (NIST SP 800-56B r2 §6.2: odd, above 2^16).
const EXPONENT: u32 = 65537;
/// The numbers of a private key as `PrivateKey::to_bytes` writes them, and their lengths (RFC 8017 §3.2).
const NUMBERS: [(&CStr, usize); 7] = [
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
/// A SubjectPublicKeyInfo with our modulus and an exponent as long is shorter.
const MAX_PUBLIC_DER: usize = 1024;
/// What PKCS#1 v1.5 adds at least: 00 02, eight bytes of padding, 00.
const PKCS1_OVERHEAD: usize = 11;
/// Entropy of a reseed: all that the generator's state can hold (NIST SP 800-90A r1 §10.2.1, AES-256).
const SEED: usize = 48;

// Selections of EVP_PKEY_fromdata and of a decoder (openssl/evp.h).
const SELECT_PUBLIC_KEY: i32 = 0x86;
const SELECT_KEYPAIR: i32 = 0x87;

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

/// An EVP_PKEY: counted, wiped and freed.
struct RsaKey(NonNull<EVP_PKEY>);

// SAFETY: a key has no ties to its thread. It isn't Sync.
unsafe impl Send for RsaKey {}

impl RsaKey {
    fn ptr(&self) -> *mut EVP_PKEY {
        self.0.as_ptr()
    }

    fn has_our_size(&self) -> bool {
        // SAFETY: a live key.
        usize::try_from(unsafe { ffi::EVP_PKEY_get_bits(self.ptr()) }) == Ok(BITS)
    }

    fn context(&self, context: *mut OSSL_LIB_CTX) -> Result<KeyContext> {
        // SAFETY: both are live; the new context counts the key; null means no properties.
        let made = made(
            unsafe { ffi::EVP_PKEY_CTX_new_from_pkey(context, self.ptr(), ptr::null()) },
            "EVP_PKEY_CTX_new_from_pkey",
        )?;
        Ok(KeyContext(made))
    }

    /// SubjectPublicKeyInfo (RFC 5280 §4.1.2.7, RFC 3279 §2.3.1).
    fn public_der(&self) -> Result<Vec<u8>> {
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
struct KeyContext(NonNull<EVP_PKEY_CTX>);

impl KeyContext {
    fn named(context: *mut OSSL_LIB_CTX) -> Result<Self> {
        // SAFETY: a live context and a terminated name; null means no properties.
        let made = made(
            unsafe { ffi::EVP_PKEY_CTX_new_from_name(context, c"RSA".as_ptr(), ptr::null()) },
            "EVP_PKEY_CTX_new_from_name",
        )?;
        Ok(Self(made))
    }

    fn ptr(&self) -> *mut EVP_PKEY_CTX {
        self.0.as_ptr()
    }

    /// Chooses the padding `mode`, and `hash` for both places where OAEP has one.
    fn set_padding(&self, mode: &'static CStr, hash: Option<&'static CStr>) -> Result<()> {
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
    /// memory that nobody wipes.
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
    /// attacker who may try many texts decrypt (Bleichenbacher 1998). Random bytes then stand in for the message,
    /// [`Unwrapped::is_right`] says so, and the caller does all the same work and refuses last. To take these bytes, as
    /// implicit rejection alone does, is no way out: a keystore would hold its owner to them.
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
    fn decrypt(&self, padding: Padding, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
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
fn not_unwrapped() -> Error {
    Status::InvalidKeyMaterial.error(NOT_UNWRAPPED)
}

/// A message that was unwrapped, or random bytes in the place of one whose padding was wrong.
pub struct Unwrapped {
    pub message: Zeroizing<Vec<u8>>,
    /// Not 0: the padding was wrong.
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
fn pkcs1_message(encoded: &[u8], message: &mut [u8]) -> Option<u8> {
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

/// Somebody's public key, to wrap a key for.
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

    /// Length of the modulus in bits.
    pub fn bits(&self) -> usize {
        BITS
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

fn not_a_public_key() -> Error {
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

#[cfg(all(test, not(miri)))]
mod tests;
