use super::*;
use rusqlite::ffi;

/// What a caller hears of SQLite's result code.
fn heard(code: std::ffi::c_int) -> Status {
    storage("test", &rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)).status()
}

#[test]
fn each_result_code_has_its_status() {
    let expected = [
        (ffi::SQLITE_BUSY, Status::KeystoreBusy),
        (ffi::SQLITE_BUSY_RECOVERY, Status::KeystoreBusy),
        (ffi::SQLITE_BUSY_SNAPSHOT, Status::KeystoreBusy),
        (ffi::SQLITE_LOCKED, Status::KeystoreBusy),
        (ffi::SQLITE_NOTADB, Status::NotAKeystore),
        (ffi::SQLITE_CORRUPT, Status::KeystoreCorrupt),
        (ffi::SQLITE_CORRUPT_INDEX, Status::KeystoreCorrupt),
        (ffi::SQLITE_CONSTRAINT_UNIQUE, Status::KeystoreCorrupt),
        (ffi::SQLITE_MISMATCH, Status::KeystoreCorrupt),
        (ffi::SQLITE_READONLY, Status::KeystoreReadOnly),
        (ffi::SQLITE_READONLY_ROLLBACK, Status::KeystoreReadOnly),
        (ffi::SQLITE_READONLY_DIRECTORY, Status::KeystoreReadOnly),
        (ffi::SQLITE_READONLY_DBMOVED, Status::KeystoreReplaced),
        (ffi::SQLITE_FULL, Status::KeystoreIo),
        (ffi::SQLITE_CANTOPEN, Status::KeystoreIo),
        (ffi::SQLITE_IOERR_FSYNC, Status::KeystoreIo),
        (ffi::SQLITE_IOERR_SHORT_READ, Status::KeystoreIo),
        (ffi::SQLITE_IOERR_LOCK, Status::KeystoreIo),
        (ffi::SQLITE_NOMEM, Status::OutOfMemory),
        (ffi::SQLITE_MISUSE, Status::Internal),
    ];
    for (code, status) in expected {
        assert_eq!(heard(code), status, "SQLite code {code}");
    }
}

#[test]
fn a_missing_table_is_damage() {
    let sqlite = Sqlite::in_memory().unwrap();
    sqlite.connection.execute_batch("DROP TABLE slot").unwrap();
    let found = sqlite.connection.prepare("SELECT kind FROM slot").map(drop).map_err(|e| storage("test", &e).status());
    assert_eq!(found, Err(Status::KeystoreCorrupt));
}

impl Sqlite {
    /// The numbers of all nodes.
    pub fn nodes(&self) -> Result<Vec<i64>> {
        let mut statement = self.connection.prepare("SELECT number FROM node").map_err(|e| storage("test", &e))?;
        let rows = statement.query_map([], |row| row.get(0)).and_then(Iterator::collect);
        rows.map_err(|e| storage("test", &e))
    }
}

#[test]
fn what_is_asked_of_all_keys_is_answered_by_indexes_alone() {
    let store = Sqlite::in_memory().unwrap();
    for sql in [
        rows::DUE,
        rows::NEXT_LOOK_AFTER,
        rows::CREATED_IN_FUTURE,
        rows::CONFIRMED_TOO_EARLY,
        rows::COUNTED_IN_FUTURE,
        rows::CHANGED_SINCE,
        rows::LATER_MATERIAL,
    ] {
        let mut statement = store.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let nothing = vec![rusqlite::types::Null; statement.parameter_count()];
        let plan = statement.query_map(rusqlite::params_from_iter(nothing), |row| row.get(3));
        let plan: Vec<String> = plan.unwrap().collect::<rusqlite::Result<_>>().unwrap();
        assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{sql} reads every key: {plan:?}");
    }
}

#[test]
fn a_trigger_never_runs() {
    let sqlite = Sqlite::in_memory().unwrap();
    let run = |sql: &str| sqlite.connection.execute_batch(sql);
    run("CREATE TRIGGER t AFTER INSERT ON node BEGIN DELETE FROM node; END").unwrap();
    run("CREATE VIEW v AS SELECT number FROM node").unwrap();
    sqlite.run("INSERT INTO node VALUES(1, x'00')").unwrap();
    let count: i64 = sqlite.connection.query_row("SELECT count(*) FROM node", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1, "a trigger ran");
    assert!(run("SELECT * FROM v").is_err(), "a view was read");
    assert!(run("PRAGMA writable_schema = ON; DELETE FROM sqlite_schema").is_err(), "the schema can be written");
}
