//! Encrypting and decrypting.

use std::ffi::c_char;

use super::guard::{guard, guard_hot};
use super::open::{handle, kms_t};
use super::out::{OpenOut, Out, SealOut};
use super::ptr;
use super::status::kms_status;
use super::types::{id_text, kms_blob_info, kms_context_entry};
use crate::crypto::blob::OVERHEAD;
use crate::crypto::context::{Aad, Context, ContextSource};
use crate::domain::limits::check_plaintext_len;
use crate::error::Result;
use crate::sys::memory;

/// A caller's context as pairs of texts.
///
/// SAFETY: as for `ptr::slice` and `ptr::text`.
pub unsafe fn entries<'a>(entries: *const kms_context_entry, count: usize) -> Result<Vec<(&'a str, &'a str)>> {
    // SAFETY: the caller's promise.
    unsafe {
        let entries = ptr::slice(entries, count, "context")?;
        let mut texts = memory::list(entries.len())?;
        for entry in entries {
            texts.push((ptr::text(entry.key, "a context key")?, ptr::text(entry.value, "a context value")?));
        }
        Ok(texts)
    }
}

/// A caller's context, checked and sorted.
///
/// SAFETY: as for `ptr::slice` and `ptr::text`.
pub unsafe fn context<'a>(entries: *const kms_context_entry, count: usize, what: &'static str) -> Result<Context<'a>> {
    // SAFETY: the caller's promise.
    let entries = unsafe { RawContext::new(entries, count, what) }?;
    entries.checked()
}

/// A caller's context as it lies in his memory, for the AAD to be made of.
#[derive(Clone, Copy)]
pub struct RawContext<'a>(&'a [kms_context_entry]);

impl<'a> RawContext<'a> {
    /// SAFETY: as for `ptr::slice` and, until it is dropped, `ptr::text`.
    pub unsafe fn new(entries: *const kms_context_entry, count: usize, what: &'static str) -> Result<Self> {
        // SAFETY: the caller's promise.
        Ok(Self(unsafe { ptr::slice(entries, count, what) }?))
    }

    pub fn entries(self) -> &'a [kms_context_entry] {
        self.0
    }

    fn checked(&self) -> Result<Context<'a>> {
        let mut context = Context::empty();
        for entry in self.0 {
            // SAFETY: the promise made to `new`.
            let (key, value) =
                unsafe { (ptr::text(entry.key, "a context key")?, ptr::text(entry.value, "a context value")?) };
            context.add(key, value)?;
        }
        context.sort()?;
        Ok(context)
    }
}

impl ContextSource for RawContext<'_> {
    #[inline(always)]
    fn put(&self, aad: &mut Aad) -> Result<()> {
        if self.0.is_empty() {
            aad.clear();
            return Ok(());
        }
        self.put_entries(aad)
    }
}

impl RawContext<'_> {
    fn put_entries(self, aad: &mut Aad) -> Result<()> {
        // SAFETY: the promise made to `new`.
        let copy = |text: *const c_char, room: &mut [u8]| unsafe { ptr::copy_short_text(text, room) };
        if aad.put_sorted(self.0, |entry, room| copy(entry.key, room), |entry, room| copy(entry.value, room)) {
            return Ok(());
        }
        self.checked()?.put(aad)
    }
}

/// kms_encrypt encrypts under the primary version of `key`, a key id or "alias/NAME". The ciphertext names its key and
/// version. It is 80 bytes longer than the plaintext, and at most KMS_MAX_OVERHEAD bytes longer in any version of the
/// library.
///
/// The plaintext has at most 1 GiB; it may be empty. `context` is a map of at most 8192 bytes, encoded, which the
/// ciphertext does not contain. Decryption needs the same entries, in any order. `out` may equal or overlap the
/// plaintext. Fails with KMS_KEY_NOT_FOUND, KMS_REJECTED_..., KMS_LIMIT_EXCEEDED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_encrypt(
    kms: *const kms_t,
    key: *const c_char,
    plaintext: *const u8,
    plaintext_len: usize,
    context: *const kms_context_entry,
    context_count: usize,
    out: *mut u8,
    out_cap: usize,
    out_len: *mut usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard_hot(|| unsafe {
        let out = Out::new(out, out_cap, out_len, "out_len")?;
        let kms = handle(kms)?;
        let key = ptr::text_bytes(key, "key")?;
        ptr::check(plaintext, plaintext_len, "plaintext")?;
        let context = RawContext::new(context, context_count, "context")?;
        kms.encrypt_to(key, plaintext_len, context, || SealOut { out, plaintext, plaintext_len })
    })
}

/// kms_decrypt decrypts a ciphertext under the key version that encrypted it. `context` must be the map it was
/// encrypted with.
///
/// Fails with KMS_MALFORMED_CIPHERTEXT, KMS_KEY_NOT_FOUND, KMS_KEY_VERSION_NOT_FOUND, KMS_REJECTED_...; with
/// KMS_AUTHENTICATION_FAILED if ciphertext or context were changed. `out` may equal or overlap the ciphertext; a failed
/// call then leaves the ciphertext intact. A query of the size (`out` NULL) authenticates nothing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_decrypt(
    kms: *const kms_t,
    blob: *const u8,
    blob_len: usize,
    context: *const kms_context_entry,
    context_count: usize,
    out: *mut u8,
    out_cap: usize,
    out_len: *mut usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard_hot(|| unsafe {
        let out = Out::new(out, out_cap, out_len, "out_len")?;
        let kms = handle(kms)?;
        let mut blob = ptr::slice(blob, blob_len, "blob")?;
        let context = RawContext::new(context, context_count, "context")?;
        let apart = !out.overlaps(blob.as_ptr(), blob.len());
        let copied;
        if !apart {
            // The output is about to be written over it.
            copied = copied_blob(blob)?;
            blob = &copied;
        }
        kms.decrypt_to(blob, context, || OpenOut { out, apart })
    })
}

/// A copy of a ciphertext, unless it is too long to be one.
pub fn copied_blob(blob: &[u8]) -> Result<Vec<u8>> {
    check_plaintext_len(blob.len().saturating_sub(OVERHEAD))?;
    memory::copy(blob)
}

/// kms_reencrypt decrypts a ciphertext and encrypts the plaintext under the primary version of `destination_key`, a key
/// id or "alias/NAME". NULL means the key that encrypted the ciphertext. The plaintext doesn't leave the library, and
/// the nonce is always fresh.
///
/// The call checks the source key, then the destination key, before it decrypts anything. `out` may overlap `blob`.
/// Fails as kms_decrypt and kms_encrypt do.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_reencrypt(
    kms: *const kms_t,
    blob: *const u8,
    blob_len: usize,
    source_context: *const kms_context_entry,
    source_context_count: usize,
    destination_key: *const c_char,
    destination_context: *const kms_context_entry,
    destination_context_count: usize,
    out: *mut u8,
    out_cap: usize,
    out_len: *mut usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let mut out = Out::new(out, out_cap, out_len, "out_len")?;
        let kms = handle(kms)?;
        let blob = ptr::slice(blob, blob_len, "blob")?;
        let source = context(source_context, source_context_count, "source_context")?;
        let key = ptr::optional_text(destination_key, "destination_key")?;
        let destination = context(destination_context, destination_context_count, "destination_context")?;
        let sealed = kms.reencrypt_to(blob, &source, key, &destination, |needed| out.room(needed))?;
        if let Some(sealed) = sealed {
            out.fill(&sealed);
        }
        Ok(())
    })
}

/// kms_inspect reports which key and version encrypted a ciphertext, and whether that version is still the primary. It
/// decrypts and authenticates nothing.
///
/// Works in every state of the key. Fails with KMS_MALFORMED_CIPHERTEXT, KMS_KEY_NOT_FOUND or
/// KMS_KEY_VERSION_NOT_FOUND.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_inspect(
    kms: *const kms_t,
    blob: *const u8,
    blob_len: usize,
    out: *mut kms_blob_info,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        ptr::check_struct(out, "out")?;
        let info = kms.inspect(ptr::slice(blob, blob_len, "blob")?)?;
        let info = kms_blob_info {
            struct_size: size_of::<kms_blob_info>() as u32,
            algorithm: info.algorithm,
            context_type: info.context_type,
            is_primary: i32::from(info.is_primary),
            key_id: id_text(info.key),
            version_id: id_text(info.version),
        };
        ptr::write_struct(out, "out", &info)
    })
}
