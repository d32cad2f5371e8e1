//! Rotation: by hand, by policy, and before a call encrypts under an overdue key.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::backup::BackupStatus;
use super::cache::Material;
use super::due::{KeyOutcome, new_version, process_due_key};
use super::event::{Event, EventKind};
use super::key_ref::KeyRef;
use super::seen::SeenUses;
use super::{Changed, Core, Done, Keystore};
use crate::domain::id::{KeyId, VersionId};
use crate::domain::log::ChangeAction;
use crate::domain::rotation::{Interval, RotationStatus};
use crate::domain::state::{self, Operation};
use crate::domain::time::Time;
use crate::error::{Error, Result, Status};
use crate::store::{Change, Stored};
use crate::sys::clocks;

/// A rotation that failed while a call was waiting for it is not tried again for this long.
const RETRY_MS: i64 = 1000;
const RETRY_READ_ONLY_MS: i64 = 60_000;

/// The results of one pass, which [`Keystore::tick`] ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TickReport {
    /// Keys that have a new version.
    pub rotated: usize,
    /// Keys that were destroyed.
    pub destroyed: usize,
    /// Key versions that were destroyed by their own deletion, not by that of their key.
    pub versions_destroyed: usize,
    /// Keys whose rows cannot be read; [`Keystore::verify`] names them.
    pub damaged: usize,
}

impl TickReport {
    pub(super) fn add(&mut self, other: &Self) {
        self.rotated += other.rotated;
        self.destroyed += other.destroyed;
        self.versions_destroyed += other.versions_destroyed;
        self.damaged += other.damaged;
    }
}

impl Keystore {
    /// Rotate a key: create a new version and make it the primary, whether or not a policy is on. The next interval
    /// starts now. The service has this call as CreateKeyVersion.
    ///
    /// # Errors
    /// `KeyNotFound` or `AliasNotFound` for an unknown key; `RejectedDisabled`, `RejectedPendingDeletion` or
    /// `RejectedPendingImport` by the key's state; `UnsupportedOperation` for EXTERNAL and service-managed keys; and
    /// the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let version = keystore.rotate(key)?;
    /// assert_eq!(keystore.describe_key(key)?.primary.map(|primary| primary.id), Some(version));
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn rotate<'k>(&self, key: impl Into<KeyRef<'k>>) -> Result<VersionId> {
        let key = key.into();
        self.manage(ChangeAction::CreateKeyVersion, Some(key.as_str()), |core| {
            let id = core.resolve(key.as_str())?;
            let done = core.change_key(ChangeAction::CreateKeyVersion, &id, |change, stored, now| {
                rotatable(&stored)?;
                state::check(stored.key.state_at(now.wall), Operation::CreateKeyVersion)?;
                let stored = new_version(change, stored, now.wall)?;
                core.rotated(change, stored, |version| version)
            })?;
            core.tell_rotation(id, done.value, done.at);
            done.value.ok_or_else(|| Status::Internal.error("a rotated key has no primary"))
        })
    }

    /// Set the rotation interval of a key; `None`: turn automatic rotation off. A key that becomes overdue by it
    /// rotates at once.
    ///
    /// # Errors
    /// `RejectedDisabled`, `RejectedPendingDeletion` or `RejectedPendingImport` by the key's state;
    /// `UnsupportedOperation` for EXTERNAL and service-managed keys; `KeyNotFound` for an unknown key,
    /// `UnsupportedAlias` for an alias in place of the key id; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Interval, Keystore, Options, Rotation};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.update_rotation_policy(key, Some(Interval::from_seconds(3600)?))?;
    /// assert_eq!(keystore.describe_key(key)?.automatic_rotation(), Rotation::Enabled);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn update_rotation_policy<'k>(
        &self,
        key_id: impl Into<KeyRef<'k>>,
        rotate_every: Option<Interval>,
    ) -> Result<()> {
        let key_id = key_id.into();
        self.manage(ChangeAction::UpdateRotationPolicy, Some(key_id.as_str()), |core| {
            let id = Core::id_only(key_id.as_str())?;
            let done = core.change_key(ChangeAction::UpdateRotationPolicy, &id, |change, mut stored, now| {
                rotatable(&stored)?;
                state::check(stored.key.state_at(now.wall), Operation::UpdateRotationPolicy)?;
                let unchanged = stored.key.policy == rotate_every;
                stored.key.policy = rotate_every;
                if unchanged && stored.key.schedule().status(now.wall) == RotationStatus::NotDue {
                    return Ok(Changed::none(None));
                }
                core.store_and_rotate(change, stored, now.wall)
            })?;
            core.tell_rotation(id, done.value, done.at);
            Ok(())
        })
    }

    /// Run one pass: rotate all keys that are due, and destroy those whose waiting period is over. The rotation
    /// thread does this by itself.
    ///
    /// # Errors
    /// The [errors of every call](Keystore#errors); what was committed before stays.
    ///
    /// ```
    /// # use kms::{Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// assert_eq!(keystore.tick()?.rotated, 0);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn tick(&self) -> Result<TickReport> {
        let core = self.core()?;
        let now = core.clock.now();
        core.begin_day(now.wall);
        let done = core.run_due(&now, &|| false)?;
        // Dates that cannot be stored now are kept for the next pass.
        let _ = core.record_uses(&|| false);
        Ok(done)
    }
}

pub(super) fn rotatable(stored: &Stored) -> Result<()> {
    if stored.key.rotates() {
        return Ok(());
    }
    Err(Status::UnsupportedOperation
        .error("the key has one version for life, as EXTERNAL and service-managed keys do; create another key instead"))
}

impl Core {
    /// Stores a changed key; if it is overdue now, with a new version in the same transaction. Returns that version.
    pub(super) fn store_and_rotate(
        &self,
        change: &mut Change<'_>,
        mut stored: Stored,
        now: Time,
    ) -> Result<Changed<Option<VersionId>>> {
        match stored.key.schedule().status(now) {
            // The next pass reports it, if it rotates without a backup then.
            RotationStatus::Due if self.backup_status(&stored.key, now) != BackupStatus::Covered => {}
            RotationStatus::Due => {
                let stored = new_version(change, stored, now)?;
                return self.rotated(change, stored, |version| version);
            }
            RotationStatus::FutureLast => stored.key.future_noticed = Some(now),
            RotationStatus::NoteVoid => stored.key.future_noticed = None,
            RotationStatus::NotDue => {}
        }
        Ok(Changed::one(None, change.update(stored)?))
    }

    /// What a rotation changed; `value` makes the result of its version.
    pub(super) fn rotated<R>(
        &self,
        change: &mut Change<'_>,
        stored: Stored,
        value: impl FnOnce(Option<VersionId>) -> R,
    ) -> Result<Changed<R>> {
        let made = self.newest_in_use(change, &stored)?;
        let mut changed = Changed::one(value(stored.key.primary.map(|p| p.id)), stored);
        changed.made.extend(made);
        Ok(changed)
    }

    /// The newest version of a key that is in memory. It must be there as soon as it is committed: a thread that encrypts
    /// then finds it without the store, which may be busy with the next batch.
    pub(super) fn newest_in_use(&self, change: &mut Change<'_>, stored: &Stored) -> Result<Option<Arc<Material>>> {
        let (id, Some(primary)) = (stored.key.id, stored.key.primary) else { return Ok(None) };
        if self.cache.key(&id)?.is_none() {
            return Ok(None);
        }
        let Some((version, mut bytes)) = change.material(stored, &primary.id)? else { return Ok(None) };
        Ok(Some(Arc::new(Material {
            key: id,
            version,
            secret: self.arena.keep(&mut bytes)?,
            seen: SeenUses::default(),
        })))
    }

    pub(super) fn tell_rotation(&self, key: KeyId, version: Option<VersionId>, now: Time) {
        if version.is_some() {
            self.counters.rotations.fetch_add(1, Ordering::Relaxed);
            self.emit(&Event::new(EventKind::Rotated, now).of_key(key).of_version(version));
        }
    }

    /// Before encrypting under an overdue key where no thread rotates. A failure is an event, and encryption
    /// continues under the old primary.
    pub(super) fn rotate_overdue(&self, id: &KeyId) {
        let done = self.change_key(ChangeAction::RecordDates, id, |change, stored, now| {
            Ok(match process_due_key(self, change, stored, now)? {
                KeyOutcome::Rotated(stored, events) => self.rotated(change, stored, |version| (version, events))?,
                KeyOutcome::Updated(stored, events) => Changed::one((None, events), stored),
                KeyOutcome::Destroyed(..) | KeyOutcome::Nothing => Changed::none((None, Vec::new())),
            })
        });
        // Another process may have been faster, and not have announced it yet.
        let done = done.and_then(|done| self.catch_up().map(|()| done));
        match done {
            Ok(Done { value: (version, events), at }) => {
                if version.is_none() && self.backup_wait.is_some() {
                    self.retry_after.store(clocks::coarse_ms() + RETRY_MS, Ordering::Relaxed);
                }
                self.tell_rotation(*id, version, at);
                self.report(&events);
            }
            Err(error) => {
                let pause = if error.status() == Status::KeystoreReadOnly { RETRY_READ_ONLY_MS } else { RETRY_MS };
                self.retry_after.store(clocks::coarse_ms() + pause, Ordering::Relaxed);
                self.tell_failure(&error, self.clock.wall(), Some(*id));
            }
        }
    }

    pub(super) fn report(&self, events: &[Event]) {
        for event in events {
            if event.kind == EventKind::VersionDestroyed {
                self.counters.versions_destroyed.fetch_add(1, Ordering::Relaxed);
            }
            self.emit(event);
        }
    }

    pub(super) fn tell_failure(&self, error: &Error, now: Time, key: Option<KeyId>) {
        self.counters.rotation_failures.fetch_add(1, Ordering::Relaxed);
        self.emit(&Event { key, ..Event::new(EventKind::RotationFailed, now).because(error) });
    }
}
