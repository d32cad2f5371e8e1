//! A key with all that belongs to it, so that it can be compared with another keystore's, or sealed again there.

use std::sync::Arc;

use super::backend::Wanted;
use super::change::Change;
use super::sealing::{NO_VERSIONS, Stored};
use super::shard::Shard;
use super::tree::Tree;
use super::view::{PAGE, RawMaterial, View, gone, versions_altered};
use crate::crypto::row;
use crate::domain::id::KeyId;
use crate::domain::key::Key;
use crate::domain::version::{Version, VersionRecords};
use crate::error::{Result, Status};
use crate::sys::{fork, memory};

/// What a version encrypts and its copy decrypts.
const PROBE: &[u8] = b"libkms copy";

/// Row numbers, revisions and generations are the keystore's own, and no part of it.
pub(super) struct WholeKey {
    pub key: Key,
    /// Those with material, oldest first.
    pub versions: Vec<(Version, RawMaterial)>,
    tags: Vec<(String, String)>,
    records: Arc<VersionRecords>,
}

impl WholeKey {
    /// How many versions it has, destroyed ones too.
    pub fn version_count(&self) -> u64 {
        (self.versions.len() + self.records.tombstones().count()) as u64
    }

    /// Whether both are the same, and each version of one decrypts what that of the other encrypted.
    pub fn is(&self, other: &Self) -> Result<bool> {
        let is_alike = self.key == other.key
            && self.tags == other.tags
            && self.records == other.records
            && self.versions.len() == other.versions.len();
        if !is_alike {
            return Ok(false);
        }
        for ((ours, material), (theirs, other)) in self.versions.iter().zip(&other.versions) {
            if ours != theirs
                || !decrypts(other, ours, &fork::gate(|| row::seal_once(material, ours.id.as_bytes(), PROBE))?)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn decrypts(material: &RawMaterial, version: &Version, probe: &[u8]) -> Result<bool> {
    match fork::gate(|| row::open_once(material, version.id.as_bytes(), probe)) {
        Ok(opened) => Ok(**opened == *PROBE),
        Err(error) if error.status() == Status::AuthenticationFailed => Ok(false),
        Err(error) => Err(error),
    }
}

impl View<'_> {
    /// The rows of keys above `after`, or from the first shard on, as the trees list them.
    pub(super) fn listed_rows(&mut self, after: Option<i64>, limit: usize) -> Result<Vec<i64>> {
        let first = after.map_or(Ok((Shard::FIRST, 0)), |after| self.shards.of_row(after))?;
        let mut rows = memory::list(limit)?;
        self.heads()?;
        for shard in self.shards.from(first.0) {
            let number = first.1.to_be_bytes();
            let after = after.and(Some(number.as_slice())).filter(|_| shard == first.0);
            let left = limit.saturating_sub(rows.len());
            for (name, _) in self.kept.nodes.after(&mut self.rows, (shard, Tree::Keys), after, left)? {
                rows.extend(name.first_chunk().map(|number| shard.row(u32::from_be_bytes(*number))));
            }
            if rows.len() >= limit {
                break;
            }
        }
        Ok(rows)
    }

    /// The keys in these rows, each of which must be there.
    pub(super) fn whole_keys(&mut self, rows: &[i64]) -> Result<Vec<WholeKey>> {
        let mut keys = memory::list(rows.len())?;
        self.rows.backend.prefetch(Wanted::WholeRows(rows))?;
        for row in rows {
            let stored = self.key_in_row(*row)?.ok_or_else(|| {
                Status::KeystoreCorrupt.error("a key is gone from the keystore; restore it from a backup")
            })?;
            keys.push(self.whole(stored)?);
        }
        Ok(keys)
    }

    /// Announces that these keys are read next, with all that belongs to them.
    pub(super) fn expect_whole<'k>(&mut self, ids: impl Iterator<Item = &'k KeyId>) -> Result<()> {
        let ids: Vec<[u8; 16]> = ids.map(|id| *id.as_bytes()).collect();
        self.rows.backend.prefetch(Wanted::WholeKeys(&ids))
    }

    /// The key with this id.
    pub(super) fn whole_key(&mut self, id: &KeyId) -> Result<Option<WholeKey>> {
        self.key(id)?.map(|stored| self.whole(stored)).transpose()
    }

    fn whole(&mut self, stored: Stored) -> Result<WholeKey> {
        let tags = self.tags(&stored)?;
        let (mut chain, mut number, mut versions) = (NO_VERSIONS, 0, Vec::new());
        loop {
            let page = self.rows.backend.materials_after(stored.row, number, PAGE)?;
            let is_full = page.len() == PAGE;
            versions.try_reserve(page.len()).map_err(|_| memory::out_of_memory())?;
            for row in page {
                if row.number <= number {
                    return Err(versions_altered(&stored.key.id));
                }
                number = row.number;
                chain = self.rows.sealing.extend(&chain, &row)?;
                versions.push(self.rows.sealing.open_material(&stored.key, &row)?);
            }
            if !is_full {
                break;
            }
        }
        if chain != stored.versions {
            return Err(versions_altered(&stored.key.id));
        }
        Ok(WholeKey { key: stored.key, versions, tags, records: stored.records })
    }
}

impl Change<'_> {
    /// Has the keystore hold this key as it is, in place of what it holds of it.
    pub(super) fn put_whole(&mut self, whole: &WholeKey) -> Result<()> {
        let mut names = Vec::new();
        if let Some(stored) = self.key(&whole.key.id)? {
            loop {
                let after = names.last().map(String::as_str);
                let page = self.view.aliases_after(Some(&stored), after, PAGE)?;
                let is_last = page.len() < PAGE;
                names.extend(page.into_iter().map(|(name, _)| name));
                if is_last {
                    break;
                }
            }
            self.destroy(&stored)?;
        }
        let stored = self.insert_whole(whole)?;
        names.iter().try_for_each(|name| self.put_alias(name, &stored))
    }

    fn insert_whole(&mut self, whole: &WholeKey) -> Result<Stored> {
        let mut stored = self.allot(whole.key.clone())?;
        for (version, material) in &whole.versions {
            let row = self.view.rows.sealing.material_row(&stored, version, material)?;
            self.view.rows.backend.insert_material(&row)?;
            stored.versions = self.view.rows.sealing.extend(&stored.versions, &row)?;
        }
        let mut tags = memory::list(whole.tags.len())?;
        for (name, value) in &whole.tags {
            let row = self.view.rows.sealing.tag_row(stored.row, name, value, stored.generation)?;
            self.view.rows.backend.put_tag(&row)?;
            tags.push(row);
        }
        stored.tags = self.view.rows.sealing.tags_mac(stored.row, &tags)?;
        self.put_records(&mut stored, whole.records.all())?;
        self.insert_row(&stored)?;
        Ok(stored)
    }

    /// Removes a key that the copied keystore has no more.
    pub(super) fn remove_whole(&mut self, id: &KeyId) -> Result<()> {
        match self.key(id)? {
            Some(stored) => self.destroy(&stored),
            None => Err(gone(id)),
        }
    }
}
