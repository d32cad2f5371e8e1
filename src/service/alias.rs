//! Aliases: make, move, delete and list other names of keys.

use super::key_ref::KeyRef;
use super::name::{alias_not_found, not_found};
use super::pages::{PAGE, Page, paged};
use super::{Changed, Core, Keystore};
use crate::domain::id::KeyId;
use crate::domain::log::ChangeAction;
use crate::domain::state::{self, Operation};
use crate::domain::{alias, arn};
use crate::error::{Error, Result, Status, shown};

impl Keystore {
    /// Create an alias, another name of a key: `alias/` and 1 to 255 letters, digits, `_`, `/` or `-`.
    ///
    /// # Errors
    /// `AliasAlreadyExists`; `InvalidArgument` for another form; `StateModifiedFailed` while the deletion of the key
    /// is pending; `KeyNotFound` for an unknown key, `UnsupportedAlias` for an alias in place of the key id; and the
    /// [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.create_alias(key, "alias/cards")?;
    /// let blob = keystore.encrypt("alias/cards", b"4111 1111", &[])?;
    /// assert_eq!(keystore.inspect(&blob)?.key, key);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn create_alias<'k>(&self, key_id: impl Into<KeyRef<'k>>, alias: &str) -> Result<()> {
        let key_id = key_id.into();
        self.manage(ChangeAction::CreateAlias, Some(key_id.as_str()), |core| core.create_alias(key_id.as_str(), alias))
    }

    /// Move an alias to another key. Blobs of the former key still decrypt under it.
    ///
    /// # Errors
    /// `AliasNotFound`; `InvalidArgument` for a malformed alias; `RejectedPendingDeletion` by the state of the new
    /// key; `KeyNotFound` for an unknown key, `UnsupportedAlias` for an alias in place of the key id; and the
    /// [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.create_alias(key, "alias/cards")?;
    /// let new = keystore.create_key(&CreateKey::default())?;
    /// keystore.update_alias(new, "alias/cards")?;
    /// assert_eq!(keystore.describe_key("alias/cards")?.id, new);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn update_alias<'k>(&self, key_id: impl Into<KeyRef<'k>>, alias: &str) -> Result<()> {
        let key_id = key_id.into();
        self.manage(ChangeAction::UpdateAlias, Some(key_id.as_str()), |core| core.update_alias(key_id.as_str(), alias))
    }

    /// Delete an alias. Its key does not change.
    ///
    /// # Errors
    /// `AliasNotFound`; `InvalidArgument` for a malformed alias; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.create_alias(key, "alias/cards")?;
    /// keystore.delete_alias("alias/cards")?;
    /// assert_eq!(keystore.aliases().count(), 0);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn delete_alias(&self, alias: &str) -> Result<()> {
        self.manage(ChangeAction::DeleteAlias, Some(alias), |core| core.delete_alias(alias))
    }

    /// Iterate over all aliases and their keys, in the order of names.
    ///
    /// The keystore is read in pages, with no lock held between two items.
    ///
    /// # Errors
    /// An error is the last item, such as `KeystoreBusy`, `KeystoreIo` or `KeystoreCorrupt`.
    ///
    /// ```
    /// use kms::{CreateKey, Keystore, Options};
    ///
    /// # fn main() -> kms::Result<()> {
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.create_alias(key, "alias/cards")?;
    /// assert_eq!(keystore.aliases().collect::<kms::Result<Vec<_>>>()?, [("alias/cards".to_owned(), key)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn aliases(&self) -> impl Iterator<Item = Result<(String, KeyId)>> {
        self.aliases_in_pages(None)
    }

    /// Iterate over the aliases of a key, in the order of names.
    ///
    /// # Errors
    /// An error is the last item: those of [`Keystore::aliases`], `KeyNotFound` for an unknown key, `UnsupportedAlias`
    /// for an alias in place of the key id.
    ///
    /// ```
    /// use kms::{CreateKey, Keystore, Options};
    ///
    /// # fn main() -> kms::Result<()> {
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.create_alias(key, "alias/cards")?;
    /// assert_eq!(keystore.aliases_of(key).collect::<kms::Result<Vec<_>>>()?, ["alias/cards"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn aliases_of<'k>(&self, key_id: impl Into<KeyRef<'k>>) -> impl Iterator<Item = Result<String>> {
        self.aliases_in_pages(Some(key_id.into())).map(|item| item.map(|(name, _)| name))
    }

    fn aliases_in_pages<'k>(&self, key_id: Option<KeyRef<'k>>) -> impl Iterator<Item = Result<(String, KeyId)>> {
        let mut after: Option<String> = None;
        paged(move || {
            let mut aliases = Vec::new();
            let key_id = key_id.as_ref().map(KeyRef::as_str);
            let done = self.list_aliases(key_id, after.as_deref(), PAGE, |name, id| {
                aliases.push((name.to_owned(), id));
                true
            });
            after = aliases.last().map(|(name, _)| name.clone());
            Ok(Page::of(aliases, done))
        })
    }

    /// Shows at most `limit` aliases and their keys in the order of names, after the alias `after` or from the start,
    /// of one key or of all, until `visit` returns false. No lock is held while it runs.
    #[doc(hidden)]
    pub fn list_aliases(
        &self,
        key_id: Option<&str>,
        after: Option<&str>,
        limit: usize,
        mut visit: impl FnMut(&str, KeyId) -> bool,
    ) -> Result<()> {
        let core = self.core()?;
        let of = key_id.map(Core::id_only).transpose()?;
        let (mut after, mut left) = (after.map(|after| shortened(arn::alias(after)).to_owned()), limit);
        loop {
            let wanted = left.min(PAGE);
            let page = core.store.read(|view| {
                let key = match &of {
                    Some(id) => Some(view.key(id)?.ok_or_else(|| not_found(id))?),
                    None => None,
                };
                view.aliases_after(key.as_ref(), after.as_deref(), wanted)
            })?;
            for (name, id) in &page {
                if !visit(name, *id) {
                    return Ok(());
                }
            }
            left -= page.len();
            match page.last() {
                Some((last, _)) if left > 0 && page.len() == wanted => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }
}

impl Core {
    fn create_alias(&self, key_id: &str, alias: &str) -> Result<()> {
        let alias = arn::alias(alias);
        alias::check_users(alias)?;
        let id = Self::id_only(key_id)?;
        self.change_key(ChangeAction::CreateAlias, &id, |change, stored, now| {
            if change.alias(alias)?.is_some() {
                return Err(already_exists(alias));
            }
            state::check(stored.key.state_at(now.wall), Operation::CreateAlias)?;
            change.put_alias(alias, &stored)?;
            Ok(Changed::none(()))
        })?;
        Ok(())
    }

    fn update_alias(&self, key_id: &str, alias: &str) -> Result<()> {
        let alias = arn::alias(alias);
        alias::check_users(alias)?;
        let id = Self::id_only(key_id)?;
        self.change_key(ChangeAction::UpdateAlias, &id, |change, stored, now| {
            let old = change.alias(alias)?.ok_or_else(|| alias_not_found(alias))?;
            state::check(stored.key.state_at(now.wall), Operation::UpdateAlias)?;
            if old.key.id != id {
                change.put_alias(alias, &stored)?;
            }
            Ok(Changed::none(()))
        })?;
        Ok(())
    }

    fn delete_alias(&self, alias: &str) -> Result<()> {
        let alias = arn::alias(alias);
        alias::check_users(alias)?;
        self.change(ChangeAction::DeleteAlias, |change, _| {
            let key = change.alias(alias)?.ok_or_else(|| alias_not_found(alias))?;
            change.log_key(&key.key.id);
            change.delete_alias(alias)?;
            Ok(Changed::none(()))
        })?;
        Ok(())
    }
}

fn already_exists(alias: &str) -> Error {
    Status::AliasAlreadyExists.error(format!("{} exists already; UpdateAlias moves it to another key", shown(alias)))
}

/// As much of a text as decides which aliases come after it: one byte more than any has.
fn shortened(after: &str) -> &str {
    let end = (0..=after.len().min(alias::MAX_BYTES + 4)).rev().find(|end| after.is_char_boundary(*end));
    after.get(..end.unwrap_or(0)).unwrap_or_default()
}
