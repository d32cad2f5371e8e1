//! Keystores and ciphertexts of every format there ever was open for ever; those of a format to come are left alone.

use std::path::{Path, PathBuf};

use kms::{CreateKey, KeyState, Keystore, ManualClock, Options, Status};
use serde_json::Value;
use sha3::{Digest, Sha3_256};

use crate::sample::{Place, faults, sample};

/// Each format's folder, and the SHA3-256 of its files: what a user has can't be made anew, and neither can these.
const FORMATS: &[(&str, &[(&str, &str)])] = &[
    (
        "format-1",
        &[
            ("key.db", "16e9375510be073fe4aafdd014ff376c1b4bd18b9c656a4bc2375ca96e574cbb"),
            ("passphrase.db", "e65e0b286c8be1b08149e57135703f529a034dbfbcaf5a5db4fff8b75df29d61"),
            ("expected.json", "9cfe895613aeba68b0a5ddc3731c6b5d8b0adc644a1321261b272fe3ac3726fd"),
        ],
    ),
    (
        "format-2",
        &[
            ("key.db", "d32d73e82fb269d6d1b6481e5bf8b6520c8256fa05046c13a4abc3fde451a058"),
            ("passphrase.db", "ba38975a1205d7df0116c6599a911161690541b374c159c548297452e3dbfb1e"),
            ("expected.json", "070fa3d3325f50c546493a63228caf336a59a167669e4aae28d4f82b6bb42884"),
        ],
    ),
];

/// The format that the library writes.
const NEWEST: i32 = 2;

fn format_of(place: &Place) -> i32 {
    place.sqlite().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

/// The keystore of format 1, and how it is opened.
fn format_1() -> (Place, Options) {
    let place = Place::new();
    place.put(&std::fs::read(folder("format-1").join("key.db")).unwrap());
    let expected: Value =
        serde_json::from_slice(&std::fs::read(folder("format-1").join("expected.json")).unwrap()).unwrap();
    (place, options_of("key.db", expected["root_key"].as_str().unwrap(), ""))
}

fn new_key(kms: &Keystore) -> String {
    kms.create_key(&CreateKey::default()).unwrap().to_string()
}

#[test]
fn the_first_change_upgrades_a_keystore_for_every_open_handle() {
    let (place, options) = format_1();
    let reader = Keystore::open(&place.store(), &options.clone().read_only(true)).unwrap();
    let (first, second) =
        (Keystore::open(&place.store(), &options).unwrap(), Keystore::open(&place.store(), &options).unwrap());
    let count = |kms: &Keystore| {
        let mut keys = 0;
        kms.list_keys(None, usize::MAX, |_| {
            keys += 1;
            true
        })
        .unwrap();
        keys
    };
    let before = count(&reader);
    assert!(before > 0 && count(&first) == before && count(&second) == before);
    let made = [new_key(&first), new_key(&second), new_key(&first)];
    for kms in [&reader, &first, &second] {
        assert_eq!(count(kms), before + made.len());
        assert!(made.iter().all(|id| kms.describe_key(id).is_ok()));
        assert_eq!(faults(kms), (vec![], None));
    }
    assert_eq!(format_of(&place), NEWEST);
}

/// The tables of a keystore, without white space.
fn tables(place: &Place) -> Vec<String> {
    let sqlite = place.sqlite();
    let mut statement = sqlite.prepare("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name").unwrap();
    let found = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    found.map(|sql| sql.unwrap().split_whitespace().collect()).collect()
}

#[test]
fn an_upgraded_keystore_has_the_tables_of_a_new_one() {
    let (place, options) = format_1();
    new_key(&Keystore::open(&place.store(), &options).unwrap());
    let new = Place::new();
    drop(Keystore::open(&new.store(), &options.create(true)).unwrap());
    assert_eq!(format_of(&new), NEWEST);
    assert_eq!(tables(&place), tables(&new));
}

#[test]
fn a_change_that_is_refused_upgrades_nothing() {
    let (place, options) = format_1();
    let before = place.bytes();
    let kms = Keystore::open(&place.store(), &options).unwrap();
    kms.tick().unwrap();
    assert!(kms.enable_key("3f1c2f9e-0000-4000-8000-000000000000").is_err());
    assert!(kms.create_alias("3f1c2f9e-0000-4000-8000-000000000000", "alias/none").is_err());
    drop(kms);
    assert!(place.bytes() == before, "a keystore of format 1 was written to without a change");
}

#[test]
fn a_backup_has_the_format_of_its_keystore() {
    let (place, options) = format_1();
    let kms = Keystore::open(&place.store(), &options).unwrap();
    let copy = Place::new();
    kms.backup(copy.path("keys.db")).unwrap();
    assert_eq!(format_of(&copy), 1);
    let id = new_key(&Keystore::open(&copy.store(), &options).unwrap());
    assert_eq!(format_of(&copy), NEWEST);
    assert_eq!(format_of(&place), 1);
    assert_eq!(kms.describe_key(&id).map_err(|e| e.status()).map(drop), Err(Status::KeyNotFound));
}

/// The tables of one format under the number of another.
#[test]
fn tables_of_another_format_are_refused() {
    let (place, options) = format_1();
    let opened = |options: &Options| Keystore::open(&place.store(), options).map(drop).map_err(|e| e.status());
    place.sqlite().execute_batch("PRAGMA user_version = 2").unwrap();
    assert_eq!(opened(&options), Err(Status::KeystoreCorrupt));
    let (new, options) = (Place::new(), options.create(true));
    drop(Keystore::open(&new.store(), &options).unwrap());
    new.sqlite().execute_batch("PRAGMA user_version = 1").unwrap();
    let opened = Keystore::open(&new.store(), &options).map(drop).map_err(|e| e.status());
    assert_eq!(opened, Err(Status::KeystoreCorrupt));
}

/// Another process with a newer library upgrades a keystore that is open here.
#[test]
fn a_keystore_that_became_newer_is_refused_by_open_handles() {
    let sample = sample();
    let place = Place::new();
    place.put(&sample.bytes);
    let kms = place.open().unwrap();
    place.sqlite().execute_batch("PRAGMA user_version = 3; ALTER TABLE key ADD COLUMN newer TEXT").unwrap();
    let before = place.bytes();
    let id = &sample.keys[0].id;
    assert_eq!(kms.list_keys(None, 9, |_| true).map_err(|e| e.status()), Err(Status::KeystoreTooNew));
    assert_eq!(kms.update_key_description(id, "new").map_err(|e| e.status()), Err(Status::KeystoreTooNew));
    assert!(place.bytes() == before, "a keystore of a newer format was written to");
}

fn folder(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format)
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[test]
fn the_golden_keystores_are_those_that_were_made() {
    for (format, files) in FORMATS {
        for (name, expected) in *files {
            let found = Sha3_256::digest(std::fs::read(folder(format).join(name)).unwrap());
            let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, *expected, "tests/fixtures/{format}/{name} was changed; restore it, never make it anew");
        }
    }
}

#[test]
fn every_format_opens_for_ever() {
    for (format, _) in FORMATS {
        let expected: Value =
            serde_json::from_slice(&std::fs::read(folder(format).join("expected.json")).unwrap()).unwrap();
        let root = expected["root_key"].as_str().unwrap();
        let passphrase = expected["passphrase"].as_str().unwrap();
        assert!(root.contains("TEST") && passphrase.contains("TEST"), "a golden keystore has a key that could be real");
        for (name, options) in [
            ("key.db", Options::new().root_key(root.as_bytes())),
            ("passphrase.db", Options::new().root_passphrase(passphrase.as_bytes())),
        ] {
            let place = Place::new();
            place.put(&std::fs::read(folder(format).join(name)).unwrap());
            let options = options.clock(ManualClock::at(1_700_001_000_000));
            let before = place.bytes();
            for options in [options.clone().read_only(true), options] {
                let kms = Keystore::open(&place.store(), &options).unwrap();
                assert_eq!(faults(&kms), (vec![], None), "{format}/{name}");
                for key in expected[name].as_array().unwrap() {
                    check(&kms, key, &format!("{format}/{name}"));
                }
            }
            assert!(place.bytes() == before, "{format}/{name} was changed by reading it");
            let kms = Keystore::open(&place.store(), &Options::clone(&options_of(name, root, passphrase))).unwrap();
            for key in expected[name].as_array().unwrap() {
                let id = key["id"].as_str().unwrap();
                kms.enable_key(id).unwrap();
                kms.rotate(id).unwrap();
                check(&kms, key, &format!("{format}/{name}, rotated"));
            }
            assert_eq!(faults(&kms), (vec![], None), "{format}/{name}, rotated");
            assert_eq!(format_of(&place), NEWEST, "{format}/{name} was not upgraded by changing it");
        }
    }
}

fn options_of(name: &str, root: &str, passphrase: &str) -> Options {
    let options = match name {
        "key.db" => Options::new().root_key(root.as_bytes()),
        _ => Options::new().root_passphrase(passphrase.as_bytes()),
    };
    options.clock(ManualClock::at(1_700_002_000_000))
}

fn check(kms: &Keystore, key: &Value, what: &str) {
    let id = key["id"].as_str().unwrap();
    let found = kms.describe_key(key["alias"].as_str().unwrap()).unwrap();
    assert_eq!(found.id.to_string(), id, "{what}");
    assert!(found.version_count() >= key["versions"].as_u64().unwrap(), "{what}");
    assert_eq!(kms.list_resource_tags(id).unwrap().len(), 2, "{what}");
    for blob in key["blobs"].as_array().unwrap() {
        let context: Vec<(&str, &str)> = blob["tenant"].as_str().iter().map(|tenant| ("tenant", *tenant)).collect();
        match (kms.decrypt(&unhex(blob["blob"].as_str().unwrap()), &context), found.state) {
            (Ok(opened), KeyState::Enabled) => {
                assert_eq!(*opened, *blob["plaintext"].as_str().unwrap().as_bytes(), "{what}");
            }
            (Err(error), KeyState::Disabled) => assert_eq!(error.status(), Status::RejectedDisabled, "{what}"),
            (opened, state) => panic!("{what}: {state:?}: {:?}", opened.map(drop)),
        }
    }
}

/// An older library refuses what it doesn't know, instead of dropping it.
#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let sample = sample();
    let place = Place::new();
    for version in [3, 4, 1000, i32::MAX] {
        place.put(&sample.bytes);
        let sqlite = place.sqlite();
        sqlite
            .execute_batch(&format!("PRAGMA user_version = {version}; ALTER TABLE key ADD COLUMN newer TEXT"))
            .unwrap();
        drop(sqlite);
        let before = place.bytes();
        let opened = place.open().map(drop).map_err(|e| e.status());
        assert_eq!(opened, Err(Status::KeystoreTooNew), "format {version}");
        assert!(place.bytes() == before, "a keystore of format {version} was written to");
    }
}

/// Fields, tables or triggers that this format doesn't have are somebody's who did not say so.
#[test]
fn a_schema_that_is_not_this_formats_is_refused_and_left_alone() {
    let sample = sample();
    let place = Place::new();
    for sql in [
        "ALTER TABLE key ADD COLUMN newer TEXT",
        "ALTER TABLE meta ADD COLUMN newer INTEGER",
        "CREATE TABLE other(x)",
        "CREATE TRIGGER t AFTER UPDATE ON key BEGIN DELETE FROM material; END",
        "CREATE VIEW v AS SELECT 1",
        "DROP INDEX key_generation",
        "DROP INDEX material_version",
        "DROP TABLE tag",
    ] {
        place.put(&sample.bytes);
        place.sqlite().execute_batch(sql).unwrap();
        let before = place.bytes();
        let opened = place.open().map(drop).map_err(|e| e.status());
        assert_eq!(opened, Err(Status::KeystoreCorrupt), "{sql}");
        assert!(place.bytes() == before, "{sql}: the keystore was written to");
    }
}
