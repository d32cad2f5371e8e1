//! libssl's functions; what openssl-sys lacks is declared here.

pub use super::super::ffi::{EVP_RAND_reseed, RAND_get0_private, RAND_get0_public};
pub use openssl_sys::{
    BIO, BIO_free_all, BIO_new, BIO_new_mem_buf, BIO_read, BIO_s_mem, BIO_write, ERR_clear_error, ERR_peek_last_error,
    ERR_reason_error_string, EVP_MD, EVP_MD_fetch, EVP_MD_free, EVP_PKEY, EVP_PKEY_free, NID_md5, NID_sha1,
    OBJ_find_sigid_algs, OBJ_nid2sn, OSSL_LIB_CTX, OSSL_LIB_CTX_new, OSSL_PROVIDER_load, PEM_read_bio_X509, SSL,
    SSL_CTRL_CHAIN_CERT, SSL_CTRL_SET_MIN_PROTO_VERSION, SSL_CTRL_SET_TLSEXT_HOSTNAME, SSL_CTX,
    SSL_CTX_check_private_key, SSL_CTX_ctrl, SSL_CTX_free, SSL_CTX_get_cert_store, SSL_CTX_set_verify,
    SSL_CTX_use_PrivateKey, SSL_CTX_use_certificate, SSL_ERROR_WANT_READ, SSL_ERROR_ZERO_RETURN, SSL_METHOD,
    SSL_VERIFY_PEER, SSL_ctrl, SSL_do_handshake, SSL_free, SSL_get_error, SSL_get_verify_result, SSL_get0_param,
    SSL_get1_peer_certificate, SSL_new, SSL_read, SSL_set_bio, SSL_set_connect_state, SSL_write, TLS_client_method,
    TLS1_2_VERSION, X509, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, X509_STORE_add_cert, X509_V_OK,
    X509_VERIFY_PARAM_set_hostflags, X509_VERIFY_PARAM_set1_host, X509_VERIFY_PARAM_set1_ip, X509_free,
    X509_get_signature_nid, X509_verify_cert_error_string, i2d_X509,
};

use std::ffi::{c_char, c_int, c_uint, c_void};

// Options of OPENSSL_init_ssl (openssl/crypto.h).
pub const INIT_NO_LOAD_CONFIG: u64 = 0x0000_0080;
pub const INIT_NO_ATEXIT: u64 = 0x0008_0000;

type AskPassphrase = unsafe extern "C" fn(*mut c_char, c_int, c_int, *mut c_void) -> c_int;

unsafe extern "C" {
    pub fn OPENSSL_init_ssl(options: u64, settings: *const c_void) -> c_int;
    pub fn SSL_CTX_new_ex(
        context: *mut OSSL_LIB_CTX,
        properties: *const c_char,
        method: *const SSL_METHOD,
    ) -> *mut SSL_CTX;
    pub fn X509_new_ex(context: *mut OSSL_LIB_CTX, properties: *const c_char) -> *mut X509;
    pub fn PEM_read_bio_PrivateKey_ex(
        bio: *mut BIO,
        out: *mut *mut EVP_PKEY,
        ask: Option<AskPassphrase>,
        context_of_ask: *mut c_void,
        context: *mut OSSL_LIB_CTX,
        properties: *const c_char,
    ) -> *mut EVP_PKEY;
    pub fn EVP_Digest(
        data: *const c_void,
        len: usize,
        out: *mut u8,
        written: *mut c_uint,
        method: *const EVP_MD,
        engine: *mut c_void,
    ) -> c_int;
}
