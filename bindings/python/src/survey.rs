//! Surveys count in Python; to which process one belongs, the library knows.

use kms::internal::SurveyProcess as Owner;
use pyo3::prelude::*;

use crate::error::raise;

/// The process that a survey belongs to.
#[pyclass(frozen, module = "libkms._libkms")]
pub struct SurveyProcess(Owner);

#[pymethods]
impl SurveyProcess {
    #[new]
    fn new() -> Self {
        Self(Owner::new())
    }

    /// Raise Forked in a child.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.0.check().map_err(|error| raise(py, &error))
    }
}
