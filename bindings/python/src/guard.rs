//! The layer between a call of the library and Python: it stops panics and raises exceptions of callbacks.
//!
//! A clock that raises can't hand its exception through the library, so it unwinds through it; the library takes no
//! lock before it has asked the program's clock, so nothing is left half done.

use std::any::Any;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::error::raise;

/// Bytes of input from which on the GIL is released: see `docs/internals/python.md` for the measurement.
static RELEASE_FROM: AtomicUsize = AtomicUsize::new(1 << 20);

/// What a thread is in the middle of.
struct Here {
    calls: Cell<usize>,
    callbacks: Cell<usize>,
    away: Cell<usize>,
    /// Whether one of the next two is set.
    raised: Cell<bool>,
    /// Taken by the call that they were raised in, so nothing is left at a thread's end; without a destructor they are
    /// reached faster.
    pending: ManuallyDrop<Cell<Option<PyErr>>>,
    cause: ManuallyDrop<Cell<Option<PyErr>>>,
}

thread_local! {
    static HERE: Here = const {
        Here {
            calls: Cell::new(0),
            callbacks: Cell::new(0),
            away: Cell::new(0),
            raised: Cell::new(false),
            pending: ManuallyDrop::new(Cell::new(None)),
            cause: ManuallyDrop::new(Cell::new(None)),
        }
    };
}

/// For measurements: sets the size of input from which on the GIL is released, and returns the old one.
#[pyfunction]
pub fn release_gil_from(size: usize) -> usize {
    RELEASE_FROM.swap(size, Ordering::Relaxed)
}

pub fn is_large(len: usize) -> bool {
    len >= RELEASE_FROM.load(Ordering::Relaxed)
}

pub enum Failure {
    Library(kms::Error),
    /// The library's, because of what a callback raised.
    Caused(kms::Error, PyErr),
    Python(PyErr),
    Panic,
}

impl Failure {
    pub fn raise(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Library(error) => raise(py, &error),
            Self::Caused(error, cause) => {
                let raised = raise(py, &error);
                raised.set_cause(py, Some(cause));
                raised
            }
            Self::Python(error) => error,
            Self::Panic => raise(
                py,
                &kms::Status::Poisoned
                    .error("a panic inside the library was stopped; close the keystore and report it"),
            ),
        }
    }
}

/// Threads that may lose the GIL while Rust is on their stack, in all and this one's part.
static AWAY: AtomicUsize = AtomicUsize::new(0);

/// Before Python 3.14, a thread that asks for the GIL when the interpreter has ended is unwound by pthread_exit, which
/// must not meet Rust. So the end waits for these, see [`await_calls`].
struct Away(#[expect(dead_code, reason = "counts down when it is dropped")] Count);

impl Away {
    fn new() -> Self {
        AWAY.fetch_add(1, Ordering::Relaxed);
        Self(Count::up(|here| &here.away))
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        // The GIL is held.
        AWAY.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Releases the GIL while `body` runs.
pub fn let_go<R: Send>(py: Python<'_>, body: impl FnOnce() -> R + Send) -> R {
    let _away = Away::new();
    py.detach(body)
}

/// Waits until no other thread is in a call that released the GIL; false if that takes longer than `timeout_ms`.
#[pyfunction]
pub fn await_calls(py: Python<'_>, timeout_ms: u64) -> bool {
    let end = Instant::now() + Duration::from_millis(timeout_ms);
    while AWAY.load(Ordering::Relaxed) > HERE.with(|here| here.away.get()) {
        if Instant::now() >= end {
            return false;
        }
        py.detach(|| std::thread::sleep(Duration::from_millis(1)));
    }
    true
}

/// In a forked child, the parent's other threads are gone.
#[pyfunction]
pub fn forget_other_threads() {
    AWAY.store(HERE.with(|here| here.away.get()), Ordering::Relaxed);
}

struct Count(fn(&Here) -> &Cell<usize>);

impl Count {
    fn up(counter: fn(&Here) -> &Cell<usize>) -> Self {
        HERE.with(|here| counter(here).set(counter(here).get() + 1));
        Self(counter)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        HERE.with(|here| (self.0)(here).set((self.0)(here).get() - 1));
    }
}

/// Runs one call of the library.
#[inline]
pub fn guard<R>(body: impl FnOnce() -> kms::Result<R>) -> Result<R, Failure> {
    HERE.with(|here| here.calls.set(here.calls.get() + 1));
    let done = catch_unwind(AssertUnwindSafe(body));
    let raised = HERE.with(|here| {
        here.calls.set(here.calls.get() - 1);
        here.raised.replace(false)
    });
    match done {
        Ok(Ok(done)) if !raised => Ok(done),
        done => settle(done),
    }
}

#[cold]
fn settle<R>(done: std::thread::Result<kms::Result<R>>) -> Result<R, Failure> {
    let (pending, cause) = HERE.with(|here| (here.pending.take(), here.cause.take()));
    if let Some(error) = pending {
        return Err(Failure::Python(error));
    }
    match done {
        Ok(Err(error)) => Err(match cause {
            Some(cause) => Failure::Caused(error, cause),
            None => Failure::Library(error),
        }),
        Ok(Ok(done)) => {
            // Such as a rotation that could not be anchored: encryption continues under the old primary.
            if let Some(cause) = cause {
                calling_back(|py| cause.write_unraisable(py, None));
            }
            Ok(done)
        }
        Err(payload) => Err(payload.downcast::<PyErr>().map_or(Failure::Panic, |error| Failure::Python(*error))),
    }
}

/// One call that releases the GIL: it may wait for the disk, for other processes, or for a thread that wants the GIL.
pub fn detached<R: Send>(py: Python<'_>, body: impl FnOnce() -> kms::Result<R> + Send) -> PyResult<R> {
    let_go(py, || guard(body)).map_err(|failure| failure.raise(py))
}

/// One call on `len` bytes: it holds the GIL if they are few and it need not wait; otherwise it releases it.
pub fn sized<R: Send>(py: Python<'_>, len: usize, body: impl Fn() -> kms::Result<R> + Send) -> PyResult<R> {
    if !is_large(len)
        && let Some(done) = quick(&body)
    {
        return done.map_err(|failure| failure.raise(py));
    }
    detached(py, body)
}

/// One call that holds the GIL. None if it would wait, for a lock of another process or for a thread that has one: the whole
/// interpreter would, so it is to be made again without the GIL.
#[inline]
pub fn quick<R>(body: impl FnOnce() -> kms::Result<R>) -> Option<Result<R, Failure>> {
    kms::internal::without_waiting(|| guard(body))
}

/// Runs a function of the user's; `None` when the interpreter has ended.
pub fn calling_back<R>(body: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    Python::try_attach(|py| {
        let _count = Count::up(|here| &here.callbacks);
        let _away = Away::new();
        kms::internal::waiting_again(|| body(py))
    })
}

/// Whether this thread runs a callback now.
pub fn in_callback() -> bool {
    HERE.with(|here| here.callbacks.get()) > 0
}

fn in_call() -> bool {
    HERE.with(|here| here.calls.get()) > 0
}

/// An exception without which the call can't continue: it ends the call, if this thread is in one.
pub fn end_call(error: PyErr) -> PyErr {
    if in_call() {
        resume_unwind(Box::new(error) as Box<dyn Any + Send>);
    }
    error
}

/// An exception of a function that is only notified: shown, as Python shows those of `__del__`. An interrupt comes
/// out of the call instead.
pub fn show(py: Python<'_>, error: PyErr) {
    if in_call() && !error.is_instance_of::<PyException>(py) {
        HERE.with(|here| {
            here.pending.set(Some(error));
            here.raised.set(true);
        });
    } else {
        error.write_unraisable(py, None);
    }
}

/// An exception of a function that the call can't succeed without: the cause of its failure, or, on the rotation thread,
/// shown. An interrupt comes out of the call instead.
pub fn refuse(py: Python<'_>, error: PyErr) {
    if in_call() && error.is_instance_of::<PyException>(py) {
        HERE.with(|here| {
            here.cause.set(Some(error));
            here.raised.set(true);
        });
    } else {
        show(py, error);
    }
}

/// What was refused before doesn't matter any more: the same object has done now what it was asked for.
pub fn forget_cause() {
    HERE.with(|here| {
        let pending = here.pending.take();
        here.raised.set(pending.is_some());
        here.pending.set(pending);
        drop(here.cause.take());
    });
}
