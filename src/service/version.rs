//! Key versions: list them, newest first.

use super::Keystore;
use super::key_ref::KeyRef;
use super::name::{missing_version, not_found, version_not_found};
use super::pages::{PAGE, Page, paged};
use crate::domain::id::{KeyId, VersionId};
use crate::domain::key::Origin;
use crate::domain::version::Version;
use crate::error::{Error, Result, Status};

impl Keystore {
    /// Iterate over the versions of a key, newest first. The first is the primary version.
    ///
    /// The keystore is read in pages, with no lock held between two items.
    ///
    /// # Errors
    /// An error is the last item: `KeyNotFound` or `AliasNotFound` for an unknown key, `KeystoreCorrupt` where a version
    /// is missing.
    ///
    /// ```
    /// use kms::{CreateKey, Keystore, Options};
    ///
    /// # fn main() -> kms::Result<()> {
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.rotate(key)?;
    /// let numbers = keystore.key_versions(key).map(|version| Ok(version?.number));
    /// assert_eq!(numbers.collect::<kms::Result<Vec<_>>>()?, [2, 1]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn key_versions<'k>(&self, key: impl Into<KeyRef<'k>>) -> impl Iterator<Item = Result<Version>> {
        let key = key.into();
        let (mut resolved, mut before) = (None, None);
        paged(move || {
            // An alias that moves to another key meanwhile does not mix their versions.
            let id = match resolved {
                Some(id) => id,
                None => self.core()?.resolve(key.as_str())?,
            };
            resolved = Some(id);
            let mut versions = Vec::new();
            let done = self.list_key_versions(id, before, PAGE, |version, _| {
                versions.push(*version);
                true
            });
            before = versions.last().map(|version| version.number);
            Ok(Page::of(versions, done))
        })
    }

    /// Shows at most `limit` versions of a key, newest first, below version number `before` or from the newest, until
    /// `visit` returns false. No lock is held while it runs. `key` is a key id or `alias/NAME`.
    #[doc(hidden)]
    pub fn list_key_versions<'k>(
        &self,
        key: impl Into<KeyRef<'k>>,
        before: Option<u64>,
        limit: usize,
        mut visit: impl FnMut(&Version, bool) -> bool,
    ) -> Result<()> {
        let core = self.core()?;
        let id = core.resolve(key.into().as_str())?;
        let (mut before, mut left) = (before, limit);
        loop {
            let wanted = left.min(PAGE);
            let (primary, newest, page) = core.store.read(|view| {
                let stored = view.key(&id)?.ok_or_else(|| not_found(&id))?;
                let page = match (stored.key.origin, stored.key.primary) {
                    // One version for life, whether its material is there or not.
                    (Origin::External, Some(only)) if wanted > 0 && before.is_none_or(|b| only.number < b) => {
                        vec![only]
                    }
                    (Origin::External, _) => Vec::new(),
                    (Origin::Kms, _) => view.versions_before(&stored, before, wanted)?,
                };
                Ok((stored.key.primary, stored.key.version_count(), page))
            })?;
            // Versions are numbered without a gap, so a missing one shows.
            let mut next = before.map_or(newest, |before| newest.min(before.saturating_sub(1)));
            for version in &page {
                if version.number != next {
                    return Err(missing_version(&id));
                }
                next -= 1;
                if !visit(version, primary.is_some_and(|p| p.id == version.id)) {
                    return Ok(());
                }
            }
            left -= page.len();
            match page.last() {
                _ if page.len() < wanted && next > 0 => return Err(missing_version(&id)),
                Some(last) if left > 0 && next > 0 => before = Some(last.number),
                _ => return Ok(()),
            }
        }
    }

    /// Return a version of a key, and whether it is the primary.
    ///
    /// # Errors
    /// `KeyVersionNotFound`; `KeyNotFound` or `AliasNotFound` for an unknown key; and the [errors of every
    /// call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let version = keystore.rotate(key)?;
    /// let (version, is_primary) = keystore.describe_key_version(key, &version.to_string())?;
    /// assert!(version.number == 2 && is_primary);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn describe_key_version<'k>(&self, key: impl Into<KeyRef<'k>>, version_id: &str) -> Result<(Version, bool)> {
        let core = self.core()?;
        let id = core.resolve(key.into().as_str())?;
        core.store.read(|view| {
            let stored = view.key(&id)?.ok_or_else(|| not_found(&id))?;
            let version = VersionId::parse(version_id).ok_or_else(|| no_version_id(&id, version_id))?;
            match stored.key.primary {
                // Known without its material, which may have been taken away.
                Some(primary) if primary.id == version => Ok((primary, true)),
                _ => view
                    .material(&stored, &version)?
                    .map(|(found, _)| (found, false))
                    .ok_or_else(|| version_not_found(&id, &version)),
            }
        })
    }
}

/// A text that can't be the id of a version; not shown, because what was passed by mistake may be a secret.
fn no_version_id(id: &KeyId, text: &str) -> Error {
    Status::KeyVersionNotFound
        .error(format!("a version id has 36 characters, not these {} bytes; list the versions of key {id}", text.len()))
}
