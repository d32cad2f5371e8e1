//! The class `Keystore`: an open handle, how it is opened and when it ends.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kms::{Keystore as Handle, Options, Status};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::buffer::Input;
use crate::callback::{self, listener};
use crate::clock::ManualClock;
use crate::error::raise;
use crate::guard::{detached, in_callback, let_go};
use crate::raw::{End, Lent, Loan};

/// The location without the password of a database.
#[pyfunction]
pub fn shown_location(location: &str) -> String {
    kms::internal::shown_location(location)
}

/// An open keystore; `libkms.open` makes it.
#[pyclass(subclass, frozen, module = "libkms._libkms")]
pub struct Keystore {
    kms: Lent<Handle>,
    /// Whether Python code can run in the middle of a call that holds the GIL.
    pub calls_python: bool,
}

impl End for Handle {
    fn end(self) {
        if in_callback() {
            // The end waits for the rotation thread, which may be this one.
            std::thread::spawn(move || drop(self));
        } else {
            // The rotation thread may wait for the GIL.
            let kms = Mutex::new(Some(self));
            let end = || drop(kms.lock().unwrap_or_else(PoisonError::into_inner).take());
            if Python::try_attach(|py| let_go(py, end)).is_none() {
                end();
            }
        }
    }
}

#[pymethods]
impl Keystore {
    /// Use `libkms.open`.
    #[new]
    #[pyo3(signature = (location, *, root_key=None, root_key_file=None, root_passphrase=None, root_callback=None,
        anchor_file=None, anchor_callback=None, anchor_strict=false, require_backup_s=0, create=false, read_only=false, rotation_thread=None, busy_timeout_ms=5000,
        poll_interval_ms=1000, offline_limit_s=300, accept_rollback=false, cache_keys=32_768, clock=None, on_event=None, actor=None))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords")]
    fn new(
        py: Python<'_>,
        location: &str,
        root_key: Option<&Bound<'_, PyAny>>,
        root_key_file: Option<PathBuf>,
        root_passphrase: Option<&Bound<'_, PyAny>>,
        root_callback: Option<Py<PyAny>>,
        anchor_file: Option<PathBuf>,
        anchor_callback: Option<Py<PyAny>>,
        anchor_strict: bool,
        require_backup_s: u64,
        create: bool,
        read_only: bool,
        rotation_thread: Option<bool>,
        busy_timeout_ms: u64,
        poll_interval_ms: u64,
        offline_limit_s: u64,
        accept_rollback: bool,
        cache_keys: usize,
        clock: Option<&Bound<'_, PyAny>>,
        on_event: Option<Py<PyAny>>,
        actor: Option<&str>,
    ) -> PyResult<Self> {
        let asks_clock = clock.is_some_and(|clock| clock.cast::<ManualClock>().is_err());
        let calls_python = asks_clock || root_callback.is_some() || anchor_callback.is_some() || on_event.is_some();
        let mut options = Options::new()
            .create(create)
            .read_only(read_only)
            .busy_timeout(Duration::from_millis(busy_timeout_ms))
            .poll_interval(Duration::from_millis(poll_interval_ms))
            .offline_limit(Duration::from_secs(offline_limit_s))
            .accept_rollback(accept_rollback)
            .anchor_strict(anchor_strict)
            .cache_keys(cache_keys)
            .require_backup(Duration::from_secs(require_backup_s));
        options = with_root(options, root_key, root_key_file, root_passphrase, root_callback)?;
        if anchor_file.is_some() && anchor_callback.is_some() {
            return Err(raise(py, &Status::InvalidArgument.error("more than one anchor was set; set one")));
        }
        if let Some(path) = anchor_file {
            options = options.anchor_file(path);
        }
        if let Some(object) = anchor_callback {
            options = options.anchor_callback(Arc::new(callback::Anchor(object)));
        }
        if let Some(clock) = clock {
            options = match clock.cast::<ManualClock>() {
                Ok(manual) => options.clock(manual.get().0.clone()),
                Err(_) => options.clock(callback::Clock::new(clock)?),
            };
        }
        if let Some(on) = rotation_thread {
            options = options.rotation_thread(on);
        }
        if let Some(function) = on_event {
            options = options.on_event(listener(function));
        }
        if let Some(label) = actor {
            options = options.actor(label);
        }
        let kms = detached(py, || Handle::open(location, &options))?;
        Ok(Self { kms: Lent::new(kms), calls_python })
    }

    /// Stop the rotation thread, wipe all key material and close the keystore.
    ///
    /// Calls that run in other threads end first. Closing twice is fine; any other call after it raises
    /// `InvalidArgument`. Not from a callback: RuntimeError.
    ///
    /// >>> kms.close()
    /// >>> kms.closed
    /// True
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if in_callback() {
            return Err(PyRuntimeError::new_err(
                "a callback can't close a keystore; close it when the call has returned",
            ));
        }
        self.kms.end(py);
        Ok(())
    }

    /// Whether `close` was called.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        self.kms.is_over(py)
    }
}

impl Keystore {
    #[inline]
    pub fn in_use<'py>(&self, py: Python<'py>) -> PyResult<Loan<'_, 'py, Handle>> {
        self.kms.lend(py).ok_or_else(|| closed(py))
    }

    /// One call that releases the GIL.
    pub fn call<R: Send>(&self, py: Python<'_>, body: impl FnOnce(&Handle) -> kms::Result<R> + Send) -> PyResult<R> {
        let kms = self.in_use(py)?;
        let kms: &Handle = &kms;
        detached(py, || body(kms))
    }
}

#[cold]
fn closed(py: Python<'_>) -> PyErr {
    raise(py, &Status::InvalidArgument.error("the keystore is closed; open it again"))
}

/// Options with the roots that were passed, of which the library wants exactly one.
pub fn with_root(
    mut options: Options,
    key: Option<&Bound<'_, PyAny>>,
    file: Option<PathBuf>,
    passphrase: Option<&Bound<'_, PyAny>>,
    callback: Option<Py<PyAny>>,
) -> PyResult<Options> {
    if let Some(key) = key {
        options = options.root_key(Input::of(key)?.as_slice());
    }
    if let Some(path) = file {
        options = options.root_key_file(path);
    }
    if let Some(passphrase) = passphrase {
        options = options.root_passphrase(Input::of(passphrase)?.as_slice());
    }
    if let Some(object) = callback {
        options = options.root_callback(Arc::new(callback::Root(object)));
    }
    Ok(options)
}
