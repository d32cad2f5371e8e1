//! Without a rotation thread, every call that encrypts under an overdue key rotates it first.

use kms::health::EventKind;

use super::support::*;

#[test]
fn encrypting_under_an_overdue_key_rotates_it_first() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    let old = kms.sealed_under(&id);
    kms.at(3 * DAY_MS);
    let new = kms.sealed_under(&id);
    assert_ne!(new, old, "the overdue primary sealed a message");
    let key = kms.key(&id);
    assert_eq!((key.primary.unwrap().id, key.version_count()), (new, 2), "one rotation for all missed intervals");
    assert_eq!(key.last_rotation().unwrap().millis(), T0 + 3 * DAY_MS);
    assert_eq!(kms.sealed_under(&id), new);
    assert_eq!(kms.events(EventKind::Rotated).len(), 1);
}

#[test]
fn a_data_key_under_an_overdue_key_is_sealed_by_the_new_version() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    kms.sealed_under(&id);
    kms.at(DAY_MS);
    let (_, blob) = kms.generate_data_key(&id, 32, &[]).unwrap();
    assert_eq!(kms.key(&id).version_count(), 2);
    assert!(kms.inspect(&blob).unwrap().is_primary);
    kms.at(2 * DAY_MS);
    let blob = kms.generate_data_key_without_plaintext(&id, 32, &[]).unwrap();
    assert_eq!(kms.key(&id).version_count(), 3);
    assert!(kms.inspect(&blob).unwrap().is_primary);
}

#[test]
fn re_encrypting_to_an_overdue_key_rotates_it_first() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    let old = kms.encrypt(&id, b"x", &[]).unwrap();
    kms.at(DAY_MS);
    let moved = kms.reencrypt(&old, &[], Some((&id).into()), &[]).unwrap();
    assert_ne!(kms.inspect(&moved).unwrap().version, kms.inspect(&old).unwrap().version);
    assert_eq!(kms.key(&id).version_count(), 2);
}

#[test]
fn decrypting_and_reading_rotate_nothing() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    kms.at(2 * DAY_MS);
    kms.decrypt(&blob, &[]).unwrap();
    kms.inspect(&blob).unwrap();
    kms.versions(&id);
    kms.list_keys(None, 10, |_| true).unwrap();
    assert_eq!(kms.key(&id).version_count(), 1);
}

#[test]
fn a_refused_encryption_rotates_nothing() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    kms.at(2 * DAY_MS);
    refused(kms.encrypt(&id, b"x", &[("", "empty key")]));
    refused(kms.generate_data_key(&id, 1025, &[]));
    assert_eq!(kms.key(&id).version_count(), 1, "parameters are checked first");
}

#[test]
fn only_the_key_in_use_rotates_on_use() {
    let kms = memory();
    let (used, idle) = (kms.rotating_key(DAY), kms.rotating_key(DAY));
    kms.at(2 * DAY_MS);
    kms.sealed_under(&used);
    assert_eq!((kms.key(&used).version_count(), kms.key(&idle).version_count()), (2, 1));
    assert_eq!(kms.tick().unwrap().rotated, 1);
    assert_eq!((kms.key(&used).version_count(), kms.key(&idle).version_count()), (2, 2));
}

#[test]
fn tick_rotates_every_due_key_once_and_says_how_many() {
    let kms = memory();
    let due: Vec<_> = (0..600).map(|_| kms.rotating_key(DAY)).collect();
    let not_due: Vec<_> = (0..5).map(|_| kms.rotating_key(3 * DAY)).collect();
    kms.at(2 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 600);
    assert_eq!(kms.tick().unwrap().rotated, 0);
    assert!(due.iter().all(|id| kms.key(id).version_count() == 2));
    assert!(not_due.iter().all(|id| kms.key(id).version_count() == 1));
    assert_eq!(kms.health().unwrap().rotations, 600);
}

#[test]
fn a_batch_without_a_destination_rotates_each_overdue_key_once() {
    let kms = memory();
    let keys = [kms.rotating_key(DAY), kms.rotating_key(DAY)];
    let blobs: Vec<Vec<u8>> = (0..6).map(|n| kms.encrypt(&keys[n % 2], b"x", &[]).unwrap()).collect();
    kms.at(5 * DAY_MS);
    let moves: Vec<kms::ReencryptItem<'_>> =
        blobs.iter().map(|blob| kms::ReencryptItem { blob, ..Default::default() }).collect();
    for (n, moved) in kms.reencrypt_batch(None, &moves).unwrap().into_iter().enumerate() {
        let moved = kms.inspect(&moved.unwrap()).unwrap();
        assert_eq!((moved.version, moved.is_primary), (kms.primary(&keys[n % 2]), true), "record {n}");
    }
    for key in &keys {
        assert_eq!(kms.versions(key).len(), 2, "one rotation, however many records");
    }
}
