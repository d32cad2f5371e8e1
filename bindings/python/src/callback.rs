//! Python functions that the library calls: a clock, a root key wrapper, a listener to events.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kms::domain::time::{Now, Time};
use kms::{Event, Status};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use crate::buffer::Input;
use crate::guard::{calling_back, end_call, show};

/// A clock read from a Python function of Unix milliseconds; one endless boot, as any clock of the caller's.
pub struct Clock {
    function: Py<PyAny>,
    last: AtomicI64,
}

impl Clock {
    /// Asks it once, so that there is a time to go on with when it fails later on the rotation thread.
    pub fn new(function: &Bound<'_, PyAny>) -> PyResult<Self> {
        let last = function.call0()?.extract()?;
        Ok(Self { function: function.clone().unbind(), last: AtomicI64::new(last) })
    }
}

impl kms::Clock for Clock {
    fn wall(&self) -> Time {
        let asked = calling_back(|py| self.function.call0(py)?.extract::<i64>(py));
        match asked {
            Some(Ok(millis)) => self.last.store(millis, Ordering::Relaxed),
            Some(Err(error)) => {
                let error = end_call(error);
                calling_back(|py| show(py, error));
            }
            None => {}
        }
        Time::from_millis(self.last.load(Ordering::Relaxed))
    }

    fn now(&self) -> Now {
        let wall = self.wall();
        Now { wall, boot: [0; 16], since_boot_ms: wall.millis() }
    }

    fn is_manual(&self) -> bool {
        true
    }
}

/// An object with `wrap` and `unwrap`; what they raise is kept for the caller of open.
pub struct Root {
    object: Py<PyAny>,
    pub raised: Arc<Mutex<Option<PyErr>>>,
}

impl Root {
    pub fn new(object: Py<PyAny>) -> Self {
        Self { object, raised: Arc::default() }
    }

    fn ask(&self, method: &str, given: &[u8]) -> kms::Result<Zeroizing<Vec<u8>>> {
        let asked = calling_back(|py| {
            let answer = self.object.bind(py).call_method1(method, (PyBytes::new(py, given),))?;
            PyResult::Ok(Zeroizing::new(Input::of(&answer)?.as_slice().to_vec()))
        });
        let error = |text: String| Status::RootKeyUnavailable.error(text);
        match asked {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(raised)) => {
                *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(raised);
                Err(error(format!("the root callback's {method} raised an exception; it is the cause of this one")))
            }
            None => Err(error("the interpreter has ended".into())),
        }
    }
}

impl kms::RootWrapper for Root {
    fn wrap(&self, root: &[u8]) -> kms::Result<Vec<u8>> {
        self.ask("wrap", root).map(|bytes| bytes.to_vec())
    }

    fn unwrap(&self, wrapped: &[u8]) -> kms::Result<Zeroizing<Vec<u8>>> {
        self.ask("unwrap", wrapped)
    }
}

/// Tells a Python function of events: kind, status, key id, version id, Unix milliseconds.
pub fn listener(function: Py<PyAny>) -> impl Fn(&Event) + Send + Sync + 'static {
    move |event| {
        calling_back(|py| {
            let told = function.call1(
                py,
                (
                    event.kind as i32,
                    event.status.map(|status| status as i32),
                    event.key.map(|id| id.to_string()),
                    event.version.map(|id| id.to_string()),
                    event.time.millis(),
                ),
            );
            if let Err(error) = told {
                show(py, error);
            }
        });
    }
}
