//! When a key in PendingDeletion may be destroyed: only after its date was seen to be due twice.
//!
//! Destruction can't be undone and a wall clock can be wrong, so the first look that finds the date reached is only
//! stored. The second must come at least an hour later by the boot-time clock of the same boot or, after a reboot,
//! an hour later by wall time with an hour of uptime. Any look that finds the date not reached erases the sighting.

use super::limits::DELETION_DAYS;
use super::time::{Now, Time};
use crate::error::{Result, Status};

/// How long the second sighting must come after the first.
const APART_MS: i64 = 3_600_000;

/// A scheduled deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// DeleteDate.
    pub date: Time,
    /// The look that first found the date reached.
    pub sighting: Option<Now>,
}

/// What one look at a scheduled deletion finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not due, and nothing stored says otherwise; or sighted, and the hour is not over.
    Wait,
    /// Due for the first time: store this look.
    Sighted,
    /// A sighting is stored, but the date is not reached: the clock was wrong then. Erase it.
    Unsighted,
    /// Due twice: destroy the key.
    Destroy,
}

impl Deletion {
    /// `now` plus a waiting period of 7 to 366 days.
    pub fn schedule(now: Time, days: i32) -> Result<Self> {
        if !DELETION_DAYS.contains(&days) {
            return Err(Status::InvalidArgument.error("the waiting period must be 7 to 366 days"));
        }
        Ok(Self { date: now.plus_seconds(i64::from(days) * 86_400), sighting: None })
    }

    pub fn look(&self, now: &Now) -> Verdict {
        match (&self.sighting, self.date <= now.wall) {
            (None, false) => Verdict::Wait,
            (None, true) => Verdict::Sighted,
            (Some(_), false) => Verdict::Unsighted,
            (Some(first), true) if an_hour_apart(first, now) => Verdict::Destroy,
            (Some(_), true) => Verdict::Wait,
        }
    }

    /// When a look can next find something new, by wall time.
    pub fn next_look(&self) -> Time {
        match &self.sighting {
            Some(first) => first.wall.plus_seconds(APART_MS / 1000).max(self.date),
            None => self.date,
        }
    }
}

fn an_hour_apart(first: &Now, now: &Now) -> bool {
    if first.boot == now.boot {
        now.since_boot_ms.saturating_sub(first.since_boot_ms) >= APART_MS
    } else {
        now.wall.millis_since(first.wall) >= APART_MS && now.since_boot_ms >= APART_MS
    }
}

#[cfg(test)]
mod tests;
