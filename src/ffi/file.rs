//! Files of any size, by their paths.

use std::ffi::c_char;
use std::path::Path;

use super::crypt::entries;
use super::guard::guard;
use super::open::{handle, kms_t};
use super::options::flag;
use super::ptr;
use super::status::{KMS_OK, kms_status};
use super::types::{id_text, kms_context_entry, kms_file_info, kms_file_options};
use crate::error::{Error, Result, Status};
use crate::service::{FileOptions, KeyRef, Keystore};

/// A path that is not empty.
///
/// SAFETY: as for `ptr::text`.
pub unsafe fn file_path<'a>(path: *const c_char, what: &'static str) -> Result<&'a Path> {
    // SAFETY: the caller's promise.
    let path = unsafe { ptr::path(path, what) }?;
    if path.is_empty() {
        return Err(Status::InvalidArgument.error(format!("{what} is empty; pass the path of a file")));
    }
    Ok(Path::new(path))
}

/// A caller's options; none are the defaults.
///
/// SAFETY: as for `ptr::read_struct`.
unsafe fn read_options(options: *const kms_file_options) -> Result<kms_file_options> {
    if options.is_null() {
        return Ok(kms_file_options {
            struct_size: 0,
            threads: 0,
            replace: 0,
            progress: None,
            progress_user: std::ptr::null_mut(),
        });
    }
    // SAFETY: the caller's promise.
    unsafe { ptr::read_struct(options, "options") }
}

/// Runs `body` with a caller's options.
///
/// SAFETY: as for `ptr::read_struct`.
unsafe fn with_options(
    options: *const kms_file_options,
    body: impl FnOnce(&FileOptions<'_>) -> Result<u64>,
) -> Result<u64> {
    // SAFETY: the caller's promise.
    let options = unsafe { read_options(options) }?;
    let threads = usize::try_from(options.threads)
        .ok()
        .filter(|threads| *threads <= 256)
        .ok_or_else(|| Status::InvalidArgument.error(format!("threads must be 0 to 256, not {}", options.threads)))?;
    let wanted = FileOptions::new().threads(threads).replace(flag(options.replace, "replace")?);
    let Some(progress) = options.progress else { return body(&wanted) };
    let report = |done| {
        // SAFETY: the caller's function, with their pointer.
        match unsafe { progress(options.progress_user, done) } {
            KMS_OK => Ok(()),
            status => Err(stopped(status)),
        }
    };
    body(&wanted.progress(&report))
}

fn stopped(status: kms_status) -> Error {
    let known = Status::from_number(status).unwrap_or(Status::FileIo);
    known.error(format!("the progress callback ended the call with status {status}"))
}

/// kms_encrypt_file encrypts a file of any size under the primary version of `key`, a key id or "alias/NAME", in constant
/// memory. `plaintext_len` receives the length of the source in bytes; it may be NULL.
///
///     kms_encrypt_file(kms, key_id, "big.iso", "big.iso.kms", NULL, 0, NULL, NULL);
///     kms_rotate(kms, key_id, NULL);
///     kms_decrypt_file(kms, "big.iso.kms", "again.iso", NULL, 0, NULL, NULL);
///
/// The target appears complete and synced, with the mode of the source, or not at all. It is longer than the source by
/// 8 KiB and about 0.1 %. `options` may be NULL. `context` must be passed again to decrypt; it must not contain an
/// entry "kms:file". The call checks the state of the key only at its beginning. Fails as kms_encrypt does. Fails with
/// KMS_FILE_IO if a file cannot be read or written, is not a regular file, or changed meanwhile. Fails with
/// KMS_FILE_EXISTS if the target exists and `replace` is 0.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_encrypt_file(
    kms: *const kms_t,
    key: *const c_char,
    source: *const c_char,
    target: *const c_char,
    context: *const kms_context_entry,
    context_count: usize,
    options: *const kms_file_options,
    plaintext_len: *mut u64,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let key = ptr::text(key, "key")?;
        let (source, target) = (file_path(source, "source")?, file_path(target, "target")?);
        let context = entries(context, context_count)?;
        let len = with_options(options, |options| kms.encrypt_file(key, source, target, &context, options))?;
        ptr::write_if(plaintext_len, len);
        Ok(())
    })
}

/// kms_decrypt_file decrypts a file that kms_encrypt_file or a stream wrote. `plaintext_len` receives the length of the
/// plaintext in bytes; it may be NULL.
///
/// The target appears once every byte is authenticated and synced, with the mode of the source, or not at all. Fails as
/// kms_decrypt does; a truncated file is KMS_MALFORMED_CIPHERTEXT too. Fails with KMS_FILE_IO and KMS_FILE_EXISTS as
/// kms_encrypt_file does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_decrypt_file(
    kms: *const kms_t,
    source: *const c_char,
    target: *const c_char,
    context: *const kms_context_entry,
    context_count: usize,
    options: *const kms_file_options,
    plaintext_len: *mut u64,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let (source, target) = (file_path(source, "source")?, file_path(target, "target")?);
        let context = entries(context, context_count)?;
        let len = with_options(options, |options| kms.decrypt_file(source, target, &context, options))?;
        ptr::write_if(plaintext_len, len);
        Ok(())
    })
}

/// kms_reencrypt_file re-encrypts a file under the primary version of `destination_key`, a key id or "alias/NAME"; NULL
/// means the key that encrypted it. `changed` receives 1 if the file had to change, else 0; it may be NULL.
///
/// It rewrites only the header, in place, for a file of any size; the context stays. An interrupted call leaves a file
/// that still decrypts; repeat the call. Fails as kms_reencrypt does; with KMS_FILE_IO if the file cannot be read or
/// written, or another process re-encrypts it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_reencrypt_file(
    kms: *const kms_t,
    path: *const c_char,
    context: *const kms_context_entry,
    context_count: usize,
    destination_key: *const c_char,
    changed: *mut i32,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let path = file_path(path, "path")?;
        let context = entries(context, context_count)?;
        let key = ptr::optional_text(destination_key, "destination_key")?;
        let moved = kms.reencrypt_file(path, &context, key.map(KeyRef::from))?;
        ptr::write_if(changed, i32::from(moved));
        Ok(())
    })
}

/// kms_inspect_file reports which key and version protect an encrypted file, and the length of its plaintext. It
/// decrypts and authenticates nothing.
///
/// Works in every state of the key. Fails as kms_inspect does; with KMS_FILE_IO if the file cannot be read.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_inspect_file(
    kms: *const kms_t,
    path: *const c_char,
    out: *mut kms_file_info,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        ptr::check_struct(out, "out")?;
        let info = kms.inspect_file(file_path(path, "path")?)?;
        let info = kms_file_info {
            struct_size: size_of::<kms_file_info>() as u32,
            is_primary: i32::from(info.blob.is_primary),
            key_id: id_text(info.blob.key),
            version_id: id_text(info.blob.version),
            file_id: info.file_id,
            sequence: info.sequence,
            plaintext_len: info.plaintext_len,
        };
        ptr::write_struct(out, "out", &info)
    })
}

/// kms_is_encrypted_file checks whether the first bytes of a file are those of an encrypted file: `is_encrypted`
/// receives 1 or 0. `start` should have KMS_FILE_HEADER_SIZE bytes; with fewer, the call may not recognise a
/// re-encrypted file.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_is_encrypted_file(
    start: *const u8,
    start_len: usize,
    is_encrypted: *mut i32,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let is_encrypted = ptr::exclusive(is_encrypted, "is_encrypted")?;
        *is_encrypted = 0;
        *is_encrypted = i32::from(Keystore::is_encrypted_file(ptr::slice(start, start_len, "start")?));
        Ok(())
    })
}
