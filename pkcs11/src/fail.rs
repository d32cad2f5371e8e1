//! Return values of PKCS#11, and which of them represents an error of the library.

use cryptoki_sys::*;
use kms::{Error, Status};

/// Why a call failed; never CKR_OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fail(pub CK_RV);

pub type Result<T> = std::result::Result<T, Fail>;

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Self(match error.status() {
            Status::KeyNotFound | Status::AliasNotFound => CKR_KEY_HANDLE_INVALID,
            Status::RejectedDisabled
            | Status::RejectedPendingDeletion
            | Status::RejectedPendingImport
            | Status::KeyVersionDisabled
            | Status::KeyVersionDestroyed => CKR_KEY_FUNCTION_NOT_PERMITTED,
            Status::StateModifiedFailed | Status::UnsupportedOperation | Status::DeletionProtected => {
                CKR_ACTION_PROHIBITED
            }
            Status::AuthenticationFailed | Status::MalformedCiphertext | Status::KeyVersionNotFound => {
                CKR_ENCRYPTED_DATA_INVALID
            }
            Status::LimitExceeded => CKR_DATA_LEN_RANGE,
            Status::AliasAlreadyExists | Status::InvalidArgument => CKR_ATTRIBUTE_VALUE_INVALID,
            Status::WrongRootKey => CKR_PIN_INCORRECT,
            Status::KeystoreReadOnly => CKR_TOKEN_WRITE_PROTECTED,
            Status::OutOfMemory => CKR_HOST_MEMORY,
            Status::RandomFailed => CKR_RANDOM_NO_RNG,
            Status::KeystoreNotFound | Status::KeystoreUnavailable | Status::RootKeyUnavailable => {
                CKR_TOKEN_NOT_PRESENT
            }
            status if (500..600).contains(&(status as i32)) => CKR_DEVICE_ERROR,
            _ => CKR_GENERAL_ERROR,
        })
    }
}
