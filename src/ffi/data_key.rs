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

/// kms_generate_data_key makes a random key of `number_of_bytes` (1 to 1024) for the program to encrypt with itself, and
/// encrypts it under the primary version of `key`. Store `blob` beside your data; kms_decrypt returns the key.
///
/// `plaintext` has room for `number_of_bytes`, or is NULL: then only the encrypted form is returned. With `blob` NULL the
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
            return Err(Status::InvalidArgument.error("plaintext and blob overlap; pass buffers apart"));
        }
        kms.generate_data_key_to(key, number_of_bytes, &context, &mut DataKeyOut { blob, plaintext })
    })
}

/// kms_generate_and_export_data_key makes a data key that only the holder of an RSA-2048 private key can read: `blob` is
/// the key encrypted under `key`, `exported` the key wrapped with `public_key` (a SubjectPublicKeyInfo in DER; 256 bytes
/// out). With `blob` or `exported` NULL, both sizes are stored and no key is made. The two must not overlap.
///
/// At most 190, 214 or 245 bytes fit, by `wrapping` (KMS_WRAPPING_...): KMS_LIMIT_EXCEEDED. Fails as kms_encrypt does.
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

/// kms_export_data_key decrypts a data key and wraps it with an RSA-2048 public key (a SubjectPublicKeyInfo in DER), without
/// showing it; 256 bytes out. Fails as kms_decrypt does.
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
