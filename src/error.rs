//! The one error of the library: a stable status, the service's code for it, and a text that is safe to log.
//!
//! Numbers are grouped by hundreds and never reused. A caller branches on the status; the text says what to do
//! and never holds plaintext, key bytes or a passphrase.

use std::borrow::Cow;
#[cfg(feature = "capi")]
use std::ffi::CStr;
use std::fmt;
use std::path::Path;

/// The result of a fallible call of this library.
pub type Result<T> = std::result::Result<T, Error>;

/// The error of this library: a stable [`Status`], and a text that names the thing and the next step.
///
/// Two words, so that results of the hot path are returned in registers. It holds one `Content`, or none where there was
/// no memory for it: the error is then `OutOfMemory`, regardless of what had failed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Error(Box<[Content]>);

#[derive(Clone, PartialEq, Eq)]
struct Content {
    status: Status,
    text: Cow<'static, str>,
}

const _: () =
    assert!(size_of::<Result<()>>() == 2 * size_of::<usize>() && size_of::<Result<&u8>>() == 2 * size_of::<usize>());

/// What an error says for which there is no memory.
pub(crate) const OUT_OF_MEMORY: &str = "not enough memory for this call; free some, or raise the process's limit";

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("status", &self.status()).field("text", &self.text()).finish()
    }
}

impl Error {
    /// Create an error, for a callback that fails. The text may be logged, so it must hold no secret.
    #[cold]
    pub fn new(status: Status, text: impl Into<Cow<'static, str>>) -> Self {
        let mut contents = Vec::new();
        if contents.try_reserve_exact(1).is_ok() {
            contents.push(Content { status, text: text.into() });
        }
        Self(contents.into_boxed_slice())
    }

    /// The error of a call for which there is no memory; takes none.
    #[cold]
    pub(crate) fn out_of_memory() -> Self {
        Self(Box::default())
    }

    /// Return the status, which programs branch on.
    pub fn status(&self) -> Status {
        self.0.first().map_or(Status::OutOfMemory, |content| content.status)
    }

    /// Return the text, which is safe to log. It may change in any release.
    pub fn text(&self) -> &str {
        self.0.first().map_or(OUT_OF_MEMORY, |content| &content.text)
    }

    /// The same error, where the rule that made it knew only of "the key".
    #[cold]
    pub(crate) fn of_key(self, id: &dyn fmt::Display) -> Self {
        match self.text().strip_prefix("the key ") {
            Some(rest) => Self::new(self.status(), format!("key {id} {rest}")),
            None => self,
        }
    }

    /// The same error, naming the keystore: a program may have several open.
    #[cold]
    pub(crate) fn of_keystore(self, path: &Path) -> Self {
        let path = shown_path(path);
        match self.status() as i32 {
            500..=599 if !self.text().contains(&path) => {
                Self::new(self.status(), format!("{} (keystore: {path})", self.text()))
            }
            _ => self,
        }
    }
}

impl Status {
    /// Create an error of this status.
    pub fn error(self, text: impl Into<Cow<'static, str>>) -> Error {
        Error::new(self, text)
    }
}

/// What an error text shows of a caller's text, at most.
const SHOWN: usize = 100;

/// A name as an error text shows it: always short and printable.
pub fn shown(text: &str) -> String {
    let end = if text.chars().nth(SHOWN).is_some() { "..." } else { "" };
    let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(SHOWN).map(printable).collect::<String>() + end
}

/// What an error text shows of a path, at most.
const PATH_SHOWN: usize = 300;

/// A path as an error text shows it: its end, which says most, without control characters.
pub fn shown_path(path: &Path) -> String {
    let text: Vec<char> = path.to_string_lossy().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    match text.len().checked_sub(PATH_SHOWN) {
        None | Some(0) => text.into_iter().collect(),
        Some(cut) => "...".chars().chain(text.into_iter().skip(cut)).collect(),
    }
}

#[cfg(feature = "capi")]
const fn c_string(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => c"",
    }
}

macro_rules! statuses {
    ($($variant:ident = $number:literal, $name:literal, $code:literal;)*) => {
        /// The reason of a failure. Numbers, names and codes are stable; later releases add further ones.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum Status {
            $(#[doc = concat!("`", $name, "`, ", stringify!($number), ": see `include/kms.h`.")] $variant = $number,)*
        }

        impl Status {
            /// All statuses.
            pub const ALL: &'static [Status] = &[$(Status::$variant,)*];

            /// Return the status of this number, as C has it.
            pub fn from_number(number: i32) -> Option<Status> {
                match number {
                    $($number => Some(Status::$variant),)*
                    _ => None,
                }
            }

            /// The C constant, `KMS_REJECTED_DISABLED`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Status::$variant => $name,)*
                }
            }

            /// `name` and `code` as C strings.
            #[cfg(feature = "capi")]
            pub(crate) const fn c_strings(self) -> (&'static CStr, &'static CStr) {
                match self {
                    $(Status::$variant => (c_string(concat!($name, "\0")), c_string(concat!($code, "\0"))),)*
                }
            }

            /// The service's code, `Rejected.Disabled`; ours in the same style where it has none.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Status::$variant => $code,)*
                }
            }
        }
    };
}

statuses! {
    InvalidArgument = 100, "KMS_INVALID_ARGUMENT", "InvalidParameter";
    MissingParameter = 101, "KMS_MISSING_PARAMETER", "MissingParameter";
    BufferTooSmall = 102, "KMS_BUFFER_TOO_SMALL", "InvalidParameter.BufferTooSmall";
    UnknownAction = 103, "KMS_UNKNOWN_ACTION", "UnsupportedOperation.UnknownAction";
    UnsupportedAlias = 104, "KMS_UNSUPPORTED_ALIAS", "Unsupported.Alias";
    LimitExceeded = 105, "KMS_LIMIT_EXCEEDED", "Rejected.LimitExceeded";
    BatchPartial = 106, "KMS_BATCH_PARTIAL", "InvalidParameter.BatchPartial";

    KeyNotFound = 200, "KMS_KEY_NOT_FOUND", "Forbidden.KeyNotFound";
    KeyVersionNotFound = 201, "KMS_KEY_VERSION_NOT_FOUND", "Forbidden.KeyVersionNotFound";
    AliasNotFound = 202, "KMS_ALIAS_NOT_FOUND", "Forbidden.AliasNotFound";
    AliasAlreadyExists = 203, "KMS_ALIAS_ALREADY_EXISTS", "AliasAlreadyExists";

    RejectedDisabled = 300, "KMS_REJECTED_DISABLED", "Rejected.Disabled";
    RejectedPendingDeletion = 301, "KMS_REJECTED_PENDING_DELETION", "Rejected.PendingDeletion";
    RejectedPendingImport = 302, "KMS_REJECTED_PENDING_IMPORT", "Rejected.PendingImport";
    StateModifiedFailed = 303, "KMS_STATE_MODIFIED_FAILED", "Rejected.StateModifiedFailed";
    UnsupportedOperation = 304, "KMS_UNSUPPORTED_OPERATION", "Rejected.UnsupportedOperation";
    UnsupportedOrigin = 305, "KMS_UNSUPPORTED_ORIGIN", "Unsupported.Origin";
    DeletionProtected = 306, "KMS_DELETION_PROTECTED", "Rejected.DeletionProtected";
    KeyVersionDisabled = 307, "KMS_KEY_VERSION_DISABLED", "Rejected.KeyVersionDisabled";
    KeyVersionDestroyed = 308, "KMS_KEY_VERSION_DESTROYED", "Rejected.KeyVersionDestroyed";

    MalformedCiphertext = 400, "KMS_MALFORMED_CIPHERTEXT", "InvalidParameter";
    AuthenticationFailed = 401, "KMS_AUTHENTICATION_FAILED", "InvalidParameter";
    InvalidKeyMaterial = 402, "KMS_INVALID_KEY_MATERIAL", "InvalidKeyMaterial";
    InvalidImportToken = 403, "KMS_INVALID_IMPORT_TOKEN", "InvalidImportToken";
    ExpiredImportToken = 404, "KMS_EXPIRED_IMPORT_TOKEN", "ExpiredImportToken";

    WrongRootKey = 500, "KMS_WRONG_ROOT_KEY", "Keystore.WrongRootKey";
    NotAKeystore = 501, "KMS_NOT_A_KEYSTORE", "Keystore.NotAKeystore";
    KeystoreTooNew = 502, "KMS_KEYSTORE_TOO_NEW", "Keystore.TooNew";
    KeystoreCorrupt = 503, "KMS_KEYSTORE_CORRUPT", "Keystore.Corrupt";
    KeystoreIo = 504, "KMS_KEYSTORE_IO", "Keystore.IO";
    KeystoreReadOnly = 505, "KMS_KEYSTORE_READ_ONLY", "Keystore.ReadOnly";
    KeystoreBusy = 506, "KMS_KEYSTORE_BUSY", "Keystore.Busy";
    KeystoreNotFound = 507, "KMS_KEYSTORE_NOT_FOUND", "Keystore.NotFound";
    KeystoreReplaced = 508, "KMS_KEYSTORE_REPLACED", "Keystore.Replaced";
    RootKeyUnavailable = 509, "KMS_ROOT_KEY_UNAVAILABLE", "Keystore.RootKeyUnavailable";
    KeystoreRolledBack = 510, "KMS_KEYSTORE_ROLLED_BACK", "Keystore.RolledBack";
    AnchorUnavailable = 511, "KMS_ANCHOR_UNAVAILABLE", "Keystore.AnchorUnavailable";
    KeystoreSecondPath = 512, "KMS_KEYSTORE_SECOND_PATH", "Keystore.SecondPath";
    RootSlotNotFound = 515, "KMS_ROOT_SLOT_NOT_FOUND", "Keystore.RootSlotNotFound";
    RootSlotExists = 516, "KMS_ROOT_SLOT_EXISTS", "Keystore.RootSlotExists";
    KeystoreUnavailable = 517, "KMS_KEYSTORE_UNAVAILABLE", "Keystore.Unavailable";

    FileIo = 600, "KMS_FILE_IO", "File.IO";
    FileExists = 601, "KMS_FILE_EXISTS", "File.Exists";

    Internal = 900, "KMS_INTERNAL", "InternalFailure";
    Poisoned = 901, "KMS_POISONED", "InternalFailure.Poisoned";
    Forked = 902, "KMS_FORKED", "InternalFailure.Forked";
    RandomFailed = 903, "KMS_RANDOM_FAILED", "InternalFailure.RandomFailed";
    OutOfMemory = 904, "KMS_OUT_OF_MEMORY", "InternalFailure.OutOfMemory";
}

#[cfg(test)]
mod tests;
