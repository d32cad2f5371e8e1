//! Encrypted files that are read at any place.

use std::ffi::{c_char, c_void};

use super::crypt::entries;
use super::file::file_path;
use super::guard::{guard, quietly};
use super::open::{handle, kms_t};
use super::options::User;
use super::ptr;
use super::status::{KMS_OK, kms_status};
use super::types::{kms_context_entry, kms_read_at_fn};
use crate::error::{Result, Status};
use crate::service::FileReader;

/// An encrypted file that is open for reading. Thread-safe: share one between all threads. It may be used in a forked child,
/// and after kms_close.
pub struct kms_file_t {
    reader: FileReader<'static>,
}

/// SAFETY: as for `ptr::shared`.
unsafe fn reader<'a>(file: *const kms_file_t) -> Result<&'a FileReader<'static>> {
    // SAFETY: the caller's promise.
    Ok(&unsafe { ptr::shared(file, "file") }?.reader)
}

/// kms_open_file opens an encrypted file for random access, and stores it in `out`, or NULL on failure. Free it with
/// kms_file_close.
///
///     kms_open_file(kms, "big.iso.kms", NULL, 0, &file);
///     kms_file_size(file, &size);
///     kms_file_read(file, size / 2, buffer, sizeof buffer, &read_len);
///     kms_file_close(file);
///
/// This call authenticates the length of the file; each read authenticates the chunks of 16 KiB that it touches. Only
/// this call checks the state of the key. Fails as kms_decrypt_file does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_open_file(
    kms: *const kms_t,
    path: *const c_char,
    context: *const kms_context_entry,
    context_count: usize,
    out: *mut *mut kms_file_t,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let out = ptr::exclusive(out, "out")?;
        *out = std::ptr::null_mut();
        let kms = handle(kms)?;
        let path = file_path(path, "path")?;
        let reader = kms.open_file(path, &entries(context, context_count)?)?;
        *out = Box::into_raw(Box::new(kms_file_t { reader }));
        Ok(())
    })
}

/// kms_open_file_callback opens an encrypted file of `file_len` bytes in any storage: `read_at` reads it, during this
/// call and kms_file_read. `user` must stay valid until kms_file_close.
///
/// Fails as kms_open_file does; with KMS_FILE_IO if `read_at` fails, or reports more bytes than it had room for.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_open_file_callback(
    kms: *const kms_t,
    read_at: kms_read_at_fn,
    user: *mut c_void,
    file_len: u64,
    context: *const kms_context_entry,
    context_count: usize,
    out: *mut *mut kms_file_t,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let out = ptr::exclusive(out, "out")?;
        *out = std::ptr::null_mut();
        let kms = handle(kms)?;
        let read_at = read_at.ok_or_else(|| Status::InvalidArgument.error("read_at is NULL"))?;
        let context = entries(context, context_count)?;
        let user = User(user);
        let read = move |buffer: &mut [u8], offset| {
            let mut len = 0;
            match read_at(user.pointer(), offset, buffer.as_mut_ptr(), buffer.len(), &mut len) {
                KMS_OK if len <= buffer.len() => Ok(len),
                KMS_OK => Err(std::io::Error::other("the read callback returned more bytes than it had room for")),
                status => Err(std::io::Error::other(format!("the read callback failed with status {status}"))),
            }
        };
        let reader = kms.open_file_with(read, file_len, &context)?;
        *out = Box::into_raw(Box::new(kms_file_t { reader }));
        Ok(())
    })
}

/// kms_file_size returns the length of the plaintext of an open file in bytes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_file_size(file: *const kms_file_t, size: *mut u64) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let size = ptr::exclusive(size, "size")?;
        *size = 0;
        *size = reader(file)?.len();
        Ok(())
    })
}

/// kms_file_read reads plaintext from byte `offset` until `buffer` is full or the file ends. `read_len` receives the
/// number of bytes read; it is 0 at and beyond the end of the file.
///
/// Fails with KMS_AUTHENTICATION_FAILED for a modified chunk, KMS_MALFORMED_CIPHERTEXT for a file that became shorter, or
/// KMS_FILE_IO; `read_len` is then 0, and `buffer` holds no plaintext.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_file_read(
    file: *const kms_file_t,
    offset: u64,
    buffer: *mut u8,
    buffer_len: usize,
    read_len: *mut usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let read_len = ptr::exclusive(read_len, "read_len")?;
        *read_len = 0;
        let reader = reader(file)?;
        *read_len = reader.read_at(ptr::slice_mut(buffer, buffer_len, "buffer")?, offset)?;
        Ok(())
    })
}

/// kms_file_close closes an open file, and wipes its keys. NULL is fine. No other call on it may be running.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kms_file_close(file: *mut kms_file_t) {
    quietly(|| {
        if !file.is_null() {
            // SAFETY: from kms_open_file, and the caller uses it no more.
            drop(unsafe { Box::from_raw(file) });
        }
    });
}
