//! The limits that protect a user; they bind when something is made, never when it is read back.

use crate::error::{Error, Result, Status};

/// Encoded encryption context, in bytes (the service's 8192 characters, measured on the encoding).
pub const CONTEXT_BYTES: usize = 8192;
/// Plaintext of one call, in bytes.
pub const PLAINTEXT_BYTES: usize = 1 << 30;
/// Description of a key, in characters.
pub const DESCRIPTION_CHARS: usize = 8192;
/// A passphrase, in bytes.
pub const PASSPHRASE_BYTES: usize = 1 << 20;
/// A data key, in bytes.
pub const DATA_KEY_BYTES: std::ops::RangeInclusive<usize> = 1..=1024;
/// Keys made by one call, in one transaction.
pub const KEYS_AT_ONCE: std::ops::RangeInclusive<usize> = 1..=1000;
/// Waiting period of a deletion, in days.
pub const DELETION_DAYS: std::ops::RangeInclusive<i32> = 7..=366;
/// Rotation interval, in seconds: 1 s to 3650 d.
pub const INTERVAL_SECONDS: std::ops::RangeInclusive<i64> = 1..=3650 * 86_400;

/// Checks the length of the plaintext of one call.
#[inline]
pub fn check_plaintext_len(len: usize) -> Result<()> {
    if len <= PLAINTEXT_BYTES { Ok(()) } else { Err(plaintext_too_long(len)) }
}

#[cold]
fn plaintext_too_long(len: usize) -> Error {
    Status::LimitExceeded
        .error(format!("the plaintext of {len} bytes is above 1 GiB; encrypt it in parts or by a data key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plaintext_has_at_most_a_gibibyte() {
        assert!(check_plaintext_len(1_073_741_824).is_ok());
        assert_eq!(check_plaintext_len(1_073_741_825).unwrap_err().status(), Status::LimitExceeded);
    }

    #[test]
    fn a_passphrase_has_at_most_a_mebibyte() {
        assert_eq!(PASSPHRASE_BYTES, 1_048_576);
    }
}
