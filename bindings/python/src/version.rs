//! The versions of a key, their states and deletion.

use kms::{KeyVersion, Time};
use pyo3::prelude::*;

use crate::arguments::KeyName;
use crate::keystore::Keystore;

/// The fields of `libkms.KeyVersion`: id, number, created, whether primary, state, delete date, last used days.
type Fields = (String, u64, i64, bool, i32, Option<i64>, Option<i64>, Option<i64>);

fn fields(version: &KeyVersion) -> Fields {
    let KeyVersion { id, number, created, is_primary, state, .. } = version;
    let ms = |date: Option<Time>| date.map(Time::millis);
    let (encrypt, decrypt) = (ms(version.last_encrypt_date), ms(version.last_decrypt_date));
    (id.to_string(), *number, created.millis(), *is_primary, *state as i32, ms(version.delete_date), encrypt, decrypt)
}

#[pymethods]
impl Keystore {
    /// A page of versions, newest first.
    #[pyo3(signature = (key, before, limit))]
    fn _list_key_versions(
        &self,
        py: Python<'_>,
        key: KeyName<'_>,
        before: Option<u64>,
        limit: usize,
    ) -> PyResult<Vec<Fields>> {
        self.call(py, |kms| {
            let mut page = Vec::new();
            kms.list_key_versions(&key, before, limit, |version, _| {
                page.push(fields(version));
                true
            })?;
            Ok(page)
        })
    }

    fn _describe_key_version(&self, py: Python<'_>, key: KeyName<'_>, version_id: &str) -> PyResult<Fields> {
        self.call(py, |kms| kms.describe_key_version(&key, version_id)).map(|version| fields(&version))
    }

    /// Disable a version that is not the primary: it decrypts nothing until it is enabled again.
    ///
    /// This is the reversible trial before a deletion. Decryption raises `KeyVersionDisabled` meanwhile. Other processes see
    /// it on their next call. Raises `StateModifiedFailed` for the primary version and while a deletion is pending,
    /// `KeyVersionDestroyed`, `UnsupportedOperation` for imported material.
    ///
    /// >>> old = kms.describe_key(key.id).primary_version_id
    /// >>> _ = kms.rotate(key.id)
    /// >>> kms.disable_key_version(key.id, old)
    /// >>> kms.describe_key_version(key.id, old).state
    /// <VersionState.DISABLED: 2>
    fn disable_key_version(&self, py: Python<'_>, key_id: KeyName<'_>, version_id: &str) -> PyResult<()> {
        self.call(py, |kms| kms.disable_key_version(&key_id, version_id))
    }

    /// Enable a Disabled version: it decrypts again. An Enabled one stays so.
    ///
    /// Raises `StateModifiedFailed` while a deletion is pending, `KeyVersionDestroyed`, `UnsupportedOperation`.
    ///
    /// >>> kms.enable_key_version(key.id, kms.describe_key(key.id).primary_version_id)
    fn enable_key_version(&self, py: Python<'_>, key_id: KeyName<'_>, version_id: &str) -> PyResult<()> {
        self.call(py, |kms| kms.enable_key_version(&key_id, version_id))
    }

    fn _schedule_key_version_deletion(
        &self,
        py: Python<'_>,
        key_id: KeyName<'_>,
        version_id: &str,
        days: i32,
    ) -> PyResult<()> {
        self.call(py, |kms| kms.schedule_key_version_deletion(&key_id, version_id, days))
    }

    /// Cancel the pending deletion of a version, which becomes Disabled.
    ///
    /// Raises `StateModifiedFailed` unless the deletion is pending, `KeyVersionDestroyed`, `UnsupportedOperation`.
    ///
    /// >>> old = kms.describe_key(key.id).primary_version_id
    /// >>> _ = kms.rotate(key.id)
    /// >>> kms.disable_key_version(key.id, old)
    /// >>> kms.schedule_key_version_deletion(key.id, old)
    /// >>> kms.cancel_key_version_deletion(key.id, old)
    fn cancel_key_version_deletion(&self, py: Python<'_>, key_id: KeyName<'_>, version_id: &str) -> PyResult<()> {
        self.call(py, |kms| kms.cancel_key_version_deletion(&key_id, version_id))
    }
}
