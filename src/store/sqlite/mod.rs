//! The keystore rows in SQLite: a file with the library's locks, or a private database in memory.

mod descriptors;
mod error;
mod file;
mod format;
mod journal;
mod left;
mod locks;
mod log;
mod rows;
mod schema;
mod stale;
mod torn;
mod version;

use std::cell::Cell;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::backend::Transaction;
use crate::error::{Result, Status};
use crate::sys::file::FileId;
use crate::sys::{fork, sync};
use descriptors::LockFile;
use error::storage;
use format::FORMAT;

pub use file::{create_new, exists, not_made, refuse_network};
pub use left::{Doubt, check_no_leftover, check_not_left};

/// "kmsk", so that `file` and we know a keystore from other databases.
const APPLICATION_ID: i32 = 0x6b6d_736b;

/// The largest value that SQLite may read from a keystore: the largest that is written, a callback's wrapped root key, is
/// far smaller.
const LARGEST_VALUE: i32 = 16 << 20;

/// Pages that a backup copies in one step: a quarter of a mebibyte.
const STEP_PAGES: i32 = 64;

/// One connection.
pub struct Sqlite {
    connection: Connection,
    /// The format of the transaction's snapshot.
    format: Cell<i32>,
    /// The format, and SQLite's count of changes to the schema, when it was last compared.
    schema_seen: Option<(i32, i64)>,
    description: Option<stale::Description>,
    /// Where the rows live; none for a database in memory.
    place: Option<OpenFile>,
}

struct OpenFile {
    path: PathBuf,
    id: FileId,
    /// Dropped after the connection, whose locks are taken through it.
    locks: LockFile,
}

impl Sqlite {
    /// Opens the keystore at `path`; checks that it is one before SQLite may touch it.
    pub fn open(path: &Path, read_only: bool) -> Result<Self> {
        file::check_header(path)?;
        let flags = if read_only { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
        let mut sqlite = Self::connect(path, flags)?;
        sqlite.start(Transaction::Read)?;
        sqlite.run("ROLLBACK")?;
        Ok(sqlite)
    }

    /// Make an empty keystore in an empty file.
    pub fn create(path: &Path) -> Result<Self> {
        let sqlite = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        sqlite.make_tables()?;
        Ok(sqlite)
    }

    /// Makes an empty keystore in an empty file that no other process knows, and that its creator syncs when it is
    /// complete.
    pub fn fill(path: &Path) -> Result<Self> {
        let sqlite = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let unsynced = "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF";
        sqlite.connection.execute_batch(unsynced).map_err(|e| storage("open", &e))?;
        sqlite.make_tables()?;
        Ok(sqlite)
    }

    pub fn in_memory() -> Result<Self> {
        let connection = Connection::open_in_memory_with_flags(
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_MEMORY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(|e| storage("open", &e))?;
        let sqlite = Self { connection, format: Cell::new(FORMAT), schema_seen: None, description: None, place: None };
        sqlite.prepare()?;
        sqlite.make_tables()?;
        Ok(sqlite)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self> {
        locks::replace_system_calls()?;
        journal::belongs_to(None);
        let id = file::identify(path)?;
        let locks = LockFile::of(path, id)?;
        let connection = Connection::open_with_flags(plain(path), flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|e| storage("open", &e))?;
        locks::without_wal(&connection)?;
        let place = Some(OpenFile { path: path.to_owned(), id, locks });
        let sqlite = Self { connection, format: Cell::new(0), schema_seen: None, description: None, place };
        sqlite.check_place()?;
        sqlite.prepare().map_err(|e| sqlite.explain(e))?;
        Ok(sqlite)
    }

    fn prepare(&self) -> Result<()> {
        self.connection.set_prepared_statement_cache_capacity(64);
        self.connection.busy_timeout(std::time::Duration::ZERO).map_err(|e| storage("open", &e))?;
        harden(&self.connection)?;
        self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LARGEST_VALUE).map_err(|e| storage("open", &e))?;
        self.connection
            .execute_batch(
                "PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
                 PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;",
            )
            .map_err(|e| storage("open", &e))
    }

    /// A copy of all pages into an empty file, in steps: a fork waits for one of them at most.
    fn copy(&self, path: &Path) -> Result<()> {
        let made = fork::gate(|| {
            let copy = Connection::open_with_flags(plain(path), OpenFlags::SQLITE_OPEN_READ_WRITE);
            // No other process knows the file yet, and its creator syncs it.
            let unsynced = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF";
            copy.and_then(|copy| copy.execute_batch(unsynced).map(|()| copy)).map_err(|e| storage("open", &e))
        });
        let mut copy = made?;
        let copied = fork::gate(|| Backup::new(&self.connection, &mut copy)).and_then(|backup| {
            let step = || {
                sync::stall("KMS_FAULT_SLOW_BACKUP");
                backup.step(STEP_PAGES)
            };
            let last = loop {
                match fork::gate(step) {
                    Ok(StepResult::More) => {}
                    last => break last,
                }
            };
            fork::gate(|| drop(backup));
            last
        });
        fork::gate(|| drop(copy));
        match copied.map_err(|e| storage("backup", &e))? {
            StepResult::Done => Ok(()),
            _ => Err(Status::KeystoreBusy.error("another process is using the keystore; try again")),
        }
    }

    /// Whether the path still names the file that is open; another file may have been moved there.
    fn check_place(&self) -> Result<()> {
        match &self.place {
            Some(place) if FileId::of(&place.path).ok() != Some(place.id) => {
                Err(Status::KeystoreReplaced
                    .error("another file, or none, is at the keystore's path; nothing was written"))
            }
            _ => Ok(()),
        }
    }

    /// Where the file can't be written SQLite opens it for reading, and reports that only at the first change.
    fn check_writable(&self) -> Result<()> {
        if self.connection.is_readonly(rusqlite::MAIN_DB).map_err(|e| storage("open", &e))? {
            return Err(Status::KeystoreReadOnly
                .error("the keystore can't be written: check the file's and the folder's permissions, and the disk"));
        }
        Ok(())
    }

    fn start(&mut self, kind: Transaction) -> Result<()> {
        // What an earlier transaction met explains no error of this one.
        locks::take_failure();
        // Before the first lock: under it SQLite plays back the journal at the path, perhaps another file's.
        self.check_place()?;
        self.run(match kind {
            Transaction::Read => "BEGIN",
            Transaction::Write => "BEGIN IMMEDIATE",
        })
        .and_then(|()| {
            let begun = self.check_begun(kind);
            if begun.is_err() {
                let _ = self.run("ROLLBACK");
            }
            begun
        })
        .map_err(|e| self.explain(e))
    }

    /// What may have changed since the last transaction.
    fn check_begun(&mut self, kind: Transaction) -> Result<()> {
        // A deferred BEGIN takes no lock; this first read does, and is where BUSY belongs.
        self.read_format()?;
        let schema = (self.format.get(), self.schema_version()?);
        self.check_place()?;
        if kind == Transaction::Write {
            self.check_writable()?;
        }
        if self.schema_seen != Some(schema) {
            self.check_schema()?;
            self.description = Some(stale::Description::find(&self.connection)?);
            self.schema_seen = Some(schema);
        }
        self.check_pages()
    }

    /// The error, or what is wrong with the journal: its kind of file, or a mode in which this SQLite opens nothing.
    fn explain(&self, error: crate::error::Error) -> crate::error::Error {
        match &self.place {
            Some(place) if error.status() == Status::KeystoreIo => {
                let found = journal::check_kind(&place.path)
                    .and_then(|()| journal::check_no_log(&place.path))
                    .and_then(|()| file::check_journal_mode(&place.path));
                found.err().unwrap_or(error)
            }
            _ => error,
        }
    }

    fn run(&self, sql: &str) -> Result<()> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| storage("prepare", &e))?;
        let mut rows = statement.query([]).map_err(|e| storage(sql, &e))?;
        while rows.next().map_err(|e| storage(sql, &e))?.is_some() {}
        Ok(())
    }
}

/// Ensures that nothing in a file runs in our transactions, even before its schema is compared.
fn harden(connection: &Connection) -> Result<()> {
    for (setting, on) in [
        // Otherwise each statement that a partial index could serve is prepared again for each bound value.
        (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
    ] {
        connection.set_db_config(setting, on).map_err(|e| storage("open", &e))?;
    }
    Ok(())
}

/// A path that SQLite cannot take for a URI: `file:` begins a URI, which chooses locks and more.
fn plain(path: &Path) -> PathBuf {
    if path.is_absolute() { path.to_owned() } else { Path::new(".").join(path) }
}

#[cfg(test)]
mod tests;
