//! The waiting period before a key is destroyed: a date that must be confirmed, and time that must be counted.
//!
//! A wall clock can be wrong for weeks and then be corrected, so DeleteDate only means "not before". The waiting period is
//! also counted by the boot clock, in the key's row, whenever the clock checks the key. A reboot hides how long the
//! machine was off: the first check after it adds what the wall clock says, at most a day and never a negative amount.
//! Wall time is added once: only what is later than the latest counted time, however often the clock swings.

use super::deadline::{Deadline, DeadlineStatus};
use super::limits::DELETION_DAYS;
use super::time::{Now, Time};
use crate::error::{Result, Status};

/// The default waiting period of ScheduleKeyDeletion, in days.
pub const DEFAULT_DAYS: i32 = 30;

const DAY_MS: i64 = 86_400_000;
/// How often a check stores what was counted. Within one boot nothing is lost between two checks.
const COUNT_EVERY_MS: i64 = 3_600_000;
/// A check that comes sooner stores nothing, so that a wall clock that never stands still costs few writes.
const COUNT_AT_LEAST_MS: i64 = 60_000;

/// A scheduled deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// DeleteDate: `waiting` after the call, by the wall clock of the call.
    pub date: Time,
    /// The check that first found the date reached.
    pub confirmation: Option<Now>,
    /// None in a row that format 1 wrote, until the clock checks the key.
    pub waiting: Option<Waiting>,
}

/// How much of a waiting period has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub period_ms: i64,
    pub counted_ms: i64,
    /// The check up to which that was counted.
    pub seen: Now,
    /// The latest wall time that was counted to, by any check; what is counted by the boot clock moves it on.
    pub latest: Time,
}

impl Deletion {
    /// A waiting period of 7 to 366 days from `now`.
    pub fn schedule(now: &Now, days: i32) -> Result<Self> {
        check_days(days)?;
        let waiting = Waiting::start(now, days);
        Ok(Self {
            date: Time::from_millis(now.wall.millis().saturating_add(waiting.period_ms)),
            confirmation: None,
            waiting: Some(waiting),
        })
    }

    fn deadline(&self) -> Deadline {
        Deadline { date: self.date, confirmation: self.confirmation }
    }

    /// Whether what was counted or confirmed was found in another boot, on this machine or another.
    pub fn is_of_another_boot(&self, now: &Now) -> bool {
        self.waiting.is_some_and(|waiting| waiting.seen.boot != now.boot) || self.deadline().is_of_another_boot(now)
    }

    /// The date is confirmed, twice, only once the waiting period is over.
    pub fn status(&self, now: &Now) -> DeadlineStatus {
        match self.deadline().status(now) {
            DeadlineStatus::Confirmed | DeadlineStatus::Act
                if !self.waiting.is_some_and(|waiting| waiting.is_over(now)) =>
            {
                DeadlineStatus::Wait
            }
            verdict => verdict,
        }
    }

    /// Whether a check should store what was counted.
    pub fn counts(&self, now: &Now) -> bool {
        self.waiting.is_none_or(|waiting| waiting.is_worth_storing(now))
    }

    /// Counts up to `now`. The period of a deletion that format 1 scheduled isn't known: it is the shortest there is,
    /// from this check.
    pub fn count(&mut self, now: &Now) {
        self.waiting = Some(match self.waiting {
            Some(waiting) => waiting.counted_up_to(now),
            None => Waiting::start(now, *DELETION_DAYS.start()),
        });
    }

    /// How much of the waiting period has passed.
    pub fn counted_ms(&self, now: &Now) -> i64 {
        self.waiting.map_or(0, |waiting| waiting.counted_up_to(now).counted_ms)
    }

    /// When a check can next find something new, by wall time.
    pub fn next_look(&self) -> Time {
        match &self.waiting {
            Some(waiting) if waiting.left_ms() > 0 => {
                let pause = waiting.left_ms().min(COUNT_EVERY_MS);
                Time::from_millis(waiting.seen.wall.millis().saturating_add(pause))
            }
            _ => self.deadline().next_look(),
        }
    }
}

impl Waiting {
    fn start(now: &Now, days: i32) -> Self {
        Self { period_ms: i64::from(days) * DAY_MS, counted_ms: 0, seen: *now, latest: now.wall }
    }

    fn left_ms(&self) -> i64 {
        self.period_ms.saturating_sub(self.counted_ms)
    }

    /// What has passed since the last count.
    fn passed_ms(&self, now: &Now) -> i64 {
        let passed = match self.seen.boot == now.boot {
            true => now.since_boot_ms.saturating_sub(self.seen.since_boot_ms),
            false => now.wall.millis_since(self.latest).min(DAY_MS),
        };
        passed.max(0)
    }

    fn counted_up_to(&self, now: &Now) -> Self {
        let passed = self.passed_ms(now);
        let moved = Time::from_millis(self.latest.millis().saturating_add(passed));
        // Within a boot the wall clock counts nothing, so a glitch of it must not put later gaps out of reach.
        let latest = if self.seen.boot == now.boot { moved } else { moved.max(now.wall) };
        Self { counted_ms: self.counted_ms.saturating_add(passed), seen: *now, latest, ..*self }
    }

    fn is_over(&self, now: &Now) -> bool {
        self.counted_up_to(now).left_ms() <= 0
    }

    fn is_worth_storing(&self, now: &Now) -> bool {
        self.left_ms() > 0
            && (self.seen.boot != now.boot || self.passed_ms(now) >= COUNT_AT_LEAST_MS.min(self.left_ms()))
    }
}

pub fn check_days(days: i32) -> Result<()> {
    match DELETION_DAYS.contains(&days) {
        true => Ok(()),
        false => Err(Status::InvalidArgument.error(format!("the waiting period must be 7 to 366 days, not {days}"))),
    }
}

#[cfg(test)]
mod tests;
