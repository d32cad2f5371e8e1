//! The rows as SQL: each method of [`Backend`] is one prepared statement.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::{FromSql, ValueRef};
use rusqlite::{OptionalExtension, Params, Row, params};

use super::Sqlite;
use super::error::storage;
use crate::error::{Error, Result};
use crate::store::backend::{
    AliasRow, Backend, DueRow, KeyIndex, KeyRow, LABEL_BYTES, MaterialRow, MetaRow, Owned, PARAMETERS_MAX, SLOTS,
    SlotRow, TagRow, Transaction, VersionEntry, VersionRows, WRAPPED_MAX,
};
use crate::store::shard::Shard;
use crate::sys::memory;

/// The columns of a table, as part of a statement that is put together when this is compiled.
macro_rules! columns {
    (key) => {
        "row, id, state, origin, creator, description, created, interval_s, primary_number, primary_id, primary_created, \
         future_noticed, delete_date, sighted_wall, sighted_boot, sighted_uptime, protection, import_digest, \
         import_present, import_expires, expiry_sighted_wall, expiry_sighted_boot, expiry_sighted_uptime, next_look, \
         versions, tags, revision, generation, mac, counted_wall, waiting, records"
    };
    (material) => {
        "key_row, number, version, algorithm, created, sealed"
    };
    (alias) => {
        "name, key_row, revision, generation, mac"
    };
    (tag) => {
        "key_row, name, value, revision, generation, mac"
    };
}

// What each pass asks, so it must not read every key.
pub(super) const DUE: &str = "SELECT next_look, row FROM key WHERE next_look <= ?1 AND (next_look, row) > (?2, ?3)
                   ORDER BY next_look, row LIMIT ?4";
pub(super) const CREATED_IN_FUTURE: &str =
    "SELECT row FROM key WHERE state = 1 AND interval_s IS NOT NULL AND future_noticed IS NULL
                   AND primary_created > ? LIMIT ?";
// UNION needs an order and would take two scans.
pub(super) const CONFIRMED_TOO_EARLY: &str = "SELECT row FROM key WHERE sighted_wall IS NOT NULL AND delete_date > ?1
                   UNION ALL SELECT row FROM key WHERE expiry_sighted_wall IS NOT NULL AND import_expires > ?1 LIMIT ?2";
pub(super) const COUNTED_IN_FUTURE: &str =
    "SELECT row FROM key WHERE counted_wall IS NOT NULL AND counted_wall > ? ORDER BY counted_wall LIMIT ?";
pub(super) const CHANGED_SINCE: &str = "SELECT id FROM key WHERE revision > 1 AND generation > ? LIMIT ?";
pub(super) const NEXT_LOOK_AFTER: &str = "SELECT min(next_look) FROM key WHERE next_look > ?";

pub(super) const LATER_MATERIAL: &str = concat!(
    "SELECT ",
    columns!(material),
    " FROM material INDEXED BY material_version WHERE key_row = ? AND version = ? AND number > 16"
);

fn key_row(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow {
        row: row.get(0)?,
        id: bytes(row, 1)?,
        state: row.get(2)?,
        origin: row.get(3)?,
        creator: row.get(4)?,
        description: text(row, 5)?,
        created: row.get(6)?,
        interval_s: row.get(7)?,
        primary_number: row.get(8)?,
        primary_id: optional_bytes(row, 9)?,
        primary_created: row.get(10)?,
        future_noticed: row.get(11)?,
        delete_date: row.get(12)?,
        sighted_wall: row.get(13)?,
        sighted_boot: optional_bytes(row, 14)?,
        sighted_uptime: row.get(15)?,
        protection: optional_text(row, 16)?,
        import_digest: optional_bytes(row, 17)?,
        import_present: row.get(18)?,
        import_expires: row.get(19)?,
        expiry_sighted_wall: row.get(20)?,
        expiry_sighted_boot: optional_bytes(row, 21)?,
        expiry_sighted_uptime: row.get(22)?,
        next_look: row.get(23)?,
        versions: bytes(row, 24)?,
        tags: optional_bytes(row, 25)?,
        revision: row.get(26)?,
        generation: row.get(27)?,
        mac: bytes(row, 28)?,
        counted_wall: if has(row, 29) { row.get(29)? } else { None },
        waiting: if has(row, 30) { optional_bytes(row, 30)? } else { None },
        records: if has(row, 31) { optional_bytes(row, 31)? } else { None },
    })
}

/// Whether the keystore's format has this column; those that later formats added are NULL without it.
fn has(row: &Row<'_>, column: usize) -> bool {
    row.as_ref().column_count() > column
}

/// Bytes of a fixed length; others come out as zeros, which no MAC fits, so that one bad row is one bad row.
pub(super) fn bytes<const N: usize>(row: &Row<'_>, at: usize) -> rusqlite::Result<[u8; N]> {
    Ok(row.get_ref(at)?.as_bytes_or_null().ok().flatten().and_then(|b| b.try_into().ok()).unwrap_or([0; N]))
}

pub(super) fn optional_bytes<const N: usize>(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<[u8; N]>> {
    match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        _ => bytes(row, at).map(Some),
    }
}

pub(super) fn short_of_memory(_: Error) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOMEM), None)
}

fn text(row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
    memory::text(row.get_ref(at)?.as_str()?).map_err(short_of_memory)
}

fn optional_text(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<String>> {
    row.get_ref(at)?.as_str_or_null()?.map(memory::text).transpose().map_err(short_of_memory)
}

fn blob(row: &Row<'_>, at: usize) -> rusqlite::Result<Vec<u8>> {
    memory::copy(row.get_ref(at)?.as_blob()?).map_err(short_of_memory)
}

/// Represents a label that the library never wrote: it refuses NUL in one.
const NO_LABEL: &str = "\0";

fn slot_row(row: &Row<'_>) -> rusqlite::Result<SlotRow> {
    // What is longer than any slot comes out empty, which no MAC fits.
    let bounded = |at: usize, most: usize| {
        let bytes = row.get_ref(at)?.as_bytes_or_null().ok().flatten().filter(|bytes| bytes.len() <= most);
        memory::copy(bytes.unwrap_or_default()).map_err(short_of_memory)
    };
    let label = |at: usize| match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        ValueRef::Text(text) if text.len() <= LABEL_BYTES => {
            memory::text(std::str::from_utf8(text).unwrap_or(NO_LABEL)).map(Some).map_err(short_of_memory)
        }
        // What can be no label must fit no MAC, as what is missing would.
        _ => memory::text(NO_LABEL).map(Some).map_err(short_of_memory),
    };
    Ok(SlotRow {
        row: row.get(0)?,
        kind: row.get(1)?,
        parameters: bounded(2, PARAMETERS_MAX)?,
        wrapped: bounded(3, WRAPPED_MAX)?,
        created: if has(row, 4) { row.get(4)? } else { None },
        label: if has(row, 5) { label(5)? } else { None },
    })
}

fn material_row(row: &Row<'_>) -> rusqlite::Result<MaterialRow> {
    Ok(MaterialRow {
        key_row: row.get(0)?,
        number: row.get(1)?,
        version: bytes(row, 2)?,
        algorithm: row.get(3)?,
        created: row.get(4)?,
        sealed: blob(row, 5)?,
    })
}

fn alias_row(row: &Row<'_>) -> rusqlite::Result<AliasRow> {
    Ok(AliasRow {
        name: text(row, 0)?,
        key_row: row.get(1)?,
        revision: row.get(2)?,
        generation: row.get(3)?,
        mac: bytes(row, 4)?,
    })
}

fn tag_row(row: &Row<'_>) -> rusqlite::Result<TagRow> {
    Ok(TagRow {
        key_row: row.get(0)?,
        name: text(row, 1)?,
        value: text(row, 2)?,
        revision: row.get(3)?,
        generation: row.get(4)?,
        mac: bytes(row, 5)?,
    })
}

/// An index's name, the column that it is over, and the condition of the rows in it.
fn sql_of(index: KeyIndex) -> (&'static str, &'static str, &'static str) {
    match index {
        KeyIndex::NextLook => ("key_next_look", "next_look", "next_look IS NOT NULL"),
        KeyIndex::Generation => ("key_generation", "generation", "revision > 1"),
        KeyIndex::Newest => {
            ("key_newest", "primary_created", "state = 1 AND interval_s IS NOT NULL AND future_noticed IS NULL")
        }
        KeyIndex::Confirmed => ("key_sighted", "delete_date", "sighted_wall IS NOT NULL"),
        KeyIndex::ExpiryConfirmed => ("key_expiry_sighted", "import_expires", "expiry_sighted_wall IS NOT NULL"),
        KeyIndex::Counted => ("key_counted", "counted_wall", "counted_wall IS NOT NULL"),
    }
}

pub(super) fn first<T: FromSql>(row: &Row<'_>) -> rusqlite::Result<T> {
    row.get(0)
}

pub(super) fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl Sqlite {
    /// Whether the keystore's format has this index.
    fn has(&self, index: KeyIndex) -> bool {
        index != KeyIndex::Counted || self.format.get() >= 2
    }

    pub(super) fn one<T>(
        &self,
        sql: &str,
        p: impl Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let found = self.connection.prepare_cached(sql).and_then(|mut s| s.query_row(p, read).optional());
        found.map_err(|e| storage("read", &e))
    }

    pub(super) fn all<T>(
        &self,
        sql: &str,
        p: impl Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| storage("read", &e))?;
        let rows = statement.query_map(p, read).map_err(|e| storage("read", &e))?;
        for row in rows {
            found.try_reserve(1).map_err(|_| memory::out_of_memory())?;
            found.push(row.map_err(|e| storage("read", &e))?);
        }
        Ok(found)
    }

    pub(super) fn change(&self, sql: &str, p: impl Params) -> Result<usize> {
        self.upgrade()?;
        self.connection.prepare_cached(sql).and_then(|mut s| s.execute(p)).map_err(|e| storage("write", &e))
    }

    pub(super) fn change_one(&self, sql: &str, p: impl Params) -> Result<()> {
        match self.change(sql, p)? {
            1 => Ok(()),
            _ => Err(missing("a row to change is gone")),
        }
    }
}

fn missing(what: &'static str) -> Error {
    crate::error::Status::KeystoreCorrupt.error(format!("the keystore is damaged: {what}; restore it from a backup"))
}

impl Backend for Sqlite {
    fn begin(&mut self, kind: Transaction, _: Duration) -> Result<()> {
        self.start(kind)
    }

    fn commit(&mut self) -> Result<()> {
        self.run("COMMIT")
    }

    fn rollback(&mut self) {
        let _ = self.run("ROLLBACK");
    }

    fn copy_to(&mut self, path: &Path) -> Result<()> {
        self.copy(path)
    }

    fn forget(&mut self) -> Result<()> {
        self.run("PRAGMA shrink_memory")
    }

    fn check_pages_owned(&mut self) -> Result<()> {
        Self::check_pages_owned(self)
    }

    fn check_nothing_else(&mut self) -> Result<()> {
        Self::check_nothing_else(self)
    }

    fn meta(&mut self, _: Shard) -> Result<MetaRow> {
        let read = |row: &Row<'_>| {
            Ok(MetaRow {
                uuid: row.get(1)?,
                generation: row.get(2)?,
                destroyed: row.get(3)?,
                renamed: row.get(4)?,
                last_row: row.get(5)?,
                keys: row.get(6)?,
                ids: row.get(7)?,
                aliases: row.get(8)?,
                slots: row.get(9)?,
                mac: row.get(10)?,
                recent: if has(row, 11) { row.get(11)? } else { None },
                place: if has(row, 12) { row.get(12)? } else { None },
                log: if has(row, 13) { row.get(13)? } else { None },
            })
        };
        self.one("SELECT * FROM meta", [], read)?.ok_or_else(|| missing("its description is gone"))
    }

    fn put_meta(&mut self, _: Shard, meta: &MetaRow) -> Result<()> {
        let sql = "INSERT INTO meta VALUES(1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                   ON CONFLICT(id) DO UPDATE SET generation = excluded.generation, destroyed = excluded.destroyed,
                   renamed = excluded.renamed, last_row = excluded.last_row, keys = excluded.keys, ids = excluded.ids,
                   aliases = excluded.aliases, slots = excluded.slots, mac = excluded.mac, recent = excluded.recent,
                   place = excluded.place, log = excluded.log";
        let MetaRow { uuid, generation, destroyed, renamed, last_row, keys, ids, aliases, .. } = meta;
        let MetaRow { slots, mac, recent, place, log, .. } = meta;
        self.change_one(
            sql,
            params![uuid, generation, destroyed, renamed, last_row, keys, ids, aliases, slots, mac, recent, place, log],
        )
    }

    fn slots(&mut self) -> Result<Vec<SlotRow>> {
        self.all("SELECT * FROM slot ORDER BY id LIMIT ?", [count(SLOTS + 1)], slot_row)
    }

    fn insert_slot(&mut self, slot: &SlotRow) -> Result<()> {
        self.upgrade()?;
        let SlotRow { row: _, kind, parameters, wrapped, created, label } = slot;
        let sql = "INSERT INTO slot(kind, parameters, wrapped, created, label) VALUES(?, ?, ?, ?, ?)";
        self.change_one(sql, params![kind, parameters, wrapped, created, label])
    }

    fn delete_slot(&mut self, row: i64) -> Result<()> {
        self.change_one("DELETE FROM slot WHERE id = ?", [row])
    }

    fn delete_slots(&mut self) -> Result<()> {
        self.change("DELETE FROM slot", []).map(drop)
    }

    fn node(&mut self, number: i64) -> Result<Option<Vec<u8>>> {
        self.one("SELECT content FROM node WHERE number = ?", [number], |row| blob(row, 0))
    }

    fn nodes_after(&mut self, number: i64, limit: usize) -> Result<Vec<i64>> {
        let sql = "SELECT number FROM node WHERE number > ? ORDER BY number LIMIT ?";
        self.all(sql, params![number, count(limit)], first)
    }

    fn put_node(&mut self, number: i64, content: &[u8]) -> Result<()> {
        let sql = "REPLACE INTO node(number, content) VALUES(?, ?)";
        self.change_one(sql, params![number, content])
    }

    fn delete_node(&mut self, number: i64) -> Result<()> {
        self.change("DELETE FROM node WHERE number = ?", [number]).map(drop)
    }

    fn key_by_row(&mut self, row: i64) -> Result<Option<KeyRow>> {
        self.one("SELECT * FROM key WHERE row = ?", [row], key_row)
    }

    fn rows_after(&mut self, row: i64, limit: usize) -> Result<Vec<i64>> {
        let sql = "SELECT row FROM key NOT INDEXED WHERE row > ? ORDER BY row LIMIT ?";
        self.all(sql, params![row, count(limit)], first)
    }

    fn newest_after(&mut self, row: i64, limit: usize) -> Result<Vec<(i64, [u8; 16])>> {
        let sql = "SELECT row, primary_id FROM key NOT INDEXED WHERE row > ? AND primary_id IS NOT NULL
                   ORDER BY row LIMIT ?";
        self.all(sql, params![row, count(limit)], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn is_indexed(&mut self, key: &KeyRow) -> Result<bool> {
        for index in KeyIndex::ALL.into_iter().filter(|index| self.has(*index)) {
            let (name, column, condition) = sql_of(index);
            if let Some(value) = index.value(key) {
                let sql = format!(
                    "SELECT count(*) FROM key INDEXED BY {name} WHERE {condition} AND {column} = ? AND row = ?"
                );
                if self.one::<i64>(&sql, params![value, key.row], first)? != Some(1) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn index_after(&mut self, index: KeyIndex, after: (i64, i64), limit: usize) -> Result<Vec<(i64, i64)>> {
        if !self.has(index) {
            return Ok(Vec::new());
        }
        let (name, column, condition) = sql_of(index);
        let select = format!("SELECT {column}, row FROM key INDEXED BY {name} WHERE {condition}");
        // Two searches, because one for (value, row) starts again at the first row of that value.
        let same = format!("{select} AND {column} = ? AND row > ? ORDER BY row LIMIT ?");
        let later = format!("{select} AND {column} > ? ORDER BY {column}, row LIMIT ?");
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let mut found = self.all(&same, params![after.0, after.1, count(limit)], read)?;
        let left = limit.saturating_sub(found.len());
        found.extend(self.all(&later, params![after.0, count(left)], read)?);
        Ok(found)
    }

    fn insert_key(&mut self, key: &KeyRow) -> Result<()> {
        let sql = concat!(
            "INSERT INTO key(",
            columns!(key),
            ") VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        );
        self.change_one(sql, key_params(key))
    }

    fn update_key(&mut self, key: &KeyRow) -> Result<()> {
        // A key's id stays.
        let sql = "UPDATE key SET state = ?3, origin = ?4, creator = ?5, description = ?6, created = ?7,
                   interval_s = ?8, primary_number = ?9, primary_id = ?10, primary_created = ?11,
                   future_noticed = ?12, delete_date = ?13, sighted_wall = ?14, sighted_boot = ?15,
                   sighted_uptime = ?16, protection = ?17, import_digest = ?18, import_present = ?19,
                   import_expires = ?20, expiry_sighted_wall = ?21, expiry_sighted_boot = ?22,
                   expiry_sighted_uptime = ?23, next_look = ?24, versions = ?25, tags = ?26, revision = ?27,
                   generation = ?28, mac = ?29, counted_wall = ?30, waiting = ?31, records = ?32
                   WHERE row = ?1 AND id = ?2";
        self.change_one(sql, key_params(key))
    }

    fn delete_key(&mut self, row: i64) -> Result<()> {
        self.change_one("DELETE FROM key WHERE row = ?", [row])
    }

    fn due(&mut self, _: Shard, until: i64, after: Option<DueRow>, limit: usize) -> Result<Vec<DueRow>> {
        let after = after.unwrap_or(DueRow { next_look: i64::MIN, row: i64::MIN });
        let read = |row: &Row<'_>| Ok(DueRow { next_look: row.get(0)?, row: row.get(1)? });
        self.all(DUE, params![until, after.next_look, after.row, count(limit)], read)
    }

    fn next_look_after(&mut self, now: i64) -> Result<Option<i64>> {
        self.one(NEXT_LOOK_AFTER, [now], first).map(Option::flatten)
    }

    fn created_in_future(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        self.all(CREATED_IN_FUTURE, params![now, count(limit)], first)
    }

    fn confirmed_too_early(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        self.all(CONFIRMED_TOO_EARLY, params![now, count(limit)], first)
    }

    fn counted_in_future(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        match self.has(KeyIndex::Counted) {
            true => self.all(COUNTED_IN_FUTURE, params![now, count(limit)], first),
            false => Ok(Vec::new()),
        }
    }

    fn changed_since(&mut self, _: Shard, generation: i64, limit: usize) -> Result<Vec<[u8; 16]>> {
        self.all(CHANGED_SINCE, params![generation, count(limit)], first)
    }

    fn insert_material(&mut self, m: &MaterialRow) -> Result<()> {
        let sql = concat!("INSERT INTO material(", columns!(material), ") VALUES(?, ?, ?, ?, ?, ?)");
        self.change_one(sql, params![m.key_row, m.number, m.version, m.algorithm, m.created, m.sealed])
    }

    fn material(&mut self, key_row: i64, version: &[u8; 16]) -> Result<Option<MaterialRow>> {
        // A key's first versions are adjacent, and quicker to scan than to index.
        let first =
            concat!("SELECT ", columns!(material), " FROM material WHERE key_row = ? AND number <= 16 AND version = ?");
        if let Some(found) = self.one(first, params![key_row, version], material_row)? {
            return Ok(Some(found));
        }
        self.one(LATER_MATERIAL, params![key_row, version], material_row)
    }

    fn material_at(&mut self, key_row: i64, number: i64) -> Result<Option<MaterialRow>> {
        let sql = concat!("SELECT ", columns!(material), " FROM material WHERE key_row = ? AND number = ?");
        self.one(sql, params![key_row, number], material_row)
    }

    fn version_index_after(&mut self, after: &VersionEntry, limit: usize) -> Result<Vec<VersionEntry>> {
        let sql = "SELECT key_row, version, number FROM material INDEXED BY material_version WHERE number > 16
                   AND (key_row, version) > (?1, ?2) ORDER BY key_row, version LIMIT ?3";
        let read =
            |row: &Row<'_>| Ok(VersionEntry { key_row: row.get(0)?, version: bytes(row, 1)?, number: row.get(2)? });
        self.all(sql, params![after.key_row, after.version, count(limit)], read)
    }

    fn materials_after(&mut self, key_row: i64, number: i64, limit: usize) -> Result<Vec<MaterialRow>> {
        let sql = concat!(
            "SELECT ",
            columns!(material),
            " FROM material WHERE key_row = ? AND number > ? ORDER BY number LIMIT ?"
        );
        self.all(sql, params![key_row, number, count(limit)], material_row)
    }

    fn materials_before(&mut self, key_row: i64, number: Option<i64>, limit: usize) -> Result<Vec<MaterialRow>> {
        let sql = concat!(
            "SELECT ",
            columns!(material),
            " FROM material WHERE key_row = ? AND number < ? ORDER BY number DESC LIMIT ?"
        );
        self.all(sql, params![key_row, number.unwrap_or(i64::MAX), count(limit)], material_row)
    }

    fn delete_materials(&mut self, key_row: i64) -> Result<Vec<i64>> {
        self.upgrade()?;
        self.all("DELETE FROM material WHERE key_row = ? RETURNING number", [key_row], first)
    }

    fn next_owner(&mut self, of: Owned, key_row: i64) -> Result<Option<i64>> {
        let sql = match of {
            Owned::Version => return self.next_version_owner(key_row),
            Owned::Material => "SELECT min(key_row) FROM material WHERE key_row > ?",
            Owned::Tag => "SELECT min(key_row) FROM tag WHERE key_row > ?",
        };
        self.one(sql, [key_row], first).map(Option::flatten)
    }

    fn alias(&mut self, name: &str) -> Result<Option<AliasRow>> {
        let found = self.one(concat!("SELECT ", columns!(alias), " FROM alias WHERE name = ?"), [name], alias_row)?;
        // Where a page's entries are not in order, SQLite can return another row than was requested.
        Ok(found.filter(|row| row.name == name))
    }

    fn aliases_after(&mut self, key_row: Option<i64>, name: Option<&str>, limit: usize) -> Result<Vec<AliasRow>> {
        let after = name.unwrap_or_default();
        match key_row {
            Some(key_row) => {
                let sql = concat!(
                    "SELECT ",
                    columns!(alias),
                    " FROM alias WHERE key_row = ? AND name > ? ORDER BY name LIMIT ?"
                );
                self.all(sql, params![key_row, after, count(limit)], alias_row)
            }
            None => {
                let sql = concat!("SELECT ", columns!(alias), " FROM alias WHERE name > ? ORDER BY name LIMIT ?");
                self.all(sql, params![after, count(limit)], alias_row)
            }
        }
    }

    fn alias_names_after(&mut self, name: &str, limit: usize) -> Result<Vec<Option<String>>> {
        let sql = "SELECT name FROM alias WHERE name > ? ORDER BY name LIMIT ?";
        self.all(sql, params![name, count(limit)], |row| {
            row.get_ref(0)?.as_str().ok().map(memory::text).transpose().map_err(short_of_memory)
        })
    }

    fn is_alias_indexed(&mut self, alias: &AliasRow) -> Result<bool> {
        let sql = "SELECT count(*) FROM alias INDEXED BY alias_key WHERE key_row = ? AND name = ?";
        self.one::<i64>(sql, params![alias.key_row, alias.name], first).map(|found| found == Some(1))
    }

    fn alias_index_after(&mut self, after: &(i64, String), limit: usize) -> Result<Vec<(i64, String)>> {
        let sql = "SELECT key_row, name FROM alias INDEXED BY alias_key
                   WHERE (key_row, name) > (?1, ?2) ORDER BY key_row, name LIMIT ?3";
        self.all(sql, params![after.0, after.1, count(limit)], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn put_alias(&mut self, a: &AliasRow) -> Result<()> {
        let sql = "INSERT INTO alias(name, key_row, revision, generation, mac) VALUES(?, ?, ?, ?, ?)
                   ON CONFLICT(name) DO UPDATE SET key_row = excluded.key_row, revision = excluded.revision,
                   generation = excluded.generation, mac = excluded.mac";
        self.change_one(sql, params![a.name, a.key_row, a.revision, a.generation, a.mac])
    }

    fn delete_alias(&mut self, name: &str) -> Result<()> {
        self.change_one("DELETE FROM alias WHERE name = ?", [name])
    }

    fn tags(&mut self, key_row: i64) -> Result<Vec<TagRow>> {
        let sql = concat!("SELECT ", columns!(tag), " FROM tag WHERE key_row = ? ORDER BY name");
        self.all(sql, [key_row], tag_row)
    }

    fn put_tag(&mut self, t: &TagRow) -> Result<()> {
        let sql = "INSERT INTO tag(key_row, name, value, revision, generation, mac) VALUES(?, ?, ?, ?, ?, ?)
                   ON CONFLICT(key_row, name) DO UPDATE SET value = excluded.value, revision = excluded.revision,
                   generation = excluded.generation, mac = excluded.mac";
        self.change_one(sql, params![t.key_row, t.name, t.value, t.revision, t.generation, t.mac])
    }

    fn delete_tag(&mut self, key_row: i64, name: &str) -> Result<()> {
        self.change_one("DELETE FROM tag WHERE key_row = ? AND name = ?", params![key_row, name])
    }

    fn delete_tags_of(&mut self, key_row: i64) -> Result<()> {
        self.change("DELETE FROM tag WHERE key_row = ?", [key_row]).map(drop)
    }
}

fn key_params(key: &KeyRow) -> impl Params + '_ {
    rusqlite::params_from_iter([
        &key.row as &dyn rusqlite::ToSql,
        &key.id,
        &key.state,
        &key.origin,
        &key.creator,
        &key.description,
        &key.created,
        &key.interval_s,
        &key.primary_number,
        &key.primary_id,
        &key.primary_created,
        &key.future_noticed,
        &key.delete_date,
        &key.sighted_wall,
        &key.sighted_boot,
        &key.sighted_uptime,
        &key.protection,
        &key.import_digest,
        &key.import_present,
        &key.import_expires,
        &key.expiry_sighted_wall,
        &key.expiry_sighted_boot,
        &key.expiry_sighted_uptime,
        &key.next_look,
        &key.versions,
        &key.tags,
        &key.revision,
        &key.generation,
        &key.mac,
        &key.counted_wall,
        &key.waiting,
        &key.records,
    ])
}
