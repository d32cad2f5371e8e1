//! Additions of other programs to a keystore never run, and are never taken for the keystore's.

use std::path::Path;

use kms::{Keystore, Status};

use crate::sample::{Place, faults, quiet, sample};

/// A name that `LIKE 'sqlite_stat%'` matches, because `_` is a wildcard there.
const DISGUISED: &str = "sqliteXstat_evil";

fn trigger(name: &str, body: &str) -> String {
    format!("CREATE TRIGGER {name} {body}")
}

/// Triggers that undo a change after it was acknowledged.
fn triggers(name: &str) -> [String; 3] {
    [
        trigger(name, "AFTER INSERT ON material BEGIN DELETE FROM material WHERE number = new.number; END"),
        trigger(name, "BEFORE UPDATE ON key BEGIN SELECT RAISE(IGNORE); END"),
        trigger(name, "BEFORE UPDATE ON meta BEGIN SELECT RAISE(IGNORE); END"),
    ]
}

fn changes(kms: &Keystore, key: &str) -> [Option<Status>; 4] {
    let status = |result: kms::Result<()>| result.err().map(|error| error.status());
    [
        status(kms.rotate(key).map(drop)),
        status(kms.create_key(&kms::CreateKey::default()).map(drop)),
        status(kms.disable_key(key)),
        status(kms.describe_key(key).map(drop)),
    ]
}

#[test]
fn a_trigger_is_refused_whatever_its_name() {
    let sample = sample();
    let place = Place::new();
    for sql in triggers(DISGUISED).iter().chain(&triggers("t")) {
        place.put(&sample.bytes);
        place.sqlite().execute_batch(sql).unwrap();
        assert_eq!(place.open().map(drop).map_err(|e| e.status()), Err(Status::KeystoreCorrupt), "{sql}");
    }
}

/// Who puts the keystore right must get its lock.
#[test]
fn a_description_that_cannot_be_read_keeps_no_lock() {
    let sample = sample();
    let place = Place::new();
    for sql in ["DELETE FROM meta", "UPDATE meta SET keys = zeroblob(17 << 20)"] {
        place.put(&sample.bytes);
        let kms = place.open().unwrap();
        let key = &sample.keys[0].id;
        kms.describe_key(key).unwrap();
        let other = place.sqlite();
        other.execute_batch("CREATE TEMP TABLE kept AS SELECT * FROM meta").unwrap();
        other.execute_batch(sql).unwrap();
        for _ in 0..2 {
            let [rotated, created, disabled, _] = changes(&kms, key);
            assert_eq!([rotated, created, disabled], [Some(Status::KeystoreCorrupt); 3], "{sql}");
        }
        other.execute_batch("DELETE FROM meta; INSERT INTO meta SELECT * FROM kept").expect(sql);
        assert_eq!(changes(&kms, key), [None; 4], "{sql}: what was put right is still refused");
    }
}

/// Another program may choose the page size.
#[test]
fn a_keystore_of_any_page_size_opens() {
    let sample = sample();
    let place = Place::new();
    for size in [512, 1024, 8192, 65_536] {
        place.put(&sample.bytes);
        place.sqlite().execute_batch(&format!("PRAGMA page_size = {size}; VACUUM")).unwrap();
        let kms = place.open().unwrap();
        kms.verify(|fault| panic!("{size}: {fault:?}")).unwrap();
        assert_eq!(changes(&kms, &sample.keys[0].id), [None; 4], "{size}");
    }
}

#[test]
fn a_schema_that_changes_under_an_open_handle_is_refused() {
    let sample = sample();
    let place = Place::new();
    let [ignored, ..] = triggers(DISGUISED);
    for (sql, undo) in [
        (ignored.as_str(), "DROP TRIGGER sqliteXstat_evil"),
        ("CREATE VIEW v AS SELECT 1", "DROP VIEW v"),
        ("CREATE TABLE sqliteXstat1(x)", "DROP TABLE sqliteXstat1"),
        ("CREATE INDEX i ON key(state)", "DROP INDEX i"),
        ("PRAGMA user_version = 1", "PRAGMA user_version = 2"),
        ("PRAGMA application_id = 0", "PRAGMA application_id = 1802335083"),
    ] {
        place.put(&sample.bytes);
        let (kms, reader) = (place.open().unwrap(), Keystore::open(&place.store(), &quiet().read_only(true)).unwrap());
        let key = &sample.keys[0].id;
        kms.describe_key(key).unwrap();
        place.sqlite().execute_batch(sql).unwrap();
        let before = place.bytes();
        let [rotated, created, disabled, _] = changes(&kms, key);
        assert_eq!([rotated, created, disabled], [Some(Status::KeystoreCorrupt); 3], "{sql}");
        for handle in [&kms, &reader] {
            let verified = handle.verify(|_| true).map_err(|e| e.status());
            assert_eq!(verified, Err(Status::KeystoreCorrupt), "{sql}: verify");
        }
        assert!(place.bytes() == before, "{sql}: the keystore was written to");
        place.sqlite().execute_batch(undo).unwrap();
        assert_eq!(changes(&kms, key), [None; 4], "{sql}: what was put right is still refused");
        assert_eq!(faults(&kms), (vec![], None));
    }
}

/// Behind SQLite's back, like an attacker who writes the file's bytes.
#[test]
fn a_trigger_that_no_count_shows_never_runs_and_is_found() {
    let sample = sample();
    let place = Place::new();
    for sql in triggers(DISGUISED) {
        place.put(&sample.bytes);
        let kms = place.open().unwrap();
        let key = &sample.keys[0].id;
        let (host, body) = (place.sqlite(), sql.replace('\'', "''"));
        let table = ["material", "key", "meta"].into_iter().find(|t| sql.contains(&format!("ON {t} "))).unwrap();
        host.execute_batch(&format!(
            "PRAGMA writable_schema = ON;
             INSERT INTO sqlite_schema VALUES('trigger', '{DISGUISED}', '{table}', 0, '{body}')"
        ))
        .unwrap();
        drop(host);
        let before = kms.health().unwrap().generation;
        assert_eq!(changes(&kms, key), [None; 4], "{sql}");
        assert_eq!(kms.health().unwrap().generation, before + 3, "{sql}: a change that was acknowledged is not there");
        assert_eq!(faults(&kms).1, Some(Status::KeystoreCorrupt), "{sql}: verify");
        drop(kms);
        assert_eq!(place.open().map(drop).map_err(|e| e.status()), Err(Status::KeystoreCorrupt), "{sql}");
    }
}

#[test]
fn statistics_open_and_are_reported() {
    let sample = sample();
    let place = Place::new();
    place.put(&sample.bytes);
    let kms = place.open().unwrap();
    place.sqlite().execute_batch("ANALYZE").unwrap();
    assert_eq!(sample.failures(&kms), []);
    assert_eq!(sample.failures(&place.open().unwrap()), []);
    let (found, verdict) = faults(&kms);
    assert_eq!((found.len(), verdict), (1, Some(Status::KeystoreCorrupt)));
    assert!(found[0].1.contains("DROP TABLE sqlite_stat1"), "{found:?}");
    let replace = "PRAGMA writable_schema = ON;
                   UPDATE sqlite_schema SET sql = sql || ' WITHOUT ROWID' WHERE name = 'sqlite_stat1'";
    place.sqlite().execute_batch(replace).unwrap();
    assert_eq!(
        place.open().map(drop).map_err(|e| e.status()),
        Err(Status::KeystoreCorrupt),
        "statistics of another form"
    );
}

/// Each is added to an intact keystore, through no index.
#[test]
fn verify_finds_whatever_was_added() {
    let sample = sample();
    let place = Place::new();
    let added = [
        "CREATE TABLE other(x)",
        "INSERT INTO node VALUES(5, zeroblob(1000000))",
        "INSERT INTO node VALUES(-9223372036854775808, x'00')",
        "INSERT INTO node VALUES((4 << 40) + 7, x'00')",
        "INSERT INTO node SELECT max(number) + 1, content FROM node",
        "UPDATE node SET content = zeroblob(1000000) WHERE number = (SELECT min(number) FROM node)",
        "UPDATE node SET content = zeroblob(20000000) WHERE number = (SELECT max(number) FROM node)",
        "INSERT INTO material SELECT key_row, 0, version, algorithm, created, sealed FROM material LIMIT 1",
        "INSERT INTO material SELECT key_row, -5, zeroblob(16), algorithm, created, zeroblob(1000) FROM material LIMIT 1",
        "INSERT INTO material VALUES(-9223372036854775808, 1, zeroblob(16), 1, 1, zeroblob(1000))",
        "INSERT INTO material VALUES(1000000, 1, zeroblob(16), 1, 1, zeroblob(1000))",
        "INSERT INTO tag VALUES(-9223372036854775808, 'n', 'v', 1, 1, zeroblob(32))",
        "INSERT INTO tag VALUES(1, 'n', 'v', 1, 1, zeroblob(32))",
        "INSERT INTO alias VALUES('', 1, 1, 1, zeroblob(32))",
        "INSERT INTO slot(kind, parameters, wrapped) VALUES(1, x'', zeroblob(1000))",
        "PRAGMA ignore_check_constraints = ON; CREATE TEMP TABLE other AS SELECT * FROM meta; UPDATE other SET id = 2; \
         INSERT INTO meta SELECT * FROM other",
        "PRAGMA ignore_check_constraints = ON; CREATE TEMP TABLE other AS SELECT * FROM meta; UPDATE other SET id = 0; \
         INSERT INTO meta SELECT * FROM other",
    ];
    let mut missed = Vec::new();
    for sql in added {
        place.put(&sample.bytes);
        let kms = place.open().unwrap();
        place.sqlite().execute_batch(sql).unwrap();
        if faults(&kms).1 != Some(Status::KeystoreCorrupt) {
            missed.push(sql);
        }
    }
    assert_eq!(missed, [""; 0], "verify says that nothing was added");
}

fn journal_mode(place: &Place, mode: &str) -> rusqlite::Connection {
    let host = place.sqlite();
    let set: String = host.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| row.get(0)).unwrap();
    assert_eq!(set, mode);
    host
}

#[test]
fn a_write_ahead_log_is_refused() {
    let sample = sample();
    let place = Place::new();
    place.put(&sample.bytes);
    let (kms, reader) = (place.open().unwrap(), Keystore::open(&place.store(), &quiet().read_only(true)).unwrap());
    let key = &sample.keys[0].id;
    assert_eq!(changes(&kms, key), [None; 4]);
    kms.enable_key(key).unwrap();
    let unread = &sample.keys[1].id;
    let host = journal_mode(&place, "wal");
    let before = place.bytes();
    let refused = |result: kms::Result<()>, what: &str| {
        let error = result.expect_err(what);
        assert_eq!(error.status(), Status::KeystoreCorrupt, "{what}: {error}");
        let text = error.to_string();
        assert!(text.contains(&place.store()) && text.contains("PRAGMA journal_mode = DELETE"), "{what}: {text}");
    };
    for round in 0..2 {
        refused(kms.rotate(key).map(drop), "rotate");
        refused(kms.create_key(&kms::CreateKey::default()).map(drop), "create");
        refused(kms.describe_key(unread).map(drop), "describe");
        refused(reader.describe_key(unread).map(drop), "describe, read-only");
        refused(kms.backup(place.path("copy.db")), "backup");
        refused(place.open().map(drop), "open");
        refused(Keystore::open(&place.store(), &quiet().read_only(true)).map(drop), "open read-only");
        if round == 0 {
            // A log with something in it.
            host.execute_batch("PRAGMA user_version = 2").unwrap();
        }
    }
    assert!(place.bytes() == before, "something was written");
    assert!(!Path::new(&place.path("copy.db")).exists());
    drop(host);
    drop(journal_mode(&place, "delete"));
    assert_eq!(changes(&kms, key), [None; 4]);
    reader.describe_key(unread).unwrap();
    assert_eq!(faults(&kms), (vec![], None));
}
