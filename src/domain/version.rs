//! Key versions: independent material, ordered by a number that starts at 1 and is never reused.

use super::id::VersionId;
use super::time::Time;

/// A version of a key. Rotation neither deletes nor disables old versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// The id, a random UUID.
    pub id: VersionId,
    /// 1 for the first version of a key; each rotation adds one.
    pub number: u64,
    /// When the version was made.
    pub created: Time,
}
