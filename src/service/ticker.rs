//! The rotation clock: one thread for each handle that sleeps until something is due.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Core;
use super::event::{Event, EventKind};
use crate::domain::time::Time;
use crate::error::{Result, Status};
use crate::store;
use crate::sys::sync::{Thread, Wake};

/// The longest sleep: a wall clock that was set is noticed after it.
const STEP_MS: i64 = 1000;
/// The step of a manual clock, which gives no hint when it is moved.
const MANUAL_STEP_MS: i64 = 20;
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// How long a failing rotation is left alone: 1, 2, 4 ... 60 s.
#[derive(Default)]
struct Backoff {
    until: Option<Instant>,
    pause: Duration,
}

impl Backoff {
    fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    fn again(&mut self) {
        self.pause = (self.pause * 2).clamp(Duration::from_secs(1), LONGEST_BACKOFF);
        self.until = Some(Instant::now() + self.pause);
    }
}

/// A running thread; stopped and joined on drop.
pub struct Ticker {
    core: Arc<Core>,
    thread: Option<Thread>,
}

impl Ticker {
    pub fn start(core: &Arc<Core>) -> Result<Self> {
        let (core, handle) = (Arc::clone(core), Arc::clone(core));
        let thread = Thread::start("libkms", move || {
            if catch_unwind(AssertUnwindSafe(|| core.tick_until_stopped())).is_err() {
                core.counters.thread_died.store(true, Ordering::Release);
                core.cache.touch();
                core.emit(&Event::new(EventKind::ThreadStopped, core.clock.wall()));
            }
        })?;
        Ok(Self { core: handle, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.core.alarm.stop();
        self.core.store.hurry();
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

impl Core {
    fn tick_until_stopped(&self) {
        let mut backoff = Backoff::default();
        loop {
            // Other processes' changes are looked for also while rotations wait for the disk to recover.
            let done = self.catch_up().and_then(|()| if backoff.is_over() { self.pass().map(Some) } else { Ok(None) });
            let pause = match done {
                Ok(Some(next)) => {
                    backoff = Backoff::default();
                    self.counters.failing.store(false, Ordering::Relaxed);
                    self.until(next)
                }
                Ok(None) => self.until(None),
                // A child that left its parent's call: it has a thread of its own.
                Err(error) if error.status() == Status::Forked => return,
                Err(error) => {
                    if backoff.is_over() {
                        self.counters.failing.store(true, Ordering::Relaxed);
                        self.tell_failure(&error, self.clock.wall(), None);
                        backoff.again();
                    }
                    self.until(None)
                }
            };
            if self.alarm.sleep(pause) == Wake::Stop {
                return;
            }
        }
    }

    /// Does what is due, and finds out what comes next.
    fn pass(&self) -> Result<Option<Time>> {
        // Whoever sets an earlier time from here on wakes us.
        self.wakes_at.store(i64::MAX, Ordering::Relaxed);
        let now = self.clock.now();
        self.run_due(&now, &|| self.alarm.stopped())?;
        let next = self.store.read(|view| view.next_look_after(now.wall))?;
        self.wakes_at.store(next.map_or(i64::MAX, Time::millis), Ordering::Relaxed);
        Ok(next)
    }

    fn until(&self, next: Option<Time>) -> Duration {
        let step = match self.clock.is_manual() {
            true => MANUAL_STEP_MS,
            false => STEP_MS.min(store::poll_interval_ms(self.store.is_mapped())),
        };
        let left = next.map_or(step, |next| next.millis_since(self.clock.wall()));
        Duration::from_millis(left.clamp(0, step).cast_unsigned())
    }
}
