//! The library's statuses as Python exceptions: one class each, in `libkms.errors`.

use kms::Status;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

static CLASSES: PyOnceLock<(Py<PyDict>, Py<PyType>)> = PyOnceLock::new();

/// Every status of the library: number, name and code.
#[pyfunction]
pub fn statuses() -> Vec<(i32, &'static str, &'static str)> {
    Status::ALL.iter().map(|status| (*status as i32, status.name(), status.code())).collect()
}

pub fn raise(py: Python<'_>, error: &kms::Error) -> PyErr {
    exception(py, error).map_or_else(|failed| failed, PyErr::from_value)
}

fn exception<'py>(py: Python<'py>, error: &kms::Error) -> PyResult<Bound<'py, PyAny>> {
    let (by_status, base) = CLASSES.get_or_try_init(py, || {
        let module = py.import("libkms.errors")?;
        let by_status = module.getattr("_BY_STATUS")?.cast_into::<PyDict>()?;
        PyResult::Ok((by_status.unbind(), module.getattr("Error")?.cast_into::<PyType>()?.unbind()))
    })?;
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
