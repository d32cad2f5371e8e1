//! The one way through the boundary: no panic crosses it, and each failure leaves its text for `kms_last_error`.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::status::{KMS_OK, kms_status};
use crate::error::{Error, Result, Status};

thread_local! {
    static LAST: RefCell<Option<Error>> = const { RefCell::new(None) };
}

/// Runs the body of an exported function.
#[inline]
pub fn guard(body: impl FnOnce() -> Result<()>) -> kms_status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => {
            forget();
            KMS_OK
        }
        Ok(Err(error)) => remember(error),
        Err(panic) => {
            discard(panic);
            remember(Status::Internal.error("a bug in libkms was stopped; please report it with what led to it"))
        }
    }
}

/// For functions that can't fail and return nothing.
pub fn quietly(body: impl FnOnce()) {
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
    // A thread that is ending has no text any more.
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut()
            && last.is_some()
        {
            *last = None;
        }
    });
}

#[cold]
fn remember(error: Error) -> kms_status {
    let status = error.status() as kms_status;
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(error);
        }
    });
    status
}

pub fn with_last_error(read: impl FnOnce(&str) -> usize) -> usize {
    let text = LAST.try_with(|last| last.try_borrow().ok().and_then(|l| l.as_ref().map(ToString::to_string)));
    read(&text.ok().flatten().unwrap_or_default())
}

#[cfg(test)]
mod tests;
