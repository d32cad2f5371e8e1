//! Keys: making, describing, listing, their states and deletion.

use kms::Creator;
use kms::Time;
use kms::{CreateKey, Interval, Key, Origin};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arguments::KeyName;
use crate::error::raise;
use crate::keystore::Keystore;
use crate::rotation::interval;

type Page<'py, T> = (Vec<T>, Option<Bound<'py, PyAny>>);

fn request(description: String, external: bool, rotate_every_s: Option<i64>) -> kms::Result<CreateKey> {
    let origin = if external { Origin::External } else { Origin::Kms };
    Ok(CreateKey { description, origin: Some(origin), rotate_every: interval(rotate_every_s)? })
}

fn millis(time: Option<Time>) -> Option<i64> {
    time.map(Time::millis)
}

/// The fields of `libkms.Key`.
fn fields<'py>(py: Python<'py>, key: &Key) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("id", key.id.to_string())?;
    dict.set_item("state", key.state as i32)?;
    dict.set_item("origin", key.origin as i32)?;
    dict.set_item("description", &key.description)?;
    dict.set_item("created", key.created.millis())?;
    dict.set_item("rotation", key.automatic_rotation() as i32)?;
    dict.set_item("rotate_every", key.policy.map(Interval::seconds))?;
    dict.set_item("primary_version_id", key.primary.map(|primary| primary.id.to_string()))?;
    dict.set_item("version_count", key.version_count())?;
    dict.set_item("last_rotation", millis(key.last_rotation()))?;
    dict.set_item("next_rotation", millis(key.next_rotation()))?;
    dict.set_item("delete_date", millis(key.delete_date()))?;
    dict.set_item("material_expires", millis(key.material_expires()))?;
    dict.set_item("deletion_protection", &key.protection)?;
    dict.set_item("service_managed", key.creator == Creator::Service)?;
    Ok(dict)
}

#[pymethods]
impl Keystore {
    #[pyo3(signature = (description, external, rotate_every_s))]
    fn _create_key<'py>(
        &self,
        py: Python<'py>,
        description: String,
        external: bool,
        rotate_every_s: Option<i64>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let key = self.call(py, |kms| {
            let request = request(description, external, rotate_every_s)?;
            kms.describe_key(kms.create_key(&request)?)
        })?;
        fields(py, &key)
    }

    #[pyo3(signature = (count, description, external, rotate_every_s))]
    fn _create_keys<'py>(
        &self,
        py: Python<'py>,
        count: usize,
        description: String,
        external: bool,
        rotate_every_s: Option<i64>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let keys = self.call(py, |kms| {
            let ids = kms.create_keys(&request(description, external, rotate_every_s)?, count)?;
            ids.iter().map(|id| kms.describe_key(id)).collect::<kms::Result<Vec<_>>>()
        })?;
        keys.iter().map(|key| fields(py, key)).collect()
    }

    fn _describe_key<'py>(&self, py: Python<'py>, key: KeyName<'_>) -> PyResult<Bound<'py, PyDict>> {
        fields(py, &self.call(py, |kms| kms.describe_key(&key))?)
    }

    /// A page of keys, and the error of keys that were passed over.
    #[pyo3(signature = (after, limit))]
    fn _list_keys<'py>(
        &self,
        py: Python<'py>,
        after: Option<&str>,
        limit: usize,
    ) -> PyResult<Page<'py, Bound<'py, PyDict>>> {
        let (keys, error) = self.call(py, |kms| {
            let mut keys = Vec::new();
            let done = kms.list_keys(after, limit, |key| {
                keys.push(key.clone());
                true
            });
            match done {
                Err(error) if error.status() != kms::Status::KeystoreCorrupt => Err(error),
                done => Ok((keys, done.err())),
            }
        })?;
        let keys = keys.iter().map(|key| fields(py, key)).collect::<PyResult<_>>()?;
        Ok((keys, error.map(|error| raise(py, &error).into_value(py).into_bound(py).into_any())))
    }

    /// Enable a Disabled key; an Enabled one stays so. If its rotation became overdue meanwhile, it rotates first.
    ///
    /// Raises `StateModifiedFailed` in another state.
    ///
    /// >>> kms.disable_key(key.id)
    /// >>> kms.enable_key(key.id)
    fn enable_key(&self, py: Python<'_>, key_id: KeyName<'_>) -> PyResult<()> {
        self.call(py, |kms| kms.enable_key(&key_id))
    }

    /// Disable an Enabled key: nothing is encrypted or decrypted under it until it is enabled again.
    ///
    /// Other processes see it on their next call. Raises `StateModifiedFailed` while its deletion or import is pending.
    ///
    /// >>> kms.disable_key(key.id)
    /// >>> kms.encrypt(key.id, b"4111 1111")
    /// Traceback (most recent call last):
    /// libkms.errors.RejectedDisabled: key ... is Disabled; enable it first
    fn disable_key(&self, py: Python<'_>, key_id: KeyName<'_>) -> PyResult<()> {
        self.call(py, |kms| kms.disable_key(&key_id))
    }

    fn _schedule_key_deletion(&self, py: Python<'_>, key_id: KeyName<'_>, days: i32) -> PyResult<()> {
        self.call(py, |kms| kms.schedule_key_deletion(&key_id, days))
    }

    /// Cancel a scheduled deletion: the key is Enabled again, or waits for its import if it has no material.
    ///
    /// Raises `StateModifiedFailed` in another state.
    ///
    /// >>> kms.schedule_key_deletion(key.id, timedelta(days=7))
    /// >>> kms.cancel_key_deletion(key.id)
    fn cancel_key_deletion(&self, py: Python<'_>, key_id: KeyName<'_>) -> PyResult<()> {
        self.call(py, |kms| kms.cancel_key_deletion(&key_id))
    }

    /// Replace a key's whole description; at most 8192 characters, "" to delete it.
    ///
    /// Raises `RejectedPendingDeletion`, `LimitExceeded`.
    ///
    /// >>> kms.update_key_description(key.id, "card numbers")
    /// >>> kms.describe_key(key.id).description
    /// 'card numbers'
    fn update_key_description(&self, py: Python<'_>, key_id: KeyName<'_>, description: &str) -> PyResult<()> {
        self.call(py, |kms| kms.update_key_description(&key_id, description))
    }

    #[pyo3(signature = (key_id, reason))]
    fn _set_deletion_protection(&self, py: Python<'_>, key_id: KeyName<'_>, reason: Option<&str>) -> PyResult<()> {
        self.call(py, |kms| kms.set_deletion_protection(&key_id, reason))
    }

    fn _create_service_key<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyDict>> {
        fields(py, &self.call(py, |kms| kms.describe_key(kms.create_service_key(name)?))?)
    }
}
