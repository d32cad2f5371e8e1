//! A store of several shards for tests: SQLite databases in private memory, one for each shard.
//!
//! It models a backend on another machine. Its calls run outside of the fork gate, and it counts what would be a round
//! trip: a read that was not announced.

use std::collections::HashSet;
use std::time::Duration;

use super::backend::{
    AliasRow, Backend, ChangeRow, ChangeRows, DueRow, KeyIndex, KeyRow, MaterialRow, MetaRow, News, Owned, SlotRow,
    TagRow, Transaction, VersionEntry, VersionRow, VersionRows, Wanted,
};
use super::shard::{Shard, Shards};
use super::sqlite::Sqlite;
use super::state::State;
use super::tree::{self, Tree};
use crate::error::{Error, Result, Status};

/// What a transaction has announced or read.
#[derive(Default)]
struct Announced {
    shards: HashSet<usize>,
    rows: HashSet<i64>,
    nodes: HashSet<i64>,
    aliases: HashSet<String>,
}

pub struct Sharded {
    shards: Shards,
    parts: Vec<Sqlite>,
    announced: Announced,
    /// Reads of keys and their paths that no call announced.
    unannounced: u64,
}

impl Sharded {
    pub fn new(shards: Shards) -> Result<Self> {
        let parts = shards.all().map(|_| Sqlite::in_memory()).collect::<Result<_>>()?;
        Ok(Self { shards, parts, announced: Announced::default(), unannounced: 0 })
    }

    fn part(&mut self, shard: Shard) -> Result<&mut Sqlite> {
        self.parts.get_mut(shard.index()).ok_or_else(misused)
    }

    /// The shard of a row. A row of no shard is searched in the first.
    fn of(&mut self, row: i64) -> Result<&mut Sqlite> {
        let shard = self.shards.of_row(row).map_or(Shard::FIRST, |(shard, _)| shard);
        self.part(shard)
    }

    fn of_node(&mut self, number: i64) -> Result<&mut Sqlite> {
        let shard = self.shards.of_node(number).map_or(Shard::FIRST, |(shard, _)| shard);
        self.part(shard)
    }

    /// What all store-wide tables are in.
    fn first(&mut self) -> Result<&mut Sqlite> {
        self.part(Shard::FIRST)
    }

    /// Rows of all parts in their order, at most `limit`.
    fn merged<T: Ord>(&mut self, limit: usize, mut read: impl FnMut(&mut Sqlite) -> Result<Vec<T>>) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for part in &mut self.parts {
            all.extend(read(part)?);
        }
        all.sort_unstable();
        all.truncate(limit);
        Ok(all)
    }

    fn least<T: Ord>(&mut self, mut read: impl FnMut(&mut Sqlite) -> Result<Option<T>>) -> Result<Option<T>> {
        Ok(self.merged(1, |part| Ok(read(part)?.into_iter().collect()))?.pop())
    }

    fn count(&mut self, is_announced: bool) {
        self.unannounced += u64::from(!is_announced);
    }

    fn announce_row(&mut self, row: i64) {
        self.announced.rows.insert(row);
        let Ok((shard, number)) = self.shards.of_row(row) else { return };
        self.announced.shards.insert(shard.index());
        self.announced.nodes.extend(tree::path(shard, Tree::Keys, &number.to_be_bytes()));
    }
}

fn misused() -> Error {
    Status::Internal.error("there is no such shard")
}

impl ChangeRows for Sharded {
    fn insert_change(&mut self, change: &ChangeRow) -> Result<()> {
        let shard = self.shards.of_generation(change.generation).ok_or_else(misused)?;
        self.part(shard)?.insert_change(change)
    }

    fn changes_from(&mut self, shard: Shard, generation: i64, limit: usize) -> Result<Vec<ChangeRow>> {
        self.part(shard)?.changes_from(shard, generation, limit)
    }

    fn delete_changes(&mut self, shard: Shard, generation: i64) -> Result<usize> {
        self.part(shard)?.delete_changes(shard, generation)
    }
}

impl VersionRows for Sharded {
    fn has_version_rows(&self) -> bool {
        true
    }

    fn version_rows(&mut self, key_row: i64) -> Result<Vec<VersionRow>> {
        self.of(key_row)?.version_rows(key_row)
    }

    fn put_version_row(&mut self, row: &VersionRow) -> Result<()> {
        self.of(row.key_row)?.put_version_row(row)
    }

    fn delete_version_rows(&mut self, key_row: i64) -> Result<()> {
        self.of(key_row)?.delete_version_rows(key_row)
    }

    fn next_version_owner(&mut self, key_row: i64) -> Result<Option<i64>> {
        self.least(|part| part.next_version_owner(key_row))
    }

    fn versions_confirmed_too_early(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        self.merged(limit, |part| part.versions_confirmed_too_early(now, limit))
    }

    fn versions_counted_in_future(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        self.merged(limit, |part| part.versions_counted_in_future(now, limit))
    }

    fn are_version_rows_indexed(&mut self) -> Result<bool> {
        self.parts.iter_mut().try_fold(true, |all, part| Ok(part.are_version_rows_indexed()? && all))
    }

    fn delete_material(&mut self, key_row: i64, number: i64) -> Result<()> {
        self.of(key_row)?.delete_material(key_row, number)
    }
}

impl Backend for Sharded {
    fn shards(&self) -> Shards {
        self.shards
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn begin(&mut self, kind: Transaction, patience: Duration) -> Result<()> {
        self.announced = Announced::default();
        self.parts.iter_mut().try_for_each(|part| part.begin(kind, patience))
    }

    fn prefetch(&mut self, wanted: Wanted<'_>) -> Result<()> {
        match wanted {
            Wanted::Shards(shards) => self.announced.shards.extend(shards.iter().map(|shard| shard.index())),
            Wanted::Changes(of) => self.announced.shards.extend(of.iter().map(|(shard, ..)| shard.index())),
            Wanted::Materials(of) => self.announced.rows.extend(of.iter().map(|(row, _)| row)),
            Wanted::Key(id) => {
                let shard = self.shards.of_name(id);
                self.announced.shards.insert(shard.index());
                self.announced.nodes.extend(tree::path(shard, Tree::Ids, id));
                for row in self.part(shard)?.rows_after(i64::MIN, usize::MAX)? {
                    if self.of(row)?.key_by_row(row)?.is_some_and(|key| key.id == *id) {
                        self.announce_row(row);
                    }
                }
            }
            Wanted::WholeKeys(ids) => ids.iter().try_for_each(|id| self.prefetch(Wanted::Key(id)))?,
            Wanted::Aliases(wanted) => {
                wanted.iter().try_for_each(|(name, handle)| self.prefetch(Wanted::Alias { name, handle }))?;
            }
            Wanted::Rows(rows) | Wanted::WholeRows(rows) => rows.iter().for_each(|row| self.announce_row(*row)),
            Wanted::Alias { name, handle } => {
                let shard = self.shards.of_name(handle);
                self.announced.shards.insert(shard.index());
                self.announced.nodes.extend(tree::path(shard, Tree::Aliases, handle));
                self.announced.aliases.insert(name.to_owned());
                if let Some(alias) = self.first()?.alias(name)? {
                    self.announce_row(alias.key_row);
                }
            }
        }
        Ok(())
    }

    fn news(&mut self) -> Result<Option<News>> {
        let metas: Result<Vec<MetaRow>> = self.parts.iter_mut().map(|part| part.meta(Shard::FIRST)).collect();
        Ok(Some(News { states: metas?.iter().map(State::of).collect(), clock: None, checkpoint: None }))
    }

    fn commit(&mut self) -> Result<()> {
        self.parts.iter_mut().try_for_each(Backend::commit)
    }

    fn rollback(&mut self) {
        self.parts.iter_mut().for_each(Backend::rollback);
    }

    fn forget(&mut self) -> Result<()> {
        self.parts.iter_mut().try_for_each(Backend::forget)
    }

    fn check_pages_owned(&mut self) -> Result<()> {
        self.parts.iter_mut().try_for_each(Backend::check_pages_owned)
    }

    fn check_nothing_else(&mut self) -> Result<()> {
        self.parts.iter_mut().try_for_each(Backend::check_nothing_else)
    }

    fn meta(&mut self, shard: Shard) -> Result<MetaRow> {
        let is_announced = !self.announced.shards.insert(shard.index());
        self.count(is_announced);
        self.part(shard)?.meta(shard)
    }

    fn put_meta(&mut self, shard: Shard, meta: &MetaRow) -> Result<()> {
        self.part(shard)?.put_meta(shard, meta)
    }

    fn slots(&mut self) -> Result<Vec<SlotRow>> {
        self.first()?.slots()
    }

    fn insert_slot(&mut self, slot: &SlotRow) -> Result<()> {
        self.first()?.insert_slot(slot)
    }

    fn delete_slot(&mut self, row: i64) -> Result<()> {
        self.first()?.delete_slot(row)
    }

    fn delete_slots(&mut self) -> Result<()> {
        self.first()?.delete_slots()
    }

    fn node(&mut self, number: i64) -> Result<Option<Vec<u8>>> {
        let is_announced = !self.announced.nodes.insert(number);
        self.count(is_announced);
        self.of_node(number)?.node(number)
    }

    fn nodes_after(&mut self, number: i64, limit: usize) -> Result<Vec<i64>> {
        self.merged(limit, |part| part.nodes_after(number, limit))
    }

    fn put_node(&mut self, number: i64, content: &[u8]) -> Result<()> {
        self.of_node(number)?.put_node(number, content)
    }

    fn delete_node(&mut self, number: i64) -> Result<()> {
        self.of_node(number)?.delete_node(number)
    }

    fn key_by_row(&mut self, row: i64) -> Result<Option<KeyRow>> {
        let is_announced = !self.announced.rows.insert(row);
        self.count(is_announced);
        self.of(row)?.key_by_row(row)
    }

    fn rows_after(&mut self, row: i64, limit: usize) -> Result<Vec<i64>> {
        self.merged(limit, |part| part.rows_after(row, limit))
    }

    fn newest_after(&mut self, row: i64, limit: usize) -> Result<Vec<(i64, [u8; 16])>> {
        self.merged(limit, |part| part.newest_after(row, limit))
    }

    fn is_indexed(&mut self, key: &KeyRow) -> Result<bool> {
        self.of(key.row)?.is_indexed(key)
    }

    fn index_after(&mut self, index: KeyIndex, after: (i64, i64), limit: usize) -> Result<Vec<(i64, i64)>> {
        self.merged(limit, |part| part.index_after(index, after, limit))
    }

    fn insert_key(&mut self, key: &KeyRow) -> Result<()> {
        self.of(key.row)?.insert_key(key)
    }

    fn update_key(&mut self, key: &KeyRow) -> Result<()> {
        self.of(key.row)?.update_key(key)
    }

    fn delete_key(&mut self, row: i64) -> Result<()> {
        self.of(row)?.delete_key(row)
    }

    fn due(&mut self, shard: Shard, until: i64, after: Option<DueRow>, limit: usize) -> Result<Vec<DueRow>> {
        self.part(shard)?.due(shard, until, after, limit)
    }

    fn next_look_after(&mut self, now: i64) -> Result<Option<i64>> {
        self.least(|part| part.next_look_after(now))
    }

    fn created_in_future(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        self.merged(limit, |part| part.created_in_future(now, limit))
    }

    fn confirmed_too_early(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        self.merged(limit, |part| part.confirmed_too_early(now, limit))
    }

    fn counted_in_future(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        self.merged(limit, |part| part.counted_in_future(now, limit))
    }

    fn changed_since(&mut self, shard: Shard, generation: i64, limit: usize) -> Result<Vec<[u8; 16]>> {
        self.part(shard)?.changed_since(shard, generation, limit)
    }

    fn insert_material(&mut self, material: &MaterialRow) -> Result<()> {
        self.of(material.key_row)?.insert_material(material)
    }

    fn material(&mut self, key_row: i64, version: &[u8; 16]) -> Result<Option<MaterialRow>> {
        self.of(key_row)?.material(key_row, version)
    }

    fn material_at(&mut self, key_row: i64, number: i64) -> Result<Option<MaterialRow>> {
        let is_announced = self.announced.rows.contains(&key_row);
        self.count(is_announced);
        self.of(key_row)?.material_at(key_row, number)
    }

    fn version_index_after(&mut self, after: &VersionEntry, limit: usize) -> Result<Vec<VersionEntry>> {
        self.merged(limit, |part| part.version_index_after(after, limit))
    }

    fn materials_after(&mut self, key_row: i64, number: i64, limit: usize) -> Result<Vec<MaterialRow>> {
        self.of(key_row)?.materials_after(key_row, number, limit)
    }

    fn materials_before(&mut self, key_row: i64, number: Option<i64>, limit: usize) -> Result<Vec<MaterialRow>> {
        self.of(key_row)?.materials_before(key_row, number, limit)
    }

    fn delete_materials(&mut self, key_row: i64) -> Result<Vec<i64>> {
        self.of(key_row)?.delete_materials(key_row)
    }

    fn next_owner(&mut self, of: Owned, key_row: i64) -> Result<Option<i64>> {
        self.least(|part| part.next_owner(of, key_row))
    }

    fn alias(&mut self, name: &str) -> Result<Option<AliasRow>> {
        let is_announced = !self.announced.aliases.insert(name.to_owned());
        self.count(is_announced);
        self.first()?.alias(name)
    }

    fn aliases_after(&mut self, key_row: Option<i64>, name: Option<&str>, limit: usize) -> Result<Vec<AliasRow>> {
        self.first()?.aliases_after(key_row, name, limit)
    }

    fn alias_names_after(&mut self, name: &str, limit: usize) -> Result<Vec<Option<String>>> {
        self.first()?.alias_names_after(name, limit)
    }

    fn is_alias_indexed(&mut self, alias: &AliasRow) -> Result<bool> {
        self.first()?.is_alias_indexed(alias)
    }

    fn alias_index_after(&mut self, after: &(i64, String), limit: usize) -> Result<Vec<(i64, String)>> {
        self.first()?.alias_index_after(after, limit)
    }

    fn put_alias(&mut self, alias: &AliasRow) -> Result<()> {
        self.first()?.put_alias(alias)
    }

    fn delete_alias(&mut self, name: &str) -> Result<()> {
        self.first()?.delete_alias(name)
    }

    fn tags(&mut self, key_row: i64) -> Result<Vec<TagRow>> {
        self.of(key_row)?.tags(key_row)
    }

    fn put_tag(&mut self, tag: &TagRow) -> Result<()> {
        self.of(tag.key_row)?.put_tag(tag)
    }

    fn delete_tag(&mut self, key_row: i64, name: &str) -> Result<()> {
        self.of(key_row)?.delete_tag(key_row, name)
    }

    fn delete_tags_of(&mut self, key_row: i64) -> Result<()> {
        self.of(key_row)?.delete_tags_of(key_row)
    }
}

#[cfg(test)]
mod tests;
