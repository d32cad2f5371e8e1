//! The rotation clock: one thread for each handle that sleeps until something is due.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::Core;
use super::event::{Event, EventKind};
use super::news::{GAP_MS, is_flooded};
use crate::domain::time::{Now, Time};
use crate::error::{Result, Status};
use crate::sys::clocks;
use crate::sys::sync::{Lock, Wake};
use crate::sys::thread::Thread;

/// The longest sleep: a wall clock that was set is noticed after it.
const STEP_MS: i64 = 1000;
/// The step of a manual clock, which does not announce when it moves.
const MANUAL_STEP_MS: i64 = 20;
/// A thread that is silent for this long is late: a clock, a disk or another process delays it.
const LATE_MS: i64 = 10_000;
/// How coarse the coarse clock may be.
const COARSE_MS: i64 = 5;
/// A start that failed is not tried again for this long.
const START_AGAIN_MS: i64 = 5000;
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

/// The rotation thread of a handle, once it could be started.
pub(super) struct Ticker {
    /// Whether a thread is to rotate what is due.
    wanted: bool,
    /// Whether one is to poll, even where none rotates.
    polls: bool,
    thread: Lock<Option<Thread>>,
    /// Whether it runs.
    runs: AtomicBool,
    /// Whether it runs and rotates.
    ticks: AtomicBool,
    /// Coarse time before which a start that failed is not tried again.
    start_after: AtomicI64,
    /// Coarse time of the thread's last sign of life.
    looked_at: AtomicI64,
}

impl Ticker {
    pub fn new(wanted: bool, polls: bool) -> Self {
        Self {
            wanted,
            polls,
            thread: Lock::default(),
            runs: AtomicBool::new(false),
            ticks: AtomicBool::new(false),
            start_after: AtomicI64::new(i64::MIN),
            looked_at: AtomicI64::new(clocks::coarse_ms()),
        }
    }

    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    pub fn runs(&self) -> bool {
        self.runs.load(Ordering::Relaxed)
    }

    #[inline]
    pub fn ticks(&self) -> bool {
        self.ticks.load(Ordering::Relaxed)
    }

    pub fn is_late(&self) -> bool {
        self.runs() && clocks::coarse_ms() - self.looked_at.load(Ordering::Relaxed) > LATE_MS
    }

    fn looks(&self) {
        self.looked_at.store(clocks::coarse_ms(), Ordering::Relaxed);
    }
}

impl Core {
    /// Starts the rotation thread, where one is wanted and doesn't run. A program may have as many threads as it is allowed:
    /// then calls do the thread's work, and one of them tries again.
    pub(super) fn start_ticker(&self) {
        let (ticker, now) = (&self.ticker, clocks::coarse_ms());
        if !(ticker.wanted || ticker.polls) || ticker.runs() || now < ticker.start_after.load(Ordering::Relaxed) {
            return;
        }
        let (Some(core), Ok(mut thread)) = (self.me.upgrade(), ticker.thread.lock()) else { return };
        if thread.is_some() {
            return;
        }
        ticker.looks();
        let started = Thread::start("libkms", move || {
            if catch_unwind(AssertUnwindSafe(|| core.tick_until_stopped())).is_err() {
                core.counters.thread_died.store(true, Ordering::Release);
                core.cache.touch();
                // It may be the clock that panics.
                let told = catch_unwind(AssertUnwindSafe(|| core.clock.wall()));
                let at = told.unwrap_or_else(|_| Time::from_millis(clocks::realtime_ms()));
                core.emit(&Event::new(EventKind::ThreadStopped, at));
            }
        });
        match started {
            Ok(started) => {
                *thread = Some(started);
                ticker.runs.store(true, Ordering::Relaxed);
                ticker.ticks.store(ticker.wanted, Ordering::Relaxed);
            }
            Err(_) => ticker.start_after.store(now + START_AGAIN_MS, Ordering::Relaxed),
        }
    }

    /// Stops the rotation thread, and waits for it.
    pub(super) fn stop_ticker(&self) {
        self.alarm.stop();
        self.news.stop();
        self.store.cancel_waits();
        let thread = self.ticker.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            thread.join();
        }
        // Only the thread before starts it.
        self.news.join();
    }

    fn tick_until_stopped(&self) {
        let mut backoff = Backoff::default();
        let begun = Instant::now();
        loop {
            self.ticker.looks();
            let until_news = self.start_news(begun.elapsed());
            // Other processes' changes are read also while rotations wait for the disk to recover.
            let looked = if self.is_poll_due() { self.poll() } else { Ok(()) };
            let is_away = looked.is_err() && self.presence.is_away();
            let passes = self.ticker.wanted && backoff.is_over();
            let done = looked.and_then(|()| if passes { self.pass().map(Some) } else { Ok(None) });
            let pause = match done {
                Ok(Some(next)) => {
                    backoff = Backoff::default();
                    self.counters.failing.store(false, Ordering::Relaxed);
                    self.until(next)
                }
                Ok(None) => self.until(None),
                // A child that left its parent's call: it has its own thread.
                Err(error) if error.status() == Status::Forked => return,
                // Reported when it began; what is due is late, and waits for the next poll.
                Err(_) if is_away => self.until(None),
                Err(error) => {
                    if backoff.is_over() {
                        self.counters.failing.store(true, Ordering::Relaxed);
                        self.tell_failure(&error, self.clock.wall(), None);
                        backoff.again();
                    }
                    self.until(None)
                }
            };
            if self.alarm.sleep(pause.min(until_news)) == Wake::Stop {
                return;
            }
        }
    }

    /// Does what is due, and finds out what comes next.
    pub(super) fn pass(&self) -> Result<Option<Time>> {
        // What others change meanwhile is read below, and what this pass changes must not cause another.
        self.wakes_at.store(i64::MIN, Ordering::Relaxed);
        let now = self.clock.now();
        let done = self.do_due(&now);
        // A thread that sets an earlier time from here on wakes this one.
        self.wakes_at.store(i64::MAX, Ordering::Relaxed);
        done?;
        let next = self.store.read(|view| view.next_look_after(now.wall))?;
        self.wakes_at.store(next.map_or(i64::MAX, Time::millis), Ordering::Relaxed);
        Ok(next)
    }

    fn do_due(&self, now: &Now) -> Result<()> {
        let stop = || {
            self.ticker.looks();
            // A long pass must not delay the news.
            if self.store.is_remote() && self.is_poll_due() {
                let _ = self.poll();
            }
            self.alarm.stopped()
        };
        self.begin_day(now.wall);
        self.run_due(now, &stop)?;
        match self.record_uses(&stop) {
            Err(error) if error.status() == Status::Forked => Err(error),
            // Dates are kept for the next pass, and rotations must not wait for them.
            _ => Ok(()),
        }
    }

    /// Whether it is time to ask for changes, regardless of what woke this thread: on another machine at the set
    /// interval, or once a change was announced.
    fn is_poll_due(&self) -> bool {
        !self.store.is_remote() || self.presence.asked_ms_ago() + COARSE_MS >= self.poll_pause_ms()
    }

    /// How long after a poll the next one is due.
    fn poll_pause_ms(&self) -> i64 {
        let interval = self.store.poll_interval_ms();
        match self.presence.is_hinted.load(Ordering::Relaxed) {
            true if is_flooded() => 0,
            true => interval.min(GAP_MS),
            false => interval,
        }
    }

    fn until(&self, next: Option<Time>) -> Duration {
        let step = match self.clock.is_manual() {
            true if self.ticker.wanted => MANUAL_STEP_MS.min(self.store.poll_interval_ms()),
            true => self.store.poll_interval_ms(),
            false => STEP_MS.min(self.store.poll_interval_ms()),
        };
        let step = match self.store.is_remote() {
            true => step.min(self.poll_pause_ms().saturating_sub(self.presence.asked_ms_ago())).max(0),
            false => step,
        };
        let left = next.map_or(step, |next| next.millis_since(self.clock.wall()));
        Duration::from_millis(left.clamp(0, step).cast_unsigned())
    }
}
