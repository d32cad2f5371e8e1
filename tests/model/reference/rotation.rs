//! The operations on versions and their schedule: their answers and effects.

use super::arguments::*;
use super::{Answer, Model};
use crate::rules::{Millis, Refusal, Row};

impl Model {
    pub fn update_rotation_policy(&mut self, id: &str, rotate_every: Option<&str>, now: Millis) -> Answer {
        arguments([id_argument(id), policy_argument(rotate_every, &self.rules)])?;
        let policy = rotate_every.map(|text| interval_argument(text, &self.rules)).transpose()?;
        let id = self.by_id(id)?;
        self.keys[&id].only_rotating_kind()?;
        self.check(Row::UpdateRotationPolicy, &id, now)?;
        self.key(&id).policy = policy;
        if self.rules.overdue_rotates_at_once {
            self.rotate_if_due(&id, now);
        }
        Ok(())
    }

    /// The number of the new version, which is the primary.
    pub fn create_key_version(&mut self, name: &str, now: Millis) -> Answer<(String, usize)> {
        key_argument(name)?;
        let id = self.by_name(name)?;
        self.keys[&id].only_rotating_kind()?;
        self.check(Row::CreateKeyVersion, &id, now)?;
        let moves = self.rules.rotating_moves_the_schedule;
        let key = self.key(&id);
        let last = key.last_rotation().unwrap_or(now);
        key.promote_a_new_version(if moves { now } else { last });
        let number = key.versions.len();
        Ok((id, number))
    }

    pub fn describe_key_version(&self, name: &str, version: &str) -> Answer<(String, usize)> {
        key_argument(name)?;
        let id = self.by_name(name)?;
        let version = version.to_ascii_lowercase();
        let place = self.keys[&id].versions.iter().position(|known| known.id.as_ref() == Some(&version));
        place.map(|place| (id, place + 1)).ok_or(Refusal::KeyVersionNotFound)
    }

    /// Numbers, newest first.
    pub fn list_key_versions(&self, name: &str, before: Option<u64>, limit: usize) -> Answer<(String, Vec<usize>)> {
        key_argument(name)?;
        let id = self.by_name(name)?;
        let below = before.map_or(usize::MAX, |before| before as usize);
        let numbers = (1..=self.keys[&id].versions.len()).rev().filter(|number| *number < below).take(limit).collect();
        Ok((id, numbers))
    }
}
