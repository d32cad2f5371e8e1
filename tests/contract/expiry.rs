//! Imported material that expires: refused from that instant on, erased after two confirmations of the date.

use kms::{KeyState, ManualClock, Result, Status, Time, health::EventKind};

use super::imported::*;
use super::support::*;

fn at(ms: i64) -> Option<Time> {
    Some(Time::from_millis(T0 + ms))
}

/// Each use of a key that expires, named first; then a ciphertext of its, another key, and one of that.
type Use = (&'static str, fn(&TestKeystore, &str, &[u8], &str, &[u8]) -> Result<()>);

// None of them changes the keystore: a change would make every thread read the keystore again.
const USES: [Use; 6] = [
    ("Encrypt", |kms, id, _, _, _| kms.encrypt(id, b"x", &[]).map(drop)),
    ("Decrypt", |kms, _, blob, _, _| kms.decrypt(blob, &[]).map(drop)),
    ("GenerateDataKey", |kms, id, _, _, _| kms.generate_data_key(id, 32, &[]).map(drop)),
    ("GenerateDataKeyWithoutPlaintext", |kms, id, _, _, _| {
        kms.generate_data_key_without_plaintext(id, 32, &[]).map(drop)
    }),
    ("ReEncrypt, as source", |kms, _, blob, other, _| kms.reencrypt(blob, &[], Some(other.into()), &[]).map(drop)),
    ("ReEncrypt, as destination", |kms, id, _, _, other_blob| {
        kms.reencrypt(other_blob, &[], Some(id.into()), &[]).map(drop)
    }),
];

/// The uses that are not refused as PendingImport at the very instant at which the material expires.
fn still_good(warm: bool) -> Vec<&'static str> {
    let mut good = Vec::new();
    for (name, call) in USES {
        let (_folder, path) = place();
        let clock = ManualClock::at(T0);
        let first = open(&path, &clock, |o| o);
        let (id, other) = (first.external_key(), first.plain_key());
        first.import_raw_key_material(&id, &MATERIAL, at(DAY_MS)).unwrap();
        let blob = first.encrypt(&id, b"x", &[]).unwrap();
        let other_blob = first.encrypt(&other, b"x", &[]).unwrap();
        drop(first);
        let kms = open(&path, &clock, |o| o);
        kms.at(DAY_MS - 1);
        if warm {
            call(&kms, &id, &blob, &other, &other_blob).unwrap();
        }
        kms.at(DAY_MS);
        let got = call(&kms, &id, &blob, &other, &other_blob).err().map(|error| error.status());
        if got != Some(Status::RejectedPendingImport) {
            good.push(name);
        }
    }
    good
}

#[test]
fn expired_material_is_not_used_any_more_where_it_was_not_used_before() {
    assert_eq!(still_good(false), [""; 0]);
}

#[test]
fn expired_material_is_not_used_any_more_by_a_thread_that_has_just_used_it() {
    assert_eq!(still_good(true), [""; 0]);
}

#[test]
fn a_clock_that_is_corrected_before_the_material_is_erased_brings_the_key_back() {
    let kms = memory();
    let id = kms.external_key();
    kms.import_raw_key_material(&id, &MATERIAL, at(DAY_MS)).unwrap();
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    kms.at(2 * DAY_MS);
    kms.tick().unwrap();
    assert_eq!(kms.key(&id).state, KeyState::PendingImport);
    kms.at(DAY_MS / 2);
    assert_eq!(kms.key(&id).state, KeyState::Enabled);
    assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"x");
}

#[test]
fn expired_material_of_a_disabled_key_leaves_it_pending_import_and_of_a_deleted_one_pending_deletion() {
    let kms = memory();
    let (disabled, pending) = (kms.external_key(), kms.external_key());
    for id in [&disabled, &pending] {
        kms.import_raw_key_material(id, &MATERIAL, at(DAY_MS)).unwrap();
    }
    kms.disable_key(&disabled).unwrap();
    kms.schedule_key_deletion(&pending, 30).unwrap();
    let date = kms.key(&pending).delete_date().unwrap();
    let check = |when: &str| {
        assert_eq!(kms.key(&disabled).state, KeyState::PendingImport, "{when}");
        let key = kms.key(&pending);
        assert_eq!((key.state, key.delete_date().unwrap()), (KeyState::PendingDeletion, date), "{when}");
        assert_eq!(refused(kms.enable_key(&disabled)), Status::StateModifiedFailed, "{when}");
    };
    kms.at(DAY_MS);
    check("at once");
    kms.tick().unwrap();
    kms.at(DAY_MS + HOUR_MS);
    kms.tick().unwrap();
    check("erased");
    assert_eq!(kms.events(EventKind::MaterialExpired).len(), 2);
    kms.cancel_key_deletion(&pending).unwrap();
    assert_eq!(kms.key(&pending).state, KeyState::PendingImport);
}

/// A clock that is ahead while the deletion is cancelled must not cost the key its material.
#[test]
fn a_cancelled_deletion_returns_the_material_once_the_clock_is_corrected() {
    let kms = memory();
    let id = kms.external_key();
    kms.import_raw_key_material(&id, &MATERIAL, at(10 * DAY_MS)).unwrap();
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    kms.schedule_key_deletion(&id, 30).unwrap();
    kms.at(20 * DAY_MS);
    kms.tick().unwrap();
    kms.cancel_key_deletion(&id).unwrap();
    assert_eq!(kms.key(&id).state, KeyState::PendingImport);
    kms.at(DAY_MS);
    kms.tick().unwrap();
    assert_eq!(kms.key(&id).state, KeyState::Enabled);
    assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"x");
    kms.disable_key(&id).unwrap();
}

#[test]
fn expired_material_is_refused_at_once_and_erased_after_two_confirmations() {
    let kms = memory();
    let id = kms.external_key();
    kms.import_raw_key_material(&id, &MATERIAL, at(DAY_MS)).unwrap();
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    kms.at(DAY_MS - 1);
    kms.decrypt(&blob, &[]).unwrap();
    kms.at(DAY_MS);
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::RejectedPendingImport, "at once, without a tick");
    assert_eq!(refused(kms.encrypt(&id, b"x", &[])), Status::RejectedPendingImport);
    assert_eq!(refused(kms.generate_data_key(&id, 32, &[])), Status::RejectedPendingImport);
    kms.tick().unwrap();
    kms.at(DAY_MS + HOUR_MS - 1);
    kms.tick().unwrap();
    assert!(kms.events(EventKind::MaterialExpired).is_empty(), "seen twice, but not an hour apart");
    kms.at(DAY_MS + HOUR_MS);
    kms.tick().unwrap();
    let events = kms.events(EventKind::MaterialExpired);
    assert_eq!((events.len(), events[0].key.unwrap().to_string()), (1, id.clone()));
    assert_eq!(kms.key(&id).state, KeyState::PendingImport);
    kms.import_raw_key_material(&id, &MATERIAL, None).unwrap();
    assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"x");
}

#[test]
fn one_look_sees_both_dates_of_a_key() {
    let kms = memory();
    let id = kms.external_key();
    kms.import_raw_key_material(&id, &MATERIAL, at(6 * DAY_MS)).unwrap();
    kms.schedule_key_deletion(&id, 7).unwrap();
    kms.at(6 * DAY_MS);
    kms.tick().unwrap();
    assert!(kms.events(EventKind::MaterialExpired).is_empty(), "expiry seen once");
    kms.at(7 * DAY_MS);
    kms.tick().unwrap();
    assert_eq!(kms.events(EventKind::DeletionDue).len(), 1, "deletion seen once");
    assert_eq!(kms.events(EventKind::MaterialExpired).len(), 1, "and the expiry, by the same look, a second time");
}

#[test]
fn a_clock_that_was_ahead_erases_no_material() {
    let kms = memory();
    let id = kms.external_key();
    kms.import_raw_key_material(&id, &MATERIAL, at(10 * DAY_MS)).unwrap();
    for ms in [20 * DAY_MS, DAY_MS, 20 * DAY_MS + 2 * HOUR_MS, 2 * DAY_MS] {
        kms.at(ms);
        kms.tick().unwrap();
    }
    assert!(kms.events(EventKind::MaterialExpired).is_empty());
    kms.encrypt(&id, b"x", &[]).unwrap();
    assert_eq!(kms.key(&id).state, KeyState::Enabled);
}

#[test]
fn importing_again_changes_or_resets_the_expiry() {
    let kms = memory();
    let id = kms.external_key();
    kms.import_raw_key_material(&id, &MATERIAL, at(DAY_MS)).unwrap();
    kms.import_raw_key_material(&id, &MATERIAL, at(2 * DAY_MS)).unwrap();
    kms.at(DAY_MS);
    kms.encrypt(&id, b"x", &[]).unwrap();
    kms.import_raw_key_material(&id, &MATERIAL, None).unwrap();
    for ms in [2 * DAY_MS, 3 * DAY_MS, 4000 * DAY_MS] {
        kms.at(ms);
        kms.tick().unwrap();
        kms.encrypt(&id, b"x", &[]).unwrap();
    }
}

/// Milliseconds in the place of seconds are the year 58,961.
#[test]
fn an_expiry_after_the_year_9999_is_an_invalid_argument() {
    let kms = memory();
    let id = kms.external_key();
    let last = 253_402_300_799;
    let import = |seconds: i64| {
        let expires = Some(Time::from_millis(0).plus_seconds(seconds));
        let text = format!(
            r#"{{"KeyId": "{id}", "KeyMaterial": "{}", "KeyMaterialExpireUnix": {seconds}}}"#,
            "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE="
        );
        (
            kms.import_raw_key_material(&id, &MATERIAL, expires).map_err(|e| e.status()),
            kms.call("ImportRawKeyMaterial", &text).map(drop).map_err(|e| e.error.status()),
        )
    };
    for seconds in [1_800_000_000_000, last + 1, i64::MAX / 1000, i64::MAX] {
        let refused = Err(Status::InvalidArgument);
        assert_eq!(import(seconds), (refused, refused), "{seconds}");
    }
    assert_eq!(kms.key(&id).state, KeyState::PendingImport);
    assert_eq!(import(last).0, Ok(()));
    let shown = kms.call("DescribeKey", &format!(r#"{{"KeyId": "{id}"}}"#)).unwrap();
    assert!(shown.contains("9999-12-31T23:59:59Z"), "{shown}");
    kms.clock.set(i64::MAX);
    let shown = kms.call("CreateKey", "{}").unwrap();
    assert!(shown.contains(r#""CreationDate":"9999-12-31T23:59:59Z""#), "{shown}");
}

#[test]
fn an_expiry_in_the_past_is_an_invalid_argument() {
    let kms = memory();
    let id = kms.external_key();
    kms.at(DAY_MS);
    for ms in [DAY_MS - 1000, 0, -T0] {
        assert_eq!(refused(kms.import_raw_key_material(&id, &MATERIAL, at(ms))), Status::InvalidArgument, "{ms}");
    }
    assert_eq!(kms.key(&id).state, KeyState::PendingImport);
}
