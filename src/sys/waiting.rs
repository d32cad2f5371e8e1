//! Lets a caller find out whether a call would wait, for the disk, another process or another thread.
//!
//! A host that holds its own lock, such as Python's, first tries the call in a mode that must not wait. A call that
//! would wait is refused before anything is changed; then the host releases its lock and calls again.

use std::cell::Cell;

use crate::error::{Result, Status};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    MayWait,
    MustNot,
    /// The call had to be refused.
    Refused,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::MayWait) };
}

/// Restores the mode, also when the body unwinds.
struct Before(Mode);

impl Drop for Before {
    fn drop(&mut self) {
        MODE.set(self.0);
    }
}

/// Runs `body`; none if it would have waited, also if it returned a value.
#[inline]
pub fn without<R>(body: impl FnOnce() -> R) -> Option<R> {
    let _before = Before(MODE.replace(Mode::MustNot));
    let result = body();
    (MODE.get() != Mode::Refused).then_some(result)
}

/// Runs a function of the user's, whose own calls may wait.
pub fn again<R>(body: impl FnOnce() -> R) -> R {
    let _before = Before(MODE.replace(Mode::MayWait));
    body()
}

/// Asked before anything that may wait; the error is never shown to a user.
pub fn allowed() -> Result<()> {
    if MODE.get() == Mode::MayWait {
        return Ok(());
    }
    MODE.set(Mode::Refused);
    Err(Status::KeystoreBusy.error("the call would wait, which its caller doesn't want"))
}

/// Whether this call was refused already.
pub fn refused() -> bool {
    MODE.get() == Mode::Refused
}

#[cfg(test)]
mod tests;
