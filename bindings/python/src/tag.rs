//! The tags of a key.

use pyo3::prelude::*;

use crate::arguments::KeyName;
use crate::keystore::Keystore;

#[pymethods]
impl Keystore {
    fn _tag_resource(&self, py: Python<'_>, key_id: KeyName<'_>, tags: Vec<(String, String)>) -> PyResult<()> {
        self.call(py, |kms| {
            let tags: Vec<_> = tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            kms.tag_resource(&key_id, &tags)
        })
    }

    fn _untag_resource(&self, py: Python<'_>, key_id: KeyName<'_>, names: Vec<String>) -> PyResult<()> {
        self.call(py, |kms| kms.untag_resource(&key_id, &names.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    fn _list_resource_tags(&self, py: Python<'_>, key_id: KeyName<'_>) -> PyResult<Vec<(String, String)>> {
        self.call(py, |kms| kms.list_resource_tags(&key_id))
    }
}
