//! What a customer master key (CMK) is: its metadata, without its material.

use super::deletion::Deletion;
use super::id::{KeyId, VersionId};
use super::material::Imported;
use super::rotation::{Interval, Rotation, Schedule};
use super::state::KeyState;
use super::time::Time;
use super::version::Version;

/// Where the key material comes from.
///
/// Exhaustive, as [`KeyState`] and [`Creator`]: the service's contract has no further one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Origin {
    /// The library generates it (`Aliyun_KMS` in the service's terms).
    Kms = 0,
    /// The program imports it (BYOK).
    External = 1,
}

impl Origin {
    /// Return the origin of this number, as C has it.
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::Kms),
            1 => Some(Self::External),
            _ => None,
        }
    }
}

/// Who manages a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Creator {
    /// The program, through the calls of this library.
    User = 0,
    /// A named subsystem of the program: the key has no rotation policy and is never deleted.
    Service = 1,
}

impl Creator {
    pub(crate) const fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::User),
            1 => Some(Self::Service),
            _ => None,
        }
    }
}

/// The description of a customer master key (CMK), without its key material.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Key {
    /// The id, a random UUID.
    pub id: KeyId,
    /// The state; only an Enabled key encrypts and decrypts.
    pub state: KeyState,
    /// Where the key material comes from.
    pub origin: Origin,
    /// Who manages the key.
    pub creator: Creator,
    /// The text that [`CreateKey`](crate::CreateKey) or an update set; at most 8192 characters.
    pub description: String,
    /// When the key was created.
    pub created: Time,
    /// The rotation interval; `None` while automatic rotation is off.
    pub policy: Option<Interval>,
    /// The newest version; `None` while an EXTERNAL key waits for its first material.
    pub primary: Option<Version>,
    /// When a creation date of the primary in the future was noticed.
    pub(crate) future_noticed: Option<Time>,
    /// Set exactly while the state is PendingDeletion.
    pub(crate) deletion: Option<Deletion>,
    /// The reason for deletion protection, which may be empty; `None` while the protection is off.
    pub protection: Option<String>,
    /// What is known of imported material; `None` before the first import.
    pub(crate) imported: Option<Imported>,
}

impl Key {
    /// A new key as CreateKey makes it: Enabled with its first version, or PendingImport without one.
    pub(crate) fn new(id: KeyId, origin: Origin, description: String, policy: Option<Interval>, now: Time) -> Self {
        Self {
            id,
            state: match origin {
                Origin::Kms => KeyState::Enabled,
                Origin::External => KeyState::PendingImport,
            },
            origin,
            creator: Creator::User,
            description,
            created: now,
            policy,
            primary: None,
            future_noticed: None,
            deletion: None,
            protection: None,
            imported: None,
        }
    }

    /// Return how many versions the key has, which is also the number of the newest one, the primary.
    pub fn version_count(&self) -> u64 {
        self.primary.map_or(0, |primary| primary.number)
    }

    /// Only keys whose material the library makes have more than one version.
    pub(crate) fn rotates(&self) -> bool {
        self.origin == Origin::Kms && self.creator == Creator::User
    }

    /// Makes `id` the newest version and the primary, created `now`. LastRotationDate moves with it.
    pub(crate) fn promote(&mut self, id: VersionId, now: Time) -> Version {
        let version = Version { id, number: self.version_count() + 1, created: now };
        self.primary = Some(version);
        self.future_noticed = None;
        version
    }

    /// Return when the newest version was created (LastRotationDate).
    pub fn last_rotation(&self) -> Option<Time> {
        self.primary.map(|primary| primary.created)
    }

    /// Return the DeleteDate, before which the key is not destroyed; `None` unless its state is PendingDeletion.
    pub fn delete_date(&self) -> Option<Time> {
        self.deletion.map(|deletion| deletion.date)
    }

    /// Return when imported material expires; `None` for material without an expiry.
    pub fn material_expires(&self) -> Option<Time> {
        self.imported.and_then(|imported| imported.expiry).map(|expiry| expiry.date)
    }

    /// What decides when this key rotates.
    pub(crate) fn schedule(&self) -> Schedule {
        let (policy, future_noticed) = (self.policy, self.future_noticed);
        Schedule { policy, enabled: self.state == KeyState::Enabled, last: self.last_rotation(), future_noticed }
    }

    /// Return when the next rotation is due (NextRotationDate); `None` while automatic rotation is off.
    pub fn next_rotation(&self) -> Option<Time> {
        self.schedule().next()
    }

    /// When the clock must next check this key.
    pub(crate) fn next_look(&self) -> Option<Time> {
        let own = match (&self.deletion, self.state) {
            (Some(deletion), _) => Some(deletion.next_look()),
            (None, KeyState::Enabled) => self.next_rotation(),
            (None, _) => None,
        };
        let expiry = self.imported.and_then(|imported| imported.expiry).map(|expiry| expiry.next_look());
        own.into_iter().chain(expiry).min()
    }

    /// Whether there is material that may be used at `now`.
    pub(crate) fn has_material(&self, now: Time) -> bool {
        match self.origin {
            Origin::Kms => true,
            Origin::External => self.imported.is_some_and(|imported| imported.usable(now)),
        }
    }

    /// Whether there is material in the keystore, expired or not.
    pub(crate) fn holds_material(&self) -> bool {
        match self.origin {
            Origin::Kms => true,
            Origin::External => self.imported.is_some_and(|imported| imported.present),
        }
    }

    /// The state at `now`: material that has expired is as good as gone, before anything is erased.
    pub(crate) fn state_at(&self, now: Time) -> KeyState {
        match self.state {
            KeyState::Enabled | KeyState::Disabled if !self.has_material(now) => KeyState::PendingImport,
            state => state,
        }
    }

    /// Return whether automatic rotation is off, on, or suspended by the key's state.
    pub fn automatic_rotation(&self) -> Rotation {
        Rotation::of(self.policy, self.state)
    }
}

#[cfg(test)]
mod tests;
