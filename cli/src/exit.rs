//! How the command ends: exit codes by status group, and failures that name the next command.

use std::fmt;
use std::path::Path;

use kms::{Error, Status};

pub type Result<T> = std::result::Result<T, Failure>;

/// Exit codes, which scripts branch on. `kms help exit-codes` explains them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Some of several things failed, or a check found something.
    Partial = 1,
    /// The command line, or an argument (status 1xx).
    Usage = 2,
    /// No such key, version or alias (2xx).
    NotFound = 3,
    /// The state or kind of the key forbids it (3xx).
    Refused = 4,
    /// Ciphertext, context or key material do not fit (4xx).
    Cryptography = 5,
    /// The keystore or its root key (5xx).
    Keystore = 6,
    /// A file that the command reads or writes.
    File = 7,
    /// The user did not confirm.
    Declined = 8,
    /// The library or the system (9xx).
    Internal = 9,
    Interrupted = 130,
}

/// Why a command failed, and what to type next.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// The service's code.
    pub code: &'static str,
    pub text: String,
    pub next: Option<String>,
}

impl Failure {
    pub fn new(exit: Exit, code: &'static str, text: impl Into<String>) -> Self {
        Self { exit, code, text: text.into(), next: None }
    }

    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "InvalidParameter", text)
    }

    /// A failure of a file that is not the keystore.
    pub fn file(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(Exit::File, "Cli.File", format!("{doing} {}: {}", path.display(), reason(error)))
    }

    pub fn next(mut self, command: impl Into<String>) -> Self {
        self.next = Some(command.into());
        self
    }

    /// A copy.
    pub fn again(&self) -> Self {
        Self { exit: self.exit, code: self.code, text: self.text.clone(), next: self.next.clone() }
    }

    /// The same failure in `kms inspect`, which is no next step of itself.
    pub fn inspecting(mut self) -> Self {
        if self.code == Status::MalformedCiphertext.code() {
            self.next = Some("restore it from a copy, if kms wrote it".to_owned());
        }
        self
    }

    /// The same failure, naming the file that it is about.
    pub fn of_file(mut self, path: &Path) -> Self {
        self.text = format!("{}: {}", path.display(), self.text);
        self
    }
}

/// The text of an I/O error without Rust's "(os error 2)".
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = error.status();
        let exit = match status as i32 {
            106 => Exit::Partial,
            100..=199 => Exit::Usage,
            200..=299 => Exit::NotFound,
            300..=399 => Exit::Refused,
            400..=499 => Exit::Cryptography,
            500..=599 => Exit::Keystore,
            600..=699 => Exit::File,
            _ => Exit::Internal,
        };
        // The command that makes one is `next`.
        let text = error.text().trim_end_matches("; pass create to make one").to_owned();
        Self { exit, code: status.code(), text, next: next(status).map(str::to_owned) }
    }
}

/// The command that usually follows a failure.
fn next(status: Status) -> Option<&'static str> {
    Some(match status {
        Status::KeyNotFound | Status::AliasNotFound => "kms key list",
        Status::KeyVersionNotFound => "kms key versions KEY",
        Status::AliasAlreadyExists => "kms key alias KEY NAME --move, to move the alias to this key",
        Status::RejectedDisabled => "kms key enable KEY",
        Status::RejectedPendingDeletion => "kms key undelete KEY",
        Status::RejectedPendingImport => "kms key import KEY FILE",
        Status::KeyVersionDisabled => "kms key versions KEY; kms version enable KEY VERSION",
        Status::StateModifiedFailed => "kms key show KEY",
        Status::DeletionProtected => "kms call SetDeletionProtection",
        Status::AuthenticationFailed => "pass the --context that was used for encryption; kms help context",
        Status::MalformedCiphertext => "kms inspect FILE",
        Status::WrongRootKey => "check --root-key-file and the passphrase; kms help root",
        Status::RootKeyUnavailable => "kms help root",
        Status::KeystoreNotFound => "kms init, to make one; or --keystore PATH, to name another",
        Status::KeystoreCorrupt => "kms verify",
        Status::KeystoreBusy => "try again; another process holds the keystore",
        Status::KeystoreUnavailable => "try again once the database answers",
        Status::KeystoreRolledBack => "kms help anchor; in a database, restore the newest state or kms accept-rollback",
        Status::FileExists => "--force to replace it, or -o FILE",
        Status::UnknownAction => "kms call ListActions",
        _ => return None,
    })
}
