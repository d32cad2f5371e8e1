//! The text of each thread's last failure, for `kms_last_error`.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, OUT_OF_MEMORY, Status};

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
pub(super) static FAILED: AtomicUsize = AtomicUsize::new(0);

/// The last failure of a thread, counted while it stands.
struct Last(RefCell<Option<Error>>);

impl Last {
    fn set(&self, error: Option<Error>) {
        // Borrowed only while a text is read out, by a function of this module.
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

/// Clear the text of a success.
#[inline]
pub fn forget() {
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

/// Keep the text of a failure.
#[cold]
pub fn remember(error: Error) {
    clear();
    if error.status() == Status::OutOfMemory {
        SHORT.set(true);
        FAILED.fetch_add(1, Ordering::Relaxed);
        return;
    }
    HAS_LAST.set(true);
    let _ = LAST.try_with(|last| last.set(Some(error)));
}

/// Read the text; empty after a success.
pub fn with(read: impl FnOnce(&str) -> usize) -> usize {
    if SHORT.get() {
        return read(OUT_OF_MEMORY);
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
