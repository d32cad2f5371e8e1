//! Data keys for envelope encryption.

use std::ffi::c_char;

use super::crypt::{context, entries};
use super::guard::guard;
use super::import::wrapping;
use super::open::{handle, kms_t};
use super::out::{DataKeyOut, Out};
use super::ptr;
use super::status::kms_status;
use super::types::kms_context_entry;
use crate::error::Status;

/// kms_generate_data_key makes a data key: a random key of `number_of_bytes` (1 to 1024) with which the program itself
/// encrypts. `blob` receives the data key, encrypted under the primary version of `key`. Store `blob` beside the data;
/// kms_decrypt returns the data key.
///
/// `plaintext` has room for `number_of_bytes`, or is NULL to return only the encrypted form. With `blob` NULL, the call
/// stores the size of the encrypted form and makes no key. The two buffers must not overlap. Fails as kms_encrypt does.
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
            return Err(Status::InvalidArgument.error("plaintext and blob overlap; pass buffers apart"));
        }
        kms.generate_data_key_to(key, number_of_bytes, &context, &mut DataKeyOut { blob, plaintext })
    })
}

/// kms_generate_and_export_data_key makes a data key for the holder of an RSA-2048 private key, and returns no
/// plaintext. `blob` receives the data key encrypted under `key`. `exported` receives it wrapped with `public_key` (a
/// SubjectPublicKeyInfo in DER), in 256 bytes. With `blob` or `exported` NULL, the call stores both sizes and makes no
/// key. The two buffers must not overlap.
///
/// `wrapping` (KMS_WRAPPING_...) limits the data key to 245 bytes (PKCS1), 214 (OAEP SHA-1) or 190 (OAEP SHA-256), else
/// KMS_LIMIT_EXCEEDED. Fails as kms_encrypt does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_generate_and_export_data_key(
    kms: *const kms_t,
    key: *const c_char,
    number_of_bytes: usize,
    context: *const kms_context_entry,
    context_count: usize,
    public_key: *const u8,
    public_key_len: usize,
    wrapping: i32,
    blob: *mut u8,
    blob_cap: usize,
    blob_len: *mut usize,
    exported: *mut u8,
    exported_cap: usize,
    exported_len: *mut usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let (mut blob, mut exported) =
            Out::pair((blob, blob_cap, blob_len, "blob_len"), (exported, exported_cap, exported_len, "exported_len"))?;
        let kms = handle(kms)?;
        let key = ptr::text(key, "key")?;
        let context = entries(context, context_count)?;
        let public_key = ptr::slice(public_key, public_key_len, "public_key")?;
        let wrapping = self::wrapping(wrapping)?;
        kms.generate_and_export_data_key_to(key, number_of_bytes, &context, public_key, wrapping, |sealed, wrapped| {
            let wanted = exported.room(wrapped);
            let wanted = blob.room(sealed).and_then(|also| Ok(wanted? && also))?;
            if blob.meets(&exported) {
                return Err(Status::InvalidArgument.error("blob and exported overlap; pass buffers apart"));
            }
            Ok(wanted)
        })
        .map(|made| {
            if let Some((sealed, wrapped)) = made {
                blob.fill(&sealed);
                exported.fill(&wrapped);
            }
        })
    })
}

/// kms_export_data_key decrypts a data key and wraps it with an RSA-2048 public key (a SubjectPublicKeyInfo in DER). It
/// returns 256 wrapped bytes and no plaintext. Fails as kms_decrypt does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_export_data_key(
    kms: *const kms_t,
    blob: *const u8,
    blob_len: usize,
    context: *const kms_context_entry,
    context_count: usize,
    public_key: *const u8,
    public_key_len: usize,
    wrapping: i32,
    out: *mut u8,
    out_cap: usize,
    out_len: *mut usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let mut out = Out::new(out, out_cap, out_len, "out_len")?;
        let kms = handle(kms)?;
        let blob = ptr::slice(blob, blob_len, "blob")?;
        let context = entries(context, context_count)?;
        let public_key = ptr::slice(public_key, public_key_len, "public_key")?;
        let wrapping = self::wrapping(wrapping)?;
        let made = kms.export_data_key_to(blob, &context, public_key, wrapping, |needed| out.room(needed))?;
        if let Some(exported) = made {
            out.fill(&exported);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests;
