//! Key versions: independent material, ordered by a number that starts at 1 and is never reused.

use super::id::VersionId;
use super::time::Time;

/// One version of a key. Rotation never deletes or disables one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    pub id: VersionId,
    pub number: u64,
    pub created: Time,
}
