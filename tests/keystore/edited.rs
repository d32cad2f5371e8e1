//! Rows edited behind the library's back are refused, and hurt no other key.

use kms::{Keystore, Status};
use rusqlite::types::Value;

use crate::folder::{Folder, new_key, quiet, status, versions};

struct Victims {
    folder: Folder,
    /// Each with two versions and a blob of each.
    keys: Vec<(String, [Vec<u8>; 2])>,
}

fn victims() -> Victims {
    let folder = Folder::new();
    let kms = folder.create();
    let keys = (0..3).map(|number| {
        let key = new_key(&kms, Some(86_400));
        let old = kms.encrypt(&key, format!("old {number}").as_bytes(), &[]).unwrap();
        kms.rotate(&key).unwrap();
        let new = kms.encrypt(&key, format!("new {number}").as_bytes(), &[]).unwrap();
        (key, [old, new])
    });
    let keys = keys.collect();
    Victims { folder, keys }
}

fn row_of(sqlite: &rusqlite::Connection, key: &str) -> i64 {
    let id = kms::KeyId::parse(key).unwrap();
    sqlite.query_row("SELECT row FROM key WHERE id = ?", [id.as_bytes().as_slice()], |row| row.get(0)).unwrap()
}

impl Victims {
    /// The result of each use of key `number`; a plaintext must be the right one.
    fn uses(&self, kms: &Keystore, number: usize) -> Vec<Option<Status>> {
        let (key, blobs) = &self.keys[number];
        let mut found = vec![status(kms.encrypt(key, b"x", &[])), status(kms.describe_key(key))];
        for (blob, age) in blobs.iter().zip(["old", "new"]) {
            let opened = kms.decrypt(blob, &[]);
            if let Ok(plaintext) = &opened {
                assert_eq!(**plaintext, *format!("{age} {number}").as_bytes(), "a wrong plaintext");
            }
            found.push(status(opened));
        }
        found
    }

    /// Nothing but the right plaintext or an error; the third key is unharmed.
    fn check(&self, what: &str) -> Vec<Option<Status>> {
        let kms = Keystore::open(&self.folder.store(), &quiet()).unwrap();
        let mut found = self.uses(&kms, 0);
        found.extend(self.uses(&kms, 1));
        assert_eq!(self.uses(&kms, 2), [None; 4], "{what}: another key is harmed");
        kms.rotate(&self.keys[2].0).unwrap();
        found
    }
}

const CORRUPT: Option<Status> = Some(Status::KeystoreCorrupt);

fn columns(sqlite: &rusqlite::Connection, table: &str) -> Vec<String> {
    let mut statement = sqlite.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.map(|name| name.unwrap()).collect()
}

/// Another value of the same type, or something where there was nothing.
fn altered(value: Value) -> Vec<Value> {
    match value {
        Value::Null => vec![Value::Integer(1), Value::Integer(0)],
        Value::Integer(old) => vec![Value::Integer(old + 1), Value::Integer(old ^ 1), Value::Integer(-old - 1)],
        Value::Real(_) => vec![],
        Value::Text(old) => vec![Value::Text(format!("{old}x")), Value::Text(String::from("\0"))],
        Value::Blob(old) => {
            let mut flipped = old.clone();
            flipped[0] ^= 1;
            let mut last = old.clone();
            *last.last_mut().unwrap() ^= 0x80;
            vec![Value::Blob(flipped), Value::Blob(last), Value::Blob(old[1..].to_vec()), Value::Blob(Vec::new())]
        }
    }
}

/// Alters each column of the first row that `filter` finds, one at a time, and puts it back.
fn alter_each(victims: &Victims, table: &str, filter: &str, mut check: impl FnMut(&str, Vec<Option<Status>>)) {
    let sqlite = victims.folder.sqlite();
    for column in columns(&sqlite, table) {
        let read = format!("SELECT \"{column}\" FROM {table} WHERE {filter}");
        let old: Value = sqlite.query_row(&read, [], |row| row.get(0)).unwrap();
        let mut values = altered(old.clone());
        if column.ends_with("_id") || column == "sighted_boot" {
            values.push(Value::Blob(vec![3; 16]));
        }
        if !matches!(old, Value::Null) {
            values.push(Value::Null);
        }
        for value in values {
            // Addressed by a copy of the whole row, since any column may be the one that changes.
            sqlite.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
            let keep = format!("CREATE TEMP TABLE kept AS SELECT * FROM {table} WHERE {filter}");
            sqlite.execute_batch(&keep).unwrap();
            let update = format!("UPDATE {table} SET \"{column}\" = ? WHERE {filter}");
            if let Ok(1) = sqlite.execute(&update, [&value]) {
                check(&format!("{table}.{column} = {value:?}"), victims.check(&column));
                // The third key was rotated: only this row is restored, found by the columns that are equal in both.
                let others = "NOT IN (SELECT 0)";
                let remove = match table {
                    "material" => format!(
                        "DELETE FROM material WHERE sealed = (SELECT sealed FROM kept) OR ((key_row, number) {} AND {filter})",
                        "IN (SELECT key_row, number FROM kept)"
                    ),
                    _ => format!(
                        "DELETE FROM {table} WHERE mac = (SELECT mac FROM kept) OR ({filter} AND 1 {others}) OR id = (SELECT id FROM kept)"
                    ),
                };
                sqlite.execute_batch(&remove).unwrap();
                if table == "material" {
                    sqlite
                        .execute_batch(
                            "DELETE FROM material WHERE (key_row, version) IN (SELECT key_row, version FROM kept)",
                        )
                        .unwrap();
                }
                sqlite.execute_batch(&format!("INSERT INTO {table} SELECT * FROM kept")).unwrap();
            }
            sqlite.execute_batch("DROP TABLE kept").unwrap();
        }
    }
    assert_eq!(victims.check("put back"), [None; 8], "the test did not put {table} back");
}

#[test]
fn an_altered_column_of_a_key_is_refused() {
    let victims = victims();
    let row = row_of(&victims.folder.sqlite(), &victims.keys[0].0);
    let mut tried = 0;
    alter_each(&victims, "key", &format!("row = {row}"), |what, found| {
        tried += 1;
        let gone = what.starts_with("key.id ") || what.starts_with("key.row ");
        for status in &found[..4] {
            let expected = *status == CORRUPT || (gone && *status == Some(Status::KeyNotFound));
            assert!(expected, "{what}: {found:?}");
        }
        assert_eq!(found[4..], [None; 4], "{what}: another key is harmed");
    });
    assert!(tried > 50, "only {tried} alterations were possible");
}

#[test]
fn an_altered_column_of_material_is_refused() {
    let victims = victims();
    let row = row_of(&victims.folder.sqlite(), &victims.keys[0].0);
    let mut tried = 0;
    alter_each(&victims, "material", &format!("key_row = {row} AND number = 1"), |what, found| {
        tried += 1;
        assert!(matches!(found[2], Some(Status::KeystoreCorrupt | Status::KeyVersionNotFound)), "{what}: {found:?}");
        assert_eq!([found[0], found[1], found[3]], [None; 3], "{what}: the other version is harmed");
        assert_eq!(found[4..], [None; 4], "{what}: another key is harmed");
    });
    assert!(tried > 12, "only {tried} alterations were possible");
}

/// The results of both keys after `sql`, where ?1 and ?2 are their rows.
fn after(sql: &str) -> Vec<Option<Status>> {
    let victims = victims();
    let sqlite = victims.folder.sqlite();
    let rows = [row_of(&sqlite, &victims.keys[0].0), row_of(&sqlite, &victims.keys[1].0)];
    let sql = sql.replace("?1", &rows[0].to_string()).replace("?2", &rows[1].to_string());
    sqlite.execute_batch(&sql).unwrap();
    victims.check(&sql)
}

#[test]
fn swapped_rows_are_refused() {
    let swapped = |table: &str, row: &str| {
        after(&format!(
            "UPDATE {table} SET {row} = -1 WHERE {row} = ?1; UPDATE {table} SET {row} = ?1 WHERE {row} = ?2;
             UPDATE {table} SET {row} = ?2 WHERE {row} = -1"
        ))
    };
    assert_eq!(swapped("key", "row"), [CORRUPT; 8], "two keys' rows swapped");
    // The other key's versions are not this key's.
    let found = swapped("material", "key_row");
    for status in [&found[0], &found[2], &found[3], &found[4], &found[6], &found[7]] {
        assert!(matches!(status, Some(Status::KeystoreCorrupt | Status::KeyVersionNotFound)), "{found:?}");
    }
}

#[test]
fn sealed_bytes_are_worth_nothing_elsewhere() {
    let found = after(
        "CREATE TEMP TABLE m AS SELECT * FROM material WHERE key_row = ?1;
         UPDATE material SET sealed = (SELECT sealed FROM m WHERE m.number = 3 - material.number) WHERE key_row = ?1",
    );
    assert_eq!(found, [CORRUPT, None, CORRUPT, CORRUPT, None, None, None, None], "between two versions of a key");
    let found = after(
        "CREATE TEMP TABLE m AS SELECT * FROM material;
         UPDATE material SET sealed = (SELECT sealed FROM m WHERE m.number = material.number AND
         m.key_row = ?1 + ?2 - material.key_row) WHERE key_row IN (?1, ?2)",
    );
    assert_eq!(found, [CORRUPT, None, CORRUPT, CORRUPT, CORRUPT, None, CORRUPT, CORRUPT], "between two keys");
}

#[test]
fn a_deleted_version_is_an_error() {
    let found = after("DELETE FROM material WHERE key_row = ?1 AND number = 1");
    assert_eq!([found[0], found[1], found[3]], [None; 3]);
    assert!(matches!(found[2], Some(Status::KeystoreCorrupt | Status::KeyVersionNotFound)));
    let found = after("DELETE FROM material WHERE key_row = ?1 AND number = 2");
    assert!(
        matches!(found[0], Some(Status::KeystoreCorrupt | Status::KeyVersionNotFound)),
        "encrypted without a primary"
    );
    assert_eq!([found[1], found[2]], [None; 2]);
}

#[test]
fn an_altered_description_is_refused_at_open() {
    for sql in [
        "UPDATE meta SET generation = generation + 1",
        "UPDATE meta SET destroyed = 1",
        "DELETE FROM meta",
        "UPDATE meta SET mac = zeroblob(32)",
        "UPDATE meta SET mac = x'00'",
        "DELETE FROM slot",
        "UPDATE slot SET wrapped = zeroblob(100)",
        "UPDATE slot SET kind = 2",
        "UPDATE meta SET uuid = zeroblob(16)",
    ] {
        let victims = victims();
        victims.folder.sqlite().execute_batch(sql).unwrap();
        let found = status(Keystore::open(&victims.folder.store(), &quiet()));
        assert!(matches!(found, Some(Status::WrongRootKey | Status::KeystoreCorrupt)), "{sql}: {found:?}");
    }
}

#[test]
fn a_row_altered_under_an_open_handle_is_refused() {
    let victims = victims();
    let kms = victims.folder.open();
    assert_eq!(victims.uses(&kms, 0), [None; 4]);
    victims.folder.sqlite().execute_batch("UPDATE meta SET generation = generation + 1").unwrap();
    assert_eq!(status(kms.rotate(&victims.keys[0].0)), CORRUPT);
    assert_eq!(versions_in_file(&victims), 6, "a version was committed over an altered description");
}

fn versions_in_file(victims: &Victims) -> i64 {
    victims.folder.sqlite().query_row("SELECT count(*) FROM material", [], |row| row.get(0)).unwrap()
}

#[test]
fn one_damaged_key_does_not_stop_the_others_from_rotating() {
    let victims = victims();
    let clock = kms::ManualClock::at(4_000_000_000_000);
    victims.folder.sqlite().execute_batch("UPDATE key SET description = 'x' WHERE row = 1").unwrap();
    let kms = Keystore::open(&victims.folder.store(), &quiet().clock(clock)).unwrap();
    let ticked = kms.tick().unwrap();
    assert_eq!((ticked.rotated, ticked.damaged), (2, 1));
    assert_eq!(versions(&kms, &victims.keys[2].0).len(), 3);
}

#[test]
fn a_damaged_key_in_memory_keeps_no_other_from_its_last_used_dates() {
    let folder = Folder::new();
    let kms = folder.create();
    let mut keys: Vec<String> = (0..3).map(|_| new_key(&kms, None)).collect();
    keys.sort_unstable();
    for key in &keys {
        kms.encrypt(key, b"x", &[]).unwrap();
    }
    let sqlite = rusqlite::Connection::open(folder.store()).unwrap();
    let row = row_of(&sqlite, &keys[0]);
    sqlite.execute("UPDATE key SET revision = revision + 1 WHERE row = ?", [row]).unwrap();
    assert_eq!(status(kms.rotate(&keys[0])), CORRUPT);
    kms.encrypt(&keys[0], b"x", &[]).expect("it is in memory");
    kms.tick().unwrap();
    for key in &keys[1..] {
        assert!(kms.key_versions(key).any(|version| version.unwrap().last_encrypt_date.is_some()), "{key}");
    }
}
