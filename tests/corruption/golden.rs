//! Keystores and ciphertexts of every format there ever was open for ever; those of a format to come are left alone.

use std::path::{Path, PathBuf};

use kms::{KeyState, Kms, ManualClock, Options, Status};
use serde_json::Value;
use sha3::{Digest, Sha3_256};

use crate::sample::{Place, faults, sample};

/// Each format's folder, and the SHA3-256 of its files: what a user has can't be made anew, and neither can these.
const FORMATS: &[(&str, &[(&str, &str)])] = &[(
    "format-1",
    &[
        ("key.db", "16e9375510be073fe4aafdd014ff376c1b4bd18b9c656a4bc2375ca96e574cbb"),
        ("passphrase.db", "e65e0b286c8be1b08149e57135703f529a034dbfbcaf5a5db4fff8b75df29d61"),
        ("expected.json", "9cfe895613aeba68b0a5ddc3731c6b5d8b0adc644a1321261b272fe3ac3726fd"),
    ],
)];

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
            for options in [options.clone().read_only(true), options] {
                let kms = Kms::open(&place.store(), &options).unwrap();
                assert_eq!(faults(&kms), (vec![], None), "{format}/{name}");
                for key in expected[name].as_array().unwrap() {
                    check(&kms, key, &format!("{format}/{name}"));
                }
            }
            let kms = Kms::open(&place.store(), &Options::clone(&options_of(name, root, passphrase))).unwrap();
            for key in expected[name].as_array().unwrap() {
                let id = key["id"].as_str().unwrap();
                kms.enable_key(id).unwrap();
                kms.rotate(id).unwrap();
                check(&kms, key, &format!("{format}/{name}, rotated"));
            }
            assert_eq!(faults(&kms), (vec![], None), "{format}/{name}, rotated");
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

fn check(kms: &Kms, key: &Value, what: &str) {
    let id = key["id"].as_str().unwrap();
    let found = kms.describe_key(key["alias"].as_str().unwrap()).unwrap();
    assert_eq!(found.id.to_string(), id, "{what}");
    assert!(found.version_count() >= key["versions"].as_u64().unwrap(), "{what}");
    assert_eq!(kms.list_resource_tags(id).unwrap().len(), 2, "{what}");
    for blob in key["blobs"].as_array().unwrap() {
        let context: Vec<(&str, &str)> = blob["tenant"].as_str().iter().map(|tenant| ("tenant", *tenant)).collect();
        match (kms.decrypt(&unhex(blob["blob"].as_str().unwrap()), &context), found.state) {
            (Ok(opened), KeyState::Enabled) => {
                assert_eq!(**opened, *blob["plaintext"].as_str().unwrap().as_bytes(), "{what}");
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
    for version in [2, 3, 1000, i32::MAX] {
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
