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

/// A file that is encrypted or decrypted in pieces. Only one thread at a time may use it. Threads may use it after
/// kms_close, but a forked child may not (KMS_FORKED).
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
/// The outputs of kms_stream_update and kms_stream_finish, concatenated, are the file that kms_encrypt_file would
/// write. Only this call checks the state of the key. Fails as kms_encrypt does.
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
/// The stream authenticates each chunk of 16 KiB before it writes the plaintext of the chunk. Only kms_stream_finish
/// shows that the file is complete: discard the output if it fails. Only this call checks the state of the key. Fails
/// as kms_decrypt does.
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

/// kms_stream_update encrypts or decrypts the next piece, of any length, and writes the output that is complete to
/// `out`.
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
/// An `out` of input_len + input_len / 1024 + 32768 bytes is always large enough. With `out` NULL, the stream takes no
/// input. `input` and `out` must not overlap. Fails with KMS_AUTHENTICATION_FAILED for a modified chunk, and with
/// KMS_LIMIT_EXCEEDED above 4 PiB; `out` is then zeroed. After any failure except KMS_BUFFER_TOO_SMALL or an invalid
/// argument, free the stream and discard its output.
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

/// kms_stream_finish writes the end of the file, at most 32768 bytes, to `out`. Without this call, an encrypted file is
/// truncated, and a decrypted file may be incomplete. After it, free the stream.
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
