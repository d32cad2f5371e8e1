//! Customer master keys: create, describe, list, enable, disable, schedule and cancel their deletion.

use super::{Changed, Core, Kms, not_found};
use crate::domain::deletion::Deletion;
use crate::domain::id::{KeyId, VersionId};
use crate::domain::key::{Key, Origin};
use crate::domain::limits;
use crate::domain::rotation::Interval;
use crate::domain::state::{self, KeyState, Operation};
use crate::error::{Result, Status};
use crate::store::{Change, Stored};
use crate::sys::random;

/// How a key is to be made.
#[derive(Debug, Clone, Default)]
pub struct CreateKey {
    /// At most 8192 characters.
    pub description: String,
    /// `None`: made by the library.
    pub origin: Option<Origin>,
    /// Turns automatic rotation on.
    pub rotate_every: Option<Interval>,
}

/// Keys read in one transaction while listing.
const PAGE: usize = 256;

impl Kms {
    /// Makes a key; Enabled with its first version, or PendingImport for an EXTERNAL one.
    pub fn create_key(&self, request: &CreateKey) -> Result<KeyId> {
        self.core()?.create_key(request)
    }

    /// The key's metadata. `key` is a key id or `alias/NAME`.
    pub fn describe_key(&self, key: &str) -> Result<Key> {
        let core = self.core()?;
        let id = core.resolve(key)?;
        Ok(core.key(&id)?.key.clone())
    }

    /// Shows at most `limit` keys in the order of their ids, after the key `after` or from the start, until `visit`
    /// returns false. No lock is held while it runs. A damaged key is passed over and is the error of the call.
    pub fn list_keys(&self, after: Option<&str>, limit: usize, mut visit: impl FnMut(&Key) -> bool) -> Result<()> {
        let core = self.core()?;
        let mut after = after.map(Core::id_only).transpose()?;
        let (mut left, mut damaged) = (limit, Ok(()));
        while left > 0 {
            let page = core.store.read(|view| view.keys_after(after.as_ref(), left.min(PAGE)))?;
            for (_, found) in &page {
                match found {
                    Ok(stored) if !visit(&stored.key) => return damaged,
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

    /// Makes a Disabled key Enabled; if a rotation became overdue meanwhile, it is carried out at once.
    pub fn enable_key(&self, key_id: &str) -> Result<()> {
        self.core()?.transition(key_id, Operation::EnableKey, |_| ())
    }

    /// Makes an Enabled key Disabled: nothing is encrypted or decrypted under it until it is enabled again.
    pub fn disable_key(&self, key_id: &str) -> Result<()> {
        self.core()?.transition(key_id, Operation::DisableKey, |_| ())
    }

    /// Starts the waiting period of 7 to 366 days after which the key is destroyed.
    pub fn schedule_key_deletion(&self, key_id: &str, days: i32) -> Result<()> {
        let core = self.core()?;
        let deletion = Deletion::schedule(core.clock.wall(), days)?;
        core.transition(key_id, Operation::ScheduleKeyDeletion, |key| key.deletion = Some(deletion))
    }

    /// Returns a key in PendingDeletion to Enabled, or to PendingImport if it has no material.
    pub fn cancel_key_deletion(&self, key_id: &str) -> Result<()> {
        self.core()?.transition(key_id, Operation::CancelKeyDeletion, |key| key.deletion = None)
    }
}

impl Core {
    fn create_key(&self, request: &CreateKey) -> Result<KeyId> {
        if request.description.chars().count() > limits::DESCRIPTION_CHARS {
            return Err(Status::LimitExceeded.error("the description is above 8192 characters"));
        }
        let origin = request.origin.unwrap_or(Origin::Kms);
        if origin == Origin::External && request.rotate_every.is_some() {
            return Err(Status::UnsupportedOperation.error("a key with imported material can't rotate"));
        }
        let now = self.clock.wall();
        let id = KeyId::from_random(random::array()?);
        let mut key = Key::new(id, origin, request.description.clone(), request.rotate_every, now);
        let material = zeroize::Zeroizing::new(random::array::<32>()?);
        if origin == Origin::Kms {
            key.promote(VersionId::from_random(random::array()?), now);
        }
        self.change(|change, _| {
            let stored = change.insert(key, (origin == Origin::Kms).then_some(&*material))?;
            Ok(Changed::one((), stored))
        })?;
        Ok(id)
    }

    /// Changes a key's state; a rotation found overdue in an Enabled key belongs to the same transaction.
    fn transition(&self, key_id: &str, operation: Operation, also: impl FnOnce(&mut Key)) -> Result<()> {
        let id = Self::id_only(key_id)?;
        let done = self.change_key(&id, |change, mut stored, now| {
            let next = state::after(stored.key.state, operation, stored.key.primary.is_some())?;
            if next == stored.key.state {
                return Ok(Changed::none(None));
            }
            stored.key.state = next;
            also(&mut stored.key);
            self.store_and_rotate(change, stored, now.wall)
        })?;
        self.tell_rotation(id, done.value, done.at);
        Ok(())
    }

    /// For the uses of a key that its state may forbid.
    pub(super) fn usable(key: &Key, operation: Operation) -> Result<()> {
        state::check(key.state, operation)
    }

    /// Destroys a key whose deletion was seen to be due twice.
    pub(super) fn destroy(change: &mut Change<'_>, stored: &Stored) -> Result<KeyId> {
        if stored.key.state != KeyState::PendingDeletion {
            return Err(not_found());
        }
        change.destroy(stored)?;
        Ok(stored.key.id)
    }
}
