//! Stops library threads from calling the shared libcrypto after `exit` begins to tear it down.
//!
//! libcrypto frees its state in a function that `exit` runs. Ours is registered after that one and so runs before it:
//! from then on a library thread that reaches the fork gate parks indefinitely and is never joined. The host's own
//! threads continue as before: the host program must stop their calls.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{fault, sync};
use crate::error::{Result, Status};

/// How long `exit` waits for a library thread that is inside the gate: a disk that doesn't answer must not keep it.
const PATIENCE: Duration = Duration::from_secs(5);

static BEGUN: AtomicBool = AtomicBool::new(false);
/// Library threads inside the gate. None is there while the process forks, so a child starts with none.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Marks the calling thread as one of the library.
pub fn this_thread_is_ours() {
    OURS.set(true);
}

/// Whether `exit` has begun, so that a library thread may never end.
pub fn has_begun() -> bool {
    BEGUN.load(Ordering::SeqCst)
}

/// A stay inside the gate that `exit` waits for.
pub struct Stay(bool);

impl Stay {
    /// None for a library thread that comes too late, and must [`park`] with nothing held.
    pub fn begin() -> Option<Self> {
        let ours = OURS.try_with(Cell::get).unwrap_or(false);
        if ours {
            // Counted before the check: either `exit` sees the count, or we see that it has begun.
            INSIDE.fetch_add(1, Ordering::SeqCst);
        }
        let stay = Self(ours);
        if ours && has_begun() { None } else { Some(stay) }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if self.0 {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Waits for the end of the process.
pub fn park() -> ! {
    loop {
        sync::sleep(Duration::MAX);
    }
}

/// Makes `exit` shut our threads out, before all handlers that are registered so far. Called once, after libcrypto's
/// own start.
pub fn register() -> Result<()> {
    if fault::wanted("KMS_FAULT_NO_EXIT_GATE") {
        return Ok(());
    }
    // SAFETY: a function of this library, which is never unloaded.
    match unsafe { libc::atexit(shut) } {
        0 => Ok(()),
        _ => Err(Status::Internal.error("no function can be registered with atexit")),
    }
}

extern "C" fn shut() {
    // A callback on our thread may call `exit`; what runs here next is the host's.
    let _ = OURS.try_with(|ours| ours.set(false));
    BEGUN.store(true, Ordering::SeqCst);
    let deadline = Instant::now() + PATIENCE;
    while INSIDE.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
        sync::sleep(Duration::from_micros(200));
    }
}
