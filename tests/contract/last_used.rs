//! The days on which versions were last used: written by a pass or at close, and never by a reader.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kms::{CreateKey, Keystore, ManualClock, Options, Time};

use super::support::*;

/// The start of the day, `days` after the first.
fn day(days: i64) -> Option<Time> {
    Some(Time::from_millis((T0 / DAY_MS + days) * DAY_MS))
}

fn dates(kms: &TestKeystore, id: &str, version: &str) -> (Option<Time>, Option<Time>) {
    let found = kms.describe_key_version(id, version).unwrap();
    (found.last_encrypt_date, found.last_decrypt_date)
}

#[test]
fn a_pass_stores_the_day_of_each_use() {
    let kms = memory();
    let (id, old, blob) = rotated(&kms);
    kms.tick().unwrap();
    assert_eq!(dates(&kms, &id, &old), (day(0), None));
    for days in [1, 2, 5] {
        kms.at(days * DAY_MS);
        kms.tick().unwrap();
        kms.decrypt(&blob, &[]).unwrap();
        kms.tick().unwrap();
        assert_eq!(dates(&kms, &id, &old), (day(0), day(days)));
    }
    assert_eq!(dates(&kms, &id, &kms.primary(&id).to_string()), (None, None), "only rotated to");
}

#[test]
fn the_dates_of_a_short_program_are_stored_when_it_closes_the_keystore() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    let (id, old, blob) = rotated(&open(&path, &clock, |options| options));
    clock.set(T0 + 3 * DAY_MS);
    open(&path, &clock, |options| options).decrypt(&blob, &[]).unwrap();
    assert_eq!(dates(&open(&path, &clock, |options| options), &id, &old), (day(0), day(3)));
}

#[test]
fn without_thread_and_passes_a_use_counts_for_its_day() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    let kms = open(&path, &clock, |options| options);
    let (id, old, blob) = rotated(&kms);
    kms.decrypt(&blob, &[]).unwrap();
    clock.set(T0 + 9 * DAY_MS);
    // A call reads the clock once a second.
    std::thread::sleep(Duration::from_millis(1200));
    kms.decrypt(&blob, &[]).unwrap();
    drop(kms);
    assert_eq!(dates(&open(&path, &clock, |options| options), &id, &old), (day(0), day(9)));
}

/// Shows T0 until it is broken.
struct Breaking(Arc<AtomicBool>);

impl kms::Clock for Breaking {
    fn wall(&self) -> Time {
        assert!(!self.0.load(Ordering::Relaxed), "the clock is broken");
        Time::from_millis(T0)
    }
}

#[test]
fn a_clock_that_panics_at_close_ends_nothing_else() {
    let broken = Arc::new(AtomicBool::new(false));
    let options = Options::new().root_key(&ROOT).clock(Breaking(broken.clone()));
    let kms = Keystore::open("memory:", &options).unwrap();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    kms.encrypt(key, b"x", &[]).unwrap();
    broken.store(true, Ordering::Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(kms))).is_ok());
}

#[test]
fn a_reader_changes_no_byte() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    let (_, _, blob) = rotated(&open(&path, &clock, |options| options));
    let before = std::fs::read(&path).unwrap();
    clock.set(T0 + DAY_MS);
    let reader = try_open(&path, &clock, |options| options.create(false).read_only(true)).unwrap();
    reader.decrypt(&blob, &[]).unwrap();
    reader.tick().unwrap();
    drop(reader);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
