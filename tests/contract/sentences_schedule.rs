//! The page on automatic rotation, sentence by sentence: configuration, states and limitations.
//!
//! The part before it is in `sentences.rs`.

use kms::{CreateKey, KeyState, Origin, Rotation, Status};

use super::support::*;

const INTERVAL: i64 = 30 * DAY;
const INTERVAL_MS: i64 = INTERVAL * 1000;

/// Configuration: rotation is set up when the key is created.
#[test]
fn rotation_can_be_set_up_at_creation() {
    let kms = memory();
    let request = CreateKey { rotate_every: Some(seconds(INTERVAL)), ..CreateKey::default() };
    let id = kms.create_key(&request).unwrap().to_string();
    let key = kms.key(&id);
    assert_eq!((key.automatic_rotation(), key.policy), (Rotation::Enabled, Some(seconds(INTERVAL))));
    let request = CreateKey { origin: Some(Origin::External), ..request };
    assert_eq!(refused(kms.create_key(&request)), Status::UnsupportedOperation);
}

/// Configuration: the schedule can be changed at any time by UpdateRotationPolicy.
#[test]
fn the_schedule_can_be_updated_at_any_time() {
    let kms = memory();
    let id = kms.plain_key();
    for (at, policy) in [(1, Some(10 * DAY)), (2, Some(20 * DAY)), (3, None), (4, Some(3650 * DAY))] {
        kms.at(at * DAY_MS);
        kms.update_rotation_policy(&id, policy.map(seconds)).unwrap();
        let key = kms.key(&id);
        assert_eq!(key.policy, policy.map(seconds));
        assert_eq!(key.version_count(), 1, "a policy is no rotation");
    }
}

/// Configuration, table: DescribeKey reports the status, the interval, the last and the next date of rotation.
#[test]
fn describe_key_tells_the_rotation_configuration() {
    let kms = memory();
    let id = kms.rotating_key(INTERVAL);
    kms.at(INTERVAL_MS + 5000);
    kms.tick().unwrap();
    let key = kms.key(&id);
    assert_eq!(key.automatic_rotation(), Rotation::Enabled);
    assert_eq!(key.policy.unwrap().to_string(), "2592000s");
    assert_eq!(key.last_rotation().unwrap().millis(), T0 + INTERVAL_MS + 5000, "when the last version was created");
    assert_eq!(key.next_rotation().unwrap().millis(), T0 + 2 * INTERVAL_MS + 5000);
    kms.update_rotation_policy(&id, None).unwrap();
    let key = kms.key(&id);
    assert_eq!((key.automatic_rotation(), key.next_rotation()), (Rotation::Disabled, None));
    assert_eq!(key.last_rotation().unwrap().millis(), T0 + INTERVAL_MS + 5000, "known without a policy, too");
}

/// The formula: next = last + interval, after a creation, an update, a rotation by hand and one by the schedule.
#[test]
fn the_next_rotation_date_is_the_last_one_plus_the_interval() {
    let kms = memory();
    let id = kms.rotating_key(INTERVAL);
    let check = |last_ms: i64, interval: i64| {
        let key = kms.key(&id);
        let dates = (key.last_rotation().unwrap().millis() - T0, key.next_rotation().unwrap().millis() - T0);
        assert_eq!(dates, (last_ms, last_ms + interval * 1000));
    };
    check(0, INTERVAL);
    kms.at(DAY_MS);
    kms.update_rotation_policy(&id, Some(seconds(40 * DAY))).unwrap();
    check(0, 40 * DAY);
    kms.at(2 * DAY_MS);
    kms.rotate(&id).unwrap();
    check(2 * DAY_MS, 40 * DAY);
    kms.at(50 * DAY_MS + 7);
    kms.tick().unwrap();
    check(50 * DAY_MS + 7, 40 * DAY);
}

/// After the formula: an update that puts the next date into the past rotates at once; then the new schedule holds.
#[test]
fn an_update_that_makes_the_key_overdue_rotates_immediately_and_goes_on() {
    let kms = memory();
    let id = kms.rotating_key(100 * DAY);
    kms.at(50 * DAY_MS);
    kms.update_rotation_policy(&id, Some(seconds(10 * DAY))).unwrap();
    let key = kms.key(&id);
    assert_eq!((key.version_count(), key.last_rotation().unwrap().millis()), (2, T0 + 50 * DAY_MS));
    assert_eq!(kms.tick().unwrap().rotated, 0, "once");
    kms.at(60 * DAY_MS - 1);
    assert_eq!(kms.tick().unwrap().rotated, 0);
    kms.at(60 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 1);
}

/// Status and rotation: it runs on keys in the state Enabled only.
#[test]
fn rotation_runs_on_enabled_keys_only() {
    let kms = memory();
    let [enabled, disabled, pending] = [(); 3].map(|()| kms.rotating_key(INTERVAL));
    kms.disable_key(&disabled).unwrap();
    kms.schedule_key_deletion(&pending, 366).unwrap();
    for round in 1..4 {
        kms.at(round * INTERVAL_MS);
        assert_eq!(kms.tick().unwrap().rotated, 1);
    }
    let counts = [&enabled, &disabled, &pending].map(|id| kms.key(id).version_count());
    assert_eq!(counts, [4, 1, 1]);
}

/// Scenario 1: in Disabled and PendingDeletion rotation is Suspended; the policy is kept, no version is made.
#[test]
fn a_key_that_is_not_enabled_is_suspended_and_keeps_its_policy() {
    let kms = memory();
    let ids = [kms.rotating_key(INTERVAL), kms.rotating_key(INTERVAL)];
    kms.disable_key(&ids[0]).unwrap();
    kms.schedule_key_deletion(&ids[1], 366).unwrap();
    kms.at(10 * INTERVAL_MS);
    kms.tick().unwrap();
    for id in &ids {
        let key = kms.key(id);
        assert_eq!((key.automatic_rotation(), key.policy), (Rotation::Suspended, Some(seconds(INTERVAL))));
        assert_eq!((key.version_count(), kms.versions(id).len()), (1, 1));
        assert_eq!(key.next_rotation().unwrap().millis(), T0 + INTERVAL_MS, "may lie in the past");
    }
    let off = kms.plain_key();
    kms.disable_key(&off).unwrap();
    assert_eq!(kms.key(&off).automatic_rotation(), Rotation::Disabled, "what was never on is not suspended");
}

/// Scenario 2: back in Enabled the policy is active again, next is last + interval, and the schedule resumes.
#[test]
fn a_key_that_returns_to_enabled_resumes_its_schedule() {
    type Step = fn(&TestKeystore, &str);
    let back: [(Step, Step); 2] = [
        (|kms, id| kms.disable_key(id).unwrap(), |kms, id| kms.enable_key(id).unwrap()),
        (|kms, id| kms.schedule_key_deletion(id, 366).unwrap(), |kms, id| kms.cancel_key_deletion(id).unwrap()),
    ];
    for (leave, back) in back {
        let kms = memory();
        let (early, late) = (kms.rotating_key(INTERVAL), kms.rotating_key(INTERVAL));
        for id in [&early, &late] {
            leave(&kms, id);
        }
        kms.at(INTERVAL_MS - DAY_MS);
        back(&kms, &early);
        let key = kms.key(&early);
        assert_eq!((key.state, key.automatic_rotation()), (KeyState::Enabled, Rotation::Enabled));
        assert_eq!((key.version_count(), key.next_rotation().unwrap().millis()), (1, T0 + INTERVAL_MS));
        kms.at(INTERVAL_MS);
        assert_eq!(kms.tick().unwrap().rotated, 1);
        kms.at(5 * INTERVAL_MS);
        back(&kms, &late);
        let key = kms.key(&late);
        assert_eq!((key.version_count(), key.next_rotation().unwrap().millis()), (2, T0 + 6 * INTERVAL_MS));
    }
}

/// Scenario 3: the policy of a key that is Disabled or PendingDeletion is not to be updated.
#[test]
fn the_policy_of_a_key_that_is_not_enabled_can_not_be_updated() {
    let kms = memory();
    let (disabled, pending) = (kms.rotating_key(INTERVAL), kms.rotating_key(INTERVAL));
    kms.disable_key(&disabled).unwrap();
    kms.schedule_key_deletion(&pending, 7).unwrap();
    for policy in [Some(seconds(DAY)), Some(seconds(INTERVAL)), None] {
        assert_eq!(refused(kms.update_rotation_policy(&disabled, policy)), Status::RejectedDisabled);
        assert_eq!(refused(kms.update_rotation_policy(&pending, policy)), Status::RejectedPendingDeletion);
    }
}

/// Limitations: service-managed and imported keys have one version, and rotate neither automatically nor by hand.
#[test]
fn service_managed_and_imported_keys_have_one_version_and_never_rotate() {
    let kms = memory();
    for id in [kms.create_service_key("disk").unwrap().to_string(), kms.imported_key()] {
        assert_eq!(refused(kms.rotate(&id)), Status::UnsupportedOperation);
        assert_eq!(refused(kms.update_rotation_policy(&id, Some(seconds(DAY)))), Status::UnsupportedOperation);
        assert_eq!(refused(kms.update_rotation_policy(&id, None)), Status::UnsupportedOperation);
        kms.at(3650 * DAY_MS);
        assert_eq!(kms.tick().unwrap().rotated, 0);
        assert_eq!(kms.versions(&id).len(), 1);
    }
}

/// Limitations: material that does not match the original would make data undecryptable.
#[test]
fn material_that_does_not_match_the_original_is_refused() {
    let kms = memory();
    let id = kms.imported_key();
    kms.delete_key_material(&id).unwrap();
    assert_eq!(refused(kms.import_raw_key_material(&id, &[9; 32], None)), Status::InvalidKeyMaterial);
    assert_eq!(kms.key(&id).state, KeyState::PendingImport);
}
