//! Key versions: list and describe them, disable and enable them, schedule and cancel their deletion.

use super::key_ref::KeyRef;
use super::name::{missing_version, not_found, of_version, version_not_found};
use super::pages::{PAGE, Page, paged};
use super::{Changed, Core, Keystore};
use crate::domain::deletion::{self, DEFAULT_DAYS};
use crate::domain::id::{KeyId, VersionId};
use crate::domain::key::Origin;
use crate::domain::log::ChangeAction;
use crate::domain::state::{self, Operation};
use crate::domain::time::Time;
use crate::domain::version::{self, Version, VersionOperation, VersionState};
use crate::error::{Error, Result, Status};
use crate::store::{Stored, View};

/// The description of a key version, without its key material.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyVersion {
    /// The id, a random UUID.
    pub id: VersionId,
    /// 1 for the first version of a key; each rotation adds one.
    pub number: u64,
    /// When the version was made.
    pub created: Time,
    /// Whether the version is the primary, which encrypts.
    pub is_primary: bool,
    /// The state; only an Enabled version decrypts.
    pub state: VersionState,
    /// The DeleteDate, before which the version is not destroyed; `None` unless its state is PendingDeletion.
    pub delete_date: Option<Time>,
    /// The start of the day, in UTC, on which the version was last used to encrypt; `None` if no use was recorded.
    ///
    /// The rotation thread, [`Keystore::tick`] or the end of the handle writes this date. A handle that is read-only records no use.
    pub last_encrypt_date: Option<Time>,
    /// The start of the day, in UTC, on which the version was last used to decrypt; `None` if no use was recorded.
    pub last_decrypt_date: Option<Time>,
}

impl KeyVersion {
    fn of(stored: &Stored, version: &Version) -> Self {
        let record = stored.records.of(version.number);
        Self {
            id: version.id,
            number: version.number,
            created: version.created,
            is_primary: stored.key.primary.is_some_and(|primary| primary.id == version.id),
            state: record.state,
            delete_date: record.deletion.map(|deletion| deletion.date),
            last_encrypt_date: record.last_encrypt,
            last_decrypt_date: record.last_decrypt,
        }
    }
}

impl Keystore {
    /// Iterate over the versions of a key, newest first. The first is the primary version.
    ///
    /// The keystore is read in pages, with no lock held between two items.
    ///
    /// # Errors
    /// An error is the last item: `KeyNotFound` or `AliasNotFound` for an unknown key, `KeystoreCorrupt` where a version
    /// is missing.
    ///
    /// ```
    /// use kms::{CreateKey, Keystore, Options};
    ///
    /// # fn main() -> kms::Result<()> {
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.rotate(key)?;
    /// let numbers = keystore.key_versions(key).map(|version| Ok(version?.number));
    /// assert_eq!(numbers.collect::<kms::Result<Vec<_>>>()?, [2, 1]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn key_versions<'k>(&self, key: impl Into<KeyRef<'k>>) -> impl Iterator<Item = Result<KeyVersion>> {
        let key = key.into();
        let (mut resolved, mut before) = (None, None);
        paged(move || {
            // An alias that moves to another key meanwhile does not mix their versions.
            let id = match resolved {
                Some(id) => id,
                None => self.core()?.resolve(key.as_str())?,
            };
            resolved = Some(id);
            let mut versions = Vec::new();
            let done = self.list_key_versions(id, before, PAGE, |version, _| {
                versions.push(*version);
                true
            });
            before = versions.last().map(|version| version.number);
            Ok(Page::of(versions, done))
        })
    }

    /// Shows at most `limit` versions of a key, newest first, below version number `before` or from the newest, until
    /// `visit` returns false. No lock is held while it runs. `key` is a key id or `alias/NAME`.
    #[doc(hidden)]
    pub fn list_key_versions<'k>(
        &self,
        key: impl Into<KeyRef<'k>>,
        before: Option<u64>,
        limit: usize,
        mut visit: impl FnMut(&KeyVersion, bool) -> bool,
    ) -> Result<()> {
        let core = self.core()?;
        let id = core.resolve(key.into().as_str())?;
        let (mut before, mut left) = (before, limit);
        loop {
            let wanted = left.min(PAGE);
            let (newest, page) = core.store.read(|view| {
                let stored = view.key(&id)?.ok_or_else(|| not_found(&id))?;
                let page = match (stored.key.origin, stored.key.primary) {
                    // One version for life, whether its material is there or not.
                    (Origin::External, Some(only)) if wanted > 0 && before.is_none_or(|b| only.number < b) => {
                        vec![only]
                    }
                    (Origin::External, _) => Vec::new(),
                    (Origin::Kms, _) => view.versions_before(&stored, before, wanted)?,
                };
                let page: Vec<_> = page.iter().map(|version| KeyVersion::of(&stored, version)).collect();
                Ok((stored.key.version_count(), page))
            })?;
            // Versions are numbered without a gap, so a missing one shows.
            let mut next = before.map_or(newest, |before| newest.min(before.saturating_sub(1)));
            for version in &page {
                if version.number != next {
                    return Err(missing_version(&id));
                }
                next -= 1;
                if !visit(version, version.is_primary) {
                    return Ok(());
                }
            }
            left -= page.len();
            match page.last() {
                _ if page.len() < wanted && next > 0 => return Err(missing_version(&id)),
                Some(last) if left > 0 && next > 0 => before = Some(last.number),
                _ => return Ok(()),
            }
        }
    }

    /// Return the description of a version of a key.
    ///
    /// # Errors
    /// `KeyVersionNotFound`; `KeyNotFound` or `AliasNotFound` for an unknown key; and the [errors of every
    /// call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let version = keystore.rotate(key)?;
    /// let version = keystore.describe_key_version(key, &version.to_string())?;
    /// assert!(version.number == 2 && version.is_primary);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn describe_key_version<'k>(&self, key: impl Into<KeyRef<'k>>, version_id: &str) -> Result<KeyVersion> {
        let core = self.core()?;
        let id = core.resolve(key.into().as_str())?;
        core.store.read(|view| {
            let stored = view.key(&id)?.ok_or_else(|| not_found(&id))?;
            let version = find(view, &stored, version_id)?;
            Ok(KeyVersion::of(&stored, &version))
        })
    }

    /// Disable a version that is not the primary: it decrypts nothing until it is enabled again.
    ///
    /// This is the reversible trial before a deletion. Other processes see it on their next call. Disabling a Disabled
    /// version changes nothing.
    ///
    /// # Errors
    /// `StateModifiedFailed` for the primary version and while a deletion is pending; `KeyVersionDestroyed`;
    /// `UnsupportedOperation` for EXTERNAL and service-managed keys; `RejectedPendingDeletion` by the key's state;
    /// `KeyNotFound`, `KeyVersionNotFound`, `UnsupportedAlias` for an alias in place of the key id; and the [errors of
    /// every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, Status};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let blob = keystore.encrypt(key, b"4111 1111", &[])?;
    /// let old = keystore.inspect(&blob)?.version.to_string();
    /// keystore.rotate(key)?;
    /// keystore.disable_key_version(key, &old)?;
    /// assert_eq!(keystore.decrypt(&blob, &[]).unwrap_err().status(), Status::KeyVersionDisabled);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn disable_key_version<'k>(&self, key_id: impl Into<KeyRef<'k>>, version_id: &str) -> Result<()> {
        self.change_version(key_id.into(), version_id, VersionOperation::Disable, DEFAULT_DAYS)
    }

    /// Enable a Disabled version: it decrypts again. Enabling an Enabled version changes nothing.
    ///
    /// # Errors
    /// `StateModifiedFailed` while a deletion is pending; otherwise those of [`Keystore::disable_key_version`].
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let blob = keystore.encrypt(key, b"4111 1111", &[])?;
    /// let old = keystore.inspect(&blob)?.version.to_string();
    /// keystore.rotate(key)?;
    /// keystore.disable_key_version(key, &old)?;
    /// keystore.enable_key_version(key, &old)?;
    /// assert_eq!(&*keystore.decrypt(&blob, &[])?, b"4111 1111");
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn enable_key_version<'k>(&self, key_id: impl Into<KeyRef<'k>>, version_id: &str) -> Result<()> {
        self.change_version(key_id.into(), version_id, VersionOperation::Enable, DEFAULT_DAYS)
    }

    /// Start the waiting period of 7 to 366 days after which a Disabled version is destroyed. Until then, the deletion can
    /// be cancelled.
    ///
    /// The period is counted as in [`Keystore::schedule_key_deletion`]. After it, nothing decrypts what the version
    /// encrypted: move those blobs with [`Keystore::reencrypt`] first. The version's id and number remain.
    ///
    /// # Errors
    /// `InvalidArgument` for another number of days; `StateModifiedFailed` unless the version is Disabled;
    /// `DeletionProtected`; otherwise those of [`Keystore::disable_key_version`].
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, VersionState};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let old = keystore.describe_key(key)?.primary.unwrap().id.to_string();
    /// keystore.rotate(key)?;
    /// keystore.disable_key_version(key, &old)?;
    /// keystore.schedule_key_version_deletion(key, &old, 30)?;
    /// assert_eq!(keystore.describe_key_version(key, &old)?.state, VersionState::PendingDeletion);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn schedule_key_version_deletion<'k>(
        &self,
        key_id: impl Into<KeyRef<'k>>,
        version_id: &str,
        days: i32,
    ) -> Result<()> {
        self.change_version(key_id.into(), version_id, VersionOperation::ScheduleDeletion, days)
    }

    /// Cancel the pending deletion of a version. The version becomes Disabled.
    ///
    /// # Errors
    /// `StateModifiedFailed` unless the deletion is pending; otherwise those of [`Keystore::disable_key_version`].
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, VersionState};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let old = keystore.describe_key(key)?.primary.unwrap().id.to_string();
    /// keystore.rotate(key)?;
    /// keystore.disable_key_version(key, &old)?;
    /// keystore.schedule_key_version_deletion(key, &old, 30)?;
    /// keystore.cancel_key_version_deletion(key, &old)?;
    /// assert_eq!(keystore.describe_key_version(key, &old)?.state, VersionState::Disabled);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn cancel_key_version_deletion<'k>(&self, key_id: impl Into<KeyRef<'k>>, version_id: &str) -> Result<()> {
        self.change_version(key_id.into(), version_id, VersionOperation::CancelDeletion, DEFAULT_DAYS)
    }

    fn change_version(
        &self,
        key_id: KeyRef<'_>,
        version_id: &str,
        operation: VersionOperation,
        days: i32,
    ) -> Result<()> {
        let action = match operation {
            VersionOperation::Enable => ChangeAction::EnableKeyVersion,
            VersionOperation::ScheduleDeletion => ChangeAction::ScheduleKeyVersionDeletion,
            VersionOperation::CancelDeletion => ChangeAction::CancelKeyVersionDeletion,
            VersionOperation::Disable | VersionOperation::Decrypt => ChangeAction::DisableKeyVersion,
        };
        self.manage(action, Some(key_id.as_str()), |core| {
        deletion::check_days(days)?;
        let id = Core::id_only(key_id.as_str())?;
        core.change_key(action, &id, |change, mut stored, now| {
            let version = find(change, &stored, version_id)?;
            if !stored.key.rotates() {
                return Err(Status::UnsupportedOperation.error(
                    "the key has one version for life, as EXTERNAL and service-managed keys do; disable the key instead",
                ));
            }
            state::check(stored.key.state_at(now.wall), Operation::ChangeVersion)?;
            let is_primary = stored.key.primary.is_some_and(|primary| primary.id == version.id);
            let mut record = stored.records.of(version.number);
            let before = record;
            let of_version = |error| of_version(error, &id, &version.id);
            version::after(record.state, operation, is_primary).map_err(of_version)?;
            if operation == VersionOperation::ScheduleDeletion && stored.key.protection.is_some() {
                return Err(Status::DeletionProtected.error(
                    "the key is protected from deletion; turn the protection off with SetDeletionProtection first",
                ));
            }
            record.change(operation, is_primary, days, now).map_err(of_version)?;
            if record == before {
                return Ok(Changed::none(()));
            }
            change.log_version(&version.id);
            change.put_records(&mut stored, &[record])?;
            Ok(Changed::one((), change.update(stored)?))
        })?;
        Ok(())
        })
    }
}

/// The version of this id, whether its material is there or not.
fn find(view: &mut View<'_>, stored: &Stored, version_id: &str) -> Result<Version> {
    let id = &stored.key.id;
    let version = VersionId::parse(version_id).ok_or_else(|| no_version_id(id, version_id))?;
    let known = stored.key.primary.filter(|primary| primary.id == version);
    match known.or_else(|| stored.records.tombstone(&version)) {
        Some(known) => Ok(known),
        None => match view.material(stored, &version)? {
            Some((found, _)) => Ok(found),
            None => Err(version_not_found(id, &version)),
        },
    }
}

/// A text that can't be the id of a version; not shown, because what was passed by mistake may be a secret.
fn no_version_id(id: &KeyId, text: &str) -> Error {
    Status::KeyVersionNotFound
        .error(format!("a version id has 36 characters, not these {} bytes; list the versions of key {id}", text.len()))
}
