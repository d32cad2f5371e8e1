//! What can be done inside a transaction, in the domain's types; rows are authenticated as they are read.

use std::ops::{Deref, DerefMut};

use zeroize::Zeroizing;

use super::Commit;
use super::backend::{Backend, DueRow};
use super::sealing::{Meta, Sealing, Stored};
use crate::domain::id::{KeyId, VersionId};
use crate::domain::key::Key;
use crate::domain::time::Time;
use crate::domain::version::Version;
use crate::error::{Result, Status};

type Material = Zeroizing<[u8; 32]>;

/// A consistent snapshot.
pub struct View<'a> {
    backend: &'a mut dyn Backend,
    sealing: &'a mut Sealing,
    meta: Meta,
}

impl<'a> View<'a> {
    pub(super) fn new(backend: &'a mut dyn Backend, sealing: &'a mut Sealing, meta: Meta) -> Self {
        Self { backend, sealing, meta }
    }

    pub fn generation(&self) -> i64 {
        self.meta.generation
    }

    /// How many keys were ever destroyed.
    pub fn destroyed(&self) -> i64 {
        self.meta.destroyed
    }

    /// How many times aliases were made, moved or deleted.
    pub fn renamed(&self) -> i64 {
        self.meta.renamed
    }

    pub fn key(&mut self, id: &KeyId) -> Result<Option<Stored>> {
        let row = self.backend.key_by_id(id.as_bytes())?;
        row.map(|row| self.sealing.check_key(row)).transpose()
    }

    pub fn key_in_row(&mut self, row: i64) -> Result<Option<Stored>> {
        let row = self.backend.key_by_row(row)?;
        row.map(|row| self.sealing.check_key(row)).transpose()
    }

    /// Keys in the order of their ids, after `id` or from the start; a damaged one is an error in its place.
    pub fn keys_after(&mut self, id: Option<&KeyId>, limit: usize) -> Result<Vec<(KeyId, Result<Stored>)>> {
        let rows = self.backend.keys_after(id.map(KeyId::as_bytes), limit)?;
        Ok(rows.into_iter().map(|row| (KeyId::from_bytes(row.id), self.sealing.check_key(row))).collect())
    }

    /// One version's material, if this key has such a version.
    pub fn material(&mut self, key: &Stored, version: &VersionId) -> Result<Option<(Version, Material)>> {
        let row = self.backend.material(key.row, version.as_bytes())?;
        row.map(|row| self.sealing.open_material(&key.key, &row)).transpose()
    }

    /// Versions newest first, below `number` or from the newest.
    pub fn versions_before(&mut self, key: &Stored, number: Option<u64>, limit: usize) -> Result<Vec<Version>> {
        let number = number.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let rows = self.backend.materials_before(key.row, number, limit)?;
        // Opening authenticates the columns.
        rows.iter().map(|row| self.sealing.open_material(&key.key, row).map(|(version, _)| version)).collect()
    }

    /// The key behind an alias.
    pub fn alias(&mut self, name: &str) -> Result<Option<Stored>> {
        let Some(row) = self.backend.alias(name)? else { return Ok(None) };
        let row = self.sealing.check_alias(row)?;
        match self.key_in_row(row.key_row)? {
            Some(stored) => Ok(Some(stored)),
            None => {
                Err(Status::KeystoreCorrupt
                    .error("an alias names a key that is gone; restore the keystore from a backup"))
            }
        }
    }

    /// Aliases and their keys in the order of names, after `name` or from the start; of one key or of all.
    pub fn aliases_after(
        &mut self,
        key: Option<&Stored>,
        name: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, KeyId)>> {
        let mut found = Vec::new();
        for row in self.backend.aliases_after(key.map(|key| key.row), name, limit)? {
            let row = self.sealing.check_alias(row)?;
            let id = match key {
                Some(key) => key.key.id,
                None => self.key_in_row(row.key_row)?.map(|stored| stored.key.id).ok_or_else(|| {
                    Status::KeystoreCorrupt
                        .error("an alias names a key that is gone; restore the keystore from a backup")
                })?,
            };
            found.push((row.name, id));
        }
        Ok(found)
    }

    /// A key's tags, in the order of names.
    pub fn tags(&mut self, key: &Stored) -> Result<Vec<(String, String)>> {
        let rows = self.backend.tags(key.row)?;
        rows.into_iter().map(|row| self.sealing.check_tag(row)).collect()
    }

    pub fn due(&mut self, until: Time, after: Option<DueRow>, limit: usize) -> Result<Vec<DueRow>> {
        self.backend.due(until.millis(), after, limit)
    }

    /// When the clock must next look at a key, after `now`.
    pub fn next_look_after(&mut self, now: Time) -> Result<Option<Time>> {
        Ok(self.backend.next_look_after(now.millis())?.map(Time::from_millis))
    }

    /// Rows whose stored dates contradict a clock that shows `now`.
    pub fn contradicted(&mut self, now: Time, limit: usize) -> Result<Vec<i64>> {
        let mut rows = self.backend.created_in_future(now.millis(), limit)?;
        rows.extend(self.backend.sighted_too_early(now.millis(), limit)?);
        Ok(rows)
    }

    /// Ids of keys changed after `generation`, at most `limit`.
    pub fn changed_since(&mut self, generation: i64, limit: usize) -> Result<Vec<KeyId>> {
        Ok(self.backend.changed_since(generation, limit)?.into_iter().map(KeyId::from_bytes).collect())
    }
}

/// A write transaction.
pub struct Change<'a> {
    view: View<'a>,
    changed: bool,
    destroyed: i64,
    renamed: i64,
}

impl<'a> Deref for Change<'a> {
    type Target = View<'a>;
    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

impl DerefMut for Change<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.view
    }
}

impl<'a> Change<'a> {
    pub(super) fn new(view: View<'a>) -> Self {
        Self { view, changed: false, destroyed: 0, renamed: 0 }
    }

    /// Takes the next generation if anything changed.
    pub(super) fn seal_meta(&mut self) -> Result<Option<Commit>> {
        if !self.changed {
            return Ok(None);
        }
        let Meta { generation: before, destroyed, renamed, .. } = self.view.meta;
        let (after, destroyed, renamed) = (before + 1, destroyed + self.destroyed, renamed + self.renamed);
        let row = self.view.sealing.meta_row(after, destroyed, renamed)?;
        self.view.backend.put_meta(&row)?;
        Ok(Some(Commit { before, after, destroyed, renamed }))
    }

    /// A new key, with the material of its first version if it has one.
    pub fn insert(&mut self, key: Key, material: Option<&[u8; 32]>) -> Result<Stored> {
        let row = self.view.backend.next_row()?;
        let stored = Stored { row, revision: 1, generation: self.view.meta.generation + 1, key };
        self.changed = true;
        if let (Some(version), Some(material)) = (stored.key.primary, material) {
            self.add_material(&stored, &version, material)?;
        }
        let sealed = self.view.sealing.key_row(&stored)?;
        self.view.backend.insert_key(&sealed)?;
        Ok(stored)
    }

    /// Replaces a key's metadata.
    pub fn update(&mut self, mut stored: Stored) -> Result<Stored> {
        stored.revision += 1;
        stored.generation = self.view.meta.generation + 1;
        self.changed = true;
        let sealed = self.view.sealing.key_row(&stored)?;
        self.view.backend.update_key(&sealed)?;
        Ok(stored)
    }

    /// Makes `id` with this material the newest version and the primary.
    pub fn rotate(&mut self, mut stored: Stored, id: VersionId, material: &[u8; 32], now: Time) -> Result<Stored> {
        let version = stored.key.promote(id, now);
        self.changed = true;
        self.add_material(&stored, &version, material)?;
        self.update(stored)
    }

    /// Stores material and reads it back: nothing is promoted that can't be opened again.
    fn add_material(&mut self, stored: &Stored, version: &Version, material: &[u8; 32]) -> Result<()> {
        let row = self.view.sealing.material_row(stored, version, material)?;
        self.view.backend.insert_material(&row)?;
        match self.view.material(stored, &version.id)? {
            Some((found, opened)) if found == *version && *opened == *material => Ok(()),
            _ => Err(Status::KeystoreCorrupt.error("new key material could not be read back; nothing was changed")),
        }
    }

    /// Puts imported material in its place, under the version that the key has had since its first import.
    pub fn restore_material(&mut self, stored: &Stored, material: &[u8; 32]) -> Result<()> {
        let Some(version) = stored.key.primary else {
            return Err(Status::Internal.error("a key without a version can't take material"));
        };
        self.changed = true;
        self.add_material(stored, &version, material)
    }

    /// Removes a key's material and keeps the key.
    pub fn erase_material(&mut self, stored: &Stored) -> Result<()> {
        self.changed = true;
        self.view.backend.delete_materials(stored.row)
    }

    /// Makes an alias, or moves it to another key.
    pub fn put_alias(&mut self, name: &str, key: &Stored) -> Result<()> {
        let revision = match self.view.backend.alias(name)? {
            Some(row) => self.view.sealing.check_alias(row)?.revision + 1,
            None => 1,
        };
        self.changed = true;
        self.renamed += 1;
        let row = self.view.sealing.alias_row(name, key.row, revision, self.view.meta.generation + 1)?;
        self.view.backend.put_alias(&row)
    }

    pub fn delete_alias(&mut self, name: &str) -> Result<()> {
        self.changed = true;
        self.renamed += 1;
        self.view.backend.delete_alias(name)
    }

    /// Makes a tag, or replaces its value.
    pub fn put_tag(&mut self, key: &Stored, name: &str, value: &str) -> Result<()> {
        self.changed = true;
        let row = self.view.sealing.tag_row(key.row, name, value, self.view.meta.generation + 1)?;
        self.view.backend.put_tag(&row)
    }

    pub fn delete_tag(&mut self, key: &Stored, name: &str) -> Result<()> {
        self.changed = true;
        self.view.backend.delete_tag(key.row, name)
    }

    /// Removes a key and all its material; SQLite overwrites the freed bytes (secure_delete).
    pub fn destroy(&mut self, stored: &Stored) -> Result<()> {
        self.changed = true;
        self.destroyed += 1;
        self.renamed += i64::from(self.view.backend.delete_aliases_of(stored.row)? > 0);
        self.view.backend.delete_tags_of(stored.row)?;
        self.view.backend.delete_materials(stored.row)?;
        self.view.backend.delete_key(stored.row)
    }
}
