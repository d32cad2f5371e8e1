//! Delivers events to the program's listener, from a queue on a separate thread: a listener that blocks delays only
//! other events.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::event::{Event, EventHandler};
use crate::sys::fork;
use crate::sys::sync::{Alarm, Lock, Wake};
use crate::sys::thread::Thread;

/// Events that wait for the listener; what comes then is dropped, and counted.
const CAPACITY: usize = 1024;
/// How long closing waits for the listener.
const CLOSING: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(3600);

/// A listener and the events that it has not received.
pub(super) struct Delivery {
    listener: EventHandler,
    /// Whether a thread delivers. Otherwise the thread that makes an event delivers it before it continues.
    queues: bool,
    epoch: u64,
    waiting: Lock<VecDeque<Event>>,
    alarm: Alarm,
    thread: Lock<Option<Thread>>,
    /// Set when the handle is closed without waiting any longer.
    abandoned: AtomicBool,
    dropped: AtomicU64,
}

impl Delivery {
    pub fn to(listener: EventHandler, queues: bool) -> Arc<Self> {
        Arc::new(Self {
            listener,
            queues,
            epoch: fork::epoch(),
            waiting: Lock::default(),
            alarm: Alarm::default(),
            thread: Lock::default(),
            abandoned: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        })
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub fn tell(self: &Arc<Self>, event: &Event) {
        match self.queues {
            // A child inside its parent's call: another thread may have held a lock at the moment of the fork.
            true if self.epoch != fork::epoch() => {}
            true if self.is_running() => self.put(event),
            _ => (self.listener)(event),
        }
    }

    /// Starts the thread for the first event; false where none can be started.
    fn is_running(self: &Arc<Self>) -> bool {
        let Ok(mut thread) = self.thread.lock() else { return false };
        if thread.is_none() {
            let this = Arc::clone(self);
            *thread = Thread::start("libkms-events", move || this.deliver()).ok();
        }
        thread.is_some()
    }

    fn put(&self, event: &Event) {
        let has_room = self.waiting.lock().is_ok_and(|mut waiting| {
            let has_room = waiting.len() < CAPACITY && waiting.try_reserve(1).is_ok();
            if has_room {
                waiting.push_back(event.clone());
            }
            has_room
        });
        match has_room {
            true => self.alarm.nudge(),
            false => drop(self.dropped.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn next(&self) -> Option<Event> {
        match self.is_abandoned() {
            true => None,
            false => self.waiting.lock().ok()?.pop_front(),
        }
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    fn deliver(&self) {
        loop {
            while let Some(event) = self.next() {
                // A listener that panics still receives the next event.
                let _ = catch_unwind(AssertUnwindSafe(|| (self.listener)(&event)));
                // A child that left its parent's listener: its own events have their own thread.
                if self.epoch != fork::epoch() {
                    return;
                }
            }
            if self.alarm.sleep(LONG) == Wake::Stop && self.is_done() {
                return;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.is_abandoned() || self.waiting.lock().map_or(true, |waiting| waiting.is_empty())
    }

    /// Wait until all events are delivered, but not for a listener that blocks: it receives nothing more.
    pub fn close(&self) {
        self.alarm.stop();
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread
            && !thread.join_within(CLOSING)
        {
            self.abandoned.store(true, Ordering::Release);
        }
    }
}
