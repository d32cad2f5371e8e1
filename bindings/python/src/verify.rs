//! What is wrong with a keystore, row by row.

use kms::Status;
use pyo3::prelude::*;

use crate::keystore::Keystore;

#[pymethods]
impl Keystore {
    /// List each fault as key id, status and text.
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
}
