//! A version that is not the primary may be disabled, enabled, scheduled for deletion and destroyed; nothing else may.

use kms::{KeyState, Result, Status, VersionState, health::EventKind};

use super::support::*;

type Call = fn(&TestKeystore, &str, &str) -> Result<()>;
const CALLS: [(&str, Call); 4] = [
    ("disable", |kms, key, version| kms.disable_key_version(key, version)),
    ("enable", |kms, key, version| kms.enable_key_version(key, version)),
    ("schedule", |kms, key, version| kms.schedule_key_version_deletion(key, version, 7)),
    ("cancel", |kms, key, version| kms.cancel_key_version_deletion(key, version)),
];

fn state(kms: &TestKeystore, key: &str, version: &str) -> VersionState {
    kms.describe_key_version(key, version).unwrap().state
}

#[test]
fn a_disabled_version_decrypts_nothing_until_it_is_enabled() {
    let kms = memory();
    let (id, old, blob) = rotated(&kms);
    let new = kms.encrypt(&id, b"new", &[]).unwrap();
    for _ in 0..2 {
        kms.disable_key_version(&id, &old).unwrap();
        assert_eq!(state(&kms, &id, &old), VersionState::Disabled);
        let error = kms.decrypt(&blob, &[]).unwrap_err();
        assert_eq!(error.status(), Status::KeyVersionDisabled);
        assert_eq!(error.text(), format!("version {old} of key {id} is Disabled; enable it first"));
        assert_eq!(&*kms.decrypt(&new, &[]).unwrap(), b"new", "the primary still decrypts");
        kms.enable_key_version(&id, &old).unwrap();
        assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"old");
    }
}

#[test]
fn every_call_that_decrypts_is_refused_under_a_disabled_version() {
    let kms = memory();
    let (id, old, blob) = rotated(&kms);
    let other = kms.plain_key();
    let data_key = {
        let (_, data_key) = kms.generate_data_key(&other, 32, &[]).unwrap();
        data_key
    };
    let first = kms.primary(&other).to_string();
    kms.rotate(&other).unwrap();
    kms.disable_key_version(&id, &old).unwrap();
    kms.disable_key_version(&other, &first).unwrap();
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::KeyVersionDisabled);
    assert_eq!(refused(kms.reencrypt(&blob, &[], None, &[])), Status::KeyVersionDisabled);
    assert_eq!(refused(kms.reencrypt(&blob, &[], Some((&other).into()), &[])), Status::KeyVersionDisabled);
    assert_eq!(refused(kms.decrypt(&data_key, &[])), Status::KeyVersionDisabled);
    assert!(!kms.inspect(&blob).unwrap().is_primary, "inspecting needs no material");
}

#[test]
fn the_primary_can_be_neither_disabled_nor_deleted() {
    let kms = memory();
    let (id, _, _) = rotated(&kms);
    let primary = kms.primary(&id).to_string();
    assert_eq!(refused(kms.disable_key_version(&id, &primary)), Status::StateModifiedFailed);
    assert_eq!(refused(kms.schedule_key_version_deletion(&id, &primary, 7)), Status::StateModifiedFailed);
    kms.enable_key_version(&id, &primary).unwrap();
}

#[test]
fn only_a_disabled_version_can_be_scheduled_and_a_cancelled_one_stays_disabled() {
    let kms = memory();
    let (id, old, blob) = rotated(&kms);
    assert_eq!(refused(kms.schedule_key_version_deletion(&id, &old, 7)), Status::StateModifiedFailed);
    kms.disable_key_version(&id, &old).unwrap();
    for days in [i32::MIN, 0, 6, 367, i32::MAX] {
        assert_eq!(refused(kms.schedule_key_version_deletion(&id, &old, days)), Status::InvalidArgument);
    }
    kms.schedule_key_version_deletion(&id, &old, 7).unwrap();
    let found = kms.describe_key_version(&id, &old).unwrap();
    assert_eq!((found.state, found.delete_date.unwrap().millis()), (VersionState::PendingDeletion, T0 + 7 * DAY_MS));
    for call in [0, 1, 2] {
        assert_eq!(refused(CALLS[call].1(&kms, &id, &old)), Status::StateModifiedFailed, "{}", CALLS[call].0);
    }
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::KeyVersionDisabled);
    kms.cancel_key_version_deletion(&id, &old).unwrap();
    let found = kms.describe_key_version(&id, &old).unwrap();
    assert_eq!((found.state, found.delete_date), (VersionState::Disabled, None));
    assert_eq!(refused(kms.cancel_key_version_deletion(&id, &old)), Status::StateModifiedFailed);
}

#[test]
fn a_version_is_destroyed_after_its_period_and_two_confirmations() {
    let kms = memory();
    let (id, old, blob) = rotated(&kms);
    kms.disable_key_version(&id, &old).unwrap();
    kms.schedule_key_version_deletion(&id, &old, 7).unwrap();
    kms.at(7 * DAY_MS - 1);
    assert_eq!(kms.tick().unwrap().versions_destroyed, 0);
    for ms in [0, 1, HOUR_MS - 1] {
        kms.at(7 * DAY_MS + ms);
        assert_eq!(kms.tick().unwrap().versions_destroyed, 0, "{ms} ms after the first confirmation");
    }
    let due = kms.events(EventKind::VersionDeletionDue);
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].key.unwrap().to_string(), due[0].version.unwrap().to_string()), (id.clone(), old.clone()));
    kms.at(7 * DAY_MS + HOUR_MS);
    assert_eq!(kms.tick().unwrap().versions_destroyed, 1);
    let gone = kms.events(EventKind::VersionDestroyed);
    assert_eq!(gone.len(), 1);
    assert_eq!((gone[0].key.unwrap().to_string(), gone[0].version.unwrap().to_string()), (id.clone(), old.clone()));
    assert_eq!(gone[0].waited_ms, 7 * DAY_MS + HOUR_MS, "the event has the counted time");
    assert_eq!(kms.health().unwrap().versions_destroyed, 1);
    assert_eq!(kms.health().unwrap().keys_destroyed, 0);
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::KeyVersionDestroyed);
    assert_eq!(refused(kms.reencrypt(&blob, &[], None, &[])), Status::KeyVersionDestroyed);
    for (name, call) in CALLS {
        assert_eq!(refused(call(&kms, &id, &old)), Status::KeyVersionDestroyed, "{name}");
    }
    assert!(kms.verify(|fault| panic!("{fault:?}")).is_ok());
}

#[test]
fn a_destroyed_version_keeps_its_number_and_its_id() {
    let kms = memory();
    let id = kms.plain_key();
    // More than the adjacent ones.
    for _ in 1..20 {
        kms.rotate(&id).unwrap();
    }
    let before = kms.versions(&id);
    for number in [1, 7, 18] {
        destroy_version(&kms, &id, &before[20 - number].id.to_string());
    }
    let after = kms.versions(&id);
    assert_eq!(after.len(), 20);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.id, before.number, before.created), (after.id, after.number, after.created));
        let gone = [1, 7, 18].contains(&after.number);
        assert_eq!(after.state == VersionState::Destroyed, gone, "version {}", after.number);
        assert_eq!(kms.describe_key_version(&id, &after.id.to_string()).unwrap(), *after);
    }
    let mut page = Vec::new();
    kms.list_key_versions(&id, Some(9), 3, |version, _| {
        page.push(version.number);
        true
    })
    .unwrap();
    assert_eq!(page, [8, 7, 6], "a page counts destroyed versions");
    kms.rotate(&id).unwrap();
    assert_eq!(kms.versions(&id)[0].number, 21, "numbers continue");
    assert!(kms.verify(|fault| panic!("{fault:?}")).is_ok());
}

#[test]
fn a_key_with_destroyed_versions_can_be_destroyed() {
    let kms = memory();
    let (id, old, _) = rotated(&kms);
    destroy_version(&kms, &id, &old);
    let now = kms.clock.millis() - T0;
    kms.schedule_key_deletion(&id, 7).unwrap();
    for ms in [0, HOUR_MS] {
        kms.at(now + 7 * DAY_MS + ms);
        kms.tick().unwrap();
    }
    assert_eq!(refused(kms.describe_key(&id)), Status::KeyNotFound);
    assert!(kms.verify(|fault| panic!("{fault:?}")).is_ok());
}

#[test]
fn the_state_of_the_key_comes_first() {
    let kms = memory();
    let (id, old, blob) = rotated(&kms);
    kms.disable_key_version(&id, &old).unwrap();
    kms.disable_key(&id).unwrap();
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::RejectedDisabled);
    kms.enable_key_version(&id, &old).unwrap();
    kms.disable_key_version(&id, &old).unwrap();
    kms.schedule_key_deletion(&id, 30).unwrap();
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::RejectedPendingDeletion);
    for (name, call) in CALLS {
        assert_eq!(refused(call(&kms, &id, &old)), Status::RejectedPendingDeletion, "{name}");
    }
    kms.cancel_key_deletion(&id).unwrap();
    assert_eq!(kms.key(&id).state, KeyState::Enabled);
    assert_eq!(state(&kms, &id, &old), VersionState::Disabled, "the version is as it was");
    destroy_version(&kms, &id, &old);
    kms.disable_key(&id).unwrap();
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::RejectedDisabled);
}

#[test]
fn a_disabled_key_keeps_no_version_from_its_deletion() {
    let kms = memory();
    let (id, old, blob) = rotated(&kms);
    kms.disable_key_version(&id, &old).unwrap();
    kms.schedule_key_version_deletion(&id, &old, 7).unwrap();
    kms.disable_key(&id).unwrap();
    for ms in [0, HOUR_MS] {
        kms.at(7 * DAY_MS + ms);
        kms.tick().unwrap();
    }
    kms.enable_key(&id).unwrap();
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::KeyVersionDestroyed);
}

#[test]
fn rotation_goes_on_beside_a_pending_version() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    let old = kms.primary(&id).to_string();
    kms.at(DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 1);
    kms.disable_key_version(&id, &old).unwrap();
    kms.schedule_key_version_deletion(&id, &old, 7).unwrap();
    for day in 2..9 {
        kms.at(day * DAY_MS);
        assert_eq!(kms.tick().unwrap().rotated, 1, "a due rotation waits for no count, day {day}");
    }
    kms.at(8 * DAY_MS + HOUR_MS);
    assert_eq!(kms.tick().unwrap().versions_destroyed, 1);
    assert_eq!(kms.versions(&id).len(), 9);
}

#[test]
fn keys_of_one_version_refuse_and_protection_protects_versions_too() {
    let kms = memory();
    let external = kms.external_key();
    kms.import_raw_key_material(&external, &[1; 32], None).unwrap();
    let service = kms.create_service_key("ledger").unwrap().to_string();
    for id in [&external, &service] {
        let version = kms.primary(id).to_string();
        for (name, call) in CALLS {
            assert_eq!(refused(call(&kms, id, &version)), Status::UnsupportedOperation, "{name}");
        }
    }
    let (id, old, _) = rotated(&kms);
    kms.set_deletion_protection(&id, Some("ledger")).unwrap();
    kms.disable_key_version(&id, &old).unwrap();
    assert_eq!(refused(kms.schedule_key_version_deletion(&id, &old, 7)), Status::DeletionProtected);
    kms.set_deletion_protection(&id, None).unwrap();
    kms.schedule_key_version_deletion(&id, &old, 7).unwrap();
}

#[test]
fn existence_is_checked_before_kind_and_state() {
    let kms = memory();
    let (id, old, _) = rotated(&kms);
    let unknown = "00000000-0000-4000-8000-000000000000";
    kms.create_alias(&id, "alias/orders").unwrap();
    for (name, call) in CALLS {
        assert_eq!(refused(call(&kms, unknown, &old)), Status::KeyNotFound, "{name}");
        assert_eq!(refused(call(&kms, &id, unknown)), Status::KeyVersionNotFound, "{name}");
        assert_eq!(refused(call(&kms, &id, "none")), Status::KeyVersionNotFound, "{name}");
        assert_eq!(refused(call(&kms, "alias/orders", &old)), Status::UnsupportedAlias, "{name}");
        assert_eq!(refused(call(&kms, "", &old)), Status::InvalidArgument, "{name}");
    }
}

#[test]
fn states_survive_reopening_and_a_backup() {
    let (folder, path) = place();
    let clock = kms::ManualClock::at(T0);
    let (id, old, blob) = {
        let kms = open(&path, &clock, |options| options);
        let made = rotated(&kms);
        kms.disable_key_version(&made.0, &made.1).unwrap();
        made
    };
    let copy = folder.path().join("copy.db").to_str().unwrap().to_owned();
    let kms = open(&path, &clock, |options| options);
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::KeyVersionDisabled);
    kms.backup(&copy).unwrap();
    kms.schedule_key_version_deletion(&id, &old, 7).unwrap();
    for ms in [0, HOUR_MS] {
        kms.at(7 * DAY_MS + ms);
        kms.tick().unwrap();
    }
    drop(kms);
    let kms = open(&path, &clock, |options| options);
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::KeyVersionDestroyed);
    let restored = open(&copy, &clock, |options| options);
    assert_eq!(state(&restored, &id, &old), VersionState::Disabled);
    restored.enable_key_version(&id, &old).unwrap();
    assert_eq!(&*restored.decrypt(&blob, &[]).unwrap(), b"old", "a backup brings a destroyed version back");
}
