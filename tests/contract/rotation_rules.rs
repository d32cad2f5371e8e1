//! The effects of a rotation on a key: one new version, its promotion, and a later next rotation.

use kms::{Rotation, Status};

use super::support::*;

#[test]
fn a_new_key_has_one_version_that_is_primary_and_as_old_as_the_key() {
    let kms = memory();
    let id = kms.plain_key();
    let key = kms.key(&id);
    let primary = key.primary.unwrap();
    assert_eq!(key.created.millis(), T0);
    assert_eq!(key.last_rotation(), Some(key.created), "LastRotationDate of a new key is its creation");
    assert_eq!((primary.number, key.version_count()), (1, 1));
    assert_eq!(kms.versions(&id).iter().map(|version| version.id).collect::<Vec<_>>(), [primary.id]);
}

#[test]
fn rotate_makes_a_version_and_promotes_it() {
    let kms = memory();
    let id = kms.plain_key();
    let old = kms.primary(&id);
    kms.at(5_000);
    let new = kms.rotate(&id).unwrap();
    let key = kms.key(&id);
    assert_ne!(new, old);
    assert_eq!(key.primary.unwrap().id, new, "the version that rotate returns is the primary");
    assert_eq!(key.last_rotation().unwrap().millis(), T0 + 5_000, "Last is the new version's real creation time");
    assert_eq!(key.created.millis(), T0, "a rotation doesn't change when the key was created");
    assert_eq!(kms.sealed_under(&id), new, "encryption uses the primary");
}

#[test]
fn two_rotate_calls_make_two_versions_even_in_the_same_millisecond() {
    let kms = memory();
    let id = kms.plain_key();
    let (first, second) = (kms.rotate(&id).unwrap(), kms.rotate(&id).unwrap());
    assert_ne!(first, second);
    let ids: Vec<_> = kms.versions(&id).iter().map(|v| v.id).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[..2], [second, first]);
}

#[test]
fn rotate_is_allowed_with_the_policy_off_and_leaves_it_off() {
    let kms = memory();
    let id = kms.plain_key();
    kms.rotate(&id).unwrap();
    let key = kms.key(&id);
    assert_eq!(key.automatic_rotation(), Rotation::Disabled);
    assert_eq!(key.next_rotation(), None);
    kms.at(4000 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 0, "without a policy the clock rotates nothing, ever");
    assert_eq!(kms.key(&id).version_count(), 2);
}

#[test]
fn a_manual_rotation_shifts_the_schedule() {
    let kms = memory();
    let id = kms.rotating_key(10 * DAY);
    kms.at(6 * DAY_MS);
    kms.rotate(&id).unwrap();
    assert_eq!(kms.key(&id).next_rotation().unwrap().millis(), T0 + 16 * DAY_MS);
    kms.at(10 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 0, "the old date means nothing after a manual rotation");
    kms.at(16 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 1);
}

#[test]
fn rotating_an_overdue_key_by_hand_makes_one_version() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    kms.at(5 * DAY_MS);
    let new = kms.rotate(&id).unwrap();
    assert_eq!(kms.tick().unwrap().rotated, 0, "the manual rotation was the one that was due");
    assert_eq!((kms.primary(&id), kms.key(&id).version_count()), (new, 2));
}

#[test]
fn the_clock_rotates_when_next_is_reached_not_before() {
    let kms = memory();
    let id = kms.rotating_key(90 * DAY);
    kms.at(90 * DAY_MS - 1);
    assert_eq!(kms.tick().unwrap().rotated, 0, "one millisecond early is early");
    kms.at(90 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 1, "NextRotationDate is reached");
    assert_eq!(kms.tick().unwrap().rotated, 0);
    let key = kms.key(&id);
    assert_eq!(key.version_count(), 2);
    assert_eq!(key.next_rotation().unwrap().millis(), T0 + 180 * DAY_MS);
}

#[test]
fn missed_intervals_are_one_rotation() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    let late = 30 * DAY_MS + 12_345;
    kms.at(late);
    assert_eq!(kms.tick().unwrap().rotated, 1);
    for _ in 0..5 {
        assert_eq!(kms.tick().unwrap().rotated, 0, "no catch-up burst");
    }
    let key = kms.key(&id);
    assert_eq!(key.version_count(), 2);
    assert_eq!(key.last_rotation().unwrap().millis(), T0 + late, "Last is when it was really made");
    assert_eq!(key.next_rotation().unwrap().millis(), T0 + late + DAY_MS);
}

#[test]
fn the_last_rotation_date_is_the_creation_time_of_the_newest_version() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    for step in 1..=10 {
        kms.at(step * (DAY_MS + 777));
        if step % 3 == 0 {
            kms.rotate(&id).unwrap();
        } else {
            kms.tick().unwrap();
        }
        let newest = kms.versions(&id)[0];
        assert_eq!(kms.key(&id).last_rotation(), Some(newest.created));
        assert_eq!(newest.created.millis(), kms.clock.millis());
        assert_eq!(newest.number, step as u64 + 1);
    }
}

#[test]
fn version_numbers_count_from_one_without_a_gap() {
    let kms = memory();
    let id = kms.plain_key();
    for _ in 0..20 {
        kms.rotate(&id).unwrap();
    }
    let numbers: Vec<_> = kms.versions(&id).iter().map(|v| v.number).collect();
    assert_eq!(numbers, (1..=21).rev().collect::<Vec<_>>());
}

#[test]
fn version_ids_are_random_uuids_that_no_two_versions_share() {
    let kms = memory();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..4 {
        let id = kms.plain_key();
        for _ in 0..50 {
            let version = kms.rotate(&id).unwrap();
            let bytes = version.as_bytes();
            assert_eq!((bytes[6] >> 4, bytes[8] >> 6), (4, 2), "{version} is not a random UUID");
            assert!(seen.insert(version), "{version} was reused");
            assert!(kms::VersionId::parse(&version.to_string()) == Some(version));
        }
    }
}

#[test]
fn rotation_deletes_and_disables_no_version() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    let mut blobs = Vec::new();
    for step in 1..=40 {
        blobs.push(kms.encrypt(&id, format!("text {step}").as_bytes(), &[]).unwrap());
        kms.at(step * DAY_MS);
        kms.tick().unwrap();
    }
    assert_eq!(kms.versions(&id).len(), 41);
    for (blob, step) in blobs.iter().zip(1..) {
        assert_eq!(kms.decrypt(blob, &[]).unwrap().as_slice(), format!("text {step}").as_bytes());
    }
}

#[test]
fn an_external_key_has_no_policy_and_no_rotation() {
    let kms = memory();
    let id = kms.external_key();
    assert_eq!(refused(kms.rotate(&id)), Status::UnsupportedOperation);
    assert_eq!(refused(kms.update_rotation_policy(&id, Some(seconds(DAY)))), Status::UnsupportedOperation);
    assert_eq!(refused(kms.update_rotation_policy(&id, None)), Status::UnsupportedOperation);
    let request =
        kms::CreateKey { origin: Some(kms::Origin::External), rotate_every: Some(seconds(DAY)), ..Default::default() };
    assert_eq!(refused(kms.create_key(&request)), Status::UnsupportedOperation);
    kms.at(5000 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 0);
    assert_eq!(kms.key(&id).version_count(), 0);
}

#[test]
fn data_of_five_years_of_rotations_still_opens() {
    let kms = memory();
    let id = kms.rotating_key(90 * DAY);
    let mut blobs = Vec::new();
    for day in 0..5 * 365 {
        kms.at(day * DAY_MS);
        kms.tick().unwrap();
        blobs.push(kms.encrypt(&id, &day.to_le_bytes(), &[("day", &day.to_string())]).unwrap());
    }
    assert_eq!(kms.key(&id).version_count(), 21, "5 years of 90 days are 20 rotations");
    for (blob, day) in blobs.iter().zip(0i64..) {
        assert_eq!(kms.decrypt(blob, &[("day", &day.to_string())]).unwrap().as_slice(), day.to_le_bytes());
    }
}
