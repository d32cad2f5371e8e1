//! The page on automatic rotation, sentence by sentence: versions and what rotation does to data.
//!
//! Each test is named after a sentence; the comment names its section. Time is the manual clock's.
//! `sentences_schedule.rs` has the rest.

use std::collections::HashSet;

use kms::{Rotation, Status, VersionId};

use super::support::*;

const INTERVAL: i64 = 30 * DAY;
const INTERVAL_MS: i64 = INTERVAL * 1000;

/// Introduction: material is replaced on the schedule, without any change or interruption for the application.
#[test]
fn rotation_replaces_the_material_on_the_schedule_without_interruption() {
    let kms = memory();
    let id = kms.rotating_key(INTERVAL);
    let mut blobs = Vec::new();
    for round in 0..5 {
        kms.at(round * INTERVAL_MS);
        kms.tick().unwrap();
        assert_eq!(kms.key(&id).version_count(), round as u64 + 1);
        blobs.push(kms.encrypt(&id, b"record", &[("round", "any")]).unwrap());
        for blob in &blobs {
            assert_eq!(kms.decrypt(blob, &[("round", "any")]).unwrap().as_slice(), b"record");
        }
    }
}

/// Introduction: automatic rotation is available for keys whose material the service makes, and for no others.
#[test]
fn only_keys_whose_origin_is_the_library_rotate_automatically() {
    let kms = memory();
    let policy = Some(seconds(INTERVAL));
    let id = kms.plain_key();
    kms.update_rotation_policy(&id, policy).unwrap();
    assert_eq!(kms.key(&id).automatic_rotation(), Rotation::Enabled);
    for id in [kms.external_key(), kms.imported_key(), kms.create_service_key("disk").unwrap().to_string()] {
        assert_eq!(refused(kms.update_rotation_policy(&id, policy)), Status::UnsupportedOperation);
        assert_eq!(kms.key(&id).automatic_rotation(), Rotation::Disabled);
    }
}

/// Versions: each is generated independently and shares no cryptographic relationship with the others of its key.
#[test]
fn versions_are_independent_of_each_other() {
    let kms = memory();
    let id = kms.plain_key();
    let mut blob = kms.encrypt(&id, b"x", &[]).unwrap();
    let first = kms.primary(&id);
    let second = kms.rotate(&id).unwrap();
    assert_ne!(first, second);
    blob[24..40].copy_from_slice(second.as_bytes());
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::AuthenticationFailed, "no version opens another's data");
}

/// Versions, table: each key has exactly one primary version at any point in time; zero or more are not primary.
#[test]
fn a_key_has_exactly_one_primary_version_at_any_time() {
    let kms = memory();
    let id = kms.rotating_key(INTERVAL);
    for round in 0..4 {
        kms.at(round * INTERVAL_MS);
        kms.tick().unwrap();
        let flags: Vec<bool> = kms
            .versions(&id)
            .iter()
            .map(|version| kms.describe_key_version(&id, &version.id.to_string()).unwrap().is_primary)
            .collect();
        assert_eq!(flags.iter().filter(|primary| **primary).count(), 1);
        assert_eq!(flags.len() as i64, round + 1, "all others are not primary");
    }
}

/// Versions, table: GenerateDataKey and Encrypt use the primary version, which DescribeKey reports.
#[test]
fn encrypt_and_generate_data_key_use_the_primary_version() {
    let kms = memory();
    let id = kms.rotating_key(INTERVAL);
    for round in 0..3 {
        kms.at(round * INTERVAL_MS);
        kms.tick().unwrap();
        let primary = kms.primary(&id);
        let made = [
            kms.encrypt(&id, b"x", &[]).unwrap(),
            kms.generate_data_key(&id, 32, &[]).unwrap().1,
            kms.generate_data_key_without_plaintext(&id, 32, &[]).unwrap(),
        ];
        for blob in made {
            let info = kms.inspect(&blob).unwrap();
            assert_eq!((info.version, info.is_primary), (primary, true));
        }
    }
}

/// Versions, table: one that is not primary was the primary once, and is now inactive.
#[test]
fn every_non_primary_version_was_the_primary_once() {
    let kms = memory();
    let id = kms.rotating_key(INTERVAL);
    let mut were_primary: Vec<VersionId> = Vec::new();
    for round in 0..4 {
        kms.at(round * INTERVAL_MS);
        kms.tick().unwrap();
        were_primary.insert(0, kms.primary(&id));
    }
    let all: Vec<VersionId> = kms.versions(&id).iter().map(|version| version.id).collect();
    assert_eq!(all, were_primary);
}

/// Versions, table: all versions that are not primary are retained, because they are needed for decryption.
#[test]
fn all_non_primary_versions_are_retained() {
    let kms = memory();
    let id = kms.rotating_key(INTERVAL);
    let first = kms.encrypt(&id, b"from the first", &[]).unwrap();
    let mut known = HashSet::new();
    for round in 0..200 {
        kms.at(round * INTERVAL_MS);
        kms.tick().unwrap();
        known.insert(kms.primary(&id));
    }
    let kept: HashSet<VersionId> = kms.versions(&id).iter().map(|version| version.id).collect();
    assert_eq!((kept.len(), &kept), (200, &known));
    assert_eq!(kms.decrypt(&first, &[]).unwrap().as_slice(), b"from the first");
}

/// Versions: decryption selects the version that was used for encryption.
#[test]
fn decryption_selects_the_version_that_encrypted() {
    let kms = memory();
    let id = kms.rotating_key(INTERVAL);
    let old = kms.encrypt(&id, b"x", &[]).unwrap();
    let first = kms.primary(&id);
    kms.at(INTERVAL_MS);
    kms.tick().unwrap();
    let info = kms.inspect(&old).unwrap();
    assert_eq!((info.version, info.is_primary), (first, false));
    assert_eq!(kms.decrypt(&old, &[]).unwrap().as_slice(), b"x");
}

/// How versions are created: CreateKey generates an initial version and sets it as the primary.
#[test]
fn creating_a_key_makes_its_initial_version_and_sets_it_primary() {
    let kms = memory();
    for id in [kms.plain_key(), kms.rotating_key(INTERVAL)] {
        let key = kms.key(&id);
        assert_eq!(kms.versions(&id)[0].id, key.primary.unwrap().id);
        assert_eq!((key.version_count(), key.created, key.last_rotation()), (1, key.created, Some(key.created)));
    }
    let id = kms.external_key();
    assert_eq!((kms.key(&id).primary, kms.versions(&id).len()), (None, 0), "but not with the origin EXTERNAL");
}

/// How versions are created: once rotation is enabled, a version is made on schedule and promoted to primary.
#[test]
fn automatic_rotation_makes_a_version_on_schedule_and_promotes_it() {
    let kms = memory();
    let id = kms.rotating_key(INTERVAL);
    let first = kms.primary(&id);
    kms.at(INTERVAL_MS - 1);
    assert_eq!(kms.tick().unwrap().rotated, 0);
    kms.at(INTERVAL_MS);
    assert_eq!(kms.tick().unwrap().rotated, 1);
    let second = kms.primary(&id);
    assert_ne!(first, second);
    assert_eq!(kms.versions(&id)[0].id, second);
}

/// Effects: after a rotation the new primary is used for all new encryption.
#[test]
fn after_a_rotation_all_new_encryption_uses_the_new_primary() {
    let kms = memory();
    let id = kms.rotating_key(INTERVAL);
    let old = kms.sealed_under(&id);
    kms.at(INTERVAL_MS);
    kms.tick().unwrap();
    let new = kms.primary(&id);
    for _ in 0..100 {
        assert_eq!(kms.sealed_under(&id), new);
    }
    assert_ne!(old, new);
}

/// Effects: data encrypted by an earlier version can be decrypted with that version only.
#[test]
fn data_of_an_earlier_version_is_decrypted_with_that_version_only() {
    let kms = memory();
    let id = kms.plain_key();
    let blobs: Vec<Vec<u8>> = (0..4)
        .map(|_| {
            let blob = kms.encrypt(&id, b"x", &[]).unwrap();
            kms.rotate(&id).unwrap();
            blob
        })
        .collect();
    let versions = kms.versions(&id);
    for blob in blobs {
        let own = kms.inspect(&blob).unwrap().version;
        for version in &versions {
            let mut moved = blob.clone();
            moved[24..40].copy_from_slice(version.id.as_bytes());
            assert_eq!(kms.decrypt(&moved, &[]).is_ok(), version.id == own);
        }
    }
}

/// Effects: ReEncrypt decrypts with the original version and encrypts again with the current primary.
#[test]
fn reencrypt_moves_a_ciphertext_to_the_current_primary() {
    let kms = memory();
    let id = kms.rotating_key(INTERVAL);
    let old = kms.encrypt(&id, b"x", &[("a", "1")]).unwrap();
    kms.at(INTERVAL_MS);
    kms.tick().unwrap();
    let new = kms.reencrypt(&old, &[("a", "1")], Some((&id).into()), &[("a", "1")]).unwrap();
    let info = kms.inspect(&new).unwrap();
    assert_eq!((info.version, info.is_primary), (kms.primary(&id), true));
    assert_eq!(kms.decrypt(&new, &[("a", "1")]).unwrap().as_slice(), b"x");
    assert_eq!(kms.decrypt(&old, &[("a", "1")]).unwrap().as_slice(), b"x", "the old one stays good");
}
