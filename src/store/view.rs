//! What a transaction reads, in the domain's types; rows are authenticated as they are read.

use zeroize::Zeroizing;

use super::backend::{AliasRow, DueRow, KeyRow, MaterialRow, SlotRow, TagRow};
use super::digest::{Digest, digest_of};
use super::sealing::{Meta, NO_VERSIONS, Stored, signed};
use super::tree::{Nodes, Rows, Tree};
use super::unchecked::unchecked;
use super::versions::{self, Versions};
use crate::domain::id::{KeyId, SlotId, VersionId};
use crate::domain::time::{Now, Time};
use crate::domain::version::Version;
use crate::error::{Error, Result, Status, shown};

type RawMaterial = Zeroizing<[u8; 32]>;

/// Rows that are read at a time.
pub(super) const PAGE: usize = 256;

/// A consistent snapshot.
pub struct View<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) nodes: &'a mut Nodes,
    pub(super) versions: &'a mut Versions,
    pub(super) meta: Meta,
    pub(super) mac: [u8; 32],
    pub(super) breaks: u64,
}

fn stale(id: &KeyId) -> Error {
    Status::KeystoreCorrupt
        .error(format!("the row of key {id} was replaced by an older copy; restore the keystore from a backup"))
}

fn returned(id: &KeyId) -> Error {
    Status::KeystoreCorrupt
        .error(format!("the row of key {id}, which was destroyed, was put back; restore the keystore from a backup"))
}

pub(super) fn gone(id: &KeyId) -> Error {
    Status::KeystoreCorrupt.error(format!("key {id} is gone from the keystore; restore it from a backup"))
}

/// A key's name in the tree of rows.
pub(super) fn row_name(row: i64) -> Result<[u8; 4]> {
    match u32::try_from(row) {
        Ok(row) => Ok(row.to_be_bytes()),
        Err(_) => Err(Status::KeystoreCorrupt
            .error("the keystore is damaged: a row has an impossible number; restore it from a backup")),
    }
}

/// What the tree of ids says of a key: its row.
pub(super) fn row_digest(row: i64) -> Digest {
    i128::from(row).to_be_bytes()
}

impl<'a> View<'a> {
    /// `mac` is that of `meta`; `breaks` counts the other histories of this keystore that were read instead of it.
    pub(super) fn new(
        rows: Rows<'a>,
        (nodes, versions): (&'a mut Nodes, &'a mut Versions),
        meta: Meta,
        mac: [u8; 32],
        breaks: u64,
    ) -> Self {
        nodes.begin(&meta.roots);
        Self { rows, nodes, versions, meta, mac, breaks }
    }

    /// All root slots, authenticated, in the order in which they were added.
    pub(super) fn slots(&mut self) -> Result<Vec<(SlotId, SlotRow)>> {
        let slots = self.rows.backend.slots()?;
        self.rows.sealing.check_slots(&self.meta, &slots)?;
        slots.into_iter().map(|slot| Ok((self.rows.sealing.slot_id(&slot)?, slot))).collect()
    }

    pub(super) fn find(&mut self, tree: Tree, name: &[u8]) -> Result<Option<Digest>> {
        self.nodes.get(&mut self.rows, tree, name)
    }

    /// An authenticated key, which must also be the newest copy of its row.
    pub(super) fn newest(&mut self, row: &KeyRow) -> Result<Stored> {
        let mut stored = self.rows.sealing.check_key(row)?;
        match self.find(Tree::Keys, &row_name(row.row)?)? {
            Some(digest) if digest == digest_of(&row.mac) => {}
            _ if unchecked() => {}
            Some(_) => return Err(stale(&stored.key.id)),
            None => return Err(returned(&stored.key.id)),
        }
        // Rows that a key without any doesn't cover are never read; `verify` reports them.
        if stored.records_mac.is_some() {
            stored.records = self.known_records(&stored)?;
        }
        Ok(stored)
    }

    /// Whether the keystore's format has records of versions.
    pub fn has_version_rows(&self) -> bool {
        self.rows.backend.has_version_rows()
    }

    pub fn generation(&self) -> i64 {
        self.meta.generation
    }

    /// Changes when the keystore that is read may not continue the one that was read before: nothing that is known of that
    /// one holds of this.
    pub fn history(&self) -> u64 {
        self.breaks
    }

    /// How often a key or versions of one were destroyed, or its imported material erased.
    pub fn destroyed(&self) -> i64 {
        self.meta.destroyed
    }

    /// How many times aliases were made, moved or deleted.
    pub fn renamed(&self) -> i64 {
        self.meta.renamed
    }

    /// The key of this id; that there is none is as certain as what it is.
    pub fn key(&mut self, id: &KeyId) -> Result<Option<Stored>> {
        let Some(place) = self.find(Tree::Ids, id.as_bytes())? else { return Ok(None) };
        match self.row_of(&place)?.filter(|row| row.id == *id.as_bytes()) {
            Some(row) => self.newest(&row).map(Some),
            None if unchecked() => Ok(None),
            None => Err(gone(id)),
        }
    }

    pub(super) fn row_of(&mut self, place: &Digest) -> Result<Option<KeyRow>> {
        match i64::try_from(i128::from_be_bytes(*place)) {
            Ok(row) => self.rows.backend.key_by_row(row),
            Err(_) => Ok(None),
        }
    }

    pub fn key_in_row(&mut self, row: i64) -> Result<Option<Stored>> {
        match self.rows.backend.key_by_row(row)? {
            Some(row) => self.newest(&row).map(Some),
            None if unchecked() || self.find(Tree::Keys, &row_name(row)?)?.is_none() => Ok(None),
            None => Err(Status::KeystoreCorrupt.error("a key is gone from the keystore; restore it from a backup")),
        }
    }

    /// Keys in the order of their ids, after `id` or from the start; a damaged or missing one is an error in its place.
    pub fn keys_after(&mut self, id: Option<&KeyId>, limit: usize) -> Result<Vec<(KeyId, Result<Stored>)>> {
        let after = id.map(|id| id.as_bytes().as_slice());
        let mut found = Vec::new();
        for (name, _) in self.nodes.after(&mut self.rows, Tree::Ids, after, limit)? {
            let id = KeyId::from_bytes(*name.first_chunk().ok_or_else(impossible)?);
            found.push((
                id,
                match self.key(&id) {
                    Ok(Some(stored)) => Ok(stored),
                    Ok(None) => Err(gone(&id)),
                    Err(error) if error.status() == Status::KeystoreCorrupt => Err(error),
                    Err(error) => return Err(error),
                },
            ));
        }
        Ok(found)
    }

    /// One version's material, if this key has such a version; all are checked before the answer is no.
    pub fn material(&mut self, key: &Stored, version: &VersionId) -> Result<Option<(Version, RawMaterial)>> {
        let read = match key.key.primary {
            Some(primary) if primary.id == *version => {
                self.rows.backend.material_at(key.row, signed(primary.number)?)?
            }
            _ => self.rows.backend.material(key.row, version.as_bytes())?,
        };
        let found = match read {
            Some(row) if row.version == *version.as_bytes() => Some(row),
            _ if self.versions.lacks(&key.versions, version.as_bytes()) => None,
            _ => self.search(key, version)?,
        };
        found.map(|row| self.rows.sealing.open_material(&key.key, &row)).transpose()
    }

    /// Looks for a version without the index. The key's rows must be those that it had when it last changed, none
    /// missing and none added.
    fn search(&mut self, key: &Stored, version: &VersionId) -> Result<Option<MaterialRow>> {
        let (mut chain, mut number, mut found) = (NO_VERSIONS, 0, None);
        let mut starts = Vec::new();
        loop {
            let page = self.rows.backend.materials_after(key.row, number, PAGE)?;
            let full = page.len() == PAGE;
            for row in page {
                if row.number <= number {
                    return Err(versions_altered(&key.key.id));
                }
                chain = self.rows.sealing.extend(&chain, &row)?;
                number = row.number;
                starts.push(versions::start(&row.version));
                if row.version == *version.as_bytes() {
                    found = Some(row);
                }
            }
            if !full {
                break;
            }
        }
        if chain == key.versions {
            self.versions.keep(chain, starts);
        } else if !unchecked() {
            return Err(versions_altered(&key.key.id));
        }
        Ok(found)
    }

    /// Versions newest first, destroyed ones too, below number `before` or from the newest.
    pub fn versions_before(&mut self, key: &Stored, before: Option<u64>, limit: usize) -> Result<Vec<Version>> {
        let number = before.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let rows = self.rows.backend.materials_before(key.row, number, limit)?;
        // Opening authenticates the columns.
        let opened = rows.iter().map(|row| self.rows.sealing.open_material(&key.key, row).map(|(version, _)| version));
        let page = opened.collect::<Result<Vec<_>>>()?;
        Ok(Self::with_tombstones(key, before, limit, page))
    }

    /// The key behind an alias.
    pub fn alias(&mut self, name: &str) -> Result<Option<Stored>> {
        Ok(self.alias_row(name)?.map(|(_, key)| key))
    }

    /// An alias's row and its key.
    pub(super) fn alias_row(&mut self, name: &str) -> Result<Option<(AliasRow, Stored)>> {
        let Some(row) = self.rows.backend.alias(name)? else {
            let handle = self.rows.sealing.alias_handle(name)?;
            return match unchecked() || self.find(Tree::Aliases, &handle)?.is_none() {
                true => Ok(None),
                false => Err(Status::KeystoreCorrupt
                    .error(format!("{} is gone from the keystore; restore the keystore from a backup", shown(name)))),
            };
        };
        let row = self.newest_alias(row)?;
        let key = self.key_of_alias(&row)?;
        Ok(Some((row, key)))
    }

    /// An authenticated alias, which must also be the newest copy of its row.
    pub(super) fn newest_alias(&mut self, row: AliasRow) -> Result<AliasRow> {
        let row = self.rows.sealing.check_alias(row)?;
        let handle = self.rows.sealing.alias_handle(&row.name)?;
        match self.find(Tree::Aliases, &handle)? {
            Some(digest) if digest == digest_of(&row.mac) => Ok(row),
            _ if unchecked() => Ok(row),
            _ => Err(Status::KeystoreCorrupt.error(format!(
                "{} was replaced by an older copy; restore the keystore from a backup",
                shown(&row.name)
            ))),
        }
    }

    fn key_of_alias(&mut self, row: &AliasRow) -> Result<Stored> {
        self.key_in_row(row.key_row)?.ok_or_else(|| {
            Status::KeystoreCorrupt
                .error(format!("{} names a key that is gone; restore the keystore from a backup", shown(&row.name)))
        })
    }

    /// Aliases and their keys in the order of names, after `name` or from the start; of one key or of all.
    pub fn aliases_after(
        &mut self,
        key: Option<&Stored>,
        name: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, KeyId)>> {
        let mut found = Vec::new();
        let mut before = name.unwrap_or_default().to_owned();
        for row in self.rows.backend.aliases_after(key.map(|key| key.row), name, limit)? {
            let row = self.newest_alias(row)?;
            // A list that goes back might never end.
            if row.name <= before || key.is_some_and(|key| row.key_row != key.row) {
                return Err(misplaced_alias());
            }
            before.clone_from(&row.name);
            let id = match key {
                Some(key) => key.key.id,
                None => self.key_of_alias(&row)?.key.id,
            };
            found.push((row.name, id));
        }
        Ok(found)
    }

    /// A key's tags, in the order of names.
    pub fn tags(&mut self, key: &Stored) -> Result<Vec<(String, String)>> {
        Ok(self.tag_rows(key)?.into_iter().map(|row| (row.name, row.value)).collect())
    }

    /// A key's tags, which must be exactly those that it was given.
    fn tag_rows(&mut self, key: &Stored) -> Result<Vec<TagRow>> {
        let rows = self.rows.backend.tags(key.row)?;
        for row in &rows {
            self.rows.sealing.check_tag(row)?;
        }
        if self.rows.sealing.tags_mac(key.row, &rows)? == key.tags || unchecked() {
            return Ok(rows);
        }
        Err(Status::KeystoreCorrupt
            .error(format!("tags of key {} were removed or put back; restore the keystore from a backup", key.key.id)))
    }

    pub fn due(&mut self, until: Time, after: Option<DueRow>, limit: usize) -> Result<Vec<DueRow>> {
        self.rows.backend.due(until.millis(), after, limit)
    }

    /// When the clock must next check a key, after `now`.
    pub fn next_look_after(&mut self, now: Time) -> Result<Option<Time>> {
        Ok(self.rows.backend.next_look_after(now.millis())?.map(Time::from_millis))
    }

    /// Rows whose stored dates contradict a clock that shows `now`.
    pub fn contradicted(&mut self, now: &Now, limit: usize) -> Result<Vec<i64>> {
        let wall = now.wall.millis();
        let mut rows = self.rows.backend.created_in_future(wall, limit)?;
        rows.extend(self.rows.backend.confirmed_too_early(wall, limit)?);
        // The next check of these was set by a clock that was ahead of this one.
        for row in self.rows.backend.counted_in_future(wall, limit)? {
            match self.key_in_row(row) {
                Ok(Some(stored)) if stored.key.deletion.is_some_and(|deletion| deletion.counts(now)) => rows.push(row),
                Ok(_) => {}
                // Reported when it is due.
                Err(error) if error.status() == Status::KeystoreCorrupt => {}
                Err(error) => return Err(error),
            }
        }
        rows.extend(self.contradicted_versions(now, limit)?);
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    /// Ids of keys changed after `generation`, at most `limit`. What was made after it and not changed since, nobody who
    /// stands at `generation` can know.
    pub fn changed_since(&mut self, generation: i64, limit: usize) -> Result<Vec<KeyId>> {
        Ok(self.rows.backend.changed_since(generation, limit)?.into_iter().map(KeyId::from_bytes).collect())
    }
}

pub(super) fn unreadable() -> Error {
    Status::KeystoreCorrupt.error("new key material could not be read back, and nothing was changed; check the disk")
}

fn misplaced_alias() -> Error {
    Status::KeystoreCorrupt.error("an index of aliases is out of order; restore the keystore from a backup")
}

fn impossible() -> Error {
    Status::Internal.error("a tree holds a name of an impossible length")
}

pub(super) fn versions_altered(id: &KeyId) -> Error {
    Status::KeystoreCorrupt
        .error(format!("versions of key {id} are gone from the keystore or were put back; restore it from a backup"))
}
