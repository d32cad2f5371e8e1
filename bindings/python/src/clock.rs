//! The manual clock, as `libkms.testing` shows it.

use pyo3::prelude::*;

/// A clock that stands still until it is moved; Unix milliseconds.
#[pyclass(frozen, subclass, module = "libkms._libkms")]
pub struct ManualClock(pub kms::ManualClock);

#[pymethods]
impl ManualClock {
    #[new]
    fn new(millis: i64) -> Self {
        Self(kms::ManualClock::at(millis))
    }

    fn _get(&self) -> i64 {
        self.0.millis()
    }

    fn _set(&self, millis: i64) {
        self.0.set(millis);
    }
}
