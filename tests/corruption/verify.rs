//! `verify` finds each kind of damage, and runs beside changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kms::{CreateKey, Keystore, Origin, Status};

use crate::sample::{Place, faults, quiet, sample};

#[test]
fn a_keystore_that_changes_meanwhile_is_whole() {
    let place = Place::new();
    let kms = Keystore::open(&place.store(), &quiet().create(true)).unwrap();
    let keys: Vec<String> = (0..300).map(|_| kms.create_key(&CreateKey::default()).unwrap().to_string()).collect();
    let done = AtomicBool::new(false);
    let mut slowest = Duration::ZERO;
    let mut changes = 0;
    std::thread::scope(|scope| {
        let verifier = scope.spawn(|| {
            let other = place.open().unwrap();
            for _ in 0..5 {
                assert_eq!(faults(&other), (vec![], None), "a change beside it passes for damage");
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) && !verifier.is_finished() {
            let key = &keys[changes % keys.len()];
            let started = Instant::now();
            match changes % 5 {
                0 => drop(kms.rotate(key).unwrap()),
                1 => kms.tag_resource(key, &[("n", &changes.to_string())]).unwrap(),
                2 => kms.create_alias(key, &format!("alias/n{changes}")).unwrap(),
                3 => drop(kms.create_key(&CreateKey::default()).unwrap()),
                _ => kms.delete_alias(&format!("alias/n{}", changes - 2)).unwrap(),
            }
            slowest = slowest.max(started.elapsed());
            changes += 1;
        }
    });
    println!("{changes} changes beside 5 walks, the slowest took {slowest:?}");
    assert!(changes > 0);
}

#[test]
fn many_versions_are_walked_in_steps() {
    let place = Place::new();
    let kms = Keystore::open(&place.store(), &quiet().create(true)).unwrap();
    let key = kms.create_key(&CreateKey::default()).unwrap().to_string();
    for _ in 0..1100 {
        kms.rotate(&key).unwrap();
    }
    assert_eq!(faults(&kms), (vec![], None));
    drop(kms);
    place.sqlite().execute_batch("DELETE FROM material WHERE number = 700").unwrap();
    let kms = place.open().unwrap();
    let (found, _) = faults(&kms);
    assert!(found.iter().any(|(id, _)| id.as_ref() == Some(&key)), "a missing version among many: {found:?}");
}

#[test]
fn the_visitor_ends_the_walk() {
    let sample = sample();
    let place = Place::new();
    place.put(&sample.bytes);
    place.sqlite().execute_batch("UPDATE key SET description = 'x'").unwrap();
    let kms = place.open().unwrap();
    let mut told = 0;
    let verdict = kms.verify(|_| {
        told += 1;
        false
    });
    assert_eq!((told, verdict.is_err()), (1, true));
    assert_eq!(faults(&kms).0.len(), sample.keys.len(), "each key is named once");
}

#[test]
fn material_that_is_taken_away_and_brought_back_is_whole() {
    let kms = Keystore::open("memory:", &quiet()).unwrap();
    let many = kms.create_key(&CreateKey::default()).unwrap().to_string();
    // Together with the next key's version, exactly the rows of one step of the walk.
    for _ in 0..510 {
        kms.rotate(&many).unwrap();
    }
    let external = CreateKey { origin: Some(Origin::External), ..CreateKey::default() };
    let key = kms.create_key(&external).unwrap().to_string();
    kms.import_raw_key_material(&key, &[1; 32], None).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                kms.delete_key_material(&key).unwrap();
                kms.import_raw_key_material(&key, &[1; 32], None).unwrap();
            }
        });
        let walks = Vec::from_iter((0..20).map(|_| faults(&kms)));
        done.store(true, Ordering::Relaxed);
        assert!(walks.iter().all(|walk| *walk == (vec![], None)), "a change beside it passes for damage: {walks:?}");
    });
}

#[test]
fn what_was_read_before_is_read_again() {
    let sample = sample();
    let place = Place::new();
    place.put(&sample.bytes);
    let numbers = nodes(&place);
    for number in &numbers {
        place.put(&sample.bytes);
        let kms = place.open().unwrap();
        assert_eq!(sample.failures(&kms), []);
        damage_node(&place, *number);
        assert_eq!(
            faults(&kms).1,
            Some(Status::KeystoreCorrupt),
            "what is in memory hides the damage of node {number:#x}"
        );
    }
    assert!(numbers.len() > 10, "{numbers:?}");
}

/// The numbers of all nodes.
fn nodes(place: &Place) -> Vec<i64> {
    let sqlite = place.sqlite();
    let mut statement = sqlite.prepare("SELECT number FROM node").unwrap();
    let numbers = statement.query_map([], |row| row.get(0)).unwrap();
    numbers.map(|number| number.unwrap()).collect()
}

/// Flip a bit of a node. A fixed byte would leave one node in 256 as it was.
fn damage_node(place: &Place, number: i64) {
    let sqlite = place.sqlite();
    let read = "SELECT content FROM node WHERE number = ?";
    let mut content: Vec<u8> = sqlite.query_row(read, [number], |row| row.get(0)).unwrap();
    *content.last_mut().unwrap() ^= 1;
    let done = sqlite.execute("UPDATE node SET content = ? WHERE number = ?", rusqlite::params![content, number]);
    assert_eq!(done.unwrap(), 1);
}

#[test]
fn what_cannot_be_looked_up_is_not_said_to_be_of_no_key() {
    let sample = sample();
    let place = Place::new();
    place.put(&sample.bytes);
    for number in nodes(&place) {
        place.put(&sample.bytes);
        damage_node(&place, number);
        let (found, verdict) = faults(&place.open().unwrap());
        assert_eq!(verdict, Some(Status::KeystoreCorrupt), "node {number:#x} is damaged");
        let false_ones: Vec<_> = found.iter().filter(|(_, text)| text.contains("of no key")).collect();
        assert!(
            false_ones.is_empty(),
            "with node {number:#x} damaged verify tells {false_ones:?}, though each has its key"
        );
    }
}

/// Writes a value of any type into a column, which SQLite itself would refuse, like an attacker who writes the file.
/// Whether it could be done.
fn mistype(place: &Place, table: &str, column: &str, value: &str, condition: &str) -> bool {
    let schema: String =
        place.sqlite().query_row("SELECT sql FROM sqlite_schema WHERE name = ?", [table], |row| row.get(0)).unwrap();
    let lax = schema.replace("STRICT, ", "").replace("STRICT", "").replace(" NOT NULL", "");
    let declare = |sql: &str| {
        let sqlite = place.sqlite();
        sqlite.execute_batch("PRAGMA writable_schema = ON").unwrap();
        sqlite.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", [sql, table]).unwrap();
    };
    declare(&lax);
    let sqlite = place.sqlite();
    let sql =
        format!("UPDATE {table} SET {column} = {value} WHERE {condition} AND typeof({column}) <> typeof({value})");
    let done = sqlite.execute(&sql, []);
    drop(sqlite);
    declare(&schema);
    done.is_ok_and(|rows| rows > 0)
}

/// Rows whose columns are given values of each type; none where they are about no single key of the sample.
const TYPED: &[(&str, &str, Option<usize>)] = &[
    ("key", "row = 2", Some(1)),
    ("material", "key_row = 2 AND number = 1", Some(1)),
    ("tag", "key_row = 2 AND name = 'team'", Some(1)),
    ("alias", "name = 'alias/name-1'", None),
    ("node", "number = (SELECT min(number) FROM node)", None),
];

#[test]
fn a_column_of_a_wrong_type_is_a_fault_that_hides_no_other() {
    let sample = sample();
    let place = Place::new();
    let mut tried = 0;
    let mut broken = Vec::new();
    for (table, condition, owner) in TYPED {
        place.put(&sample.bytes);
        let sqlite = place.sqlite();
        let columns: Vec<String> =
            sqlite.prepare(&format!("SELECT * FROM {table}")).unwrap().column_names().map(str::to_owned).collect();
        drop(sqlite);
        for column in &columns {
            for value in ["'text'", "x'6162'", "5", "2.5", "NULL"] {
                place.put(&sample.bytes);
                // Two more keys are harmed, one in its row and one in its material, and an alias is gone.
                let others =
                    "UPDATE key SET description = 'x' WHERE row = 4; DELETE FROM alias WHERE name = 'alias/name-4';
                              DELETE FROM material WHERE key_row = 5 AND number = 1";
                place.sqlite().execute_batch(others).unwrap();
                if !mistype(&place, table, column, value, condition) {
                    continue;
                }
                tried += 1;
                let what = format!("{table}.{column} = {value}");
                let Ok(kms) = place.open() else {
                    broken.push(format!("{what}: not opened"));
                    continue;
                };
                for (number, use_, status) in [0, 2].into_iter().flat_map(|number| sample.failures_of(&kms, number)) {
                    // A node covers many rows.
                    if *table != "node" && !(*table == "alias" && use_.starts_with("alias")) {
                        broken.push(format!("{what}: {use_} of key {number} says {status:?}"));
                    }
                }
                let (found, _) = faults(&kms);
                let names = |number: usize| found.iter().any(|(key, _)| key.as_ref() == Some(&sample.keys[number].id));
                for number in [3, 4].into_iter().chain(*owner) {
                    if !names(number) {
                        broken.push(format!("{what}: verify doesn't name key {number}: {found:?}"));
                    }
                }
                if !found.iter().any(|(_, text)| text.contains("an alias is gone")) {
                    broken.push(format!("{what}: verify doesn't tell the alias that is gone: {found:?}"));
                }
                let others = |(key, text): &&(Option<String>, String)| {
                    text.contains("an alias is gone")
                        || [3, 4].iter().any(|n| key.as_ref() == Some(&sample.keys[*n].id))
                };
                if found.iter().all(|fault| others(&fault)) {
                    broken.push(format!("{what}: verify tells the others only: {found:?}"));
                }
            }
        }
    }
    for text in &broken {
        println!("{text}");
    }
    assert_eq!(broken, Vec::<String>::new(), "of {tried} wrong types");
    assert!(tried > 100, "{tried} tried");
}
