//! libcrypto's own functions; what openssl-sys lacks is declared here.

pub use openssl_sys::{
    CRYPTO_memcmp, ERR_clear_error, ERR_peek_last_error, EVP_CIPHER, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free,
    EVP_CIPHER_CTX_new, EVP_CIPHER_CTX_set_flags, EVP_CIPHER_CTX_set_padding, EVP_CIPHER_fetch, EVP_CipherInit_ex,
    EVP_CipherUpdate, EVP_EncryptInit_ex, EVP_EncryptUpdate, EVP_MAC, EVP_MAC_CTX, EVP_MAC_CTX_dup, EVP_MAC_CTX_free,
    EVP_MAC_CTX_new, EVP_MAC_fetch, EVP_MAC_final, EVP_MAC_init, EVP_MAC_update, EVP_PKEY, EVP_PKEY_CTX,
    EVP_PKEY_CTX_free, EVP_PKEY_CTX_new_from_name, EVP_PKEY_CTX_set_params, EVP_PKEY_decrypt, EVP_PKEY_decrypt_init,
    EVP_PKEY_encrypt, EVP_PKEY_encrypt_init, EVP_PKEY_free, EVP_PKEY_fromdata, EVP_PKEY_fromdata_init,
    EVP_PKEY_generate, EVP_PKEY_get_bits, EVP_PKEY_get_params, EVP_PKEY_keygen_init, EVP_PKEY_public_check,
    OSSL_DECODER_CTX_free, OSSL_DECODER_CTX_new_for_pkey, OSSL_DECODER_from_data, OSSL_LIB_CTX, OSSL_LIB_CTX_new,
    OSSL_PARAM, OSSL_PROVIDER_load, assume_init, i2d_PUBKEY,
};

/// For the engine `provider`.
#[cfg(any(feature = "vendored", test))]
pub use openssl_sys::OSSL_PROVIDER;
/// For the engine `evp`.
#[cfg(any(not(feature = "vendored"), test))]
pub use openssl_sys::{EVP_DecryptFinal_ex, EVP_DecryptUpdate, EVP_EncryptFinal_ex};

use std::ffi::{c_char, c_int, c_void};

#[allow(non_camel_case_types, reason = "the name is C's")]
pub enum EVP_RAND_CTX {}

type Malloc = extern "C" fn(usize, *const c_char, c_int) -> *mut c_void;
type Realloc = unsafe extern "C" fn(*mut c_void, usize, *const c_char, c_int) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void, *const c_char, c_int);

unsafe extern "C" {
    pub fn OPENSSL_thread_stop();
    pub fn CRYPTO_malloc(size: usize, file: *const c_char, line: c_int) -> *mut c_void;
    pub fn CRYPTO_get_mem_functions(malloc: *mut *const c_void, realloc: *mut *const c_void, free: *mut *const c_void);
    pub fn CRYPTO_set_mem_functions(malloc: Malloc, realloc: Realloc, free: Free) -> c_int;
    pub fn OPENSSL_init_crypto(options: u64, settings: *const c_void) -> c_int;
    pub fn EVP_CIPHER_CTX_get_params(ctx: *mut EVP_CIPHER_CTX, params: *mut OSSL_PARAM) -> c_int;
    pub fn EVP_CIPHER_CTX_set_params(ctx: *mut EVP_CIPHER_CTX, params: *const OSSL_PARAM) -> c_int;
    pub fn EVP_CipherFinal_ex(ctx: *mut EVP_CIPHER_CTX, out: *mut u8, written: *mut c_int) -> c_int;
    #[cfg(any(not(feature = "vendored"), test))]
    pub fn EVP_DecryptInit_ex2(
        ctx: *mut EVP_CIPHER_CTX,
        cipher: *const EVP_CIPHER,
        key: *const u8,
        iv: *const u8,
        params: *const OSSL_PARAM,
    ) -> c_int;
    pub fn EVP_PKEY_CTX_new_from_pkey(
        context: *mut OSSL_LIB_CTX,
        key: *mut EVP_PKEY,
        properties: *const c_char,
    ) -> *mut EVP_PKEY_CTX;
    pub fn RAND_get0_public(context: *mut OSSL_LIB_CTX) -> *mut EVP_RAND_CTX;
    pub fn RAND_get0_private(context: *mut OSSL_LIB_CTX) -> *mut EVP_RAND_CTX;
    pub fn EVP_RAND_reseed(
        ctx: *mut EVP_RAND_CTX,
        prediction_resistance: c_int,
        entropy: *const u8,
        entropy_len: usize,
        additional: *const u8,
        additional_len: usize,
    ) -> c_int;
    #[cfg(test)]
    pub fn RAND_bytes_ex(context: *mut OSSL_LIB_CTX, buf: *mut u8, len: usize, strength: u32) -> c_int;
}
