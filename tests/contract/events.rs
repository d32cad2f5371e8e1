//! The events of a keystore, and the counters that agree with them.

use std::sync::{Arc, Mutex, OnceLock};

use kms::{Keystore, ManualClock, Options, health::EventKind};

use super::support::*;

#[test]
fn every_rotation_is_told_with_its_key_version_and_time() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    kms.at(DAY_MS);
    kms.tick().unwrap();
    let by_tick = kms.primary(&id);
    kms.at(2 * DAY_MS);
    let by_use = kms.sealed_under(&id);
    kms.at(2 * DAY_MS + 5);
    let by_hand = kms.rotate(&id).unwrap();
    let told: Vec<_> = kms.events(EventKind::Rotated);
    let versions: Vec<_> = told.iter().map(|event| event.version.unwrap()).collect();
    assert_eq!(versions, [by_tick, by_use, by_hand]);
    let times: Vec<_> = told.iter().map(|event| event.time.millis() - T0).collect();
    assert_eq!(times, [DAY_MS, 2 * DAY_MS, 2 * DAY_MS + 5]);
    assert!(told.iter().all(|event| event.key.unwrap().to_string() == id && event.status.is_none()));
}

#[test]
fn a_rotation_set_off_by_a_policy_or_a_state_is_told() {
    let kms = memory();
    let id = kms.plain_key();
    kms.at(10 * DAY_MS);
    kms.update_rotation_policy(&id, Some(seconds(DAY))).unwrap();
    kms.disable_key(&id).unwrap();
    kms.at(20 * DAY_MS);
    kms.enable_key(&id).unwrap();
    kms.schedule_key_deletion(&id, 30).unwrap();
    kms.at(30 * DAY_MS);
    kms.cancel_key_deletion(&id).unwrap();
    assert_eq!(kms.events(EventKind::Rotated).len(), 3);
    assert_eq!(kms.key(&id).version_count(), 4);
}

#[test]
fn the_counters_count_what_happened() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    let doomed = kms.plain_key();
    kms.schedule_key_deletion(&doomed, 7).unwrap();
    let health = kms.health().unwrap();
    assert_eq!((health.rotations, health.rotation_failures, health.keys_destroyed), (0, 0, 0));
    assert!(health.no_rotation_thread, "a manual clock turns the thread off");
    assert!(!health.read_only && !health.rotation_failing);
    for day in 1..=9 {
        kms.at(day * DAY_MS);
        kms.tick().unwrap();
    }
    let health = kms.health().unwrap();
    assert_eq!((health.rotations, health.rotation_failures, health.keys_destroyed), (9, 0, 1));
    assert_eq!(kms.key(&id).version_count(), 10);
}

#[test]
fn the_generation_grows_by_one_with_every_write_and_not_with_reads() {
    let kms = memory();
    let generation = || kms.health().unwrap().generation;
    let mut last = generation();
    let mut step = |what: &str, by: u64| {
        assert_eq!(generation(), last.wrapping_add(by), "{what}");
        last = generation();
    };
    let id = kms.plain_key();
    step("create", 1);
    kms.rotate(&id).unwrap();
    step("rotate", 1);
    kms.disable_key(&id).unwrap();
    step("disable", 1);
    kms.enable_key(&id).unwrap();
    step("enable", 1);
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    kms.decrypt(&blob, &[]).unwrap();
    kms.inspect(&blob).unwrap();
    kms.key(&id);
    kms.versions(&id);
    step("reading and encrypting", 0);
    kms.tick().unwrap();
    step("the dates of the first uses of a day", 1);
    kms.decrypt(&blob, &[]).unwrap();
    kms.tick().unwrap();
    step("an idle tick", 0);
}

#[test]
fn a_handler_may_call_the_keystore() {
    let clock = ManualClock::at(T0);
    let (slot, seen) = (Arc::new(OnceLock::<Arc<Keystore>>::new()), Arc::new(Mutex::new(Vec::new())));
    let (in_slot, in_seen) = (slot.clone(), seen.clone());
    let options = Options::new().root_key(&ROOT).create(true).clock(clock.clone()).on_event(move |event| {
        let kms = in_slot.get().unwrap();
        let id = event.key.unwrap().to_string();
        let blob = kms.encrypt(&id, b"from the handler", &[]).unwrap();
        kms.decrypt(&blob, &[]).unwrap();
        in_seen.lock().unwrap().push((kms.inspect(&blob).unwrap().version, event.version.unwrap()));
        kms.create_key(&kms::CreateKey::default()).unwrap();
    });
    let kms = Arc::new(Keystore::open("memory:", &options).unwrap());
    slot.set(kms.clone()).ok().unwrap();
    let request = kms::CreateKey { rotate_every: Some(seconds(DAY)), ..Default::default() };
    let id = kms.create_key(&request).unwrap().to_string();
    clock.advance_seconds(DAY);
    kms.tick().unwrap();
    clock.advance_seconds(DAY);
    kms.encrypt(&id, b"x", &[]).unwrap();
    kms.rotate(&id).unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|(used, told)| used == told), "when it is told, the new version is in use");
}
