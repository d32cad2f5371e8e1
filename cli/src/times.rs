//! Times: now, as the service's JSON has them, and as people read them.

use kms::Time;

use crate::output::date;

pub fn now() -> Time {
    Time::from_millis(chrono::Utc::now().timestamp_millis())
}

/// A time as the service's JSON has it.
pub fn iso(time: Time) -> String {
    chrono::DateTime::from_timestamp_millis(time.millis())
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A time in the user's time zone, exact to a minute.
pub fn shown(time: Time) -> String {
    date(&iso(time))
}
