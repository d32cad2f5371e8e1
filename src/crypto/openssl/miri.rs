//! Stand-ins for libcrypto's functions under Miri, which can't call C: same signatures, toy ciphers.
//!
//! They read and write exactly the bytes that the real ones would, so that Miri sees what the wrapper does with pointers,
//! lengths and lifetimes: `cargo +nightly miri test --lib crypto::openssl`. The results are not cryptography.

#![allow(non_camel_case_types, non_snake_case, clippy::missing_safety_doc, reason = "the names and contracts are C's")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::{ptr, slice};

#[repr(C)]
pub struct OSSL_PARAM {
    pub key: *const c_char,
    pub data_type: c_uint,
    pub data: *mut c_void,
    pub data_size: usize,
    pub return_size: usize,
}

pub struct OSSL_LIB_CTX;
pub struct EVP_CIPHER {
    is_gcm: bool,
}
pub struct EVP_CIPHER_CTX {
    is_gcm: bool,
    key: Option<[u8; 32]>,
    iv: [u8; 12],
    encrypts: bool,
    position: u64,
    hash: u64,
    tag: [u8; 16],
}
pub struct EVP_MAC;
#[derive(Clone)]
pub struct EVP_MAC_CTX {
    key: [u8; 32],
    size: usize,
    hash: u64,
}

/// FNV-1a: enough to distinguish inputs.
fn mix(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The bytes at a C pointer, copied: the caller may write over them.
unsafe fn bytes(data: *const u8, len: usize) -> Vec<u8> {
    // SAFETY: readable for `len` bytes by the contract of the function that asks.
    unsafe { slice::from_raw_parts(data, len) }.to_vec()
}

unsafe fn put(out: *mut u8, data: &[u8]) {
    // SAFETY: writable for as many bytes by the contract of the function that asks.
    unsafe { ptr::copy_nonoverlapping(data.as_ptr(), out, data.len()) }
}

pub unsafe fn OPENSSL_thread_stop() {}

pub unsafe fn OPENSSL_init_crypto(_: u64, _: *const c_void) -> c_int {
    1
}

pub unsafe fn assume_init() {}

pub unsafe fn ERR_clear_error() {}

pub unsafe fn ERR_peek_last_error() -> c_ulong {
    0
}

pub unsafe fn OSSL_LIB_CTX_new() -> *mut OSSL_LIB_CTX {
    Box::leak(Box::new(OSSL_LIB_CTX))
}

pub unsafe fn OSSL_PROVIDER_load(context: *mut OSSL_LIB_CTX, _: *const c_char) -> *mut c_void {
    context.cast()
}

pub unsafe fn EVP_CIPHER_fetch(_: *mut OSSL_LIB_CTX, name: *const c_char, _: *const c_char) -> *mut EVP_CIPHER {
    // SAFETY: a terminated name.
    Box::leak(Box::new(EVP_CIPHER { is_gcm: unsafe { CStr::from_ptr(name) } == c"AES-256-GCM" }))
}

pub unsafe fn EVP_CIPHER_CTX_new() -> *mut EVP_CIPHER_CTX {
    let (iv, tag) = ([0; 12], [0; 16]);
    Box::into_raw(Box::new(EVP_CIPHER_CTX { is_gcm: false, key: None, iv, encrypts: true, position: 0, hash: 0, tag }))
}

pub unsafe fn EVP_CIPHER_CTX_free(ctx: *mut EVP_CIPHER_CTX) {
    // SAFETY: made by EVP_CIPHER_CTX_new, freed once.
    drop(unsafe { Box::from_raw(ctx) });
}

pub unsafe fn EVP_CIPHER_CTX_set_padding(_: *mut EVP_CIPHER_CTX, _: c_int) -> c_int {
    1
}

unsafe fn start(ctx: *mut EVP_CIPHER_CTX, cipher: *const EVP_CIPHER, key: *const u8, iv: *const u8, encrypts: bool) {
    // SAFETY: a live context; the others are null or live, a key of 32 bytes, an iv of 12.
    unsafe {
        let ctx = &mut *ctx;
        if let Some(cipher) = cipher.as_ref() {
            ctx.is_gcm = cipher.is_gcm;
        }
        if !key.is_null() {
            ctx.key = bytes(key, 32).try_into().ok();
        }
        if !iv.is_null() {
            ctx.iv = bytes(iv, 12).try_into().unwrap_or_default();
            ctx.position = 0;
            ctx.hash = mix(mix(7, ctx.key.as_ref().map_or(&[], |key| key)), &ctx.iv);
        }
        ctx.encrypts = encrypts;
    }
}

pub unsafe fn EVP_EncryptInit_ex(
    ctx: *mut EVP_CIPHER_CTX,
    cipher: *const EVP_CIPHER,
    _: *mut c_void,
    key: *const u8,
    iv: *const u8,
) -> c_int {
    // SAFETY: as promised to this function.
    unsafe { start(ctx, cipher, key, iv, true) };
    1
}

/// Also takes the tag to compare with.
pub unsafe fn EVP_DecryptInit_ex2(
    ctx: *mut EVP_CIPHER_CTX,
    cipher: *const EVP_CIPHER,
    key: *const u8,
    iv: *const u8,
    params: *const OSSL_PARAM,
) -> c_int {
    // SAFETY: as promised to this function; an ended list whose first entry is readable for its size.
    unsafe {
        start(ctx, cipher, key, iv, false);
        (*ctx).tag = bytes((*params).data.cast(), (*params).data_size).try_into().unwrap_or_default();
        (*params.add(1)).key.is_null().into()
    }
}

pub unsafe extern "C" fn EVP_EncryptUpdate(
    ctx: *mut EVP_CIPHER_CTX,
    out: *mut u8,
    written: *mut c_int,
    input: *const u8,
    len: c_int,
) -> c_int {
    // SAFETY: a live context, `len` readable bytes, `out` null or as many writable ones, a place for the count.
    unsafe {
        let ctx = &mut *ctx;
        let Some(key) = ctx.key else { return 0 };
        let mut data = bytes(input, len as usize);
        if !ctx.is_gcm {
            data.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte = byte.wrapping_add(*key) ^ 0x5A);
        } else if !out.is_null() {
            if !ctx.encrypts {
                ctx.hash = mix(ctx.hash, &data);
            }
            let stream = mix(mix(9, &key), &ctx.iv);
            for byte in &mut data {
                *byte ^= mix(stream, &ctx.position.to_be_bytes()) as u8;
                ctx.position += 1;
            }
        }
        if out.is_null() || ctx.encrypts {
            ctx.hash = mix(ctx.hash, &data);
        }
        if !out.is_null() {
            put(out, &data);
        }
        *written = len;
        1
    }
}

pub unsafe extern "C" fn EVP_DecryptUpdate(
    ctx: *mut EVP_CIPHER_CTX,
    out: *mut u8,
    written: *mut c_int,
    input: *const u8,
    len: c_int,
) -> c_int {
    // SAFETY: as promised to this function.
    unsafe { EVP_EncryptUpdate(ctx, out, written, input, len) }
}

pub unsafe extern "C" fn EVP_CipherUpdate(
    _: *mut EVP_CIPHER_CTX,
    _: *mut u8,
    _: *mut c_int,
    _: *const u8,
    _: c_int,
) -> c_int {
    0
}

fn tag(ctx: &EVP_CIPHER_CTX) -> [u8; 16] {
    std::array::from_fn(|i| mix(ctx.hash, &[i as u8]) as u8)
}

pub unsafe fn EVP_EncryptFinal_ex(ctx: *mut EVP_CIPHER_CTX, _: *mut u8, written: *mut c_int) -> c_int {
    // SAFETY: a live context and a place for the count.
    unsafe {
        *written = 0;
        (*ctx).tag = tag(&*ctx);
        (*ctx).key.is_some().into()
    }
}

pub unsafe fn EVP_DecryptFinal_ex(ctx: *mut EVP_CIPHER_CTX, _: *mut u8, written: *mut c_int) -> c_int {
    // SAFETY: a live context and a place for the count.
    unsafe {
        *written = 0;
        (tag(&*ctx) == (*ctx).tag).into()
    }
}

pub unsafe fn EVP_CIPHER_CTX_get_params(ctx: *mut EVP_CIPHER_CTX, params: *mut OSSL_PARAM) -> c_int {
    // SAFETY: a live context and an ended list whose first entry has room for its size.
    unsafe {
        let Some(tag) = (*ctx).tag.get(..(*params).data_size) else { return 0 };
        put((*params).data.cast(), tag);
        (*params).return_size = tag.len();
        (*params.add(1)).key.is_null().into()
    }
}

pub unsafe fn EVP_MAC_fetch(_: *mut OSSL_LIB_CTX, _: *const c_char, _: *const c_char) -> *mut EVP_MAC {
    Box::leak(Box::new(EVP_MAC))
}

pub unsafe fn EVP_MAC_CTX_new(_: *mut EVP_MAC) -> *mut EVP_MAC_CTX {
    Box::into_raw(Box::new(EVP_MAC_CTX { key: [0; 32], size: 0, hash: 0 }))
}

pub unsafe fn EVP_MAC_CTX_dup(source: *const EVP_MAC_CTX) -> *mut EVP_MAC_CTX {
    // SAFETY: a live context.
    Box::into_raw(Box::new(unsafe { (*source).clone() }))
}

pub unsafe fn EVP_MAC_CTX_free(ctx: *mut EVP_MAC_CTX) {
    // SAFETY: made by EVP_MAC_CTX_new or _dup, freed once.
    drop(unsafe { Box::from_raw(ctx) });
}

pub unsafe fn EVP_MAC_init(ctx: *mut EVP_MAC_CTX, key: *const u8, len: usize, params: *const OSSL_PARAM) -> c_int {
    // SAFETY: a live context; a key of `len` bytes or null; an ended list whose first entry is readable, or null.
    unsafe {
        if !key.is_null() {
            (*ctx).key = bytes(key, len).try_into().unwrap_or_default();
        }
        if let Some(choice) = params.as_ref() {
            (*ctx).size = match bytes(choice.data.cast(), choice.data_size).as_slice() {
                b"SHA256" => 32,
                b"SHA512" => 64,
                _ => 16,
            };
        }
        (*ctx).hash = mix(1, &(*ctx).key);
        1
    }
}

pub unsafe fn EVP_MAC_update(ctx: *mut EVP_MAC_CTX, data: *const u8, len: usize) -> c_int {
    // SAFETY: a live context and `len` readable bytes.
    unsafe { (*ctx).hash = mix((*ctx).hash, &bytes(data, len)) };
    1
}

pub unsafe fn EVP_MAC_final(ctx: *mut EVP_MAC_CTX, out: *mut u8, written: *mut usize, room: usize) -> c_int {
    // SAFETY: a live context, `room` writable bytes and a place for the count.
    unsafe {
        let mac: Vec<u8> = (0..(*ctx).size).map(|i| mix((*ctx).hash, &[i as u8]) as u8).collect();
        if mac.len() > room {
            return 0;
        }
        put(out, &mac);
        *written = mac.len();
        1
    }
}

pub enum EVP_PKEY {}
pub enum EVP_PKEY_CTX {}
pub enum EVP_RAND_CTX {}
pub enum OSSL_DECODER_CTX {}

/// Functions that fail: nothing of RSA is tried under Miri.
macro_rules! absent {
    ($($name:ident($($arg:ty),*) $(-> $failure:expr, $result:ty)?;)*) => {
        $(pub unsafe fn $name($(_: $arg),*) $(-> $result)? {
            $($failure)?
        })*
    };
}

absent! {
    EVP_CIPHER_CTX_set_flags(*mut EVP_CIPHER_CTX, c_int);
    EVP_CIPHER_CTX_set_params(*mut EVP_CIPHER_CTX, *const OSSL_PARAM) -> 0, c_int;
    EVP_CipherFinal_ex(*mut EVP_CIPHER_CTX, *mut u8, *mut c_int) -> 0, c_int;
    EVP_CipherInit_ex(*mut EVP_CIPHER_CTX, *const EVP_CIPHER, *mut c_void, *const u8, *const u8, c_int) -> 0, c_int;
    RAND_get0_public(*mut OSSL_LIB_CTX) -> ptr::null_mut(), *mut EVP_RAND_CTX;
    RAND_get0_private(*mut OSSL_LIB_CTX) -> ptr::null_mut(), *mut EVP_RAND_CTX;
    EVP_RAND_reseed(*mut EVP_RAND_CTX, c_int, *const u8, usize, *const u8, usize) -> 0, c_int;
    EVP_PKEY_CTX_new_from_name(*mut OSSL_LIB_CTX, *const c_char, *const c_char) -> ptr::null_mut(), *mut EVP_PKEY_CTX;
    EVP_PKEY_CTX_new_from_pkey(*mut OSSL_LIB_CTX, *mut EVP_PKEY, *const c_char) -> ptr::null_mut(), *mut EVP_PKEY_CTX;
    EVP_PKEY_CTX_set_params(*mut EVP_PKEY_CTX, *const OSSL_PARAM) -> 0, c_int;
    EVP_PKEY_CTX_free(*mut EVP_PKEY_CTX);
    EVP_PKEY_keygen_init(*mut EVP_PKEY_CTX) -> 0, c_int;
    EVP_PKEY_generate(*mut EVP_PKEY_CTX, *mut *mut EVP_PKEY) -> 0, c_int;
    EVP_PKEY_fromdata_init(*mut EVP_PKEY_CTX) -> 0, c_int;
    EVP_PKEY_fromdata(*mut EVP_PKEY_CTX, *mut *mut EVP_PKEY, c_int, *mut OSSL_PARAM) -> 0, c_int;
    EVP_PKEY_encrypt_init(*mut EVP_PKEY_CTX) -> 0, c_int;
    EVP_PKEY_encrypt(*mut EVP_PKEY_CTX, *mut u8, *mut usize, *const u8, usize) -> 0, c_int;
    EVP_PKEY_decrypt_init(*mut EVP_PKEY_CTX) -> 0, c_int;
    EVP_PKEY_decrypt(*mut EVP_PKEY_CTX, *mut u8, *mut usize, *const u8, usize) -> 0, c_int;
    EVP_PKEY_public_check(*mut EVP_PKEY_CTX) -> 0, c_int;
    EVP_PKEY_get_bits(*const EVP_PKEY) -> 0, c_int;
    EVP_PKEY_get_params(*const EVP_PKEY, *mut OSSL_PARAM) -> 0, c_int;
    EVP_PKEY_free(*mut EVP_PKEY);
    i2d_PUBKEY(*const EVP_PKEY, *mut *mut u8) -> 0, c_int;
    OSSL_DECODER_CTX_new_for_pkey(
        *mut *mut EVP_PKEY,
        *const c_char,
        *const c_char,
        *const c_char,
        c_int,
        *mut OSSL_LIB_CTX,
        *const c_char
    ) -> ptr::null_mut(), *mut OSSL_DECODER_CTX;
    OSSL_DECODER_from_data(*mut OSSL_DECODER_CTX, *mut *const u8, *mut usize) -> 0, c_int;
    OSSL_DECODER_CTX_free(*mut OSSL_DECODER_CTX);
}

pub unsafe fn CRYPTO_memcmp(a: *const c_void, b: *const c_void, len: usize) -> c_int {
    // SAFETY: both are readable for `len` bytes.
    unsafe { (bytes(a.cast(), len) != bytes(b.cast(), len)).into() }
}
