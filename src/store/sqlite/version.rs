//! The records of key versions as SQL. A keystore of format 1 has none, until a change upgrades it.

use rusqlite::{Row, params};

use super::Sqlite;
use super::rows::{count, first, optional_bytes};
use crate::error::Result;
use crate::store::backend::{VersionRow, VersionRows};

/// The format that added the table.
const SINCE: i32 = 2;

const CONFIRMED_TOO_EARLY: &str =
    "SELECT DISTINCT key_row FROM version WHERE sighted_wall IS NOT NULL AND delete_date > ? LIMIT ?";
const COUNTED_IN_FUTURE: &str =
    "SELECT DISTINCT key_row FROM version WHERE counted_wall IS NOT NULL AND counted_wall > ? LIMIT ?";

/// Whether the indexes hold exactly the rows that they should.
const MISINDEXED: &str = "SELECT EXISTS(SELECT 1 FROM version WHERE key_row < 1)
    OR (SELECT count(*) FROM version INDEXED BY version_sighted WHERE sighted_wall IS NOT NULL)
        != (SELECT count(*) FROM version NOT INDEXED WHERE sighted_wall IS NOT NULL)
    OR (SELECT count(*) FROM version INDEXED BY version_counted WHERE counted_wall IS NOT NULL)
        != (SELECT count(*) FROM version NOT INDEXED WHERE counted_wall IS NOT NULL)
    OR EXISTS(SELECT 1 FROM version AS v NOT INDEXED WHERE sighted_wall IS NOT NULL AND NOT EXISTS(
        SELECT 1 FROM version AS i INDEXED BY version_sighted WHERE i.sighted_wall IS NOT NULL
        AND i.delete_date = v.delete_date AND i.key_row = v.key_row AND i.number = v.number))
    OR EXISTS(SELECT 1 FROM version AS v NOT INDEXED WHERE counted_wall IS NOT NULL AND NOT EXISTS(
        SELECT 1 FROM version AS i INDEXED BY version_counted WHERE i.counted_wall IS NOT NULL
        AND i.counted_wall = v.counted_wall AND i.key_row = v.key_row AND i.number = v.number))";

fn version_row(row: &Row<'_>) -> rusqlite::Result<VersionRow> {
    Ok(VersionRow {
        key_row: row.get(0)?,
        number: row.get(1)?,
        state: row.get(2)?,
        version: optional_bytes(row, 3)?,
        created: row.get(4)?,
        delete_date: row.get(5)?,
        sighted_wall: row.get(6)?,
        sighted_boot: optional_bytes(row, 7)?,
        sighted_uptime: row.get(8)?,
        counted_wall: row.get(9)?,
        waiting: optional_bytes(row, 10)?,
        last_encrypt: row.get(11)?,
        last_decrypt: row.get(12)?,
        gcm_messages: row.get(13)?,
    })
}

impl VersionRows for Sqlite {
    fn has_version_rows(&self) -> bool {
        self.format.get() >= SINCE
    }

    fn version_rows(&mut self, key_row: i64) -> Result<Vec<VersionRow>> {
        match self.has_version_rows() {
            true => {
                self.all("SELECT * FROM version NOT INDEXED WHERE key_row = ? ORDER BY number", [key_row], version_row)
            }
            false => Ok(Vec::new()),
        }
    }

    fn put_version_row(&mut self, v: &VersionRow) -> Result<()> {
        let sql =
            "REPLACE INTO version(key_row, number, state, version, created, delete_date, sighted_wall, sighted_boot,
                   sighted_uptime, counted_wall, waiting, last_encrypt, last_decrypt, gcm_messages)
                   VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let VersionRow { key_row, number, state, version, created, delete_date, sighted_wall, .. } = v;
        let VersionRow { sighted_boot, sighted_uptime, counted_wall, waiting, last_encrypt, last_decrypt, .. } = v;
        self.change_one(
            sql,
            params![
                key_row,
                number,
                state,
                version,
                created,
                delete_date,
                sighted_wall,
                sighted_boot,
                sighted_uptime,
                counted_wall,
                waiting,
                last_encrypt,
                last_decrypt,
                v.gcm_messages
            ],
        )
    }

    fn delete_version_rows(&mut self, key_row: i64) -> Result<()> {
        self.change("DELETE FROM version WHERE key_row = ?", [key_row]).map(drop)
    }

    fn next_version_owner(&mut self, key_row: i64) -> Result<Option<i64>> {
        match self.has_version_rows() {
            true => self
                .one("SELECT min(key_row) FROM version NOT INDEXED WHERE key_row > ?", [key_row], first)
                .map(Option::flatten),
            false => Ok(None),
        }
    }

    fn versions_confirmed_too_early(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        match self.has_version_rows() {
            true => self.all(CONFIRMED_TOO_EARLY, params![now, count(limit)], first),
            false => Ok(Vec::new()),
        }
    }

    fn versions_counted_in_future(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        match self.has_version_rows() {
            true => self.all(COUNTED_IN_FUTURE, params![now, count(limit)], first),
            false => Ok(Vec::new()),
        }
    }

    fn are_version_rows_indexed(&mut self) -> Result<bool> {
        match self.has_version_rows() {
            true => self.one::<bool>(MISINDEXED, [], first).map(|found| found == Some(false)),
            false => Ok(true),
        }
    }

    fn delete_material(&mut self, key_row: i64, number: i64) -> Result<()> {
        self.change_one("DELETE FROM material WHERE key_row = ? AND number = ?", params![key_row, number])
    }
}
