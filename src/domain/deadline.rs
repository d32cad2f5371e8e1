//! A date whose consequence can't be undone: it is acted on only when it was seen to be reached twice.
//!
//! A wall clock can be wrong, so the first check that finds the date reached is only stored. The second must come at
//! least an hour later by the boot-time clock of the same boot or, after a reboot, an hour later by wall time with an
//! hour of uptime. Any check that finds the date not reached erases the confirmation.

use super::time::{Now, Time};

/// How long the second confirmation must come after the first.
const APART_MS: i64 = 3_600_000;

/// When a key is destroyed, or its imported material erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    pub date: Time,
    /// The check that first found the date reached.
    pub confirmation: Option<Now>,
}

/// What a deadline demands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadlineStatus {
    /// Not reached, and nothing stored says otherwise; or confirmed once, and the hour is not over.
    Wait,
    /// Reached for the first time: store this check.
    Confirmed,
    /// A confirmation is stored, but the date is not reached: the clock was wrong then. Erase it.
    Refuted,
    /// Reached twice: act.
    Act,
}

impl Deadline {
    pub const fn at(date: Time) -> Self {
        Self { date, confirmation: None }
    }

    pub fn status(&self, now: &Now) -> DeadlineStatus {
        match (&self.confirmation, self.date <= now.wall) {
            (None, false) => DeadlineStatus::Wait,
            (None, true) => DeadlineStatus::Confirmed,
            (Some(_), false) => DeadlineStatus::Refuted,
            (Some(first), true) if an_hour_apart(first, now) => DeadlineStatus::Act,
            (Some(_), true) => DeadlineStatus::Wait,
        }
    }

    /// Whether the date was confirmed in another boot, on this machine or another.
    pub fn is_of_another_boot(&self, now: &Now) -> bool {
        self.confirmation.is_some_and(|first| first.boot != now.boot)
    }

    /// When a check can next find something new, by wall time.
    pub fn next_look(&self) -> Time {
        match &self.confirmation {
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
