//! Key versions: independent material, ordered by a number that starts at 1 and is never reused.
//!
//! ```text
//!  Enabled <--enable/disable--> Disabled <--schedule/cancel--> PendingDeletion --due--> Destroyed
//! ```
//!
//! Rotation changes none of these states. The primary version is Enabled; only a version that is not the primary can be
//! disabled. A Disabled version decrypts nothing, at once and reversibly. A Destroyed one keeps its id and its number.
//!
//! What differs from a version that was only created stands in its record. A version without a record is Enabled and was
//! never seen in use.

use super::deadline::DeadlineStatus;
use super::deletion::Deletion;
use super::id::VersionId;
use super::time::{Now, Time};
use crate::error::{Result, Status};

/// The identity of a version of a key.
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

/// The state of a key version. The state of its key comes first: under a Disabled key no version decrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum VersionState {
    /// The version decrypts; the primary also encrypts.
    Enabled = 1,
    /// The version decrypts nothing until it is enabled again.
    Disabled = 2,
    /// The waiting period before the version is destroyed; the deletion can be cancelled.
    PendingDeletion = 3,
    /// The key material is gone. The id and the number remain.
    Destroyed = 4,
}

impl VersionState {
    /// All states.
    pub const ALL: [VersionState; 4] = [Self::Enabled, Self::Disabled, Self::PendingDeletion, Self::Destroyed];

    /// Return the state of this number, as C has it.
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            1 => Some(Self::Enabled),
            2 => Some(Self::Disabled),
            3 => Some(Self::PendingDeletion),
            4 => Some(Self::Destroyed),
            _ => None,
        }
    }
}

/// What a caller wants to do to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VersionOperation {
    /// Decrypt, and the source of ReEncrypt.
    Decrypt,
    Enable,
    Disable,
    ScheduleDeletion,
    CancelDeletion,
}

/// The state after an operation, or the error of one that `state` forbids.
pub fn after(state: VersionState, operation: VersionOperation, is_primary: bool) -> Result<VersionState> {
    use VersionOperation as Op;
    use VersionState::{Destroyed, Disabled, Enabled, PendingDeletion};
    let refused = |text: &'static str| Err(Status::StateModifiedFailed.error(text));
    match (operation, state) {
        (_, Destroyed) => Err(Status::KeyVersionDestroyed
            .error("the version is destroyed: what it encrypted cannot be decrypted; restore a backup that has it")),

        (Op::Decrypt, Enabled) => Ok(Enabled),
        (Op::Decrypt, Disabled) => Err(Status::KeyVersionDisabled.error("the version is Disabled; enable it first")),
        (Op::Decrypt, PendingDeletion) => {
            Err(Status::KeyVersionDisabled.error("the version is PendingDeletion; cancel its deletion, then enable it"))
        }

        (Op::Enable, Enabled | Disabled) => Ok(Enabled),
        (Op::Enable, PendingDeletion) => refused("the version is PendingDeletion; cancel its deletion first"),

        (Op::Disable, _) if is_primary => refused("the version is the primary; rotate the key first"),
        (Op::Disable, Enabled | Disabled) => Ok(Disabled),
        (Op::Disable, PendingDeletion) => refused("the version is PendingDeletion; cancel its deletion first"),

        (Op::ScheduleDeletion, Enabled) if is_primary => refused("the version is the primary; rotate the key first"),
        (Op::ScheduleDeletion, Enabled) => refused("the version is Enabled; disable it first"),
        (Op::ScheduleDeletion, Disabled) => Ok(PendingDeletion),
        (Op::ScheduleDeletion, PendingDeletion) => refused("the deletion of the version is pending already"),

        (Op::CancelDeletion, PendingDeletion) => Ok(Disabled),
        (Op::CancelDeletion, Enabled) => refused("the version is Enabled and has no deletion to cancel"),
        (Op::CancelDeletion, Disabled) => refused("the version is Disabled and has no deletion to cancel"),
    }
}

/// GCM messages under one version: with random IVs of 12 bytes, two of 2^31 share one with a probability of 2^-35.
pub const MOST_GCM_MESSAGES: u64 = 1 << 31;

/// How a version is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VersionUse {
    Encrypt,
    Decrypt,
}

/// What differs from a version that was only created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRecord {
    pub number: u64,
    pub state: VersionState,
    /// Set exactly while the state is PendingDeletion.
    pub deletion: Option<Deletion>,
    /// The identity of a Destroyed version, whose material is gone.
    pub tombstone: Option<Version>,
    /// The start of the day on which the version was last seen to encrypt.
    pub last_encrypt: Option<Time>,
    /// The start of the day on which the version was last seen to decrypt.
    pub last_decrypt: Option<Time>,
    /// GCM messages under a subkey of the version that processes have encrypted or may still encrypt.
    pub gcm_messages: u64,
}

impl VersionRecord {
    pub const fn new(number: u64) -> Self {
        Self {
            number,
            state: VersionState::Enabled,
            deletion: None,
            tombstone: None,
            last_encrypt: None,
            last_decrypt: None,
            gcm_messages: 0,
        }
    }

    /// Carries out an operation that changes the state; `days` is the waiting period of a deletion.
    pub fn change(&mut self, operation: VersionOperation, is_primary: bool, days: i32, now: &Now) -> Result<()> {
        self.state = after(self.state, operation, is_primary)?;
        self.deletion = match self.state {
            VersionState::PendingDeletion => Some(Deletion::schedule(now, days)?),
            _ => None,
        };
        Ok(())
    }

    /// The record of the version once its material is gone.
    pub fn destroyed(self, version: Version) -> Self {
        Self { state: VersionState::Destroyed, deletion: None, tombstone: Some(version), ..self }
    }

    /// Records a use on a day; an earlier day than the known one changes nothing.
    pub fn note_use(&mut self, how: VersionUse, day: Time) {
        let known = match how {
            VersionUse::Encrypt => &mut self.last_encrypt,
            VersionUse::Decrypt => &mut self.last_decrypt,
        };
        *known = (*known).max(Some(day));
    }

    /// Reserves up to `wanted` GCM messages within the limit of a version. Returns how many; none: the version is worn out.
    pub fn reserve_messages(&mut self, wanted: u64) -> u64 {
        let reserved = MOST_GCM_MESSAGES.saturating_sub(self.gcm_messages).min(wanted);
        self.gcm_messages += reserved;
        reserved
    }

    /// Whether a combination is one that this library writes.
    pub fn is_sound(&self) -> bool {
        self.number > 0
            && (self.state == VersionState::PendingDeletion) == self.deletion.is_some()
            && (self.state == VersionState::Destroyed) == self.tombstone.is_some()
            && self.gcm_messages <= MOST_GCM_MESSAGES
    }
}

/// The records of a key's versions, in the order of their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionRecords(Vec<VersionRecord>);

impl VersionRecords {
    /// None unless each number is greater than the one before.
    pub fn in_order(records: Vec<VersionRecord>) -> Option<Self> {
        records.is_sorted_by(|a, b| a.number < b.number).then_some(Self(records))
    }

    pub fn all(&self) -> &[VersionRecord] {
        &self.0
    }

    /// The record of this version; one that says nothing where there is none.
    pub fn of(&self, number: u64) -> VersionRecord {
        match self.0.binary_search_by_key(&number, |record| record.number) {
            Ok(at) => self.0.get(at).copied().unwrap_or(VersionRecord::new(number)),
            Err(_) => VersionRecord::new(number),
        }
    }

    pub fn put(&mut self, record: VersionRecord) {
        match self.0.binary_search_by_key(&record.number, |record| record.number) {
            Ok(at) => {
                if let Some(found) = self.0.get_mut(at) {
                    *found = record;
                }
            }
            Err(at) => self.0.insert(at, record),
        }
    }

    /// Destroyed versions, oldest first.
    pub fn tombstones(&self) -> impl DoubleEndedIterator<Item = Version> {
        self.0.iter().filter_map(|record| record.tombstone)
    }

    /// The identity of a destroyed version.
    pub fn tombstone(&self, id: &VersionId) -> Option<Version> {
        self.tombstones().find(|version| version.id == *id)
    }

    /// Whether `version`, which has material, may decrypt.
    pub fn check_use(&self, version: &Version) -> Result<()> {
        after(self.of(version.number).state, VersionOperation::Decrypt, false).map(drop)
    }

    /// Whether the clock finds something to store about a pending deletion.
    pub fn has_news(&self, now: &Now) -> bool {
        let mut pending = self.0.iter().filter_map(|record| record.deletion);
        pending.any(|deletion| deletion.counts(now) || deletion.status(now) != DeadlineStatus::Wait)
    }

    /// When the clock must next check one of the versions.
    pub fn next_look(&self) -> Option<Time> {
        self.0.iter().filter_map(|record| record.deletion).map(|deletion| deletion.next_look()).min()
    }
}

#[cfg(test)]
mod tests;
