//! A key is destroyed only after its date, only after two confirmations an hour apart, and only if no one cancelled.

use kms::{KeyState, Status, health::EventKind};

use super::support::*;

fn shown(kms: &TestKeystore) -> usize {
    let mut keys = 0;
    kms.list_keys(None, usize::MAX, |_| {
        keys += 1;
        true
    })
    .unwrap();
    keys
}

#[test]
fn the_delete_date_is_the_waiting_period_after_the_call() {
    let kms = memory();
    let id = kms.plain_key();
    kms.at(1234);
    for days in [7, 30, 366] {
        kms.schedule_key_deletion(&id, days).unwrap();
        let key = kms.key(&id);
        assert_eq!(key.state, KeyState::PendingDeletion);
        assert_eq!(key.delete_date().unwrap().millis(), T0 + 1234 + i64::from(days) * DAY_MS);
        kms.cancel_key_deletion(&id).unwrap();
        assert_eq!(kms.key(&id).delete_date(), None, "a cancelled deletion has no date");
    }
}

#[test]
fn a_waiting_period_outside_7_to_366_days_is_refused() {
    let kms = memory();
    let id = kms.plain_key();
    for days in [i32::MIN, -7, -1, 0, 1, 6, 367, 3650, i32::MAX] {
        assert_eq!(refused(kms.schedule_key_deletion(&id, days)), Status::InvalidArgument, "{days} days");
    }
    assert_eq!(kms.key(&id).state, KeyState::Enabled);
}

#[test]
fn a_due_deletion_needs_two_confirmations_an_hour_apart() {
    let kms = memory();
    let id = kms.plain_key();
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    kms.schedule_key_deletion(&id, 7).unwrap();
    kms.at(7 * DAY_MS - 1);
    assert_eq!(kms.tick().unwrap().destroyed, 0);
    assert!(kms.events(EventKind::DeletionDue).is_empty(), "not due yet");
    for ms in [0, 1, HOUR_MS / 2, HOUR_MS - 1] {
        kms.at(7 * DAY_MS + ms);
        assert_eq!(kms.tick().unwrap().destroyed, 0, "{ms} ms after the first confirmation");
        assert_eq!(kms.key(&id).state, KeyState::PendingDeletion);
    }
    assert_eq!(kms.events(EventKind::DeletionDue).len(), 1);
    kms.at(7 * DAY_MS + HOUR_MS);
    assert_eq!(kms.tick().unwrap().destroyed, 1);
    assert_eq!(refused(kms.describe_key(&id)), Status::KeyNotFound);
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::KeyNotFound);
    assert_eq!(refused(kms.inspect(&blob)), Status::KeyNotFound);
    assert_eq!(refused(kms.encrypt(&id, b"x", &[])), Status::KeyNotFound);
    assert_eq!(refused(kms.cancel_key_deletion(&id)), Status::KeyNotFound);
    assert_eq!(refused(kms.list_key_versions(&id, None, 9, |_, _| true)), Status::KeyNotFound);
    assert_eq!(shown(&kms), 0);
    assert_eq!(kms.health().unwrap().keys_destroyed, 1);
    assert_eq!(kms.events(EventKind::KeyDestroyed)[0].key.unwrap().to_string(), id);
}

#[test]
fn years_late_is_still_only_the_first_confirmation() {
    let kms = memory();
    let id = kms.plain_key();
    kms.schedule_key_deletion(&id, 7).unwrap();
    kms.at(3650 * DAY_MS);
    assert_eq!(kms.tick().unwrap().destroyed, 0);
    assert_eq!(kms.tick().unwrap().destroyed, 0);
    kms.cancel_key_deletion(&id).unwrap();
    assert_eq!(kms.key(&id).state, KeyState::Enabled);
}

#[test]
fn a_deletion_cancelled_between_the_confirmations_does_not_happen() {
    let kms = memory();
    let id = kms.plain_key();
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    kms.schedule_key_deletion(&id, 7).unwrap();
    kms.at(7 * DAY_MS);
    kms.tick().unwrap();
    kms.at(7 * DAY_MS + HOUR_MS);
    kms.cancel_key_deletion(&id).unwrap();
    assert_eq!(kms.tick().unwrap().destroyed, 0);
    kms.at(500 * DAY_MS);
    assert_eq!(kms.tick().unwrap().destroyed, 0);
    assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"x");
}

#[test]
fn scheduling_again_after_a_cancelled_deletion_needs_two_new_confirmations() {
    let kms = memory();
    let id = kms.plain_key();
    kms.schedule_key_deletion(&id, 7).unwrap();
    kms.at(7 * DAY_MS);
    kms.tick().unwrap();
    kms.cancel_key_deletion(&id).unwrap();
    kms.schedule_key_deletion(&id, 7).unwrap();
    kms.at(14 * DAY_MS);
    assert_eq!(kms.tick().unwrap().destroyed, 0, "the old confirmation belongs to the old deletion");
    kms.at(14 * DAY_MS + HOUR_MS);
    assert_eq!(kms.tick().unwrap().destroyed, 1);
}

#[test]
fn a_clock_forward_and_back_destroys_nothing_before_the_date() {
    let kms = memory();
    let id = kms.plain_key();
    kms.schedule_key_deletion(&id, 30).unwrap();
    kms.at(400 * DAY_MS);
    assert_eq!(kms.tick().unwrap().destroyed, 0, "a first confirmation, by a wrong clock");
    kms.at(DAY_MS);
    assert_eq!(kms.tick().unwrap().destroyed, 0, "a look that finds the key not due erases it");
    kms.at(400 * DAY_MS + 2 * HOUR_MS);
    assert_eq!(kms.tick().unwrap().destroyed, 0, "so the wrong clock's next look is a first one again");
    kms.at(2 * DAY_MS);
    kms.tick().unwrap();
    kms.at(30 * DAY_MS);
    assert_eq!(kms.tick().unwrap().destroyed, 0);
    kms.at(30 * DAY_MS + HOUR_MS);
    assert_eq!(kms.tick().unwrap().destroyed, 1);
    assert_eq!(refused(kms.describe_key(&id)), Status::KeyNotFound);
}

#[test]
fn an_hour_that_the_clock_took_back_does_not_count() {
    let kms = memory();
    let id = kms.plain_key();
    kms.schedule_key_deletion(&id, 7).unwrap();
    kms.at(7 * DAY_MS + 2 * HOUR_MS);
    kms.tick().unwrap();
    for ms in [0, HOUR_MS, 2 * HOUR_MS] {
        kms.at(7 * DAY_MS + ms);
        assert_eq!(kms.tick().unwrap().destroyed, 0, "no hour after the first confirmation");
    }
    assert_eq!(kms.key(&id).state, KeyState::PendingDeletion);
    kms.at(7 * DAY_MS + 4 * HOUR_MS);
    kms.tick().unwrap();
    kms.at(7 * DAY_MS + 6 * HOUR_MS);
    kms.tick().unwrap();
    assert_eq!(refused(kms.describe_key(&id)), Status::KeyNotFound, "a clock that went back only delays it");
}

#[test]
fn the_first_confirmation_outlives_the_handle() {
    let (_folder, path) = place();
    let clock = kms::ManualClock::at(T0);
    let first = open(&path, &clock, |o| o);
    let id = first.plain_key();
    first.schedule_key_deletion(&id, 7).unwrap();
    first.at(7 * DAY_MS);
    first.tick().unwrap();
    drop(first);
    let second = open(&path, &clock, |o| o);
    second.at(7 * DAY_MS + HOUR_MS - 1);
    assert_eq!(second.tick().unwrap().destroyed, 0);
    second.at(7 * DAY_MS + HOUR_MS);
    assert_eq!(second.tick().unwrap().destroyed, 1);
    drop(second);
    let third = open(&path, &clock, |o| o);
    assert_eq!(refused(third.describe_key(&id)), Status::KeyNotFound, "a destroyed key stays destroyed");
}

#[test]
fn cancelling_a_deletion_returns_to_enabled_and_rotates_if_overdue() {
    let kms = memory();
    let (overdue, in_time) = (kms.rotating_key(10 * DAY), kms.rotating_key(100 * DAY));
    kms.disable_key(&overdue).unwrap();
    for id in [&overdue, &in_time] {
        kms.schedule_key_deletion(id, 60).unwrap();
    }
    kms.at(40 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 0);
    for id in [&overdue, &in_time] {
        kms.cancel_key_deletion(id).unwrap();
        assert_eq!(kms.key(id).state, KeyState::Enabled, "Enabled, even if it was Disabled before");
    }
    let key = kms.key(&overdue);
    assert_eq!((key.version_count(), key.last_rotation().unwrap().millis()), (2, T0 + 40 * DAY_MS));
    let key = kms.key(&in_time);
    assert_eq!((key.version_count(), key.next_rotation().unwrap().millis()), (1, T0 + 100 * DAY_MS));
    assert_eq!(kms.tick().unwrap().rotated, 0);
}

#[test]
fn cancelling_the_deletion_of_a_key_without_material_returns_to_pending_import() {
    let kms = memory();
    let id = kms.external_key();
    kms.schedule_key_deletion(&id, 7).unwrap();
    kms.cancel_key_deletion(&id).unwrap();
    assert_eq!(kms.key(&id).state, KeyState::PendingImport);
}

#[test]
fn a_pending_deletion_can_be_cancelled_until_it_has_happened() {
    let kms = memory();
    let id = kms.plain_key();
    kms.schedule_key_deletion(&id, 7).unwrap();
    kms.at(7 * DAY_MS + HOUR_MS - 1);
    kms.tick().unwrap();
    kms.at(8 * DAY_MS);
    kms.cancel_key_deletion(&id).unwrap();
    assert_eq!(kms.key(&id).state, KeyState::Enabled);
}

#[test]
fn destroying_one_key_leaves_the_others() {
    let kms = memory();
    let keys: Vec<_> = (0..20).map(|_| kms.plain_key()).collect();
    let blobs: Vec<_> = keys.iter().map(|id| kms.encrypt(id, id.as_bytes(), &[]).unwrap()).collect();
    for id in keys.iter().step_by(2) {
        kms.rotate(id).unwrap();
        kms.schedule_key_deletion(id, 7).unwrap();
    }
    kms.at(8 * DAY_MS);
    kms.tick().unwrap();
    kms.at(9 * DAY_MS);
    assert_eq!(kms.tick().unwrap().destroyed, 10);
    for (number, (id, blob)) in keys.iter().zip(&blobs).enumerate() {
        match number % 2 {
            0 => assert_eq!(refused(kms.decrypt(blob, &[])), Status::KeyNotFound),
            _ => assert_eq!(kms.decrypt(blob, &[]).unwrap().as_slice(), id.as_bytes()),
        }
    }
    assert_eq!(shown(&kms), 10);
}
