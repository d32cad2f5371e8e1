//! The rows of the change log as SQL.

use rusqlite::types::ValueRef;
use rusqlite::{Row, params};

use super::Sqlite;
use super::rows::{bytes, count, optional_bytes, short_of_memory};
use crate::domain::log::ACTOR_BYTES;
use crate::error::Result;
use crate::store::backend::{ChangeRow, ChangeRows};
use crate::store::shard::Shard;
use crate::sys::memory;

/// Represents a text that the library never wrote, so that no MAC fits.
const NO_TEXT: &str = "\0";

fn change_row(row: &Row<'_>) -> rusqlite::Result<ChangeRow> {
    let text = |at: usize| match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        ValueRef::Text(text) if text.len() <= ACTOR_BYTES => {
            memory::text(std::str::from_utf8(text).unwrap_or(NO_TEXT)).map(Some).map_err(short_of_memory)
        }
        _ => memory::text(NO_TEXT).map(Some).map_err(short_of_memory),
    };
    Ok(ChangeRow {
        generation: row.get(0)?,
        change_id: bytes(row, 1)?,
        at_ms: row.get(2)?,
        boot_ms: row.get(3)?,
        pid: row.get(4)?,
        uid: row.get(5)?,
        program: text(6)?.unwrap_or_default(),
        label: text(7)?,
        action: text(8)?.unwrap_or_default(),
        key: optional_bytes(row, 9)?,
        version: optional_bytes(row, 10)?,
        count: row.get(11)?,
        status: row.get(12)?,
        omitted: row.get(13)?,
        waited_ms: row.get(14)?,
        mac: bytes(row, 15)?,
    })
}

impl Sqlite {
    /// Whether the keystore's format has a change log.
    fn has_log(&self) -> bool {
        self.format.get() >= 2
    }
}

impl ChangeRows for Sqlite {
    fn insert_change(&mut self, change: &ChangeRow) -> Result<()> {
        let sql =
            "INSERT INTO change(generation, change_id, at_ms, boot_ms, pid, uid, program, label, action, key,
                   version, count, status, omitted, waited_ms, mac) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let ChangeRow { generation, change_id, at_ms, boot_ms, pid, uid, program, label, action, key, .. } = change;
        let ChangeRow { version, count, status, omitted, waited_ms, mac, .. } = change;
        self.change_one(
            sql,
            params![
                generation, change_id, at_ms, boot_ms, pid, uid, program, label, action, key, version, count, status,
                omitted, waited_ms, mac
            ],
        )
    }

    fn changes_from(&mut self, _: Shard, generation: i64, limit: usize) -> Result<Vec<ChangeRow>> {
        if !self.has_log() {
            return Ok(Vec::new());
        }
        let sql = "SELECT * FROM change WHERE generation >= ? ORDER BY generation LIMIT ?";
        self.all(sql, params![generation, count(limit)], change_row)
    }

    fn delete_changes(&mut self, _: Shard, generation: i64) -> Result<usize> {
        self.change("DELETE FROM change WHERE generation <= ?", [generation])
    }
}
