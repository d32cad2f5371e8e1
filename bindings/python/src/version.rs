//! The versions of a key.

use pyo3::prelude::*;

use crate::arguments::KeyName;
use crate::keystore::Keystore;

#[pymethods]
impl Keystore {
    /// A page of versions, newest first: id, number, created, whether primary.
    #[pyo3(signature = (key, before, limit))]
    fn _list_key_versions(
        &self,
        py: Python<'_>,
        key: KeyName<'_>,
        before: Option<u64>,
        limit: usize,
    ) -> PyResult<Vec<(String, u64, i64, bool)>> {
        self.call(py, |kms| {
            let mut page = Vec::new();
            kms.list_key_versions(&key, before, limit, |version, primary| {
                page.push((version.id.to_string(), version.number, version.created.millis(), primary));
                true
            })?;
            Ok(page)
        })
    }

    fn _describe_key_version(
        &self,
        py: Python<'_>,
        key: KeyName<'_>,
        version_id: &str,
    ) -> PyResult<(String, u64, i64, bool)> {
        let (version, primary) = self.call(py, |kms| kms.describe_key_version(&key, version_id))?;
        Ok((version.id.to_string(), version.number, version.created.millis(), primary))
    }
}
