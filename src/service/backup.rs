//! Copies of a keystore that is in use.

use std::path::Path;

use super::Keystore;
use crate::error::Result;

impl Keystore {
    /// Writes a snapshot of the keystore to a new file: complete, synced and read back, or not at all. A file that is
    /// there is never replaced. The copy's pages are checked as by `verify`, its rows are not. The root key that opens the keystore now opens the copy.
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<()> {
        self.core()?.store.backup(path.as_ref())
    }
}
