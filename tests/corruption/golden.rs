//! Keystores and ciphertexts of every past format still open; those of a future format stay untouched.

use std::path::{Path, PathBuf};

use kms::internal::{Candidates, GcmParts};
use kms::{CreateKey, KeyId, KeyState, Keystore, ManualClock, Options, Status};
use serde_json::{Value, json};
use sha3::{Digest, Sha3_256};

use crate::sample::{Place, faults, sample};

/// Each format's folder, and the SHA3-256 of its files: what a user has can't be made again, and neither can these
/// once a release has their format.
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
            ("key.db", "30dbb542b775281cc7282f496b2451f9ed6a50aad191b525b2be5dc9d3d75ea6"),
            ("passphrase.db", "f81faec1deb415a6a65fbf27069e5700928c32123f95d05f95586873bd0383e1"),
            ("expected.json", "dddcfc14adbf480af759bdef307e0c33407ad702072fbfd414f5e08f3488154b"),
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

/// What each key of a golden keystore encrypted under its subkeys.
const GCM_PARTS: GcmParts<'static> = GcmParts { iv: b"golden nonce", aad: b"golden", tag_len: 16 };
const GCM_TEXT: &[u8; 9] = b"4111 1111";
const WRAPPED_KEY: [u8; 32] = [7; 32];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[test]
fn the_golden_keystores_are_those_that_were_made() {
    for (format, files) in FORMATS {
        for (name, expected) in *files {
            let found = Sha3_256::digest(std::fs::read(folder(format).join(name)).unwrap());
            assert_eq!(
                hex(&found),
                *expected,
                "tests/fixtures/{format}/{name} was changed; restore it, never make it anew"
            );
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
            for (options, is_read_only) in [(options.clone().read_only(true), true), (options, false)] {
                let kms = Keystore::open(&place.store(), &options).unwrap();
                assert_eq!(faults(&kms), (vec![], None), "{format}/{name}");
                for key in expected[name].as_array().unwrap() {
                    check(&kms, key, &format!("{format}/{name}"));
                }
                drop(kms);
                // Format 1 has no place for the dates of uses.
                if is_read_only || *format == "format-1" {
                    assert!(place.bytes() == before, "{format}/{name} was changed by reading it");
                }
            }
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
    // Made under the oldest versions that still decrypt; format 1 knows neither.
    if let (Some(gcm), KeyState::Enabled) = (key["gcm"].as_str(), found.state) {
        let mut opened = [0; GCM_TEXT.len()];
        kms.decrypt_gcm(found.id, Candidates::Newest(64), &GCM_PARTS, &unhex(gcm), &mut opened).expect(what);
        assert_eq!(opened, *GCM_TEXT, "{what}");
        let wrapped = unhex(key["wrapped"].as_str().unwrap());
        assert_eq!(
            **kms.unwrap_with_subkey(found.id, Candidates::Newest(64), false, &wrapped).expect(what),
            WRAPPED_KEY,
            "{what}"
        );
    }
    for blob in key["blobs"].as_array().unwrap() {
        let context: Vec<(&str, &str)> = blob["tenant"].as_str().iter().map(|tenant| ("tenant", *tenant)).collect();
        if let Some(refusal) = blob["refusal"].as_str().filter(|_| found.state == KeyState::Enabled) {
            let refused = kms.decrypt(&unhex(blob["blob"].as_str().unwrap()), &context).map(drop);
            assert_eq!(refused.map_err(|error| format!("{:?}", error.status())), Err(refusal.to_owned()), "{what}");
            continue;
        }
        match (kms.decrypt(&unhex(blob["blob"].as_str().unwrap()), &context), found.state) {
            (Ok(opened), KeyState::Enabled) => {
                assert_eq!(*opened, *blob["plaintext"].as_str().unwrap().as_bytes(), "{what}");
            }
            (Err(error), KeyState::Disabled) => assert_eq!(error.status(), Status::RejectedDisabled, "{what}"),
            (opened, state) => panic!("{what}: {state:?}: {:?}", opened.map(drop)),
        }
    }
}

/// Records the golden keystores of the newest format, with `KMS_RECORD_GOLDEN=1`: until a release has that format, and
/// never after. Prints their digests.
#[test]
fn golden_keystores_of_an_unreleased_format_can_be_recorded() {
    if std::env::var_os("KMS_RECORD_GOLDEN").is_none() {
        return;
    }
    let (root, passphrase) = ("libkms TEST root key, not secret", format!("libkms TEST passphrase of format {NEWEST}"));
    let folder = folder(&format!("format-{NEWEST}"));
    let mut expected = json!({ "root_key": root, "passphrase": passphrase });
    for name in ["key.db", "passphrase.db"] {
        let place = Place::new();
        let clock = ManualClock::at(1_700_000_000_000);
        let options = options_of(name, root, &passphrase).clock(clock.clone()).create(true).actor("golden keystore");
        let kms = Keystore::open(&place.store(), &options).unwrap();
        expected[name] = record(&kms, &clock);
        kms.add_root_slot(&Options::new().root_passphrase(b"libkms TEST recovery"), Some("recovery")).unwrap();
        assert!(kms.create_alias("none", "alias/none").is_err(), "a refusal, for the log");
        drop(kms);
        std::fs::write(folder.join(name), place.bytes()).unwrap();
    }
    let text = format!("{}\n", serde_json::to_string_pretty(&expected).unwrap());
    std::fs::write(folder.join("expected.json"), text).unwrap();
    for name in ["key.db", "passphrase.db", "expected.json"] {
        let digest = Sha3_256::digest(std::fs::read(folder.join(name)).unwrap());
        println!("{name} {}", hex(&digest));
    }
}

/// Six keys of one to six versions: key 3 is Disabled, version 1 of key 4 is Disabled, version 1 of key 5 is destroyed
/// and its version 2 has a pending deletion.
fn record(kms: &Keystore, clock: &ManualClock) -> Value {
    let mut keys: Vec<Value> = (0..6).map(|number| record_key(kms, number)).collect();
    let old = |number: usize, version: usize| {
        let blob = unhex(keys[number]["blobs"][2 * version - 2]["blob"].as_str().unwrap());
        (keys[number]["id"].as_str().unwrap().to_owned(), kms.inspect(&blob).unwrap().version.to_string())
    };
    let ((disabled, first), (gone, second)) = (old(4, 1), old(5, 1));
    kms.disable_key_version(disabled.as_str(), &first).unwrap();
    kms.disable_key_version(gone.as_str(), &second).unwrap();
    kms.schedule_key_version_deletion(gone.as_str(), &second, 7).unwrap();
    for hours in [7 * 24, 2] {
        clock.advance_seconds(hours * 3600);
        kms.tick().unwrap();
    }
    let (_, third) = old(5, 2);
    kms.disable_key_version(gone.as_str(), &third).unwrap();
    kms.schedule_key_version_deletion(gone.as_str(), &third, 30).unwrap();
    kms.disable_key(keys[3]["id"].as_str().unwrap()).unwrap();
    for (number, version, refusal) in
        [(4, 1, "KeyVersionDisabled"), (5, 1, "KeyVersionDestroyed"), (5, 2, "KeyVersionDisabled")]
    {
        for blob in [2 * version - 2, 2 * version - 1] {
            keys[number]["blobs"][blob]["refusal"] = refusal.into();
        }
    }
    keys.into()
}

fn record_key(kms: &Keystore, number: usize) -> Value {
    let id = new_key(kms);
    let alias = format!("alias/golden-{number}");
    kms.create_alias(id.as_str(), &alias).unwrap();
    kms.tag_resource(id.as_str(), &[("team", "golden"), ("number", &number.to_string())]).unwrap();
    let (mut blobs, mut gcm, mut wrapped) = (Vec::new(), vec![0; GCM_TEXT.len() + 16], Vec::new());
    for version in 0..=number {
        if version > 0 {
            kms.rotate(id.as_str()).unwrap();
        }
        // Versions 1 and 2 do not stay usable everywhere.
        if version == number.min(2) {
            let id = KeyId::parse(&id).unwrap();
            kms.encrypt_gcm(id, &GCM_PARTS, GCM_TEXT, &mut gcm).unwrap();
            wrapped = kms.wrap_with_subkey(id, false, &WRAPPED_KEY).unwrap();
        }
        for (plaintext, tenant) in [(String::new(), None), (format!("plaintext {version} of key {number}"), Some("42"))]
        {
            let context: Vec<(&str, &str)> = tenant.iter().map(|tenant| ("tenant", *tenant)).collect();
            let blob = kms.encrypt(id.as_str(), plaintext.as_bytes(), &context).unwrap();
            blobs.push(json!({ "blob": hex(&blob), "plaintext": plaintext, "tenant": tenant }));
        }
    }
    let (gcm, wrapped) = (hex(&gcm), hex(&wrapped));
    json!({ "id": id, "alias": alias, "versions": number + 1, "blobs": blobs, "gcm": gcm, "wrapped": wrapped })
}

/// An older library refuses unknown content, instead of dropping it.
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

/// Fields, tables or triggers outside this format belong to a program that did not raise the format number.
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
