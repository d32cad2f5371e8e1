//! Data keys for envelope encryption.

use std::ffi::c_char;

use super::crypt::context;
use super::guard::guard;
use super::open::{handle, kms_t};
use super::out::{DataKeyOut, Out};
use super::ptr;
use super::status::kms_status;
use super::types::kms_context_entry;
use crate::error::Status;

/// kms_generate_data_key makes a random key of `number_of_bytes` (1 to 1024) for the program to encrypt with itself, and
/// encrypts it under the primary version of `key`. Store `blob` beside your data; kms_decrypt gives the key back.
///
/// `plaintext` has room for `number_of_bytes`, or is NULL: then only the encrypted form is given. With `blob` NULL the
/// size of the encrypted form is stored and no key is made. The two buffers must not overlap. Fails as kms_encrypt does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_generate_data_key(
    kms: *const kms_t,
    key: *const c_char,
    number_of_bytes: usize,
    context: *const kms_context_entry,
    context_count: usize,
    plaintext: *mut u8,
    blob: *mut u8,
    blob_cap: usize,
    blob_len: *mut usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let blob = Out::new(blob, blob_cap, blob_len, "blob_len")?;
        let kms = handle(kms)?;
        let key = ptr::text(key, "key")?;
        let context = self::context(context, context_count, "context")?;
        if !plaintext.is_null() && blob.overlaps(plaintext, number_of_bytes) {
            return Err(Status::InvalidArgument.error("plaintext and blob overlap"));
        }
        kms.generate_data_key_to(key, number_of_bytes, &context, &mut DataKeyOut { blob, plaintext })
    })
}
