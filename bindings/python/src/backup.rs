//! A copy of the keystore.

use std::path::PathBuf;

use pyo3::prelude::*;

use crate::keystore::Keystore;

#[pymethods]
impl Keystore {
    /// Write a snapshot of the keystore to a new file at `path`: complete and synced, or not at all.
    ///
    /// An existing file is never replaced (`KeystoreIO`). Calls that change the keystore wait meanwhile. The copy is a
    /// keystore that the present root keys open. To restore it, copy it to the keystore's path while no process has
    /// that open; ciphertexts of versions made since can't be decrypted then.
    ///
    /// >>> kms.backup(folder / "copy.db")
    /// >>> with libkms.open(folder / "copy.db", root_key=bytes(range(32))) as copy:
    /// ...     copy.describe_key(key.id) == key
    /// True
    fn backup(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        self.call(py, |kms| kms.backup(path))
    }
}
