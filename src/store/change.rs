//! What a write transaction changes, in the domain's types. Rows are sealed, and their trees follow.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::backend::{MaterialRow, MetaRow, SLOTS, SlotRow, Wanted};
use super::digest::{Digest, digest_of};
use super::entry::LogEntry;
use super::history;
use super::sealing::{Meta, NO_VERSIONS, Stored, signed};
use super::shard::Shard;
use super::state::{Head, State};
use super::tree::Tree;
use super::unchecked::unchecked;
use super::view::{OpenShard, PAGE, View, row_digest, unreadable, versions_altered};
use crate::domain::id::{SlotId, VersionId};
use crate::domain::key::Key;
use crate::domain::time::Time;
use crate::domain::version::Version;
use crate::error::{Result, Status};

/// Where a committed change found the shards that it changed, and where it left them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// As [`View::history`].
    pub history: u64,
    pub moved: Vec<Moved>,
}

/// A shard that a change has moved on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    pub before: Head,
    pub after: Head,
}

/// A change that is written and only needs to be committed.
pub(super) struct SealedChange {
    pub commit: Commit,
    /// The new descriptions of the shards that it changes.
    pub metas: Vec<(Shard, MetaRow)>,
    /// The checkpoint that it makes, where the anchor holds each change.
    pub certified: Option<State>,
}

/// Checks that another root slot may be added to `slots`.
pub(super) fn check_room(slots: usize) -> Result<()> {
    if slots < SLOTS {
        return Ok(());
    }
    Err(Status::LimitExceeded
        .error(format!("the keystore has {SLOTS} root slots, as many as it can; remove one first")))
}

/// A write transaction.
pub struct Change<'a> {
    pub(super) view: View<'a>,
    pub(super) entry: LogEntry,
    /// New material that was not read back yet.
    unread: Vec<MaterialRow>,
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
    pub(super) fn new(view: View<'a>, entry: LogEntry) -> Self {
        Self { view, entry, unread: Vec::new() }
    }

    /// Takes the next generation of each shard in which anything changed, or as many as its log has new entries. Returns
    /// their new descriptions.
    pub(super) fn seal_meta(&mut self) -> Result<Option<SealedChange>> {
        self.read_back()?;
        let is_changed = |open: &&OpenShard| open.is_changed;
        let changed: Vec<Shard> =
            self.view.open.iter().flatten().filter(is_changed).map(|open| open.head.shard).collect();
        if changed.is_empty() {
            return Ok(None);
        }
        for shard in &changed {
            self.append_entry(*shard)?;
        }
        let View { rows, kept, open, breaks, .. } = &mut self.view;
        kept.nodes.flush(rows)?;
        let (mut moved, mut sealed) = (Vec::new(), Vec::new());
        for changed in open.iter().flatten().filter(is_changed) {
            let OpenShard { head: before, meta, mac, appended, .. } = changed;
            let (shard, generation) = (before.shard, changed.next_generation());
            let Meta { destroyed, renamed, .. } = *meta;
            let (roots, recent) = (kept.nodes.roots(shard), Some(history::next(meta, mac, *appended)));
            let row = rows.sealing.meta_row(Meta { generation, roots, recent, ..meta.clone() })?;
            rows.backend.put_meta(shard, &row)?;
            moved.push(Moved { before: *before, after: Head { shard, generation, destroyed, renamed } });
            sealed.push((shard, row));
        }
        Ok(Some(SealedChange { commit: Commit { history: *breaks, moved }, metas: sealed, certified: None }))
    }

    /// The states of the shards that a change moves, before it and after it.
    pub(super) fn moves(&self, sealed: &SealedChange) -> Vec<(Shard, State, State)> {
        let open = |shard: Shard| self.view.open.get(shard.index()).and_then(Option::as_ref);
        let moved = sealed.metas.iter().filter_map(|(shard, after)| {
            let before = open(*shard)?;
            Some((*shard, State::new(before.head.generation, before.mac), State::of(after)))
        });
        moved.collect()
    }

    /// Sets what the tree of ids or of aliases has for a name.
    fn put(&mut self, tree: Tree, name: &Digest, digest: Option<&Digest>) -> Result<()> {
        let shard = self.view.shards.of_name(name);
        self.touch(shard)?;
        let View { rows, kept, .. } = &mut self.view;
        kept.nodes.put(rows, (shard, tree), name, digest)
    }

    /// Sets what the tree of keys has for a row.
    fn put_row(&mut self, row: i64, digest: Option<&Digest>) -> Result<()> {
        let (shard, number) = self.view.shards.of_row(row)?;
        self.touch(shard)?;
        let View { rows, kept, .. } = &mut self.view;
        kept.nodes.put(rows, (shard, Tree::Keys), &number.to_be_bytes(), digest)
    }

    /// Notes that something in a shard changes, and returns that shard.
    pub(super) fn touch(&mut self, shard: Shard) -> Result<&mut OpenShard> {
        let open = self.view.shard(shard)?;
        open.is_changed = true;
        Ok(open)
    }

    pub(super) fn shard_of(&self, stored: &Stored) -> Shard {
        self.view.shards.of_name(stored.key.id.as_bytes())
    }

    /// Every process forgets all material that it has in memory.
    pub(super) fn note_destruction(&mut self, stored: &Stored) -> Result<()> {
        self.touch(self.shard_of(stored))?.meta.destroyed += 1;
        Ok(())
    }

    /// Leaves `slot` as the only one.
    pub(super) fn replace_slots(&mut self, slot: &SlotRow) -> Result<()> {
        self.view.rows.backend.delete_slots()?;
        self.view.rows.backend.insert_slot(slot)?;
        self.seal_slots()
    }

    pub(super) fn add_slot(&mut self, slot: &SlotRow) -> Result<SlotId> {
        check_room(self.view.slots()?.len())?;
        self.view.rows.backend.insert_slot(slot)?;
        self.seal_slots()?;
        self.view.rows.sealing.slot_id(slot)
    }

    pub(super) fn remove_slot(&mut self, id: &SlotId) -> Result<()> {
        let slots = self.view.slots()?;
        let Some(found) = slots.iter().find(|(known, _)| known == id) else {
            return Err(
                Status::RootSlotNotFound.error(format!("no root slot {id} in this keystore; list the root slots"))
            );
        };
        if slots.len() == 1 {
            return Err(Status::UnsupportedOperation
                .error(format!("root slot {id} is the last one; add another before removing it")));
        }
        self.view.rows.backend.delete_slot(found.1.row)?;
        self.seal_slots()
    }

    /// Leaves exactly these slots.
    pub(super) fn set_slots(&mut self, slots: &[SlotRow]) -> Result<()> {
        self.view.rows.backend.delete_slots()?;
        slots.iter().try_for_each(|slot| self.view.rows.backend.insert_slot(slot))?;
        self.seal_slots()
    }

    fn seal_slots(&mut self) -> Result<()> {
        let slots = self.view.rows.backend.slots()?;
        let mac = self.view.rows.sealing.slots_mac(&slots)?;
        self.touch(Shard::FIRST)?.meta.slots = mac;
        Ok(())
    }

    /// A new key, with the material of its first version if it has one.
    pub fn insert(&mut self, key: Key, material: Option<&[u8; 32]>) -> Result<Stored> {
        let mut stored = self.allot(key)?;
        if let (Some(version), Some(material)) = (stored.key.primary, material) {
            self.add_material(&mut stored, &version, material)?;
        }
        self.insert_row(&stored)?;
        Ok(stored)
    }

    /// Allots the row of a new key.
    pub(super) fn allot(&mut self, key: Key) -> Result<Stored> {
        // Never one that another key had: what still names that key must not come to name this one.
        let shard = self.view.shards.of_name(key.id.as_bytes());
        let open = self.view.shard(shard)?;
        let (next, generation) = (open.meta.last_row + 1, open.next_generation());
        let Ok(number) = u32::try_from(next) else {
            return Err(Status::LimitExceeded
                .error("the keystore has had as many keys as it can, 2^32 - 1; make new ones in another"));
        };
        let stored = Stored {
            row: shard.row(number),
            revision: 1,
            generation,
            versions: NO_VERSIONS,
            tags: None,
            records_mac: None,
            records: Arc::default(),
            key,
        };
        if self.view.find(Tree::Ids, stored.key.id.as_bytes())?.is_some() {
            return Err(Status::RandomFailed.error("the kernel's random bytes repeat: a new key's id is taken already"));
        }
        self.touch(shard)?.meta.last_row = next;
        Ok(stored)
    }

    /// Inserts the allotted row, once everything that it covers exists.
    pub(super) fn insert_row(&mut self, stored: &Stored) -> Result<()> {
        let sealed = self.view.rows.sealing.key_row(stored)?;
        self.view.rows.backend.insert_key(&sealed)?;
        self.entry.touch(&stored.key.id);
        self.put_row(stored.row, Some(&digest_of(&sealed.mac)))?;
        let (_, number) = self.view.shards.of_row(stored.row)?;
        self.put(Tree::Ids, &sealed.id, Some(&row_digest(number)))
    }

    /// Replaces a key's metadata.
    pub fn update(&mut self, mut stored: Stored) -> Result<Stored> {
        stored.revision += 1;
        stored.generation = self.touch(self.shard_of(&stored))?.next_generation();
        self.entry.touch(&stored.key.id);
        let sealed = self.view.rows.sealing.key_row(&stored)?;
        self.view.rows.backend.update_key(&sealed)?;
        self.put_row(stored.row, Some(&digest_of(&sealed.mac)))?;
        Ok(stored)
    }

    /// Makes `id` with this material the newest version and the primary.
    pub fn rotate(&mut self, mut stored: Stored, id: VersionId, material: &[u8; 32], now: Time) -> Result<Stored> {
        let version = stored.key.promote(id, now);
        self.add_material(&mut stored, &version, material)?;
        self.update(stored)
    }

    /// Stores material and reads it back: nothing is promoted that can't be opened again.
    fn add_material(&mut self, stored: &mut Stored, version: &Version, material: &[u8; 32]) -> Result<()> {
        let row = self.view.rows.sealing.material_row(stored, version, material)?;
        self.view.rows.backend.insert_material(&row)?;
        stored.versions = self.view.rows.sealing.extend(&stored.versions, &row)?;
        if self.view.is_remote() {
            // Each check would be a round trip: all are read back together, before the commit.
            return match self.view.rows.sealing.open_material(&stored.key, &row)? {
                (found, opened) if found == *version && *opened == *material => {
                    self.unread.push(row);
                    Ok(())
                }
                _ => Err(unreadable()),
            };
        }
        match self.view.rows.backend.material_at(stored.row, row.number)? {
            Some(read) if read == row => match self.view.rows.sealing.open_material(&stored.key, &read)? {
                (found, opened) if found == *version && *opened == *material => Ok(()),
                _ => Err(unreadable()),
            },
            _ => Err(unreadable()),
        }
    }

    /// Reads new material back, which must be what was stored.
    pub fn read_back(&mut self) -> Result<()> {
        let written = std::mem::take(&mut self.unread);
        let wanted: Vec<(i64, i64)> = written.iter().map(|row| (row.key_row, row.number)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        self.view.rows.backend.prefetch(Wanted::Materials(&wanted))?;
        for row in written {
            if self.view.rows.backend.material_at(row.key_row, row.number)?.is_none_or(|read| read != row) {
                return Err(unreadable());
            }
        }
        Ok(())
    }

    /// Puts imported material in its place, under the version that the key has had since its first import.
    pub fn restore_material(&mut self, stored: &mut Stored, material: &[u8; 32]) -> Result<()> {
        let Some(version) = stored.key.primary else {
            return Err(Status::Internal.error("a key without a version can't take material"));
        };
        self.touch(self.shard_of(stored))?;
        self.add_material(stored, &version, material)
    }

    /// Removes a key's material and keeps the key.
    pub fn erase_material(&mut self, stored: &mut Stored) -> Result<()> {
        self.note_destruction(stored)?;
        self.delete_materials(stored)?;
        stored.versions = NO_VERSIONS;
        Ok(())
    }

    /// Deletes all versions of a key. A damaged page can hide some from SQLite; then it fails, and nothing is deleted.
    fn delete_materials(&mut self, stored: &Stored) -> Result<()> {
        let versions = match stored.key.primary {
            Some(newest) if stored.versions != NO_VERSIONS => signed(newest.number)?,
            _ => 0,
        };
        let mut deleted = self.view.rows.backend.delete_materials(stored.row)?;
        deleted.sort_unstable();
        let gone =
            |number: &i64| stored.records.tombstones().any(|version| signed(version.number).ok() == Some(*number));
        match deleted.into_iter().eq((1..=versions).filter(|number| !gone(number))) || unchecked() {
            true => Ok(()),
            false => Err(versions_altered(&stored.key.id)),
        }
    }

    /// Makes an alias, or moves it to another key.
    pub fn put_alias(&mut self, name: &str, key: &Stored) -> Result<()> {
        let revision = self.view.alias_row(name)?.map_or(0, |(row, _)| row.revision) + 1;
        let handle = self.view.rows.sealing.alias_handle(name)?;
        let generation = self.note_renaming(&handle)?;
        self.entry.touch(&key.key.id);
        let row = self.view.rows.sealing.alias_row(name, key.row, revision, generation)?;
        self.view.rows.backend.put_alias(&row)?;
        self.put(Tree::Aliases, &handle, Some(&digest_of(&row.mac)))
    }

    /// Returns the generation that the alias's shard will have.
    fn note_renaming(&mut self, handle: &Digest) -> Result<i64> {
        let open = self.touch(self.view.shards.of_name(handle))?;
        open.meta.renamed += 1;
        Ok(open.next_generation())
    }

    pub fn delete_alias(&mut self, name: &str) -> Result<()> {
        let handle = self.view.rows.sealing.alias_handle(name)?;
        self.note_renaming(&handle)?;
        self.view.rows.backend.delete_alias(name)?;
        self.put(Tree::Aliases, &handle, None)
    }

    /// Makes tags, or replaces their values, and removes others by name.
    pub fn set_tags(&mut self, mut stored: Stored, put: &[(&str, &str)], remove: &[&str]) -> Result<Stored> {
        let generation = self.touch(self.shard_of(&stored))?.next_generation();
        for (name, value) in put {
            let row = self.view.rows.sealing.tag_row(stored.row, name, value, generation)?;
            self.view.rows.backend.put_tag(&row)?;
        }
        for name in remove {
            self.view.rows.backend.delete_tag(stored.row, name)?;
        }
        let rows = self.view.rows.backend.tags(stored.row)?;
        stored.tags = self.view.rows.sealing.tags_mac(stored.row, &rows)?;
        self.update(stored)
    }

    /// Removes a key and all its material; SQLite overwrites the freed bytes (secure_delete).
    pub fn destroy(&mut self, stored: &Stored) -> Result<()> {
        self.note_destruction(stored)?;
        self.entry.touch(&stored.key.id);
        let mut after: Option<String> = None;
        loop {
            let page = self.view.rows.backend.aliases_after(Some(stored.row), after.as_deref(), PAGE)?;
            let Some(last) = page.last() else { break };
            // Out of order: aliases that an altered index hides are left, and name a key that is gone.
            if after.as_ref().is_some_and(|after| last.name <= *after) {
                break;
            }
            after = Some(last.name.clone());
            for row in page {
                match self.view.newest_alias(row) {
                    Ok(row) if row.key_row == stored.row => self.delete_alias(&row.name)?,
                    // Another key's, or one that was altered to name this key: left as it is, so that a read of it fails.
                    Ok(_) => {}
                    Err(error) if error.status() == Status::KeystoreCorrupt => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.view.rows.backend.delete_tags_of(stored.row)?;
        self.view.rows.backend.delete_version_rows(stored.row)?;
        self.delete_materials(stored)?;
        self.view.rows.backend.delete_key(stored.row)?;
        self.put_row(stored.row, None)?;
        self.put(Tree::Ids, stored.key.id.as_bytes(), None)
    }
}

#[cfg(test)]
mod tests;
