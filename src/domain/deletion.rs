//! The waiting period before a key is destroyed.

use super::deadline::Deadline;
use super::limits::DELETION_DAYS;
use super::time::Time;
use crate::error::{Result, Status};

/// The days that ScheduleKeyDeletion takes where it is given none.
pub const DEFAULT_DAYS: i32 = 30;

/// DeleteDate: `now` plus a waiting period of 7 to 366 days.
pub fn schedule(now: Time, days: i32) -> Result<Deadline> {
    if !DELETION_DAYS.contains(&days) {
        return Err(Status::InvalidArgument.error("the waiting period must be 7 to 366 days"));
    }
    Ok(Deadline::at(now.plus_seconds(i64::from(days) * 86_400)))
}

#[cfg(test)]
mod tests;
