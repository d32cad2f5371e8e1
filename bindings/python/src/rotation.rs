//! Rotation: by hand, by policy, and one pass over what is due.

use kms::{Interval, Keystore as Handle};
use pyo3::prelude::*;

use crate::arguments::KeyName;
use crate::keystore::Keystore;

pub fn interval(seconds: Option<i64>) -> kms::Result<Option<Interval>> {
    seconds.map(Interval::from_seconds).transpose()
}

#[pymethods]
impl Keystore {
    /// Create a new version of a key, promote it to primary and return its id (the service's CreateKeyVersion).
    ///
    /// New encryptions use it, old ciphertexts still decrypt. `key` is a key id, "alias/NAME" or a `Key`. The next
    /// automatic rotation is counted from now. Raises `RejectedDisabled` and the other `Rejected...`,
    /// `UnsupportedOperation` for imported material.
    ///
    /// >>> kms.rotate(key.id) == kms.describe_key(key.id).primary_version_id
    /// True
    fn rotate(&self, py: Python<'_>, key: KeyName<'_>) -> PyResult<String> {
        self.call(py, |kms| kms.rotate(&key)).map(|id| id.to_string())
    }

    #[pyo3(signature = (key_id, rotate_every_s))]
    fn _update_rotation_policy(
        &self,
        py: Python<'_>,
        key_id: KeyName<'_>,
        rotate_every_s: Option<i64>,
    ) -> PyResult<()> {
        self.call(py, |kms| kms.update_rotation_policy(&key_id, interval(rotate_every_s)?))
    }

    /// rotated, destroyed, damaged, versions destroyed
    fn _tick(&self, py: Python<'_>) -> PyResult<(usize, usize, usize, usize)> {
        let done = self.call(py, Handle::tick)?;
        Ok((done.rotated, done.destroyed, done.damaged, done.versions_destroyed))
    }
}
