//! Where one keystore is: a path, or a database, whose password is never shown.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use kms::internal::shown_location;
use serde::Deserialize;

use crate::exit::{Failure, Result};

/// A location as the library takes it. What prints it leaves a password out.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "PathBuf")]
pub struct KeystoreLocation(PathBuf);

impl From<OsString> for KeystoreLocation {
    fn from(text: OsString) -> Self {
        Self(text.into())
    }
}

impl From<PathBuf> for KeystoreLocation {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl fmt::Display for KeystoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown_location(&self.unredacted()))
    }
}

impl fmt::Debug for KeystoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeystoreLocation({self})")
    }
}

impl KeystoreLocation {
    /// For the library alone: it may have a password.
    pub fn unredacted(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }

    /// Whether it is a database's, or would be.
    pub fn is_database(&self) -> bool {
        let text = self.0.to_string_lossy();
        text.contains("://") || text.starts_with("postgres:") || text.starts_with("postgresql:")
    }

    pub fn has_password(&self) -> bool {
        self.is_database() && self.to_string() != self.unredacted()
    }

    /// The same for a file of settings.
    pub fn without_password(&self) -> PathBuf {
        if self.is_database() { PathBuf::from(self.to_string()) } else { self.0.clone() }
    }

    /// The keystore's file.
    pub fn file(&self) -> Result<&Path> {
        match self.is_database() {
            false => Ok(&self.0),
            true => Err(Failure::usage(format!("{self} is a database, and this command needs a keystore in a file"))
                .next("kms copy DATABASE FILE")),
        }
    }

    /// The same location, from a file in `folder`.
    pub fn below(self, folder: &Path) -> Self {
        if self.is_database() { self } else { Self(folder.join(self.0)) }
    }
}

/// The parts of a command line that have a password, and what may be shown of them.
pub fn with_passwords(arguments: impl Iterator<Item = OsString>) -> Vec<(String, String)> {
    let texts = arguments.map(|argument| argument.to_string_lossy().into_owned());
    // `--option=VALUE`, too.
    let parts = texts.flat_map(|text| [text.split_once('=').map(|(_, value)| value.to_owned()), Some(text)]).flatten();
    let located = parts.map(|part| KeystoreLocation(part.into()));
    let found = located.filter(KeystoreLocation::has_password);
    found.map(|location| (location.unredacted(), location.to_string())).collect()
}
