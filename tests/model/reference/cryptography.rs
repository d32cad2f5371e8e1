//! The answers of encryption and decryption, and the version that they use.

use std::collections::BTreeMap;

use super::arguments::*;
use super::{Answer, Blob, Context, Model, Sealed};
use crate::rules::{Millis, Refusal, Row};

impl Model {
    fn primary_for_encryption(&mut self, id: &str, now: Millis) -> usize {
        if self.rules.encrypting_rotates_first {
            self.rotate_if_due(id, now);
        }
        self.keys[id].versions.len()
    }

    pub fn encrypt(&mut self, name: &str, plaintext: &[u8], context: &Context, now: Millis) -> Answer<Sealed> {
        arguments([key_argument(name), context_argument(context, true, &self.rules)])?;
        let key = self.by_name(name)?;
        self.check(Row::Cryptography, &key, now)?;
        let version = self.primary_for_encryption(&key, now);
        Ok(Sealed { key, version, plaintext: plaintext.to_vec(), context: map(context) })
    }

    /// The blob's key and version exist, and the key may decrypt now.
    fn may_open(&self, blob: &Blob, now: Millis) -> Answer {
        let id = match blob {
            Blob::Malformed => return Err(Refusal::MalformedCiphertext),
            Blob::UnknownKey => return Err(Refusal::KeyNotFound),
            Blob::UnknownVersion(key) => {
                self.by_id(key)?;
                return Err(Refusal::KeyVersionNotFound);
            }
            Blob::Whole(sealed) | Blob::Changed(sealed) => self.by_id(&sealed.key)?,
        };
        self.check(Row::Cryptography, &id, now)
    }

    fn open(blob: &Blob, context: &BTreeMap<String, String>) -> Answer<Sealed> {
        match blob {
            Blob::Whole(sealed) if sealed.context == *context => Ok(sealed.clone()),
            _ => Err(Refusal::AuthenticationFailed),
        }
    }

    pub fn decrypt(&self, blob: &Blob, context: &Context, now: Millis) -> Answer<Sealed> {
        arguments([blob_argument(blob), context_argument(context, false, &self.rules)])?;
        self.may_open(blob, now)?;
        Self::open(blob, &map(context))
    }

    /// All of the source is checked, then all of the destination; then the source is opened. `aliases`: whether the
    /// destination may be one; not by the service's own action.
    pub fn re_encrypt(
        &mut self,
        blob: &Blob,
        source_context: &Context,
        (destination, aliases): (&str, bool),
        destination_context: &Context,
        now: Millis,
    ) -> Answer<(Sealed, Sealed)> {
        arguments([
            blob_argument(blob),
            context_argument(source_context, false, &self.rules),
            if aliases { key_argument(destination) } else { id_argument(destination) },
            context_argument(destination_context, true, &self.rules),
        ])?;
        self.may_open(blob, now)?;
        let key = self.by_name(destination)?;
        self.check(Row::Cryptography, &key, now)?;
        let source = Self::open(blob, &map(source_context))?;
        let version = self.primary_for_encryption(&key, now);
        let plaintext = source.plaintext.clone();
        Ok((source, Sealed { key, version, plaintext, context: map(destination_context) }))
    }

    /// Names key and version of a blob, and whether that is the primary; in every state.
    pub fn inspect(&self, blob: &Blob) -> Answer<(String, usize, bool)> {
        match blob {
            Blob::Malformed => Err(Refusal::MalformedCiphertext),
            Blob::UnknownKey => Err(Refusal::KeyNotFound),
            Blob::UnknownVersion(key) => self.by_id(key).and(Err(Refusal::KeyVersionNotFound)),
            Blob::Whole(sealed) | Blob::Changed(sealed) => {
                let id = self.by_id(&sealed.key)?;
                let is_primary = self.keys[&id].versions.len() == sealed.version;
                Ok((id, sealed.version, is_primary))
            }
        }
    }

    /// The plaintext is random, so the answer is without it.
    pub fn generate_data_key(&mut self, name: &str, bytes: i64, context: &Context, now: Millis) -> Answer<Sealed> {
        arguments([
            key_argument(name),
            data_key_argument(bytes, &self.rules),
            context_argument(context, true, &self.rules),
        ])?;
        self.encrypt(name, &[], context, now)
    }

    pub fn generate_and_export_data_key(
        &mut self,
        name: &str,
        bytes: i64,
        context: &Context,
        fits: Option<usize>,
        now: Millis,
    ) -> Answer<Sealed> {
        arguments([
            key_argument(name),
            data_key_argument(bytes, &self.rules),
            context_argument(context, true, &self.rules),
            public_key_argument(fits, bytes),
        ])?;
        self.encrypt(name, &[], context, now)
    }

    /// `length` is the plaintext's, derived from the size of the ciphertext.
    pub fn export_data_key(
        &self,
        blob: &Blob,
        length: usize,
        context: &Context,
        fits: Option<usize>,
        now: Millis,
    ) -> Answer<Sealed> {
        arguments([
            blob_argument(blob),
            context_argument(context, false, &self.rules),
            public_key_argument(fits, length as i64),
        ])?;
        self.may_open(blob, now)?;
        Self::open(blob, &map(context))
    }
}
