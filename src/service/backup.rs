//! Copies of a keystore that is in use.

use std::path::Path;

use super::Keystore;
use crate::error::Result;

impl Keystore {
    /// Copy the keystore to a new file: complete, synced and read back, or not at all. An existing file is never
    /// replaced. The pages of the copy are checked as by [`Keystore::verify`], its rows are not. The root keys that
    /// open the keystore open the copy.
    ///
    /// # Errors
    /// `KeystoreIo` where the file exists or cannot be written; `UnsupportedOperation` for a `memory:` keystore; and
    /// the [errors of every call](Keystore#errors).
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<()> {
        self.core()?.store.backup(path.as_ref())
    }
}
