//! Rows deleted, restored, swapped, duplicated and replaced by older copies, by an attacker who can write the file.

use kms::Status;
use rusqlite::types::Value;

use crate::sample::{Place, Sample, faults, sample};

/// Each table, and the columns that name its rows.
const TABLES: &[(&str, &str)] = &[
    ("key", "row"),
    ("material", "key_row, number"),
    ("alias", "name"),
    ("tag", "key_row, name"),
    ("node", "number"),
    ("slot", "id"),
    ("meta", "id"),
];

type Rows = Vec<Vec<Value>>;

fn rows(sqlite: &rusqlite::Connection, table: &str) -> Rows {
    let mut statement = sqlite.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect()).unwrap();
    rows.map(|row| row.unwrap()).collect()
}

fn columns(sqlite: &rusqlite::Connection, table: &str) -> Vec<String> {
    sqlite.prepare(&format!("SELECT * FROM {table}")).unwrap().column_names().map(str::to_owned).collect()
}

/// How many leading columns name a row.
fn names(key: &str) -> usize {
    key.split(", ").count()
}

fn condition(key: &str) -> String {
    key.split(", ").map(|column| format!("{column} = ?")).collect::<Vec<_>>().join(" AND ")
}

/// The names of a row: their positions among its columns.
fn name_of(sqlite: &rusqlite::Connection, table: &str, key: &str, row: &[Value]) -> Vec<Value> {
    let columns = columns(sqlite, table);
    key.split(", ").map(|name| row[columns.iter().position(|c| c == name).unwrap()].clone()).collect()
}

fn delete(sqlite: &rusqlite::Connection, table: &str, key: &str, row: &[Value]) {
    let name = name_of(sqlite, table, key, row);
    let sql = format!("DELETE FROM {table} WHERE {}", condition(key));
    let done = sqlite.execute(&sql, rusqlite::params_from_iter(name)).unwrap();
    assert!(done <= 1);
}

fn insert(sqlite: &rusqlite::Connection, table: &str, row: &[Value]) -> bool {
    let marks = vec!["?"; row.len()].join(", ");
    sqlite.execute(&format!("INSERT INTO {table} VALUES({marks})"), rusqlite::params_from_iter(row)).is_ok()
}

/// The key that a row is about, as a number of the sample.
fn about(sample: &Sample, sqlite: &rusqlite::Connection, table: &str, row: &[Value]) -> Option<usize> {
    let columns = columns(sqlite, table);
    let value = |name: &str| row[columns.iter().position(|c| c == name).unwrap()].clone();
    let id: Vec<u8> = match table {
        "key" => match value("id") {
            Value::Blob(id) => id,
            _ => return None,
        },
        "material" | "tag" => {
            let Value::Integer(row) = value("key_row") else { return None };
            sqlite.query_row("SELECT id FROM key WHERE row = ?", [row], |r| r.get(0)).ok()?
        }
        _ => return None,
    };
    sample.keys.iter().position(|kept| kms::KeyId::parse(&kept.id).unwrap().as_bytes().as_slice() == id)
}

/// The keystore must say that something is wrong, the right key must be named and no other may suffer.
fn must_notice(sample: &Sample, place: &Place, owner: Option<usize>, what: &str) {
    let kms = match place.open() {
        Ok(kms) => kms,
        Err(error) => {
            assert!(matches!(error.status(), Status::KeystoreCorrupt | Status::WrongRootKey), "{what}: {error}");
            return;
        }
    };
    let failures = sample.failures(&kms);
    for (number, use_, status) in &failures {
        assert_eq!(*status, Status::KeystoreCorrupt, "{what}: {use_} of key {number}");
        if let Some(owner) = owner {
            assert!(*number == owner || *number == usize::MAX, "{what}: {use_} of key {number} fails too");
        }
    }
    let (found, verdict) = faults(&kms);
    assert_eq!(verdict, Some(Status::KeystoreCorrupt), "{what}: verify finds nothing");
    if let Some(owner) = owner {
        let id = &sample.keys[owner].id;
        assert!(found.iter().any(|(key, _)| key.as_ref() == Some(id)), "{what}: verify names {found:?}, not {id}");
    }
}

#[test]
fn a_deleted_row_is_noticed() {
    let sample = sample();
    let place = Place::new();
    let mut tried = 0;
    for (table, key) in TABLES {
        place.put(&sample.bytes);
        let all = rows(&place.sqlite(), table);
        for row in &all {
            place.put(&sample.bytes);
            let sqlite = place.sqlite();
            let owner = about(sample, &sqlite, table, row);
            delete(&sqlite, table, key, row);
            drop(sqlite);
            must_notice(sample, &place, owner, &format!("a row of {table} deleted"));
            tried += 1;
        }
    }
    println!("{tried} rows deleted");
    assert!(tried > 40);
}

#[test]
fn a_deleted_key_is_never_said_not_to_exist() {
    let sample = sample();
    let place = Place::new();
    place.put(&sample.bytes);
    let sqlite = place.sqlite();
    sqlite.execute_batch("DELETE FROM key; DELETE FROM alias; DELETE FROM material").unwrap();
    drop(sqlite);
    let kms = place.open().unwrap();
    for kept in &sample.keys {
        for name in [&kept.id, &kept.alias] {
            let said = kms.describe_key(name).map(drop).map_err(|e| e.status());
            assert_eq!(said, Err(Status::KeystoreCorrupt), "a deleted row passes for a key that never was");
        }
    }
    let absent = "00000000-0000-4000-8000-000000000000";
    assert_eq!(kms.describe_key(absent).map(drop).map_err(|e| e.status()), Err(Status::KeyNotFound));
    let absent = kms.describe_key("alias/absent").map(drop).map_err(|e| e.status());
    assert_eq!(absent, Err(Status::AliasNotFound));
}

/// Replaces each row by each older copy of it, or puts it back where it is gone, one at a time.
#[test]
fn an_older_copy_of_a_row_is_noticed() {
    let sample = sample();
    let place = Place::new();
    let (mut replaced, mut returned) = (0, 0);
    for older in &sample.older {
        for (table, key) in TABLES {
            place.put(older);
            let old = rows(&place.sqlite(), table);
            place.put(&sample.bytes);
            let new = rows(&place.sqlite(), table);
            for row in old.iter().filter(|row| !new.contains(row)) {
                place.put(&sample.bytes);
                let sqlite = place.sqlite();
                let name = name_of(&sqlite, table, key, row);
                let there = new.iter().any(|now| name_of(&sqlite, table, key, now) == name);
                // A destroyed key's number is another key's owner only for rows that name it.
                let owner = if there { about(sample, &sqlite, table, row) } else { None };
                delete(&sqlite, table, key, row);
                assert!(insert(&sqlite, table, row), "an older row of {table} does not fit");
                drop(sqlite);
                let what = if there { "replaced by an older copy" } else { "put back" };
                if *table == "node" && !there {
                    // Nothing leads to it.
                    let kms = place.open().unwrap();
                    assert_eq!(sample.failures(&kms), [], "a node put back is in nobody's way");
                    assert_eq!(faults(&kms).1, Some(Status::KeystoreCorrupt), "verify passes over a node put back");
                    continue;
                }
                must_notice(sample, &place, owner, &format!("a row of {table} {what}"));
                if there { replaced += 1 } else { returned += 1 }
            }
        }
    }
    println!("{replaced} rows replaced by older copies, {returned} put back");
    assert!(replaced > 50 && returned > 5, "{replaced} replaced, {returned} put back");
}

/// An older copy of some tables together, by an attacker who knows how they depend on each other.
#[test]
fn an_older_copy_of_a_part_is_noticed() {
    let sample = sample();
    let place = Place::new();
    let parts: &[&[&str]] = &[
        &["key"],
        &["key", "node"],
        &["key", "node", "material"],
        &["key", "node", "material", "alias"],
        &["key", "node", "material", "alias", "tag"],
        &["alias", "node"],
        &["meta"],
        &["meta", "node"],
        &["meta", "key"],
    ];
    for (copy, older) in sample.older.iter().enumerate() {
        for part in parts {
            place.put(&sample.bytes);
            std::fs::write(place.path("older.db"), older).unwrap();
            let sqlite = place.sqlite();
            sqlite.execute("ATTACH ? AS older", [place.path("older.db").to_str().unwrap()]).unwrap();
            let mut differs = false;
            for table in *part {
                let count = |sql: String| sqlite.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap();
                let new = count(format!(
                    "SELECT count(*) FROM (SELECT * FROM main.{table} EXCEPT SELECT * FROM older.{table})"
                ));
                let old = count(format!(
                    "SELECT count(*) FROM (SELECT * FROM older.{table} EXCEPT SELECT * FROM main.{table})"
                ));
                differs |= new + old > 0;
                let copy = format!("DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM older.{table}");
                sqlite.execute_batch(&copy).unwrap();
            }
            drop(sqlite);
            if differs {
                must_notice(sample, &place, None, &format!("{part:?} of the older copy {copy}"));
            }
        }
    }
}

#[test]
fn swapped_and_doubled_rows_are_noticed() {
    let sample = sample();
    let place = Place::new();
    let (mut swaps, mut doubles) = (0, 0);
    for (table, key) in TABLES.iter().filter(|(table, _)| !matches!(*table, "meta" | "slot")) {
        place.put(&sample.bytes);
        let all = rows(&place.sqlite(), table);
        for (at, first) in all.iter().enumerate() {
            let second = &all[(at + 1) % all.len()];
            if first == second {
                continue;
            }
            place.put(&sample.bytes);
            let sqlite = place.sqlite();
            let columns = columns(&sqlite, table);
            // Contents change places, names stay.
            let mixed = |names_of: &[Value], rest_of: &[Value]| -> Vec<Value> {
                columns
                    .iter()
                    .enumerate()
                    .map(
                        |(at, c)| {
                            if key.split(", ").any(|k| k == c) { names_of[at].clone() } else { rest_of[at].clone() }
                        },
                    )
                    .collect()
            };
            delete(&sqlite, table, key, first);
            delete(&sqlite, table, key, second);
            let fits = insert(&sqlite, table, &mixed(first, second)) && insert(&sqlite, table, &mixed(second, first));
            drop(sqlite);
            if fits && mixed(first, second) != *first {
                must_notice(sample, &place, None, &format!("two rows of {table} swapped"));
                swaps += 1;
            }
            place.put(&sample.bytes);
            let sqlite = place.sqlite();
            let mut double = first.clone();
            for at in 0..names(key) {
                let at = columns.iter().position(|c| c == key.split(", ").nth(at).unwrap()).unwrap();
                match &mut double[at] {
                    Value::Integer(number) => *number += 1000,
                    Value::Text(text) => text.push_str("-double"),
                    _ => {}
                }
            }
            // A second version of one number, for one, is refused by the schema already.
            if insert(&sqlite, table, &double) && *table != "node" {
                drop(sqlite);
                must_notice(sample, &place, None, &format!("a row of {table} doubled"));
                doubles += 1;
            }
        }
    }
    println!("{swaps} pairs swapped, {doubles} rows doubled");
    assert!(swaps > 20 && doubles > 10, "{swaps} swapped, {doubles} doubled");
}

/// Nothing inside the file can show this; the anchor does.
#[test]
fn an_older_copy_of_the_whole_file_is_whole() {
    let sample = sample();
    let place = Place::new();
    for older in &sample.older {
        place.put(older);
        let kms = place.open().unwrap();
        assert_eq!(faults(&kms), (vec![], None), "an older copy of the whole keystore is a keystore");
    }
}
