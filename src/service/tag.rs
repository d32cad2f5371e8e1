//! Tags of keys: set, remove and list.

use super::key_ref::KeyRef;
use super::name::not_found;
use super::{Changed, Core, Keystore};
use crate::domain::log::ChangeAction;
use crate::domain::state::{self, Operation};
use crate::domain::tag;
use crate::error::{Result, Status};
use crate::sys::memory;

impl Keystore {
    /// Set tags of a key. A tag that the key has already is replaced. A key has at most ten tags, a name 1 to 128
    /// and a value at most 256 characters.
    ///
    /// # Errors
    /// `LimitExceeded` for an eleventh tag; `InvalidArgument` for other characters than `a-zA-Z0-9/_-.+=@:`;
    /// `RejectedPendingDeletion`; `KeyNotFound` for an unknown key, `UnsupportedAlias` for an alias in place of the
    /// key id; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.tag_resource(key, &[("team", "payments")])?;
    /// assert_eq!(keystore.list_resource_tags(key)?, [("team".to_owned(), "payments".to_owned())]);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn tag_resource<'k>(&self, key_id: impl Into<KeyRef<'k>>, tags: &[(&str, &str)]) -> Result<()> {
        let key_id = key_id.into();
        self.manage(ChangeAction::TagResource, Some(key_id.as_str()), |core| core.tag_resource(key_id.as_str(), tags))
    }

    /// Remove tags of a key by name. Names that the key does not have are ignored.
    ///
    /// # Errors
    /// `InvalidArgument` for an invalid name; `RejectedPendingDeletion`; `KeyNotFound` for an unknown key,
    /// `UnsupportedAlias` for an alias in place of the key id; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.tag_resource(key, &[("team", "payments")])?;
    /// keystore.untag_resource(key, &["team"])?;
    /// assert!(keystore.list_resource_tags(key)?.is_empty());
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn untag_resource<'k>(&self, key_id: impl Into<KeyRef<'k>>, names: &[&str]) -> Result<()> {
        let key_id = key_id.into();
        let key = key_id.as_str();
        self.manage(ChangeAction::UntagResource, Some(key), |core| core.untag_resource(key, names))
    }

    /// Return the tags of a key, at most ten names and values, in the order of names.
    ///
    /// # Errors
    /// `KeyNotFound` for an unknown key, `UnsupportedAlias` for an alias in place of the key id; and the [errors of
    /// every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.tag_resource(key, &[("team", "payments")])?;
    /// assert_eq!(keystore.list_resource_tags(key)?.len(), 1);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn list_resource_tags<'k>(&self, key_id: impl Into<KeyRef<'k>>) -> Result<Vec<(String, String)>> {
        let core = self.core()?;
        let id = Core::id_only(key_id.into().as_str())?;
        core.store.read(|view| {
            let stored = view.key(&id)?.ok_or_else(|| not_found(&id))?;
            view.tags(&stored)
        })
    }
}

impl Core {
    fn tag_resource(&self, key_id: &str, tags: &[(&str, &str)]) -> Result<()> {
        for (name, value) in tags {
            tag::check_name(name)?;
            tag::check_value(value)?;
        }
        let id = Self::id_only(key_id)?;
        self.change_key(ChangeAction::TagResource, &id, |change, stored, now| {
            state::check(stored.key.state_at(now.wall), Operation::Tag)?;
            let mut held = change.tags(&stored)?;
            let mut put = memory::list(tags.len())?;
            for (name, value) in tags {
                let full = held.len() == tag::MOST;
                match held.iter_mut().find(|(known, _)| known == name) {
                    Some((_, old)) if old == value => continue,
                    Some((_, old)) => (*value).clone_into(old),
                    None if full => {
                        return Err(Status::LimitExceeded
                            .error("the key would have more than the 10 tags that are allowed; remove some first"));
                    }
                    None => held.push(((*name).to_owned(), (*value).to_owned())),
                }
                put.push((*name, *value));
            }
            if put.is_empty() {
                return Ok(Changed::none(()));
            }
            Ok(Changed::one((), change.set_tags(stored, &put, &[])?))
        })?;
        Ok(())
    }

    fn untag_resource(&self, key_id: &str, names: &[&str]) -> Result<()> {
        names.iter().try_for_each(|name| tag::check_name(name))?;
        let id = Self::id_only(key_id)?;
        self.change_key(ChangeAction::UntagResource, &id, |change, stored, now| {
            state::check(stored.key.state_at(now.wall), Operation::Tag)?;
            let held = change.tags(&stored)?;
            let gone: Vec<&str> = held.iter().map(|(name, _)| name.as_str()).filter(|n| names.contains(n)).collect();
            if gone.is_empty() {
                return Ok(Changed::none(()));
            }
            Ok(Changed::one((), change.set_tags(stored, &[], &gone)?))
        })?;
        Ok(())
    }
}
