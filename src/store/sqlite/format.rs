//! The formats of a keystore file: their tables, and the upgrade from one to the next.
//!
//! A format is the one before it plus columns at the end of its tables, all of them nullable, plus tables and indexes. So `SELECT *`
//! reads the rows of every format, and an upgrade rewrites none of them.

use std::sync::OnceLock;

use rusqlite::Connection;

use super::error::storage;
use super::schema::{STATISTICS, Schema, altered, schema};
use super::{APPLICATION_ID, Sqlite};
use crate::error::{Error, Result, Status};

/// The format that this library writes, and the newest that it reads.
pub const FORMAT: i32 = 2;

/// What each format adds to the one before, from format 1.
const ADDED: [&str; FORMAT as usize] = [include_str!("format-1.sql"), include_str!("format-2.sql")];

/// Refuses a `user_version` of no format that this library reads.
pub fn check(user_version: i32) -> Result<()> {
    match user_version {
        1..=FORMAT => Ok(()),
        newer if newer > FORMAT => Err(Status::KeystoreTooNew
            .error(format!("the keystore has format {newer}, this library reads up to {FORMAT}; update libkms"))),
        _ => Err(not_ours()),
    }
}

pub fn not_ours() -> Error {
    Status::NotAKeystore.error("the file is not a libkms keystore; check the path")
}

fn unmarked() -> Error {
    Status::KeystoreCorrupt.error(format!(
        "another program changed the keystore's application_id; run: sqlite3 KEYSTORE 'PRAGMA application_id = {APPLICATION_ID}'"
    ))
}

/// What the formats after `from` add, up to `to`; 0: all tables.
fn added(from: i32, to: i32) -> String {
    let number = |format: i32| usize::try_from(format).unwrap_or_default();
    let sql = ADDED.iter().take(number(to)).skip(number(from)).copied().collect::<String>();
    format!("{sql} PRAGMA user_version = {to};")
}

impl Sqlite {
    /// Checks that tables and indexes are those of the keystore's format, and that there is nothing else. A format that
    /// has more has another number, so no fields are ever dropped.
    pub(super) fn check_schema(&self) -> Result<()> {
        let mut found = schema(&self.connection)?;
        found.retain(|entry| !STATISTICS.contains(&entry.as_str()));
        if found == expected(self.format.get())? {
            return Ok(());
        }
        Err(altered("the keystore's tables were altered or damaged"))
    }

    /// Makes the tables of an empty keystore, in the newest format.
    pub(super) fn make_tables(&self) -> Result<()> {
        let tables = added(0, FORMAT);
        self.connection
            .execute_batch(&format!("BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; {tables} COMMIT;"))
            .map_err(|e| storage("create", &e))
    }

    /// Reads the format of the transaction's snapshot, which another process may have raised since the last. The mark that
    /// makes the file a keystore may be gone as well, and then it could never be opened again.
    pub(super) fn read_format(&self) -> Result<()> {
        if header_number(&self.connection, "PRAGMA application_id")? != APPLICATION_ID {
            return Err(unmarked());
        }
        self.format.set(header_number(&self.connection, "PRAGMA user_version")?);
        check(self.format.get())
    }

    /// Before the first change in a transaction: a keystore of an older format becomes one of the newest.
    pub(super) fn upgrade(&self) -> Result<()> {
        let format = self.format.get();
        if format < FORMAT {
            self.connection.execute_batch(&added(format, FORMAT)).map_err(|e| storage("upgrade", &e))?;
            self.format.set(FORMAT);
        }
        Ok(())
    }
}

/// A number of the file's header.
fn header_number(connection: &Connection, sql: &str) -> Result<i32> {
    let found = connection.prepare_cached(sql).and_then(|mut s| s.query_row([], |row| row.get(0)));
    found.map_err(|e| storage("read", &e))
}

/// What `sqlite_schema` says in a keystore of this format.
fn expected(format: i32) -> Result<Schema> {
    static EXPECTED: OnceLock<Vec<Schema>> = OnceLock::new();
    let all = match EXPECTED.get() {
        Some(all) => all,
        None => {
            let made = all_schemas()?;
            EXPECTED.get_or_init(|| made)
        }
    };
    let number = usize::try_from(format).ok().and_then(|format| format.checked_sub(1));
    number.and_then(|at| all.get(at)).cloned().ok_or_else(not_ours)
}

fn all_schemas() -> Result<Vec<Schema>> {
    let connection = Connection::open_in_memory().map_err(|e| storage("open", &e))?;
    let made = (1..=FORMAT).map(|format| {
        connection.execute_batch(&added(format - 1, format)).map_err(|e| storage("schema", &e))?;
        schema(&connection)
    });
    made.collect()
}
