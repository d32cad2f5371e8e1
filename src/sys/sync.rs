//! Locks and waiting: the only file that names lock types, so that a model checker can be swapped in.
//!
//! Everything here is std's: its futex locks keep no process-wide table that a forked child could hang on. Built with
//! `--cfg kms_model`, unit tests run on loom's locks and atomics instead (ci/stages/unit.sh); statics keep std's.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};

#[cfg(all(test, kms_model))]
pub use loom::sync::atomic;
#[cfg(all(test, kms_model))]
use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(all(test, kms_model)))]
pub use std::sync::atomic;
#[cfg(not(all(test, kms_model)))]
use std::sync::{Condvar, Mutex, MutexGuard};

use super::fault;
use crate::error::{Error, Result, Status};

fn poisoned<T>(_: T) -> Error {
    Status::Poisoned.error("an earlier call panicked inside the library; close the keystore and open it again")
}

/// A mutex whose poisoning is an error instead of a panic.
#[derive(Debug, Default)]
pub struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    #[cfg(not(all(test, kms_model)))]
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    #[cfg(all(test, kms_model))]
    pub fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub fn lock(&self) -> Result<MutexGuard<'_, T>> {
        self.0.lock().map_err(poisoned)
    }
}

/// A [`Lock`] for a static, which outlives every model.
#[cfg(not(all(test, kms_model)))]
pub use Lock as GlobalLock;

#[cfg(all(test, kms_model))]
#[derive(Debug)]
pub struct GlobalLock<T>(std::sync::Mutex<T>);

#[cfg(all(test, kms_model))]
impl<T> GlobalLock<T> {
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> Result<std::sync::MutexGuard<'_, T>> {
        self.0.lock().map_err(poisoned)
    }
}

/// Holds values that are lent to one caller at a time; waiting for one is bounded. No lock is held while it is lent.
#[derive(Debug)]
pub struct Pool<T> {
    /// With their numbers, in the order of these.
    idle: Mutex<Vec<(usize, T)>>,
    returned: Condvar,
    count: usize,
}

impl<T> Pool<T> {
    pub fn new(values: impl IntoIterator<Item = T>) -> Self {
        let idle: Vec<(usize, T)> = values.into_iter().enumerate().collect();
        Self { count: idle.len(), idle: Mutex::new(idle), returned: Condvar::new() }
    }

    /// How many values it holds, lent ones too.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Lends the first value that is not lent, or `None` after `patience`.
    pub fn lend(&self, patience: Duration) -> Result<Option<Lent<'_, T>>> {
        self.lend_where(patience, |_, _| true)
    }

    /// As [`Self::lend`], of those that are `wanted` by their number and state.
    pub fn lend_where(&self, patience: Duration, wanted: impl Fn(usize, &T) -> bool) -> Result<Option<Lent<'_, T>>> {
        let deadline = Instant::now() + patience;
        let mut idle = self.idle.lock().map_err(poisoned)?;
        loop {
            if let Some(at) = idle.iter().position(|(number, value)| wanted(*number, value)) {
                return Ok(Some(Lent { pool: self, value: Some(idle.remove(at)) }));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            idle = self.returned.wait_timeout(idle, left).map_err(poisoned)?.0;
        }
    }
}

/// A value on loan from a [`Pool`]; returned when dropped.
#[derive(Debug)]
pub struct Lent<'a, T> {
    pool: &'a Pool<T>,
    value: Option<(usize, T)>,
}

impl<T> Lent<'_, T> {
    pub fn get(&mut self) -> Result<&mut T> {
        match &mut self.value {
            Some((_, value)) => Ok(value),
            None => Err(Status::Internal.error("a lent value is missing")),
        }
    }

    /// The number of the value, from 0.
    pub fn number(&self) -> usize {
        self.value.as_ref().map_or(0, |(number, _)| *number)
    }
}

impl<T> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        if let (Some(value), Ok(mut idle)) = (self.value.take(), self.pool.idle.lock()) {
            let at = idle.partition_point(|(number, _)| *number < value.0);
            idle.insert(at, value);
            match self.pool.count {
                1 => self.pool.returned.notify_one(),
                // Those who wait may want different ones.
                _ => self.pool.returned.notify_all(),
            }
        }
    }
}

/// A gate that many pass at once and that one can shut.
///
/// A thread that wants to shut it goes first, but the others make way for short times only, with pauses between them: one that is
/// inside may be waiting for a slow disk, and must not delay the others for that long.
#[derive(Debug, Default)]
pub struct Gate {
    lock: RwLock<()>,
    /// How many want to shut it and have the others make way now.
    wanted: AtomicU32,
}

/// How long others make way at first, twice as long each time up to the longest, and for how long they then pass.
const SHORTEST_WAY: Duration = Duration::from_millis(20);
const LONGEST_WAY: Duration = Duration::from_millis(640);
const PAUSE: Duration = Duration::from_millis(80);

impl Gate {
    pub const fn new() -> Self {
        Self { lock: RwLock::new(()), wanted: AtomicU32::new(0) }
    }

    pub fn pass(&self) -> RwLockReadGuard<'_, ()> {
        while self.wanted.load(Relaxed) != 0 {
            sleep(Duration::from_micros(50));
        }
        self.lock.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn shut(&self) -> RwLockWriteGuard<'_, ()> {
        let mut way = SHORTEST_WAY;
        loop {
            self.wanted.fetch_add(1, Relaxed);
            let shut = self.try_shut(way);
            let _ = self.wanted.fetch_update(Relaxed, Relaxed, |wanted| wanted.checked_sub(1));
            if let Some(shut) = shut.or_else(|| self.try_shut(PAUSE)) {
                return shut;
            }
            way = (way * 2).min(LONGEST_WAY);
        }
    }

    fn try_shut(&self, patience: Duration) -> Option<RwLockWriteGuard<'_, ()>> {
        let started = Instant::now();
        loop {
            match self.lock.try_write() {
                Ok(shut) => return Some(shut),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if started.elapsed() >= patience => return None,
                Err(TryLockError::WouldBlock) => sleep(Duration::from_micros(50)),
            }
        }
    }

    /// In a forked child: those that waited to shut it don't exist here.
    pub fn after_fork(&self) {
        self.wanted.store(0, Relaxed);
    }
}

/// Lets threads act one after the other, in the order of numbers that each has: piece 0, piece 1, ...
#[derive(Debug, Default)]
pub struct Turns {
    state: Mutex<TurnsState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct TurnsState {
    next: u64,
    stopped: bool,
}

impl Turns {
    /// Waits for the turn of `number`; false once a thread has stopped the turns: then no thread may act any more.
    pub fn wait(&self, number: u64) -> bool {
        let Ok(mut state) = self.state.lock() else { return false };
        while !state.stopped && state.next != number {
            match self.changed.wait(state) {
                Ok(next) => state = next,
                Err(_) => return false,
            }
        }
        !state.stopped
    }

    /// Ends the turn that [`Turns::wait`] began.
    pub fn done(&self) {
        if let Ok(mut state) = self.state.lock() {
            state.next += 1;
            self.changed.notify_all();
        }
    }

    pub fn stop(&self) {
        if let Ok(mut state) = self.state.lock() {
            state.stopped = true;
            self.changed.notify_all();
        }
    }
}

pub type Pass = RwLockReadGuard<'static, ()>;
pub type ShutGate = RwLockWriteGuard<'static, ()>;

/// What wakes a waiting thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    TimedOut,
    Nudged,
    Stop,
}

/// Lets one thread sleep until a time, a nudge or the order to stop.
#[derive(Debug, Default)]
pub struct Alarm {
    state: Mutex<AlarmState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct AlarmState {
    nudged: bool,
    stopped: bool,
}

impl Alarm {
    /// Sleeps for at most `limit` of monotonic time; a nudge given earlier returns at once.
    pub fn sleep(&self, limit: Duration) -> Wake {
        let Ok(mut state) = self.state.lock() else { return Wake::Stop };
        let deadline = Instant::now() + limit;
        loop {
            if state.stopped {
                return Wake::Stop;
            }
            if std::mem::take(&mut state.nudged) {
                return Wake::Nudged;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Wake::TimedOut;
            }
            match self.changed.wait_timeout(state, left) {
                Ok((next, _)) => state = next,
                Err(_) => return Wake::Stop,
            }
        }
    }

    pub fn nudge(&self) {
        if let Ok(mut state) = self.state.lock() {
            state.nudged = !fault::wanted("KMS_FAULT_NUDGE_FORGOTTEN");
            self.changed.notify_all();
        }
    }

    pub fn stop(&self) {
        if let Ok(mut state) = self.state.lock() {
            state.stopped = true;
            self.changed.notify_all();
        }
    }

    pub fn stopped(&self) -> bool {
        self.state.lock().map_or(true, |state| state.stopped)
    }
}

/// Whether this thread is unwinding from a panic.
pub fn panicking() -> bool {
    std::thread::panicking()
}

pub fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// Stands still for a moment, as a slow disk does, where a test wants it.
pub fn stall(name: &str) {
    if fault::wanted(name) {
        sleep(Duration::from_millis(200));
    }
}

#[cfg(all(test, kms_model))]
mod model;
#[cfg(all(test, not(kms_model)))]
mod tests;
