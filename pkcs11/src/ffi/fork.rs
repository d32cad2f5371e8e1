//! Keeps the state whole across a fork: its lock is taken before, and released in parent and child.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::state::{self, State};

thread_local! {
    /// Never dropped with its thread: a function registered by `atexit` may fork, and runs after that.
    static HELD: RefCell<Option<ManuallyDrop<MutexGuard<'static, Option<State>>>>> = const { RefCell::new(None) };
}

static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Registers the handlers, once. They are never taken back, so the module stays loaded (build.rs).
pub fn register() {
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        // SAFETY: three functions that live as long as the process.
        unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
    }
}

extern "C" fn before() {
    let guard = state::lock();
    let _ = HELD.try_with(|held| *held.borrow_mut() = Some(ManuallyDrop::new(guard)));
}

fn release() -> bool {
    let held = HELD.try_with(|held| held.borrow_mut().take()).ok().flatten();
    let has_state = held.as_ref().is_some_and(|guard| guard.is_some());
    drop(held.map(ManuallyDrop::into_inner));
    has_state
}

extern "C" fn after_in_parent() {
    release();
}

extern "C" fn after_in_child() {
    if release() {
        state::note_fork();
    }
}
