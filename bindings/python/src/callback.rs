//! Python functions that the library calls: a clock, a root key wrapper, an anchor, a listener to events.

use std::sync::atomic::{AtomicI64, Ordering};

use kms::{Plaintext, Status, Time, health::Event};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::buffer::Input;
use crate::guard::{calling_back, end_call, forget_cause, refuse, show};

/// A clock read from a Python function of Unix milliseconds; one endless boot, as any clock of the caller's.
pub struct Clock {
    function: Py<PyAny>,
    last: AtomicI64,
}

impl Clock {
    /// Asks it once, so that there is a time to continue with when it fails later on the rotation thread.
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
}

/// Calls a method of an object that the library depends on.
fn ask<R>(
    object: &Py<PyAny>,
    method: &str,
    given: &[&[u8]],
    status: Status,
    answer: impl FnOnce(Bound<'_, PyAny>) -> PyResult<R>,
) -> kms::Result<R> {
    let asked = calling_back(|py| {
        let object = object.bind(py);
        let given = given.iter().map(|bytes| PyBytes::new(py, bytes));
        let answered = PyTuple::new(py, given).and_then(|given| object.call_method1(method, given));
        answered.and_then(answer).map_err(|raised| refuse(py, raised))
    });
    match asked {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(())) => Err(status.error(format!("the callback's {method} raised an exception"))),
        None => Err(status.error("the interpreter has ended")),
    }
}

fn bytes(answer: Bound<'_, PyAny>) -> PyResult<Plaintext> {
    Ok(Input::of(&answer)?.as_slice().to_vec().into())
}

/// An object with `wrap` and `unwrap`.
pub struct Root(pub Py<PyAny>);

impl kms::root::RootWrapper for Root {
    fn wrap(&self, root: &[u8], aad: &[u8]) -> kms::Result<Vec<u8>> {
        ask(&self.0, "wrap", &[root, aad], Status::RootKeyUnavailable, bytes).map(|bytes| bytes.to_vec())
    }

    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> kms::Result<Plaintext> {
        let unwrapped = ask(&self.0, "unwrap", &[wrapped, aad], Status::RootKeyUnavailable, bytes)?;
        // It refused another slot, or other aad, before.
        forget_cause();
        Ok(unwrapped)
    }
}

/// An object with `get` and `put`; `get` returns None while there is no record.
pub struct Anchor(pub Py<PyAny>);

impl kms::root::AnchorStore for Anchor {
    fn get(&self) -> kms::Result<Vec<u8>> {
        ask(&self.0, "get", &[], Status::AnchorUnavailable, |answer| {
            if answer.is_none() { Ok(Vec::new()) } else { bytes(answer).map(|bytes| bytes.to_vec()) }
        })
    }

    fn put(&self, record: &[u8]) -> kms::Result<()> {
        ask(&self.0, "put", &[record], Status::AnchorUnavailable, |_| Ok(()))
    }
}

/// Passes events to a Python function: kind, status, key id, version id, Unix milliseconds, waited milliseconds.
pub fn listener(function: Py<PyAny>) -> impl Fn(&Event) + Send + Sync + 'static {
    move |event| {
        calling_back(|py| {
            let done = function.call1(
                py,
                (
                    event.kind as i32,
                    event.status.map(|status| status as i32),
                    event.key.map(|id| id.to_string()),
                    event.version.map(|id| id.to_string()),
                    event.time.millis(),
                    event.waited_ms,
                ),
            );
            if let Err(error) = done {
                show(py, error);
            }
        });
    }
}
