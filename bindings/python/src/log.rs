//! The change log.

use kms::{
    Time,
    change_log::{Actor, ListChanges, LoggedChange},
};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arguments::KeyName;
use crate::keystore::Keystore;

#[pymethods]
impl Keystore {
    /// A page of the change log, oldest first.
    #[pyo3(signature = (key_id, from_ms, to_ms, after, limit))]
    fn _list_changes<'py>(
        &self,
        py: Python<'py>,
        key_id: Option<KeyName<'_>>,
        from_ms: Option<i64>,
        to_ms: Option<i64>,
        after: Option<u64>,
        limit: usize,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let (from, to) = (from_ms.map(Time::from_millis), to_ms.map(Time::from_millis));
        let which = ListChanges { key: None, from, to, after };
        let page = self.call(py, |kms| {
            let mut page = Vec::new();
            kms.list_changes(key_id.as_deref(), which, limit, |change| {
                page.push(change.clone());
                Ok(true)
            })?;
            Ok(page)
        })?;
        page.iter().map(|change| fields(py, change)).collect()
    }

    fn _cut_changes(&self, py: Python<'_>, before_ms: i64) -> PyResult<u64> {
        self.call(py, |kms| kms.cut_changes(Time::from_millis(before_ms)))
    }
}

fn fields<'py>(py: Python<'py>, change: &LoggedChange) -> PyResult<Bound<'py, PyDict>> {
    let Actor { process_id, user_id, program, label, .. } = &change.actor;
    let dict = PyDict::new(py);
    dict.set_item("generation", change.generation)?;
    dict.set_item("id", change.id.to_string())?;
    dict.set_item("time_ms", change.time.millis())?;
    dict.set_item("boot_ms", change.boot_ms)?;
    dict.set_item("actor", (process_id, user_id, program, label))?;
    dict.set_item("action", &change.action)?;
    dict.set_item("key_id", change.key.map(|id| id.to_string()))?;
    dict.set_item("version_id", change.version.map(|id| id.to_string()))?;
    dict.set_item("count", change.count)?;
    dict.set_item("status", change.status)?;
    dict.set_item("refusals_omitted", change.refusals_omitted)?;
    dict.set_item("waited_ms", change.waited_ms)?;
    dict.set_item("mac", &change.mac[..])?;
    dict.set_item("previous_mac", &change.previous_mac[..])?;
    Ok(dict)
}
