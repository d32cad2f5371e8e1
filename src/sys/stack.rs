//! Wipes what a call that handled keys has left on the stack.
//!
//! A key that is returned, or passed on by value, is copied from frame to frame, and only the last copy can be
//! wiped by its owner.

use std::hint::black_box;

use super::fault;

/// How far below its caller a call may leave keys. SQLite, which sees none, goes deeper.
const DEPTH: usize = 32 * 1024;

/// Runs `body`, then overwrites the stack that it used.
pub fn with_stack_wiped<R>(body: impl FnOnce() -> R) -> R {
    let result = below(body);
    if !fault::wanted("KMS_FAULT_UNSWEPT") {
        below(sweep);
    }
    result
}

/// Calls from one and the same height of the stack.
#[inline(never)]
fn below<R>(body: impl FnOnce() -> R) -> R {
    body()
}

#[inline(never)]
fn sweep() {
    black_box(&mut [0u8; DEPTH]);
}
