//! Points in time as the rules know them: Unix milliseconds, UTC; arithmetic saturates, so no clock value can overflow.

use std::fmt;

/// A point in time: Unix milliseconds, UTC, negative before 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// Create a time from Unix milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The last millisecond of the year 9999. A later date is refused, because it is a mistaken unit.
    pub const MAX_DATE: Self = Self(253_402_300_799_999);

    /// Return the time in Unix milliseconds.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Return the time this many seconds later. It saturates instead of overflowing.
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// Return the start of the day, in UTC. It saturates instead of overflowing.
    pub const fn start_of_day(self) -> Self {
        const DAY_MS: i64 = 86_400_000;
        Self(self.0.div_euclid(DAY_MS).saturating_mul(DAY_MS))
    }

    /// Return the milliseconds from `earlier` to this time; negative if `earlier` is later.
    pub const fn millis_since(self, earlier: Time) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// One reading of all the clocks that a rule may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall time.
    pub wall: Time,
    /// Which boot of the machine this is; a manual clock is one endless boot.
    pub boot: [u8; 16],
    /// Milliseconds since that boot, time asleep included (CLOCK_BOOTTIME).
    pub since_boot_ms: i64,
}
