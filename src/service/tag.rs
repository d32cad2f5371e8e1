//! Tags of keys: set, remove and list.

use super::key_ref::KeyRef;
use super::name::not_found;
use super::{Changed, Core, Keystore};
use crate::domain::state::{self, Operation};
use crate::domain::tag;
use crate::error::{Result, Status};
use crate::sys::memory;

impl Keystore {
    /// Sets tags; a name that the key has already gets the new value. At most ten on a key.
    pub fn tag_resource<'k>(&self, key_id: impl Into<KeyRef<'k>>, tags: &[(&str, &str)]) -> Result<()> {
        for (name, value) in tags {
            tag::check_name(name)?;
            tag::check_value(value)?;
        }
        let core = self.core()?;
        let id = Core::id_only(key_id.into().as_str())?;
        core.change_key(&id, |change, stored, now| {
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

    /// Removes tags by name; a name that the key doesn't have is passed over.
    pub fn untag_resource<'k>(&self, key_id: impl Into<KeyRef<'k>>, names: &[&str]) -> Result<()> {
        names.iter().try_for_each(|name| tag::check_name(name))?;
        let core = self.core()?;
        let id = Core::id_only(key_id.into().as_str())?;
        core.change_key(&id, |change, stored, now| {
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

    /// A key's tags, name and value, in the order of names.
    pub fn list_resource_tags<'k>(&self, key_id: impl Into<KeyRef<'k>>) -> Result<Vec<(String, String)>> {
        let core = self.core()?;
        let id = Core::id_only(key_id.into().as_str())?;
        core.store.read(|view| {
            let stored = view.key(&id)?.ok_or_else(|| not_found(&id))?;
            view.tags(&stored)
        })
    }
}
