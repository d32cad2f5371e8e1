//! Every operation by its action name, with JSON.

use pyo3::prelude::*;

use crate::error::raise;
use crate::keystore::Keystore;

#[pymethods]
impl Keystore {
    /// The response, or the error's body and its exception.
    fn _call<'py>(
        &self,
        py: Python<'py>,
        action: &str,
        request: &str,
    ) -> PyResult<(String, Option<Bound<'py, PyAny>>)> {
        let done = self.call(py, |kms| Ok(kms.call(action, request)))?;
        Ok(match done {
            Ok(response) => (response, None),
            Err(failed) => (failed.body, Some(raise(py, &failed.error).into_value(py).into_bound(py).into_any())),
        })
    }
}
