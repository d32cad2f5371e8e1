//! The clock of the machine that has the rows of a keystore.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::sys::clocks;

/// Another machine's clock relative to this one's, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "SQLite has no clock of its own"))]
pub struct ClockReading {
    pub theirs_ms: i64,
    /// Half-way between question and answer.
    pub ours_ms: i64,
    /// By the boot clock, at that moment.
    pub since_boot_ms: i64,
    /// How far off the moment may be.
    pub uncertain_ms: i64,
}

impl ClockReading {
    /// How far this machine's clock is ahead, beyond what the round trip of the answer explains.
    pub fn ahead_ms(&self) -> i64 {
        let ahead = self.ours_ms.saturating_sub(self.theirs_ms);
        ahead.signum() * ahead.saturating_abs().saturating_sub(self.uncertain_ms).max(0)
    }
}

/// The clock of the machine that has the rows. Between two polls it moves with this machine's boot clock.
#[derive(Debug)]
pub struct ServerClock {
    /// Its wall time less this machine's boot clock; `UNKNOWN` before the first poll.
    beyond_boot_ms: AtomicI64,
    ahead_ms: AtomicI64,
}

const UNKNOWN: i64 = i64::MIN;

impl Default for ServerClock {
    fn default() -> Self {
        Self { beyond_boot_ms: AtomicI64::new(UNKNOWN), ahead_ms: AtomicI64::new(0) }
    }
}

impl ServerClock {
    pub(super) fn take(&self, reading: ClockReading) {
        self.beyond_boot_ms.store(reading.theirs_ms.saturating_sub(reading.since_boot_ms), Ordering::Relaxed);
        self.ahead_ms.store(reading.ahead_ms(), Ordering::Relaxed);
    }

    /// Its wall time in Unix milliseconds; `None` before the first poll.
    pub fn wall_ms(&self) -> Option<i64> {
        let beyond = self.beyond_boot_ms.load(Ordering::Relaxed);
        (beyond != UNKNOWN).then(|| beyond.saturating_add(clocks::boottime_ms()))
    }

    /// How far this machine's clock was ahead of it at the last poll, in milliseconds.
    pub fn ahead_ms(&self) -> i64 {
        self.ahead_ms.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
