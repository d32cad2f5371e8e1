//! The condition of a keystore.

use kms::Keystore as Handle;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::keystore::Keystore;

#[pymethods]
impl Keystore {
    /// The fields of `libkms.Health`.
    fn _health<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let health = self.call(py, Handle::health)?;
        let dict = PyDict::new(py);
        dict.set_item("memory_not_locked", health.memory_not_locked)?;
        dict.set_item("polling", health.polling)?;
        dict.set_item("rotation_failing", health.rotation_failing)?;
        dict.set_item("thread_stopped", health.thread_stopped)?;
        dict.set_item("cipher_memory_unprotected", health.cipher_memory_unprotected)?;
        dict.set_item("slow_cpu", health.slow_cpu)?;
        dict.set_item("read_only", health.read_only)?;
        dict.set_item("keystore_replaced", health.keystore_replaced)?;
        dict.set_item("path_unverified", health.path_unverified)?;
        dict.set_item("no_rotation_thread", health.no_rotation_thread)?;
        dict.set_item("thread_not_started", health.thread_not_started)?;
        dict.set_item("thread_stalled", health.thread_stalled)?;
        dict.set_item("events_dropped", health.events_dropped)?;
        dict.set_item("rotations", health.rotations)?;
        dict.set_item("rotation_failures", health.rotation_failures)?;
        dict.set_item("keys_destroyed", health.keys_destroyed)?;
        dict.set_item("versions_destroyed", health.versions_destroyed)?;
        dict.set_item("keys_cached", health.keys_cached)?;
        dict.set_item("generation", health.generation)?;
        dict.set_item("keystore_unavailable", health.keystore_unavailable)?;
        dict.set_item("host_clock_wrong", health.host_clock_wrong)?;
        dict.set_item("polls", health.polls)?;
        dict.set_item("absences", health.absences)?;
        dict.set_item("rolled_back", health.rolled_back)?;
        dict.set_item("rollbacks", health.rollbacks)?;
        dict.set_item("age_ms", health.age_ms)?;
        dict.set_item("clock_ahead_ms", health.clock_ahead_ms)?;
        Ok(dict)
    }
}
