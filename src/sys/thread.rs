//! The library's own threads.

use std::os::unix::thread::JoinHandleExt;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::sync::sleep;
use super::{exit, signal};
use crate::error::{Result, Status};

/// The stack of a thread, on which functions of the program run too: 2 MiB. The kernel provides only the used pages.
const STACK: usize = 2 << 20;

/// Runs `own` on this thread and `other` on up to `others` threads of the library, until all have returned.
///
/// Where a thread cannot be started, there are fewer. Fails if one of them panicked.
pub fn together(others: usize, own: impl FnOnce(), other: impl Fn() + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let mut started = Vec::new();
        // As in `Thread::start`.
        let old = signal::block_all();
        for _ in 0..others {
            let thread = std::thread::Builder::new().name("kms-file".into()).stack_size(STACK);
            let body = || {
                exit::this_thread_is_ours();
                other();
            };
            match thread.spawn_scoped(scope, body) {
                Ok(thread) => started.push(thread),
                Err(_) => break,
            }
        }
        signal::restore(&old);
        own();
        // Each is joined, so that the scope does not panic for one of them.
        let ended: Vec<_> = started.into_iter().map(|thread| thread.join()).collect();
        if ended.iter().any(std::result::Result::is_err) {
            return Err(Status::Internal.error("internal error (a thread panicked); please report it as a bug"));
        }
        Ok(())
    })
}

/// How many threads this process may run at once.
pub fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A named thread of the library.
#[derive(Debug)]
pub struct Thread(JoinHandle<()>);

impl Thread {
    /// Starts `body` with every signal but SIGBUS blocked, so that the host's handlers run on the host's threads.
    pub fn start(name: &str, body: impl FnOnce() + Send + 'static) -> Result<Self> {
        let old = signal::block_all();
        // Otherwise RUST_MIN_STACK in the host's environment decides.
        let thread = std::thread::Builder::new().name(name.into()).stack_size(STACK);
        let started = thread.spawn(|| {
            exit::this_thread_is_ours();
            body();
        });
        signal::restore(&old);
        started.map(Self).map_err(|e| Status::Internal.error(format!("a thread could not be started: {}", e.kind())))
    }

    /// Waits for the end of the thread; does nothing when called on the thread itself, or once `exit` has begun, when
    /// it may never end.
    pub fn join(self) {
        self.join_within(Duration::MAX);
    }

    /// As `join`, but no longer than `limit`; false if the thread still runs, and is left to itself.
    pub fn join_within(self, limit: Duration) -> bool {
        if self.0.thread().id() == std::thread::current().id() {
            return true;
        }
        let started = Instant::now();
        // A number in Rust everywhere, and a pointer to musl.
        let thread = self.0.into_pthread_t() as libc::pthread_t;
        // SAFETY: the thread was neither joined nor detached before; after success it isn't named again.
        let runs = || unsafe { libc::pthread_tryjoin_np(thread, std::ptr::null_mut()) } == libc::EBUSY;
        // Asked repeatedly, because `exit` may begin during the wait.
        while !exit::has_begun() && runs() {
            if started.elapsed() >= limit {
                // SAFETY: it was neither joined nor detached, and isn't named again.
                unsafe { libc::pthread_detach(thread) };
                return false;
            }
            sleep(Duration::from_micros(200));
        }
        true
    }
}
