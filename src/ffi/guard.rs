//! The one way through the boundary: no panic crosses it, and each failure leaves its text for `kms_last_error`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::last_error;
use super::status::{KMS_OK, kms_status};
use crate::error::{Error, Result, Status};
use crate::sys::shield::Shield;
use crate::sys::{fork, memory};

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
            last_error::forget();
            KMS_OK
        }
        Ok(Err(error)) => failed(error),
        Err(panic) => {
            discard(panic);
            failed(Status::Internal.error("internal error (a panic was caught in libkms); please report it as a bug"))
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

#[cold]
fn failed(error: Error) -> kms_status {
    let status = error.status() as kms_status;
    last_error::remember(error);
    status
}

#[cfg(test)]
mod tests;
