//! The keystore as a whole: its condition, its copies, its root key.

use std::path::PathBuf;

use kms::{Kms, Options, Status};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::guard::detached;
use crate::keystore::{Keystore, with_root};

#[pymethods]
impl Keystore {
    /// The fields of `libkms.Health`.
    fn _health<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let health = self.call(py, Kms::health)?;
        let dict = PyDict::new(py);
        dict.set_item("memory_not_locked", health.memory_not_locked)?;
        dict.set_item("not_mapped", health.not_mapped)?;
        dict.set_item("rotation_failing", health.rotation_failing)?;
        dict.set_item("thread_stopped", health.thread_stopped)?;
        dict.set_item("ciphers_in_ordinary_memory", health.ciphers_in_ordinary_memory)?;
        dict.set_item("slow_cpu", health.slow_cpu)?;
        dict.set_item("read_only", health.read_only)?;
        dict.set_item("keystore_replaced", health.keystore_replaced)?;
        dict.set_item("place_unverified", health.place_unverified)?;
        dict.set_item("no_rotation_thread", health.no_rotation_thread)?;
        dict.set_item("thread_not_started", health.thread_not_started)?;
        dict.set_item("rotation_late", health.rotation_late)?;
        dict.set_item("events_dropped", health.events_dropped)?;
        dict.set_item("rotations", health.rotations)?;
        dict.set_item("rotation_failures", health.rotation_failures)?;
        dict.set_item("keys_destroyed", health.keys_destroyed)?;
        dict.set_item("keys_cached", health.keys_cached)?;
        dict.set_item("generation", health.generation)?;
        Ok(dict)
    }

    /// Of each fault: key id, status, text.
    fn _verify(&self, py: Python<'_>) -> PyResult<Vec<(Option<String>, i32, String)>> {
        self.call(py, |kms| {
            let mut faults = Vec::new();
            let done = kms.verify(|fault| {
                let status = fault.error.status() as i32;
                faults.push((fault.key.map(|id| id.to_string()), status, fault.error.to_string()));
                true
            });
            match done {
                // The verdict on the faults.
                Err(error) if error.status() == Status::KeystoreCorrupt && !faults.is_empty() => Ok(faults),
                done => done.map(|()| faults),
            }
        })
    }

    /// Writes a snapshot of the keystore to a new file at `path`: complete and synced, or not at all.
    ///
    /// A file that is there is never replaced (`KeystoreIO`). Calls that change the keystore wait meanwhile. The copy is a
    /// keystore, opened by what opens this one now. To restore it, copy it to the keystore's path while nobody has that
    /// open; what was encrypted under versions made since can't be decrypted then.
    ///
    /// >>> kms.backup(folder / "copy.db")
    /// >>> with libkms.open(folder / "copy.db", root_key=bytes(range(32))) as copy:
    /// ...     copy.describe_key(key.id) == key
    /// True
    fn backup(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        self.call(py, |kms| kms.backup(path))
    }

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
        let kms: &Kms = &kms;
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
        let kms: &Kms = &kms;
        let options = Options::new().create(create);
        let options = with_root(options, root_key, root_key_file, root_passphrase, root_callback)?;
        detached(py, || kms.add_root_slot(&options, label)).map(|id| id.to_string())
    }

    /// Removes a root slot: its root opens the keystore no more.
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
        let slots = self.call(py, Kms::list_root_slots)?;
        let shown = slots.into_iter().map(|slot| {
            let created = slot.created.map(|created| created.millis());
            (slot.id.to_string(), slot.kind as i32, created, slot.label, slot.opened_this_handle)
        });
        Ok(shown.collect())
    }
}
