//! CreateKey, DescribeKey, ListKeys and the changes of one key: their answers and effects.

use std::collections::BTreeMap;

use super::arguments::*;
use super::{Answer, Deadline, Key, Model, Version};
use crate::rules::{DAY, Millis, Refusal, Row, State};

impl Model {
    /// `fresh` is the random id that the keystore generated.
    pub fn create_key(
        &mut self,
        fresh: &str,
        description: &str,
        external: bool,
        rotate_every: Option<&str>,
        now: Millis,
    ) -> Answer<String> {
        arguments([description_argument(description, &self.rules), policy_argument(rotate_every, &self.rules)])?;
        let policy = rotate_every.map(|text| interval_argument(text, &self.rules)).transpose()?;
        if external && policy.is_some() {
            return Err(Refusal::UnsupportedOperation);
        }
        self.insert(fresh, description, external, false, policy, now);
        Ok(fresh.to_owned())
    }

    fn insert(&mut self, id: &str, description: &str, external: bool, service: bool, policy: Option<i64>, now: Millis) {
        let versions = if external { Vec::new() } else { vec![Version { created: now, id: None }] };
        let state = if external { State::PendingImport } else { State::Enabled };
        let key = Key {
            state,
            external,
            service,
            description: description.to_owned(),
            created: now,
            policy,
            versions,
            noticed: None,
            deletion: None,
            protection: None,
            imported: None,
            tags: BTreeMap::new(),
        };
        self.keys.insert(id.to_owned(), key);
    }

    /// The key of a named subsystem, made on first use.
    pub fn create_service_key(&mut self, fresh: &str, name: &str, now: Millis) -> Answer<String> {
        if name.is_empty() || alias_argument(&format!("alias/-cs/{name}")).is_err() {
            return Err(Refusal::InvalidArgument);
        }
        let alias = format!("alias/acs/{name}");
        if let Some(id) = self.aliases.get(&alias) {
            return Ok(id.clone());
        }
        self.insert(fresh, "", false, true, None, now);
        self.aliases.insert(alias, fresh.to_owned());
        Ok(fresh.to_owned())
    }

    pub fn describe_key(&self, name: &str) -> Answer<String> {
        key_argument(name)?;
        self.by_name(name)
    }

    /// Ids after one that need not be there any more, in their order.
    pub fn list_keys(&self, after: Option<&str>, limit: usize) -> Answer<Vec<String>> {
        if let Some(after) = after {
            id_argument(after)?;
            if !is_uuid(bare(after)) {
                return Err(Refusal::KeyNotFound);
            }
        }
        let after = bare(after.unwrap_or("")).to_ascii_lowercase();
        Ok(self.keys.keys().filter(|id| **id > after).take(limit).cloned().collect())
    }

    pub fn enable_key(&mut self, id: &str, now: Millis) -> Answer {
        id_argument(id)?;
        let id = self.by_id(id)?;
        self.check(Row::EnableKey, &id, now)?;
        let becomes = self.keys[&id].state != State::Enabled;
        self.key(&id).state = State::Enabled;
        if becomes && self.rules.overdue_rotates_at_once {
            self.rotate_if_due(&id, now);
        }
        Ok(())
    }

    pub fn disable_key(&mut self, id: &str, now: Millis) -> Answer {
        id_argument(id)?;
        let id = self.by_id(id)?;
        self.check(Row::DisableKey, &id, now)?;
        self.key(&id).state = State::Disabled;
        Ok(())
    }

    pub fn schedule_key_deletion(&mut self, id: &str, days: Option<i64>, now: Millis) -> Answer {
        let days = days.unwrap_or(30);
        let in_range = self.rules.deletion_window_days.contains(&days);
        arguments([id_argument(id), if in_range { Ok(()) } else { Err(Refusal::InvalidArgument) }])?;
        let id = self.by_id(id)?;
        if self.keys[&id].service {
            return Err(Refusal::UnsupportedOperation);
        }
        self.check(Row::ScheduleKeyDeletion, &id, now)?;
        if self.keys[&id].protection.is_some() {
            return Err(Refusal::DeletionProtected);
        }
        let key = self.key(&id);
        key.state = State::PendingDeletion;
        key.deletion = Some(Deadline::at(now + days * DAY));
        Ok(())
    }

    pub fn cancel_key_deletion(&mut self, id: &str, now: Millis) -> Answer {
        id_argument(id)?;
        let id = self.by_id(id)?;
        self.check(Row::CancelKeyDeletion, &id, now)?;
        let key = self.key(&id);
        // `state_at` decides whether material exists, also for a key whose material has expired by now.
        key.state = State::Enabled;
        key.deletion = None;
        if self.rules.overdue_rotates_at_once {
            self.rotate_if_due(&id, now);
        }
        Ok(())
    }

    pub fn update_key_description(&mut self, id: &str, description: &str, now: Millis) -> Answer {
        arguments([id_argument(id), description_argument(description, &self.rules)])?;
        let id = self.by_id(id)?;
        self.check(Row::UpdateKeyDescription, &id, now)?;
        self.key(&id).description = description.to_owned();
        Ok(())
    }

    pub fn set_deletion_protection(&mut self, id: &str, protection: Option<&str>, now: Millis) -> Answer {
        arguments([id_argument(id), description_argument(protection.unwrap_or(""), &self.rules)])?;
        let id = self.by_id(id)?;
        self.check(Row::SetDeletionProtection, &id, now)?;
        if protection.is_some() || self.rules.turning_protection_off_forgets_why {
            self.key(&id).protection = protection.map(str::to_owned);
        }
        Ok(())
    }
}
