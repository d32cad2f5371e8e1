//! Waits for announcements of other hosts' changes, on a separate thread.
//!
//! An announcement makes the next poll due. A flood of announcements does not cause a flood of polls. Without any,
//! polls come at their interval.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Core;
use crate::store::Announcements;
use crate::sys::fault;
use crate::sys::sync::{Alarm, Lock, Wake};
use crate::sys::thread::Thread;

/// The least time between the beginnings of two polls, where changes are announced.
pub(super) const GAP_MS: i64 = 50;
const GAP: Duration = Duration::from_millis(GAP_MS.cast_unsigned());
/// A handle that is closed before this age makes no second connection.
const LEAST_AGE: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_JOIN: Duration = Duration::from_millis(500);

/// The thread, once it was started.
#[derive(Default)]
pub(super) struct NewsThread {
    source: Option<Arc<dyn Announcements>>,
    thread: Lock<Option<Thread>>,
    alarm: Alarm,
}

impl NewsThread {
    pub fn of(source: Option<Arc<dyn Announcements>>) -> Self {
        Self { source, ..Self::default() }
    }

    /// Whether there is a source of announcements, and no thread listens yet.
    fn needs_thread(&self) -> bool {
        self.source.is_some() && self.thread.lock().is_ok_and(|thread| thread.is_none())
    }

    /// Has the thread end. [`Self::join`] waits for it.
    pub fn stop(&self) {
        self.alarm.stop();
        if let Some(source) = &self.source {
            source.stop();
        }
    }

    /// A thread that is resolving the server's address or connecting is not waited for. It holds nothing of the handle.
    pub fn join(&self) {
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            thread.join_within(LONGEST_JOIN);
        }
    }

    fn listen_until_stopped(&self, core: &Weak<Core>) {
        let Some(source) = &self.source else { return };
        let mut pause = FIRST_PAUSE;
        loop {
            // Why listening fails does not matter: polls report whether the server answers.
            let _ = source.listen(&mut || {
                pause = FIRST_PAUSE;
                if let Some(core) = core.upgrade() {
                    core.presence.is_hinted.store(true, Ordering::Relaxed);
                    core.alarm.nudge();
                }
                // What comes meanwhile is heard together.
                if !is_flooded() {
                    let _ = self.alarm.sleep(GAP);
                }
            });
            if self.alarm.sleep(pause) == Wake::Stop {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Whether floods are let through, where a test wants to see what comes of it.
pub(super) fn is_flooded() -> bool {
    fault::wanted("KMS_FAULT_NEWS_UNBOUNDED")
}

impl Core {
    /// Starts to listen once the handle is old enough, where changes are announced and no thread listens. Returns when
    /// to call it again. Where no thread can be started, polls find the changes.
    pub(super) fn start_news(&self, age: Duration) -> Duration {
        if !self.news.needs_thread() {
            return Duration::MAX;
        }
        if age < LEAST_AGE {
            return LEAST_AGE - age;
        }
        if let Ok(mut thread) = self.news.thread.lock() {
            let (news, core) = (Arc::clone(&self.news), self.me.clone());
            *thread = Thread::start("kms-news", move || news.listen_until_stopped(&core)).ok();
        }
        Duration::MAX
    }
}
