//! The one way through the boundary: no panic crosses it, and each failure leaves its text for `kms_last_error`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::status::{KMS_OK, kms_status};
use crate::error::{Error, Result, Status};
use crate::sys::shield::Shield;
use crate::sys::{fork, memory};

thread_local! {
    static LAST: Last = const { Last(RefCell::new(None)) };
    /// Whether this thread has a `LAST` by now. Its first use registers its end, which takes memory, and glibc ends the
    /// process where there is none.
    static HAS_LAST: Cell<bool> = const { Cell::new(false) };
    /// The last failure was for want of memory, which no text is kept of.
    static SHORT: Cell<bool> = const { Cell::new(false) };
}

/// Threads whose last call failed. While there are none, a success has nothing to clear, and needn't look for its thread's
/// text, which costs a call in a shared library.
static FAILED: AtomicUsize = AtomicUsize::new(0);

/// The last failure of a thread, counted while it stands.
struct Last(RefCell<Option<Error>>);

impl Last {
    fn set(&self, error: Option<Error>) {
        // Borrowed only while a text is read out, by a function of ours.
        let Ok(mut last) = self.0.try_borrow_mut() else { return };
        match (last.is_some(), error.is_some()) {
            (false, true) => FAILED.fetch_add(1, Ordering::Relaxed),
            (true, false) => FAILED.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        *last = error;
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        self.set(None);
    }
}

/// Runs the body of an exported function.
pub fn guard(body: impl FnOnce() -> Result<()>) -> kms_status {
    let _shield = Shield::raise();
    guard_hot(|| {
        memory::headroom()?;
        body()
    })
}

/// As `guard`, for a body that mostly touches memory of its thread alone, and raises the shield itself where it doesn't.
#[inline]
pub fn guard_hot(body: impl FnOnce() -> Result<()>) -> kms_status {
    let _reopened = fork::reopen();
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => {
            forget();
            KMS_OK
        }
        Ok(Err(error)) => remember(error),
        Err(panic) => {
            discard(panic);
            remember(Status::Internal.error("internal error (a panic was caught in libkms); please report it as a bug"))
        }
    }
}

/// For functions that can't fail and return nothing.
pub fn quietly(body: impl FnOnce()) {
    let _shield = Shield::raise();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
        discard(panic);
    }
}

/// Drops a panic's payload, whose own drop may panic too.
fn discard(mut panic: Box<dyn Any + Send>) {
    for _ in 0..3 {
        match catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            Ok(()) => return,
            Err(next) => panic = next,
        }
    }
    std::mem::forget(panic);
}

#[inline]
fn forget() {
    // This thread sees its own failure counted; those of others only cost it a look.
    if FAILED.load(Ordering::Relaxed) != 0 {
        clear();
    }
}

fn clear() {
    if SHORT.replace(false) {
        FAILED.fetch_sub(1, Ordering::Relaxed);
    }
    if HAS_LAST.get() {
        // A thread that is ending has no text any more.
        let _ = LAST.try_with(|last| last.set(None));
    }
}

#[cold]
fn remember(error: Error) -> kms_status {
    let status = error.status() as kms_status;
    clear();
    if error.status() == Status::OutOfMemory {
        SHORT.set(true);
        FAILED.fetch_add(1, Ordering::Relaxed);
        return status;
    }
    HAS_LAST.set(true);
    let _ = LAST.try_with(|last| last.set(Some(error)));
    status
}

pub fn with_last_error(read: impl FnOnce(&str) -> usize) -> usize {
    if SHORT.get() {
        return read(memory::TEXT);
    }
    if !HAS_LAST.get() {
        return read("");
    }
    let mut read = Some(read);
    let mut len = 0;
    let mut run = |text: &str| len = read.take().map_or(0, |read| read(text));
    let found = LAST.try_with(|last| match last.0.try_borrow().as_deref() {
        Ok(Some(error)) => run(error.text()),
        _ => run(""),
    });
    if found.is_err() {
        run("");
    }
    len
}

#[cfg(test)]
mod tests;
