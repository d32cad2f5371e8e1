//! Customer master keys: create, describe, list, enable, disable, schedule and cancel their deletion.

use super::key_ref::KeyRef;
use super::name::not_found;
use super::pages::{PAGE, Page, paged};
use super::{Changed, Core, Keystore};
use crate::domain::deletion::{self, Deletion};
use crate::domain::id::{KeyId, VersionId};
use crate::domain::key::{Creator, Key, Origin};
use crate::domain::limits;
use crate::domain::log::ChangeAction;
use crate::domain::rotation::Interval;
use crate::domain::state::{self, KeyState, Operation};
use crate::domain::time::Now;
use crate::error::{Result, Status};
use crate::store::{Change, Stored};
use crate::sys::{memory, random};

/// The options of a new key, for [`Keystore::create_key`].
///
/// Construct it with `..Default::default()`: fields may be added. It is therefore not `#[non_exhaustive]`, which would
/// forbid that.
#[derive(Debug, Clone, Default)]
pub struct CreateKey {
    /// A text of at most 8192 characters.
    pub description: String,
    /// Where the key material comes from; `None`: the library generates it.
    pub origin: Option<Origin>,
    /// The rotation interval; `None`: the key does not rotate by itself.
    pub rotate_every: Option<Interval>,
}

/// What a new key takes in memory besides its description, with room to spare.
const KEY_BYTES: usize = 4096;

impl Keystore {
    /// Create a key: Enabled with its first version, or PendingImport for the origin EXTERNAL.
    ///
    /// # Errors
    /// `LimitExceeded` for a description above 8192 characters; `UnsupportedOperation` for an EXTERNAL key that is
    /// to rotate; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Interval, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// let request = CreateKey { description: "cards".into(), rotate_every: Some(Interval::parse("90d")?), ..Default::default() };
    /// let key = keystore.create_key(&request)?;
    /// assert_eq!(keystore.describe_key(key)?.description, "cards");
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn create_key(&self, request: &CreateKey) -> Result<KeyId> {
        let made =
            self.manage(ChangeAction::CreateKey, None, |core| core.create_keys(ChangeAction::CreateKey, request, 1))?;
        made.first().copied().ok_or_else(|| Status::Internal.error("no key was made"))
    }

    /// Create 1 to 1000 keys with the same options, in one transaction: all of them or none.
    ///
    /// # Errors
    /// `InvalidArgument` for another count; those of [`Keystore::create_key`].
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// let keys = keystore.create_keys(&CreateKey::default(), 100)?;
    /// assert_eq!(keys.len(), 100);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn create_keys(&self, request: &CreateKey, count: usize) -> Result<Vec<KeyId>> {
        self.manage(ChangeAction::CreateKeys, None, |core| {
            if !limits::KEYS_AT_ONCE.contains(&count) {
                return Err(Status::InvalidArgument.error(format!("one call creates 1 to 1000 keys, not {count}")));
            }
            core.create_keys(ChangeAction::CreateKeys, request, count)
        })
    }

    /// Return the description of a key.
    ///
    /// # Errors
    /// `KeyNotFound` or `AliasNotFound` for an unknown key; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, KeyState, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let key = keystore.describe_key(key)?;
    /// assert_eq!((key.state, key.version_count()), (KeyState::Enabled, 1));
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn describe_key<'k>(&self, key: impl Into<KeyRef<'k>>) -> Result<Key> {
        let core = self.core()?;
        let id = core.resolve(key.into().as_str())?;
        Ok(core.shown(&core.key(&id)?.key))
    }

    /// Replace the description of a key; at most 8192 characters, "" to delete it.
    ///
    /// # Errors
    /// `LimitExceeded` for a longer text; `RejectedPendingDeletion`; `KeyNotFound` for an unknown key,
    /// `UnsupportedAlias` for an alias in place of the key id; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.update_key_description(key, "card numbers")?;
    /// assert_eq!(keystore.describe_key(key)?.description, "card numbers");
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn update_key_description<'k>(&self, key_id: impl Into<KeyRef<'k>>, description: &str) -> Result<()> {
        let key_id = key_id.into();
        let (action, operation) = (ChangeAction::UpdateKeyDescription, Operation::UpdateKeyDescription);
        self.manage(action, Some(key_id.as_str()), |core| {
            check_description(description)?;
            core.edit(action, key_id.as_str(), operation, |key| description.clone_into(&mut key.description))
        })
    }

    /// Turn deletion protection on, with a reason that may be empty, or off with `None`. It refuses
    /// [`Keystore::schedule_key_deletion`] and [`Keystore::schedule_key_version_deletion`]. A version whose deletion is
    /// already pending is still destroyed unless that is cancelled.
    ///
    /// # Errors
    /// `LimitExceeded` for a reason above 8192 characters; `RejectedPendingDeletion`; `KeyNotFound` for an unknown
    /// key, `UnsupportedAlias` for an alias in place of the key id; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, Status};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.set_deletion_protection(key, Some("used by the archive"))?;
    /// let error = keystore.schedule_key_deletion(key, 30).unwrap_err();
    /// assert_eq!(error.status(), Status::DeletionProtected);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn set_deletion_protection<'k>(&self, key_id: impl Into<KeyRef<'k>>, protection: Option<&str>) -> Result<()> {
        let key_id = key_id.into();
        let (action, operation) = (ChangeAction::SetDeletionProtection, Operation::SetDeletionProtection);
        self.manage(action, Some(key_id.as_str()), |core| {
            check_description(protection.unwrap_or_default())?;
            core.edit(action, key_id.as_str(), operation, |key| key.protection = protection.map(str::to_owned))
        })
    }

    /// Return the key of a named subsystem of the program, and create it on first use. Its alias is
    /// `alias/acs/NAME`; it has one version and is never deleted.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that is not 1 to 251 letters, digits, `_`, `/` or `-`; and the [errors of every
    /// call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// let key = keystore.create_service_key("audit-log")?;
    /// assert_eq!(keystore.create_service_key("audit-log")?, key);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn create_service_key(&self, name: &str) -> Result<KeyId> {
        self.manage(ChangeAction::CreateServiceKey, None, |core| {
            let alias = crate::domain::alias::of_service(name)?;
            match core.resolve(&alias) {
                Err(e) if e.status() == Status::AliasNotFound => core.create_service_key(&alias),
                found => found,
            }
        })
    }

    /// Iterate over all keys in the order of their ids.
    ///
    /// The keystore is read in pages, with no lock held between two items. Keys that are created or destroyed meanwhile
    /// may be missing or present.
    ///
    /// # Errors
    /// An item is `KeystoreCorrupt` for a damaged key; the iterator continues with the next one. An error that prevents
    /// reading, such as `KeystoreBusy` or `KeystoreIo`, is the last item.
    ///
    /// ```
    /// use kms::{CreateKey, Keystore, Options};
    ///
    /// # fn main() -> kms::Result<()> {
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// keystore.create_keys(&CreateKey::default(), 3)?;
    /// let keys = keystore.keys().collect::<kms::Result<Vec<_>>>()?;
    /// assert_eq!(keys.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn keys(&self) -> impl Iterator<Item = Result<Key>> {
        let mut after = None;
        paged(move || {
            let core = self.core()?;
            let page = core.store.read(|view| view.keys_after(after.as_ref(), PAGE))?;
            after = page.last().map(|(id, _)| *id);
            let is_last = page.len() < PAGE;
            let items = page.into_iter().map(|(_, found)| found.map(|stored| core.shown(&stored.key))).collect();
            Ok(Page { items, is_last })
        })
    }

    /// Shows at most `limit` keys in the order of their ids, after the key `after` or from the start, until `visit`
    /// returns false. No lock is held while it runs. A damaged key is passed over and is the error of the call.
    #[doc(hidden)]
    pub fn list_keys(&self, after: Option<&str>, limit: usize, mut visit: impl FnMut(&Key) -> bool) -> Result<()> {
        let core = self.core()?;
        let mut after = after.map(Core::id_only).transpose()?;
        let (mut left, mut damaged) = (limit, Ok(()));
        while left > 0 {
            let page = core.store.read(|view| view.keys_after(after.as_ref(), left.min(PAGE)))?;
            for (_, found) in &page {
                match found {
                    Ok(stored) if !visit(&core.shown(&stored.key)) => return damaged,
                    Ok(_) => {}
                    Err(error) => damaged = damaged.and(Err(error.clone())),
                }
            }
            left -= page.len();
            match page.last() {
                Some((last, _)) if page.len() == PAGE => after = Some(*last),
                _ => break,
            }
        }
        damaged
    }

    /// Enable a Disabled key. If its rotation became overdue meanwhile, it rotates first.
    ///
    /// # Errors
    /// `StateModifiedFailed` in another state; `KeyNotFound` for an unknown key, `UnsupportedAlias` for an alias in
    /// place of the key id; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.disable_key(key)?;
    /// keystore.enable_key(key)?;
    /// assert!(keystore.encrypt(key, b"4111 1111", &[]).is_ok());
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn enable_key<'k>(&self, key_id: impl Into<KeyRef<'k>>) -> Result<()> {
        let key_id = key_id.into();
        self.manage(ChangeAction::EnableKey, Some(key_id.as_str()), |core| {
            core.transition(ChangeAction::EnableKey, key_id.as_str(), Operation::EnableKey, |_, _| Ok(()))
        })
    }

    /// Disable an Enabled key: it neither encrypts nor decrypts until it is enabled again. Other processes see it on
    /// their next call.
    ///
    /// # Errors
    /// `StateModifiedFailed` in another state; `KeyNotFound` for an unknown key, `UnsupportedAlias` for an alias in
    /// place of the key id; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, Status};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.disable_key(key)?;
    /// let error = keystore.encrypt(key, b"4111 1111", &[]).unwrap_err();
    /// assert_eq!(error.status(), Status::RejectedDisabled);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn disable_key<'k>(&self, key_id: impl Into<KeyRef<'k>>) -> Result<()> {
        let key_id = key_id.into();
        self.manage(ChangeAction::DisableKey, Some(key_id.as_str()), |core| {
            core.transition(ChangeAction::DisableKey, key_id.as_str(), Operation::DisableKey, |_, _| Ok(()))
        })
    }

    /// Start the waiting period of 7 to 366 days after which a key is destroyed. Until then, the deletion can be
    /// cancelled.
    ///
    /// The period is counted by the boot clock of the machine, and its end is confirmed twice, an hour apart: a
    /// wrong wall clock can only delay the deletion.
    ///
    /// # Errors
    /// `InvalidArgument` for another number of days; `StateModifiedFailed` if the deletion is pending already;
    /// `DeletionProtected`; `UnsupportedOperation` for a service-managed key; `KeyNotFound` for an unknown key,
    /// `UnsupportedAlias` for an alias in place of the key id; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.schedule_key_deletion(key, 30)?;
    /// assert!(keystore.describe_key(key)?.delete_date().is_some());
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn schedule_key_deletion<'k>(&self, key_id: impl Into<KeyRef<'k>>, days: i32) -> Result<()> {
        let key_id = key_id.into();
        let (action, operation) = (ChangeAction::ScheduleKeyDeletion, Operation::ScheduleKeyDeletion);
        let schedule = |key: &mut Key, now: &Now| {
            if key.creator == Creator::Service {
                return Err(Status::UnsupportedOperation
                    .error("the key is service-managed and can't be deleted; disable it instead"));
            }
            if key.protection.is_some() {
                return Err(Status::DeletionProtected.error(
                    "the key is protected from deletion; turn the protection off with SetDeletionProtection first",
                ));
            }
            key.deletion = Some(Deletion::schedule(now, days)?);
            Ok(())
        };
        self.manage(action, Some(key_id.as_str()), |core| {
            deletion::check_days(days)?;
            core.transition(action, key_id.as_str(), operation, schedule)
        })
    }

    /// Cancel a pending deletion. The key becomes Enabled, or PendingImport without material.
    ///
    /// # Errors
    /// `StateModifiedFailed` in another state; `KeyNotFound` for an unknown key, `UnsupportedAlias` for an alias in
    /// place of the key id; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, KeyState, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.schedule_key_deletion(key, 30)?;
    /// keystore.cancel_key_deletion(key)?;
    /// assert_eq!(keystore.describe_key(key)?.state, KeyState::Enabled);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn cancel_key_deletion<'k>(&self, key_id: impl Into<KeyRef<'k>>) -> Result<()> {
        let key_id = key_id.into();
        let (action, operation) = (ChangeAction::CancelKeyDeletion, Operation::CancelKeyDeletion);
        self.manage(action, Some(key_id.as_str()), |core| {
            core.transition(action, key_id.as_str(), operation, |key, _| {
                key.deletion = None;
                Ok(())
            })
        })
    }
}

impl Core {
    fn create_keys(&self, action: ChangeAction, request: &CreateKey, count: usize) -> Result<Vec<KeyId>> {
        check_description(&request.description)?;
        let origin = request.origin.unwrap_or(Origin::Kms);
        if origin == Origin::External && request.rotate_every.is_some() {
            return Err(Status::UnsupportedOperation
                .error("an EXTERNAL key has one version for life; create it without a rotation interval"));
        }
        let now = self.clock.wall();
        memory::headroom_of(memory::TRANSACTION + count * (2 * request.description.len() + KEY_BYTES))?;
        let done = self.change(action, |change, _| {
            let mut changed = Changed::none(Vec::with_capacity(count));
            for id in new_ids(count)? {
                let key = Key::new(id, origin, request.description.clone(), request.rotate_every, now);
                changed.keys.push(insert(change, key)?);
                changed.value.push(id);
            }
            Ok(changed)
        })?;
        Ok(done.value)
    }

    fn create_service_key(&self, alias: &str) -> Result<KeyId> {
        let id = KeyId::from_random(random::array()?);
        let mut key = Key::new(id, Origin::Kms, String::new(), None, self.clock.wall());
        key.creator = Creator::Service;
        let made = self.change(ChangeAction::CreateServiceKey, |change, _| {
            // Another process may have been faster.
            if let Some(found) = change.alias(alias)? {
                return Ok(Changed::none(found.key.id));
            }
            let stored = insert(change, key)?;
            change.put_alias(alias, &stored)?;
            Ok(Changed::one(id, stored))
        })?;
        Ok(made.value)
    }

    /// Changes metadata that has nothing to do with states or dates.
    fn edit(
        &self,
        action: ChangeAction,
        key_id: &str,
        operation: Operation,
        edit: impl FnOnce(&mut Key),
    ) -> Result<()> {
        let id = Self::id_only(key_id)?;
        self.change_key(action, &id, |change, mut stored, now| {
            state::check(stored.key.state_at(now.wall), operation)?;
            let before = stored.key.clone();
            edit(&mut stored.key);
            if stored.key == before {
                return Ok(Changed::none(()));
            }
            Ok(Changed::one((), change.update(stored)?))
        })?;
        Ok(())
    }

    /// A key as callers see it: with its state and schedule as of now.
    fn shown(&self, key: &Key) -> Key {
        let mut key = key.clone();
        if key.imported.is_some() || key.policy.is_some() {
            let now = self.clock.wall();
            key.state = key.state_at(now);
            key.future_noticed = key.schedule().future_noticed_at(now);
        }
        key
    }

    /// Changes a key's state; a rotation found overdue in an Enabled key belongs to the same transaction.
    fn transition(
        &self,
        action: ChangeAction,
        key_id: &str,
        operation: Operation,
        also: impl FnOnce(&mut Key, &Now) -> Result<()>,
    ) -> Result<()> {
        let id = Self::id_only(key_id)?;
        let done = self.change_key(action, &id, |change, mut stored, now| {
            let old = stored.key.state_at(now.wall);
            let next = state::after(old, operation, stored.key.holds_material())?;
            if next == old {
                return Ok(Changed::none(None));
            }
            stored.key.state = next;
            also(&mut stored.key, now)?;
            self.store_and_rotate(change, stored, now.wall)
        })?;
        self.tell_rotation(id, done.value, done.at);
        Ok(())
    }

    /// For the uses of a key that its state may forbid. Only expiring material makes it ask the clock.
    #[inline]
    pub(super) fn usable(&self, key: &Key, operation: Operation) -> Result<()> {
        let state = match key.imported {
            None => key.state,
            Some(_) => key.state_at(self.clock.wall()),
        };
        state::check(state, operation).map_err(|error| error.of_key(&key.id))
    }

    /// Destroys a key whose deletion was seen to be due twice.
    pub(super) fn destroy(change: &mut Change<'_>, stored: &Stored) -> Result<()> {
        if stored.key.state != KeyState::PendingDeletion {
            return Err(not_found(&stored.key.id));
        }
        change.destroy(stored)
    }
}

/// Random ids, in order. Those made together share their first byte, so that they lie near each other in the keystore's
/// tree of ids: a thousand spread over all of it would write a page or two for each key. 114 bits are random.
fn new_ids(count: usize) -> Result<Vec<KeyId>> {
    let mut bytes = vec![0; count * 16];
    random::fill(&mut bytes)?;
    let (drawn, _) = bytes.as_chunks_mut::<16>();
    let first = drawn.first().map_or(0, |id| id[0]);
    let mut ids: Vec<KeyId> = Vec::with_capacity(count);
    for id in drawn {
        id[0] = first;
        ids.push(KeyId::from_random(*id));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Stores a new key; one that the library makes the material of gets its first version.
fn insert(change: &mut Change<'_>, mut key: Key) -> Result<Stored> {
    if key.origin == Origin::External {
        return change.insert(key, None);
    }
    let material = zeroize::Zeroizing::new(random::array::<32>()?);
    let created = key.created;
    key.promote(VersionId::from_random(random::array()?), created);
    change.insert(key, Some(&material))
}

/// A copy of a description, unless it is too long.
#[cfg(feature = "capi")]
pub(crate) fn description_of(text: &str) -> Result<String> {
    check_description(text)?;
    memory::text(text)
}

fn check_description(text: &str) -> Result<()> {
    // Characters are not counted in a text that is far too long.
    if text.len() > 4 * limits::DESCRIPTION_CHARS || text.chars().count() > limits::DESCRIPTION_CHARS {
        return Err(Status::LimitExceeded.error("the description has more than 8192 characters; shorten it"));
    }
    Ok(())
}
