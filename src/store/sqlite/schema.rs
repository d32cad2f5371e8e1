//! Compares a keystore's schema with its format's: the file may contain nothing that acts by itself or is not checked.

use rusqlite::Connection;

use super::Sqlite;
use super::error::storage;
use crate::error::{Error, Result, Status};
use crate::sys::{fork, sync};

pub type Schema = Vec<String>;

/// What `ANALYZE` adds. It holds hints for the planner and is no reason to refuse a keystore; `verify` reports it.
pub const STATISTICS: [&str; 2] = [
    "table|sqlite_stat1|sqlite_stat1|CREATETABLEsqlite_stat1(tbl,idx,stat)",
    "table|sqlite_stat4|sqlite_stat4|CREATETABLEsqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
];

/// Rows that no walk over a table comes to: of no possible number, or a second description.
const STRAYS: &str = "SELECT (SELECT count(*) FROM meta) != 1
    OR EXISTS(SELECT 1 FROM key WHERE row < 1) OR EXISTS(SELECT 1 FROM material WHERE key_row < 1)
    OR EXISTS(SELECT 1 FROM tag WHERE key_row < 1) OR EXISTS(SELECT 1 FROM alias WHERE name = '')
    OR EXISTS(SELECT 1 FROM node WHERE number < 1)";

/// Pages, or steps of SQLite's machine, after which its check of a file lets a fork happen: a fraction of a millisecond.
const PAGES_BETWEEN_FORKS: std::ffi::c_int = 100;

impl Sqlite {
    /// SQLite's count of changes to the schema, which every program that changes it counts on.
    pub(super) fn schema_version(&self) -> Result<i64> {
        self.connection
            .prepare_cached("PRAGMA schema_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(|e| storage("schema", &e))
    }

    /// As [`Self::check_schema`], and that there is nothing at all besides the rows that walks over the tables see.
    pub(super) fn check_nothing_else(&self) -> Result<()> {
        self.check_schema()?;
        let schema = schema(&self.connection)?;
        let statistics = schema.iter().filter(|entry| STATISTICS.contains(&entry.as_str()));
        if let Some(table) = statistics.filter_map(|entry| entry.split('|').nth(1)).next() {
            return Err(Status::KeystoreCorrupt.error(format!(
                "another program ran ANALYZE on the keystore; run: sqlite3 KEYSTORE 'DROP TABLE {table}'"
            )));
        }
        let strays =
            self.connection.prepare_cached(STRAYS).and_then(|mut statement| statement.query_row([], |row| row.get(0)));
        match strays.map_err(|e| storage("verify", &e))? {
            false => Ok(()),
            true => Err(altered("rows that no key has stand in the keystore")),
        }
    }

    /// Checks that each page belongs to one table or index, or is free: SQLite overwrites the pages on the list of free
    /// pages, and no walk over the rows reads that list.
    pub(super) fn check_pages_owned(&mut self) -> Result<()> {
        let go_on = || {
            sync::stall("KMS_FAULT_SLOW_CHECK");
            fork::let_forks_by();
            false
        };
        let connection = &mut self.connection;
        let found = fork::long_gate(|| {
            connection.progress_handler(PAGES_BETWEEN_FORKS, Some(go_on))?;
            let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
            connection.progress_handler(0, None::<fn() -> bool>)?;
            found
        });
        match found.map_err(|e| storage("verify", &e))?.as_str() {
            "ok" => Ok(()),
            _ => Err(altered("pages of the keystore's file belong to two tables or to none, or are damaged")),
        }
    }
}

/// What `sqlite_schema` says, without white space.
pub fn schema(connection: &Connection) -> Result<Schema> {
    let sql = "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name";
    let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<String> {
        let texts: [String; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
        Ok(texts.join("|").split_whitespace().collect())
    };
    let mut statement = connection.prepare(sql).map_err(|e| storage("schema", &e))?;
    let rows = statement.query_map([], read).and_then(Iterator::collect);
    rows.map_err(|e| storage("schema", &e))
}

pub fn altered(what: &str) -> Error {
    Status::KeystoreCorrupt.error(format!("{what}; restore the keystore from a backup"))
}
