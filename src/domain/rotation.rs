//! When a new key version is due: the policy's interval, counted from the creation of the newest version.
//!
//! NextRotationDate = LastRotationDate + RotationInterval. Missed intervals cause one rotation, because the new version's
//! real creation time is the new LastRotationDate.
//!
//! A LastRotationDate in the future means that the clock was wrong once. The time it was noticed is stored and takes
//! its place as the anchor, so that the glitch doesn't switch rotation off for years. The note is forgotten if the
//! clock comes back by more than an interval: then it was the clock of the note that was wrong, and nothing may
//! rotate early.

use std::fmt;

use super::limits::INTERVAL_SECONDS;
use super::state::KeyState;
use super::time::Time;
use crate::error::{Error, Result, Status};

/// A rotation interval in whole seconds, from 1 second to 3650 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(i64);

impl Interval {
    /// Create an interval of this many seconds.
    ///
    /// # Errors
    /// `InvalidArgument` below 1 and above 315,360,000, which is 3650 days.
    pub fn from_seconds(seconds: i64) -> Result<Self> {
        if INTERVAL_SECONDS.contains(&seconds) { Ok(Self(seconds)) } else { Err(invalid()) }
    }

    /// Return the interval in seconds.
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// Parse `integer[unit]` with the unit `d`, `h`, `m` or `s`; an integer without a unit is seconds.
    ///
    /// # Errors
    /// `InvalidArgument` for another form, such as a sign, a space, a leading zero or a capital, and for an interval
    /// that is not allowed.
    ///
    /// ```
    /// assert_eq!(kms::Interval::parse("90d")?.seconds(), 7_776_000);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self> {
        let (digits, unit) = match text.strip_suffix(['d', 'h', 'm', 's']) {
            Some(digits) => (digits, text.as_bytes().last().copied()),
            None => (text, None),
        };
        let seconds_per_unit = match unit {
            Some(b'd') => 86_400,
            Some(b'h') => 3_600,
            Some(b'm') => 60,
            _ => 1,
        };
        let plain = !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
        let number: i64 = if plain { digits.parse().map_err(|_| invalid())? } else { return Err(invalid()) };
        Self::from_seconds(number.checked_mul(seconds_per_unit).ok_or_else(invalid)?)
    }
}

/// Prints the service's form, `604800s`.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

fn invalid() -> Error {
    Status::InvalidArgument
        .error("the rotation interval must be 1 s to 3650 d, as seconds or as an integer with unit d, h, m or s")
}

/// Whether a key rotates by itself (AutomaticRotation); derived from its policy and state.
///
/// Exhaustive: the service's contract has no further one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Rotation {
    /// The policy is off.
    Disabled = 0,
    /// On, and the key is Enabled.
    Enabled = 1,
    /// On, but the key is in another state.
    Suspended = 2,
}

impl Rotation {
    pub(super) fn of(policy: Option<Interval>, state: KeyState) -> Self {
        match (policy, state) {
            (None, _) => Self::Disabled,
            (Some(_), KeyState::Enabled) => Self::Enabled,
            (Some(_), _) => Self::Suspended,
        }
    }
}

/// What one check of a key's schedule finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationStatus {
    /// Nothing to do.
    NotDue,
    /// A new version is due now.
    Due,
    /// LastRotationDate is in the future and not noted yet: store the time of this check.
    FutureLast,
    /// The note is void, and without it nothing is due: erase it.
    NoteVoid,
}

/// What decides when a key rotates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    pub policy: Option<Interval>,
    /// Only an Enabled key rotates.
    pub enabled: bool,
    /// The creation time of the newest version (LastRotationDate).
    pub last: Option<Time>,
    /// When a LastRotationDate in the future was noticed.
    pub future_noticed: Option<Time>,
}

impl Schedule {
    /// NextRotationDate, when the next rotation is carried out: LastRotationDate + RotationInterval, or one interval after a
    /// future date was noticed. Reported while rotation is Enabled or Suspended; may be in the past while Suspended.
    pub fn next(&self) -> Option<Time> {
        let next = self.after_last()?;
        Some(match self.future_noticed {
            Some(noticed) => next.min(noticed.plus_seconds(self.policy?.seconds())),
            None => next,
        })
    }

    fn after_last(&self) -> Option<Time> {
        Some(self.last?.plus_seconds(self.policy?.seconds()))
    }

    /// What a check at `now` makes of `future_noticed`: it is set when the newest version is dated in the future, and
    /// forgotten when it was set by a wrong clock.
    pub fn future_noticed_at(&self, now: Time) -> Option<Time> {
        let (Some(interval), Some(last)) = (self.policy, self.last) else { return self.future_noticed };
        match self.future_noticed {
            None if last > now => Some(now),
            Some(noticed) if last <= now && last.millis_since(noticed) >= interval.seconds().saturating_mul(1000) => {
                None
            }
            noted => noted,
        }
    }

    /// Checks the schedule at `now`. Only an Enabled key with a policy can be due.
    pub fn status(&self, now: Time) -> RotationStatus {
        if !self.enabled || self.policy.is_none() {
            return RotationStatus::NotDue;
        }
        let is_due = |next: Option<Time>| next.is_some_and(|next| next <= now);
        match (self.future_noticed, self.future_noticed_at(now)) {
            (None, Some(_)) => RotationStatus::FutureLast,
            // The schedule counts from the newest version again, and may be overdue by that.
            (Some(_), None) if !is_due(self.after_last()) => RotationStatus::NoteVoid,
            (Some(_), None) => RotationStatus::Due,
            _ if is_due(self.next()) => RotationStatus::Due,
            _ => RotationStatus::NotDue,
        }
    }
}

#[cfg(test)]
mod tests;
