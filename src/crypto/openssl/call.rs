//! What all calls of libcrypto share: their errors and their parameters.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::{self, NonNull};

use super::ffi::{self, OSSL_PARAM};
use crate::error::{Error, Result, Status};
use crate::sys::memory;

/// The one text of a failed tag: it says nothing about what differed.
pub const AUTHENTICATION_FAILED: &str = "authentication failed: wrong context or key, or the ciphertext was modified";

// OSSL_PARAM data types (openssl/core.h).
pub(super) const PARAM_UNSIGNED_INTEGER: u32 = 2;
pub(super) const PARAM_UTF8_STRING: u32 = 4;
pub(super) const PARAM_OCTET_STRING: u32 = 5;
/// An error that names the call, with nothing left in OpenSSL's error queue.
#[cold]
pub(super) fn failed(call: &'static str) -> Error {
    // SAFETY: clears the thread's own queue.
    unsafe { ffi::ERR_clear_error() };
    match memory::was_short() {
        true => memory::out_of_memory(),
        false => Status::Internal.error(format!("{call} failed")),
    }
}

/// The error of a failed tag, with nothing left in OpenSSL's error queue.
#[cold]
pub(super) fn unauthentic() -> Error {
    // SAFETY: clears the thread's own queue.
    unsafe { ffi::ERR_clear_error() };
    Status::AuthenticationFailed.error(AUTHENTICATION_FAILED)
}

#[inline]
pub(super) fn check(code: c_int, call: &'static str) -> Result<()> {
    if code > 0 { Ok(()) } else { Err(failed(call)) }
}

pub(super) fn made<T>(object: *mut T, call: &'static str) -> Result<NonNull<T>> {
    NonNull::new(object).ok_or_else(|| failed(call))
}

pub(super) fn wrong_length() -> Error {
    Status::Internal.error("a buffer of the wrong length for the cipher")
}

pub(super) const END: OSSL_PARAM =
    OSSL_PARAM { key: ptr::null(), data_type: 0, data: ptr::null_mut(), data_size: 0, return_size: 0 };

pub(super) fn param(key: &'static CStr, data_type: u32, data: *mut c_void, data_size: usize) -> [OSSL_PARAM; 2] {
    [OSSL_PARAM { key: key.as_ptr(), data_type, data, data_size, return_size: usize::MAX }, END]
}
