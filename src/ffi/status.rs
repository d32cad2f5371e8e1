//! The statuses of C, and the text behind the last failure.

#![allow(dead_code, reason = "constants are read by C, through the header")]

use std::ffi::{CStr, c_char};

use super::last_error;
use crate::error::Status;

/// The result of a call: KMS_OK, or why it failed. Statuses are grouped by hundreds: 1xx arguments, 2xx existence, 3xx
/// state and kind of the key, 4xx cryptography, 5xx keystore, 6xx files, 9xx internal. Numbers are never reused; treat
/// an unknown one as a failure.
pub type kms_status = i32;

pub const KMS_OK: kms_status = 0;

pub const KMS_INVALID_ARGUMENT: kms_status = 100;
pub const KMS_MISSING_PARAMETER: kms_status = 101;
/// The call stored the size that the output needs, and did nothing else.
pub const KMS_BUFFER_TOO_SMALL: kms_status = 102;
pub const KMS_UNKNOWN_ACTION: kms_status = 103;
/// The call takes a key id, but the caller passed an alias.
pub const KMS_UNSUPPORTED_ALIAS: kms_status = 104;
pub const KMS_LIMIT_EXCEEDED: kms_status = 105;
/// Some records of a batch failed: each record has its own status.
pub const KMS_BATCH_PARTIAL: kms_status = 106;

pub const KMS_KEY_NOT_FOUND: kms_status = 200;
pub const KMS_KEY_VERSION_NOT_FOUND: kms_status = 201;
pub const KMS_ALIAS_NOT_FOUND: kms_status = 202;
pub const KMS_ALIAS_ALREADY_EXISTS: kms_status = 203;

pub const KMS_REJECTED_DISABLED: kms_status = 300;
pub const KMS_REJECTED_PENDING_DELETION: kms_status = 301;
pub const KMS_REJECTED_PENDING_IMPORT: kms_status = 302;
/// The key's state doesn't allow this change of state.
pub const KMS_STATE_MODIFIED_FAILED: kms_status = 303;
/// The operation is not for this kind of key: imported material and service-managed keys don't rotate.
pub const KMS_UNSUPPORTED_OPERATION: kms_status = 304;
pub const KMS_UNSUPPORTED_ORIGIN: kms_status = 305;
pub const KMS_DELETION_PROTECTED: kms_status = 306;
/// The version that encrypted the ciphertext is disabled: see kms_enable_key_version.
pub const KMS_KEY_VERSION_DISABLED: kms_status = 307;
/// The version that encrypted the ciphertext was destroyed, by kms_schedule_key_version_deletion. This is final.
pub const KMS_KEY_VERSION_DESTROYED: kms_status = 308;

/// The data is not a ciphertext of this library, or is truncated.
pub const KMS_MALFORMED_CIPHERTEXT: kms_status = 400;
/// The ciphertext was modified, or the context differs from the one that it was encrypted with.
pub const KMS_AUTHENTICATION_FAILED: kms_status = 401;
pub const KMS_INVALID_KEY_MATERIAL: kms_status = 402;
pub const KMS_INVALID_IMPORT_TOKEN: kms_status = 403;
pub const KMS_EXPIRED_IMPORT_TOKEN: kms_status = 404;

pub const KMS_WRONG_ROOT_KEY: kms_status = 500;
pub const KMS_NOT_A_KEYSTORE: kms_status = 501;
pub const KMS_KEYSTORE_TOO_NEW: kms_status = 502;
/// Part of the keystore was altered or damaged. Keys that the text of kms_last_error does not name still work.
pub const KMS_KEYSTORE_CORRUPT: kms_status = 503;
pub const KMS_KEYSTORE_IO: kms_status = 504;
pub const KMS_KEYSTORE_READ_ONLY: kms_status = 505;
/// Another process held the keystore for longer than the busy timeout.
pub const KMS_KEYSTORE_BUSY: kms_status = 506;
pub const KMS_KEYSTORE_NOT_FOUND: kms_status = 507;
/// Another file, or none, is at the keystore's path now. Nothing was written.
pub const KMS_KEYSTORE_REPLACED: kms_status = 508;
/// The root callback failed; or the root key file is missing, unreadable, another user's, accessible to others, of the
/// wrong size or all zeros.
pub const KMS_ROOT_KEY_UNAVAILABLE: kms_status = 509;
/// The whole keystore was replaced by an older copy than the one that its anchor recorded.
pub const KMS_KEYSTORE_ROLLED_BACK: kms_status = 510;
/// The anchor is missing, damaged or of another keystore, or its callback failed.
pub const KMS_ANCHOR_UNAVAILABLE: kms_status = 511;
/// The path is a second path to the keystore: another name of the file, or a mount of the file alone. Open the keystore
/// by its first path, or mount its folder.
pub const KMS_KEYSTORE_SECOND_PATH: kms_status = 512;
/// The keystore has no root slot of this id: see kms_list_root_slots.
pub const KMS_ROOT_SLOT_NOT_FOUND: kms_status = 515;
/// This root opens the keystore already. Nothing was changed.
pub const KMS_ROOT_SLOT_EXISTS: kms_status = 516;
/// The database that holds the keystore cannot be reached, is starting or stopping, or did not answer in time.
pub const KMS_KEYSTORE_UNAVAILABLE: kms_status = 517;

/// A caller's file could not be read or written, or changed while it was read. The text of kms_last_error names it.
pub const KMS_FILE_IO: kms_status = 600;
/// The target exists, and the call may not replace it.
pub const KMS_FILE_EXISTS: kms_status = 601;

pub const KMS_INTERNAL: kms_status = 900;
/// A panic (a bug) inside the library was caught; close the handle.
pub const KMS_POISONED: kms_status = 901;
/// A forked child cannot use a `memory:` keystore, a stream or a survey.
pub const KMS_FORKED: kms_status = 902;
/// The kernel returned no randomness.
pub const KMS_RANDOM_FAILED: kms_status = 903;
/// The call needs more memory than the process may have. A change may have been made only if the call can also fail
/// with KMS_KEYSTORE_IO.
pub const KMS_OUT_OF_MEMORY: kms_status = 904;

/// kms_status_name returns the constant's name, such as "KMS_REJECTED_DISABLED". For any number, the string is not NULL
/// and always valid.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn kms_status_name(status: kms_status) -> *const c_char {
    names(status).0.as_ptr()
}

/// kms_status_code returns the service's code, such as "Rejected.Disabled", or one in the same style where the service
/// has none. For any number, the string is not NULL and always valid.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn kms_status_code(status: kms_status) -> *const c_char {
    names(status).1.as_ptr()
}

fn names(status: kms_status) -> (&'static CStr, &'static CStr) {
    match Status::from_number(status) {
        Some(known) => known.c_strings(),
        None if status == KMS_OK => (c"KMS_OK", c"OK"),
        None => (c"KMS_UNKNOWN_STATUS", c"UnknownStatus"),
    }
}

/// kms_last_error copies the text of the calling thread's last failed call into `buf`, truncated to `cap` bytes with a
/// terminating NUL. It returns the full length of the text without NUL, or 0 if the last call succeeded.
///
/// The text is for people and logs: it names the next step, and never contains plaintext or key bytes. Branch on the
/// status. `buf` may be NULL when `cap` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kms_last_error(buf: *mut c_char, cap: usize) -> usize {
    last_error::with(|text| {
        // SAFETY: the caller passes `cap` writable bytes at `buf`.
        unsafe { super::ptr::write_text(buf, cap, text) };
        text.len()
    })
}
