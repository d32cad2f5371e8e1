//! The operations on aliases and tags: their answers and effects.

use super::arguments::*;
use super::{Answer, Model};
use crate::rules::{Millis, Refusal, Row};

impl Model {
    pub fn create_alias(&mut self, id: &str, alias: &str, now: Millis) -> Answer {
        arguments([id_argument(id), alias_argument(alias)])?;
        let id = self.by_id(id)?;
        if self.aliases.contains_key(alias) {
            return Err(Refusal::AliasAlreadyExists);
        }
        self.check(Row::CreateAlias, &id, now)?;
        self.aliases.insert(alias.to_owned(), id);
        Ok(())
    }

    pub fn update_alias(&mut self, id: &str, alias: &str, now: Millis) -> Answer {
        arguments([id_argument(id), alias_argument(alias)])?;
        let id = self.by_id(id)?;
        if !self.aliases.contains_key(alias) {
            return Err(Refusal::AliasNotFound);
        }
        self.check(Row::UpdateAlias, &id, now)?;
        self.aliases.insert(alias.to_owned(), id);
        Ok(())
    }

    pub fn delete_alias(&mut self, alias: &str) -> Answer {
        alias_argument(alias)?;
        self.aliases.remove(alias).map(drop).ok_or(Refusal::AliasNotFound)
    }

    pub fn list_aliases(&self, id: Option<&str>, after: Option<&str>, limit: usize) -> Answer<Vec<(String, String)>> {
        id.map_or(Ok(()), id_argument)?;
        let of = id.map(|id| self.by_id(id)).transpose()?;
        let after = after.unwrap_or("");
        let found = self
            .aliases
            .iter()
            .filter(|(alias, key)| alias.as_str() > after && of.as_ref().is_none_or(|of| of == *key));
        Ok(found.take(limit).map(|(alias, key)| (alias.clone(), key.clone())).collect())
    }

    pub fn tag_resource(&mut self, id: &str, tags: &[(String, String)], now: Millis) -> Answer {
        let good = |(name, value): &(String, String)| {
            tag_text_argument(name, 1..=128).and_then(|()| tag_text_argument(value, 0..=256))
        };
        arguments([id_argument(id), tags.iter().try_for_each(good)])?;
        let id = self.by_id(id)?;
        self.check(Row::Tag, &id, now)?;
        let limit = self.rules.tags;
        let key = self.key(&id);
        key.tags.extend(tags.iter().cloned());
        if key.tags.len() > limit { Err(Refusal::LimitExceeded) } else { Ok(()) }
    }

    pub fn untag_resource(&mut self, id: &str, names: &[String], now: Millis) -> Answer {
        let good = |name: &String| tag_text_argument(name, 1..=128);
        arguments([id_argument(id), names.iter().try_for_each(good)])?;
        let id = self.by_id(id)?;
        self.check(Row::Tag, &id, now)?;
        let key = self.key(&id);
        key.tags.retain(|name, _| !names.contains(name));
        Ok(())
    }

    pub fn list_resource_tags(&self, id: &str) -> Answer<Vec<(String, String)>> {
        id_argument(id)?;
        let id = self.by_id(id)?;
        Ok(self.keys[&id].tags.clone().into_iter().collect())
    }
}
