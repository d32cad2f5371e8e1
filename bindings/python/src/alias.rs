//! Aliases: other names of keys.

use pyo3::prelude::*;

use crate::arguments::KeyName;
use crate::keystore::Keystore;

#[pymethods]
impl Keystore {
    /// Create `alias`, "alias/" and 1 to 255 letters, digits, _, / or -, another name of a key.
    ///
    /// Raises `AliasAlreadyExists`, `InvalidArgument` for another form, `StateModifiedFailed` while the key's deletion is
    /// pending.
    ///
    /// >>> kms.create_alias(key.id, "alias/cards")
    /// >>> kms.decrypt(kms.encrypt("alias/cards", b"4111 1111"))
    /// b'4111 1111'
    fn create_alias(&self, py: Python<'_>, key_id: KeyName<'_>, alias: &str) -> PyResult<()> {
        self.call(py, |kms| kms.create_alias(&key_id, alias))
    }

    /// Move an alias to another key; ciphertexts made by it still decrypt under the old one.
    ///
    /// Raises `AliasNotFound`, `RejectedPendingDeletion`.
    ///
    /// >>> kms.create_alias(key.id, "alias/cards")
    /// >>> kms.update_alias(kms.create_key().id, "alias/cards")
    fn update_alias(&self, py: Python<'_>, key_id: KeyName<'_>, alias: &str) -> PyResult<()> {
        self.call(py, |kms| kms.update_alias(&key_id, alias))
    }

    /// Delete an alias; its key is untouched. Raises `AliasNotFound`.
    ///
    /// >>> kms.create_alias(key.id, "alias/cards")
    /// >>> kms.delete_alias("alias/cards")
    fn delete_alias(&self, py: Python<'_>, alias: &str) -> PyResult<()> {
        self.call(py, |kms| kms.delete_alias(alias))
    }

    /// A page of aliases and key ids.
    #[pyo3(signature = (key_id, after, limit))]
    fn _list_aliases(
        &self,
        py: Python<'_>,
        key_id: Option<KeyName<'_>>,
        after: Option<&str>,
        limit: usize,
    ) -> PyResult<Vec<(String, String)>> {
        self.call(py, |kms| {
            let mut page = Vec::new();
            kms.list_aliases(key_id.as_deref(), after, limit, |alias, id| {
                page.push((alias.to_owned(), id.to_string()));
                true
            })?;
            Ok(page)
        })
    }
}
