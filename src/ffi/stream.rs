//! Files that are encrypted or decrypted in pieces, as they come.

use std::ffi::c_char;

use super::crypt::entries;
use super::guard::{guard, quietly};
use super::open::{handle, kms_t};
use super::out::Out;
use super::ptr;
use super::status::kms_status;
use super::types::kms_context_entry;
use crate::error::{Result, Status};
use crate::service::{DecryptStream, EncryptStream};

/// A file that is encrypted or decrypted in pieces. For one thread at a time. It may be used after kms_close, but not in a
/// forked child: KMS_FORKED.
pub struct kms_stream_t {
    stream: Direction,
}

enum Direction {
    Encrypt(EncryptStream),
    Decrypt(DecryptStream),
}

/// kms_encrypt_stream begins to encrypt a file in pieces, under the primary version of `key`, a key id or "alias/NAME". It
/// stores the stream in `out`, or NULL on failure.
///
/// The outputs of kms_stream_update and kms_stream_finish, one after the other, are the file, as kms_encrypt_file would write
/// it. The state of the key counts now. Fails as kms_encrypt does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_encrypt_stream(
    kms: *const kms_t,
    key: *const c_char,
    context: *const kms_context_entry,
    context_count: usize,
    out: *mut *mut kms_stream_t,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let out = ptr::exclusive(out, "out")?;
        *out = std::ptr::null_mut();
        let kms = handle(kms)?;
        let key = ptr::text_bytes(key, "key")?;
        let stream = kms.encrypt_stream_under(key, &entries(context, context_count)?)?;
        *out = boxed(Direction::Encrypt(stream));
        Ok(())
    })
}

/// kms_decrypt_stream begins to decrypt a file in pieces. `start` is its first KMS_FILE_START_SIZE bytes; kms_stream_update
/// takes the rest. It stores the stream in `out`, or NULL on failure.
///
/// Each chunk of 16 KiB is authenticated before its plaintext is put out. Whether the file is complete is known only when
/// kms_stream_finish succeeds: discard the output if it does not. The state of the key counts now. Fails as kms_decrypt
/// does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_decrypt_stream(
    kms: *const kms_t,
    start: *const u8,
    start_len: usize,
    context: *const kms_context_entry,
    context_count: usize,
    out: *mut *mut kms_stream_t,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let out = ptr::exclusive(out, "out")?;
        *out = std::ptr::null_mut();
        let kms = handle(kms)?;
        let start = ptr::slice(start, start_len, "start")?;
        let stream = kms.decrypt_stream(start, &entries(context, context_count)?)?;
        *out = boxed(Direction::Decrypt(stream));
        Ok(())
    })
}

fn boxed(stream: Direction) -> *mut kms_stream_t {
    Box::into_raw(Box::new(kms_stream_t { stream }))
}

/// SAFETY: as for `ptr::exclusive`.
unsafe fn direction<'a>(stream: *mut kms_stream_t) -> Result<&'a mut Direction> {
    // SAFETY: the caller's promise.
    Ok(&mut unsafe { ptr::exclusive(stream, "stream") }?.stream)
}

/// kms_stream_update encrypts or decrypts the next piece, of any length, and puts out what is complete.
///
///     kms_encrypt_stream(kms, key_id, NULL, 0, &stream);
///     while ((len = fread(piece, 1, sizeof piece, source)) > 0) {         // uint8_t piece[65536], out[131072]
///         kms_stream_update(stream, piece, len, out, sizeof out, &out_len);
///         fwrite(out, 1, out_len, target);
///     }
///     kms_stream_finish(stream, out, sizeof out, &out_len);
///     fwrite(out, 1, out_len, target);
///     kms_stream_free(stream);
///
/// An `out` of input_len + input_len / 1024 + 32768 bytes is always large enough; with `out` NULL nothing is taken. The two
/// must not overlap. Fails with KMS_AUTHENTICATION_FAILED for a modified chunk, with KMS_LIMIT_EXCEEDED above 4 PiB; `out` is
/// then zeroed. After a failure other than KMS_BUFFER_TOO_SMALL or one of arguments, free the stream and discard its output.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_stream_update(
    stream: *mut kms_stream_t,
    input: *const u8,
    input_len: usize,
    out: *mut u8,
    out_cap: usize,
    out_len: *mut usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let out = Out::new(out, out_cap, out_len, "out_len")?;
        let stream = direction(stream)?;
        if out.overlaps(input, input_len) {
            return Err(Status::InvalidArgument.error("input and out overlap; pass buffers apart"));
        }
        let input = ptr::slice(input, input_len, "input")?;
        match stream {
            Direction::Encrypt(stream) => {
                out.fill_with(stream.update_len(input.len())?, |out| stream.update_to(input, out))
            }
            Direction::Decrypt(stream) => {
                out.fill_with(stream.update_len(input.len())?, |out| stream.update_to(input, out))
            }
        }
    })
}

/// kms_stream_finish puts out the end of the file, of at most 32768 bytes. Without it, an encrypted file is cut off, and a
/// decrypted one is not known to be complete. The stream then only remains to be freed.
///
/// Fails with KMS_MALFORMED_CIPHERTEXT if the file was cut off, with KMS_AUTHENTICATION_FAILED if its end was modified; `out`
/// is then zeroed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_stream_finish(
    stream: *mut kms_stream_t,
    out: *mut u8,
    out_cap: usize,
    out_len: *mut usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let out = Out::new(out, out_cap, out_len, "out_len")?;
        match direction(stream)? {
            Direction::Encrypt(stream) => out.fill_with(stream.finish_len()?, |out| stream.finish_to(out)),
            Direction::Decrypt(stream) => out.fill_with(stream.finish_len()?, |out| stream.finish_to(out)),
        }
    })
}

/// kms_stream_free frees a stream, finished or not, and wipes its keys. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kms_stream_free(stream: *mut kms_stream_t) {
    quietly(|| {
        if !stream.is_null() {
            // SAFETY: from kms_encrypt_stream or kms_decrypt_stream, and the caller uses it no more.
            drop(unsafe { Box::from_raw(stream) });
        }
    });
}
