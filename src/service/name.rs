//! What keys and aliases are called in arguments: ids, aliases and resource names.

use super::Core;
use crate::domain::alias;
use crate::domain::arn;
use crate::domain::id::{KeyId, VersionId};
use crate::error::{Error, Result, Status, shown};

/// What a key is called in an argument.
enum Name<'a> {
    Id(KeyId),
    Alias(&'a str),
}

/// The check of a name that comes before all others.
pub(super) fn check_not_empty(text: &str) -> Result<()> {
    match text.is_empty() {
        true => Err(Status::InvalidArgument.error("the key is an empty string; pass a key id or alias/NAME")),
        false => Ok(()),
    }
}

fn name(text: &str) -> Result<Name<'_>> {
    check_not_empty(text)?;
    let named = arn::alias(text);
    if named.starts_with(alias::PREFIX) {
        return Ok(Name::Alias(named));
    }
    // What can't be an id is the id of no key.
    KeyId::parse(arn::key_id(text)).map(Name::Id).ok_or_else(|| unnamed(text))
}

/// Whether a name may mean another key tomorrow.
pub(super) fn is_alias(name: &[u8]) -> bool {
    let named = name.strip_prefix(arn::PREFIX.as_bytes()).unwrap_or(name);
    named.starts_with(alias::PREFIX.as_bytes())
}

/// A text that names no key. It is shown only where it was meant as a name: what was passed by mistake may be a secret.
#[cold]
fn unnamed(text: &str) -> Error {
    Status::KeyNotFound.error(match arn::is_meant(text) {
        true => format!(
            "{} names no key of this keystore; its resource names are {}key/ID and {}alias/NAME",
            shown(text),
            arn::PREFIX,
            arn::PREFIX
        ),
        false => format!(
            "the key argument of {} bytes is no key id; pass the 36 characters that CreateKey returned, or alias/NAME",
            text.len()
        ),
    })
}

#[cold]
pub(super) fn not_found(id: &KeyId) -> Error {
    Status::KeyNotFound.error(format!("no key {id} in this keystore; check the id, or list the keys"))
}

#[cold]
pub(super) fn alias_not_found(alias: &str) -> Error {
    Status::AliasNotFound.error(format!("no alias {}; create it, or list the aliases", shown(alias)))
}

#[cold]
fn unsupported_alias(alias: &str) -> Error {
    Status::UnsupportedAlias
        .error(format!("this call takes a key id, not {}; DescribeKey shows the alias's key id", shown(alias)))
}

#[cold]
pub(super) fn version_not_found(id: &KeyId, version: &VersionId) -> Error {
    Status::KeyVersionNotFound.error(format!("key {id} has no version {version}; list the key's versions"))
}

/// The error of a rule that knew only of "the version".
#[cold]
pub(super) fn of_version(error: Error, id: &KeyId, version: &VersionId) -> Error {
    match error.text().strip_prefix("the version ") {
        Some(rest) => Error::new(error.status(), format!("version {version} of key {id} {rest}")),
        None => error,
    }
}

#[cold]
pub(super) fn missing_version(id: &KeyId) -> Error {
    Status::KeystoreCorrupt.error(format!("a version of key {id} is gone from the keystore; restore it from a backup"))
}

impl Core {
    /// The id behind an argument that takes an id or an alias.
    pub(super) fn resolve(&self, text: &str) -> Result<KeyId> {
        match name(text)? {
            Name::Id(id) => Ok(id),
            Name::Alias(alias) => self.alias(alias),
        }
    }

    /// The id behind an argument that takes an id only.
    pub(super) fn id_only(text: &str) -> Result<KeyId> {
        match name(text)? {
            Name::Id(id) => Ok(id),
            Name::Alias(alias) => Err(unsupported_alias(alias)),
        }
    }

    /// Refuses an alias where an id only is taken whose existence is checked later.
    pub(super) fn check_no_alias(text: &str) -> Result<()> {
        match name(text) {
            Ok(Name::Alias(alias)) => Err(unsupported_alias(alias)),
            Err(error) if error.status() != Status::KeyNotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The key that an alias names now.
    fn alias(&self, alias: &str) -> Result<KeyId> {
        if alias.len() > crate::domain::alias::MAX_BYTES {
            return Err(alias_not_found(alias));
        }
        self.fresh()?;
        if let Some(id) = self.cache.alias(alias)? {
            return Ok(id);
        }
        let word = self.store.word();
        self.store.read(|view| {
            self.cache.catch_up(view, word)?;
            let stored = view.alias(alias)?.ok_or_else(|| alias_not_found(alias))?;
            let head = view.head_of_alias(alias)?;
            self.cache.keep_alias(alias, stored.key.id, view.history(), &head)?;
            Ok(stored.key.id)
        })
    }
}
