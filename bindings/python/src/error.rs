//! The library's statuses as Python exceptions: one class each, in `libkms.errors`.

use kms::Status;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

static CLASSES: PyOnceLock<(Py<PyDict>, Py<PyType>)> = PyOnceLock::new();

/// Every status of the library: number, name and code.
#[pyfunction]
pub fn statuses() -> Vec<(i32, &'static str, &'static str)> {
    Status::ALL.iter().map(|status| (*status as i32, status.name(), status.code())).collect()
}

/// Set by `libkms.errors` at its import: when an exception is due, the interpreter may be ending and import nothing.
#[pyfunction]
pub fn know_exceptions(py: Python<'_>, by_status: Py<PyDict>, base: Py<PyType>) {
    let _ = CLASSES.set(py, (by_status, base));
}

pub fn raise(py: Python<'_>, error: &kms::Error) -> PyErr {
    exception(py, error).map_or_else(|failed| failed, PyErr::from_value)
}

fn exception<'py>(py: Python<'py>, error: &kms::Error) -> PyResult<Bound<'py, PyAny>> {
    let Some((by_status, base)) = CLASSES.get(py) else {
        return Err(PyRuntimeError::new_err(error.to_string()));
    };
    let status = error.status();
    if let Some(class) = by_status.bind(py).get_item(status as i32)? {
        return class.call1((error.to_string(),));
    }
    // A status that this package is too old to know.
    let raised = base.bind(py).call1((error.to_string(),))?;
    raised.setattr("status", status as i32)?;
    raised.setattr("code", status.code())?;
    Ok(raised)
}
