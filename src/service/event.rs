//! The events of a keystore: rotations, destroyed keys, clocks and disks that misbehave.

use std::sync::Arc;

use crate::domain::id::{KeyId, VersionId};
use crate::domain::time::Time;
use crate::error::{Error, Status};

/// The kind of an [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum EventKind {
    /// A key has a new primary version.
    Rotated = 1,
    /// A due rotation could not be stored. Encryption continues under the old primary version, and the rotation is tried
    /// again.
    RotationFailed = 2,
    /// A key was destroyed with all its versions.
    KeyDestroyed = 3,
    /// The waiting period of a key is over. The key is destroyed when that is confirmed in an hour.
    DeletionDue = 4,
    /// The newest version of a key was created in the future: a clock is or was wrong.
    ClockSuspect = 5,
    /// The row of a key cannot be read.
    KeyDamaged = 6,
    /// The rotation thread has stopped; every further call fails.
    ThreadStopped = 7,
    /// Imported material expired and was erased. The key waits until the same material is imported again.
    MaterialExpired = 8,
    /// The keystore's file was replaced or removed, or overwritten with another history of the keystore.
    KeystoreReplaced = 9,
    /// The waiting period of a key version is over. The version is destroyed when that is confirmed in an hour.
    VersionDeletionDue = 10,
    /// A key version was destroyed by its own deletion, not by that of its key.
    VersionDestroyed = 11,
    /// A due rotation waits until a recorded backup has the newest version of the key. Reported once for each key of a handle.
    RotationWaitsForBackup = 13,
    /// A key rotated although no recorded backup has its former version: it had waited as long as
    /// [`Options::require_backup`](super::Options::require_backup) lets it.
    RotatedWithoutBackup = 14,
    /// The database that has the keystore does not answer. Keys in memory stay usable for
    /// [`Options::offline_limit`](super::Options::offline_limit); the status is the reason.
    KeystoreUnavailable = 15,
    /// The database answers again.
    KeystoreAvailable = 16,
    /// The clock of this host differs by more than 2 s from the clock of the database, which decides what is due.
    HostClockWrong = 17,
    /// The database lost changes that were seen before. Nothing is changed until the keystore is opened with
    /// [`Options::accept_rollback`](super::Options::accept_rollback).
    KeystoreRolledBack = 18,
    /// A key version that this handle had in memory is not in the keystore any more, after the database lost changes.
    /// What was encrypted under it cannot be decrypted.
    VersionLost = 19,
}

/// A notification about keys, for the handler that [`Options::on_event`](super::Options::on_event) sets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The reason, for kinds that are failures.
    pub status: Option<Status>,
    /// The key, for events about one key.
    pub key: Option<KeyId>,
    /// The new version, for a rotation; the version, for events about one version.
    pub version: Option<VersionId>,
    /// When it happened, by the clock of the keystore.
    pub time: Time,
    /// How long a destroyed key or version waited for its destruction, in milliseconds; 0 for other kinds.
    pub waited_ms: i64,
}

impl Event {
    pub(super) fn new(kind: EventKind, time: Time) -> Self {
        Self { kind, status: None, key: None, version: None, time, waited_ms: 0 }
    }

    pub(super) fn of_key(self, key: KeyId) -> Self {
        Self { key: Some(key), ..self }
    }

    pub(super) fn of_version(self, version: Option<VersionId>) -> Self {
        Self { version, ..self }
    }

    pub(super) fn waited(self, waited_ms: i64) -> Self {
        Self { waited_ms, ..self }
    }

    pub(super) fn because(self, error: &Error) -> Self {
        Self { status: Some(error.status()), ..self }
    }
}

/// Called with no lock or transaction held; see [`super::Options::on_event`]. It may call anything of the library but close.
pub type EventHandler = Arc<dyn Fn(&Event) + Send + Sync>;
