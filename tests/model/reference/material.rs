//! The operations on imported material: their answers and effects.

use super::arguments::*;
use super::{Answer, Deadline, Imported, Model, Token, Version};
use crate::rules::{Millis, Refusal, Row, State};

impl Model {
    /// When the token ends.
    pub fn get_parameters_for_import(&self, id: &str, now: Millis) -> Answer<(Token, Millis)> {
        id_argument(id)?;
        let id = self.by_id(id)?;
        self.keys[&id].only_external()?;
        Ok((Token::Of(id, now), now + self.rules.token_life))
    }

    /// `wrapped` is the wrapped material, decrypted with the token's private key, if that succeeds.
    pub fn import_key_material(
        &mut self,
        id: &str,
        wrapped: Option<&[u8]>,
        token: &Token,
        expires: Option<Millis>,
        now: Millis,
    ) -> Answer {
        arguments([id_argument(id), expiry_argument(expires, now)])?;
        let id = self.by_id(id)?;
        self.keys[&id].only_external()?;
        self.check(Row::ImportKeyMaterial, &id, now)?;
        match token {
            Token::Of(key, _) if *key != id => return Err(Refusal::InvalidImportToken),
            Token::Damaged => return Err(Refusal::InvalidImportToken),
            Token::Of(_, made) if now - made >= self.rules.token_life => return Err(Refusal::ExpiredImportToken),
            Token::Of(..) => {}
        }
        let material = wrapped.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or(Refusal::InvalidKeyMaterial)?;
        self.take_material(&id, material, expires, now)
    }

    pub fn import_raw_key_material(
        &mut self,
        id: &str,
        material: &[u8],
        expires: Option<Millis>,
        now: Millis,
    ) -> Answer {
        arguments([id_argument(id), expiry_argument(expires, now)])?;
        let id = self.by_id(id)?;
        self.keys[&id].only_external()?;
        self.check(Row::ImportKeyMaterial, &id, now)?;
        let material = <[u8; 32]>::try_from(material).map_err(|_| Refusal::InvalidKeyMaterial)?;
        self.take_material(&id, material, expires, now)
    }

    fn take_material(&mut self, id: &str, material: [u8; 32], expires: Option<Millis>, now: Millis) -> Answer {
        let rules = self.rules.clone();
        let key = self.key(id);
        let state = key.state_at(now, &rules);
        if let Some(imported) = &key.imported
            && imported.material != material
            && rules.only_the_identical_material
        {
            return Err(Refusal::InvalidKeyMaterial);
        }
        if key.versions.is_empty() {
            key.versions.push(Version { created: now, id: None });
        }
        key.imported = Some(Imported { material, present: true, expiry: expires.map(Deadline::at) });
        if state == State::PendingImport || !rules.import_leaves_a_disabled_key_disabled {
            key.state = State::Enabled;
        }
        Ok(())
    }

    pub fn delete_key_material(&mut self, id: &str) -> Answer {
        id_argument(id)?;
        let id = self.by_id(id)?;
        self.keys[&id].only_external()?;
        self.key(&id).erase_material();
        Ok(())
    }
}
