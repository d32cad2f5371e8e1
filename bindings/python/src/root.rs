//! The root slots of a keystore: which roots open it.

use std::path::PathBuf;

use kms::{Keystore as Handle, Options};
use pyo3::prelude::*;

use crate::guard::detached;
use crate::keystore::{Keystore, with_root};

#[pymethods]
impl Keystore {
    #[pyo3(signature = (root_key, root_key_file, root_passphrase, root_callback, create))]
    #[allow(clippy::too_many_arguments, reason = "one for each kind of root key")]
    fn _change_root(
        &self,
        py: Python<'_>,
        root_key: Option<&Bound<'_, PyAny>>,
        root_key_file: Option<PathBuf>,
        root_passphrase: Option<&Bound<'_, PyAny>>,
        root_callback: Option<Py<PyAny>>,
        create: bool,
    ) -> PyResult<()> {
        let kms = self.in_use(py)?;
        let kms: &Handle = &kms;
        let options = Options::new().create(create);
        let options = with_root(options, root_key, root_key_file, root_passphrase, root_callback)?;
        detached(py, || kms.change_root(&options))
    }

    #[pyo3(signature = (label, root_key, root_key_file, root_passphrase, root_callback, create))]
    #[allow(clippy::too_many_arguments, reason = "one for each kind of root key")]
    fn _add_root_slot(
        &self,
        py: Python<'_>,
        label: Option<&str>,
        root_key: Option<&Bound<'_, PyAny>>,
        root_key_file: Option<PathBuf>,
        root_passphrase: Option<&Bound<'_, PyAny>>,
        root_callback: Option<Py<PyAny>>,
        create: bool,
    ) -> PyResult<String> {
        let kms = self.in_use(py)?;
        let kms: &Handle = &kms;
        let options = Options::new().create(create);
        let options = with_root(options, root_key, root_key_file, root_passphrase, root_callback)?;
        detached(py, || kms.add_root_slot(&options, label)).map(|id| id.to_string())
    }

    /// Remove a root slot: its root opens the keystore no more.
    ///
    /// Open handles keep working, also one that was opened by it. Copies of the file made before are still opened by it.
    /// Raises `RootSlotNotFound`, and `UnsupportedOperation` for the last slot.
    ///
    /// >>> slot_id = kms.add_root_slot(root_key=bytes(range(1, 33)), label="spare")
    /// >>> kms.remove_root_slot(slot_id)
    fn remove_root_slot(&self, py: Python<'_>, slot_id: &str) -> PyResult<()> {
        self.call(py, |kms| kms.remove_root_slot(slot_id))
    }

    /// Of each root slot: id, kind, Unix milliseconds, label, whether it opened this handle.
    #[allow(clippy::type_complexity, reason = "the fields of a tuple that Python names")]
    fn _list_root_slots(&self, py: Python<'_>) -> PyResult<Vec<(String, i32, Option<i64>, Option<String>, bool)>> {
        let slots = self.call(py, Handle::list_root_slots)?;
        let shown = slots.into_iter().map(|slot| {
            let created = slot.created.map(|created| created.millis());
            (slot.id.to_string(), slot.kind as i32, created, slot.label, slot.opened_this_handle)
        });
        Ok(shown.collect())
    }
}
