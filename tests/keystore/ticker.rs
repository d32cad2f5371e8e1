//! The rotation clock: punctual, quick to close, and no burden on callers.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kms::{Keystore, ManualClock, Options, health::EventKind};

use crate::folder::{Folder, ROOT, new_key, quiet, scaled, versions};
use crate::worker::Worker;

const START_MS: i64 = 1_900_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn with_thread() -> Options {
    Options::new().root_key(&ROOT)
}

#[test]
fn a_due_key_rotates_on_time() {
    let folder = Folder::new();
    let latest = Arc::new(AtomicI64::new(0));
    let count = Arc::new(AtomicUsize::new(0));
    let (seen, counted) = (Arc::clone(&latest), Arc::clone(&count));
    let options = with_thread().create(true).on_event(move |event| {
        if event.kind == EventKind::Rotated {
            seen.fetch_max(event.time.millis(), Ordering::SeqCst);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let kms = Keystore::open(&folder.store(), &options).unwrap();
    let mut keys = Vec::new();
    for _ in 0..5 {
        keys.push(new_key(&kms, Some(1)));
        std::thread::sleep(Duration::from_millis(137));
    }
    std::thread::sleep(Duration::from_millis(3300));
    let mut worst = 0;
    for key in &keys {
        let mut dates = Vec::new();
        kms.list_key_versions(key, None, 100, |version, _| {
            dates.push(version.created.millis());
            true
        })
        .unwrap();
        assert!(dates.len() >= 4, "a key due every second has {} versions after 3.3 s", dates.len());
        worst = dates.windows(2).map(|pair| pair[0] - pair[1] - 1000).fold(worst, i64::max);
    }
    println!("latest rotation: {worst} ms after it was due");
    assert!((0..1000).contains(&worst), "a rotation was {worst} ms late");
    assert!(count.load(Ordering::SeqCst) >= 15);
}

#[test]
fn close_is_quick() {
    let folder = Folder::new();
    let key = new_key(&folder.create(), Some(1));
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let kms = Keystore::open(&folder.store(), &with_thread()).unwrap();
        let started = Instant::now();
        drop(kms);
        slowest = slowest.max(started.elapsed());
    }
    std::thread::sleep(Duration::from_millis(1100));
    // The thread has something due, and can't do it.
    let mut holder = Worker::start("hold", &[&folder.store(), "BEGIN IMMEDIATE"]);
    assert_eq!(holder.hear(), "held");
    let kms = Keystore::open(&folder.store(), &with_thread()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    kms.encrypt(&key, b"x", &[]).unwrap();
    let started = Instant::now();
    drop(kms);
    let held_up = started.elapsed();
    println!("close: {slowest:?}; while another process holds the lock: {held_up:?}");
    assert!(slowest.max(held_up) < Duration::from_secs(1), "close took {slowest:?}, {held_up:?}");
}

/// A keystore of `count` keys that are due every hour, and the clock that its tests move.
fn many_keys(folder: &Folder, count: usize) -> (ManualClock, String) {
    let clock = ManualClock::at(START_MS);
    let kms = Keystore::open(&folder.store(), &quiet().create(true).clock(clock.clone())).unwrap();
    let first = new_key(&kms, Some(3600));
    for _ in 1..count {
        new_key(&kms, Some(3600));
    }
    (clock, first)
}

#[test]
fn many_due_keys_do_not_hold_up_encryption() {
    let folder = Folder::without_a_disk();
    let count = scaled(3000);
    let (clock, key) = many_keys(&folder, count);
    let kms = Keystore::open(&folder.store(), &with_thread().clock(clock.clone()).rotation_thread(true)).unwrap();
    kms.encrypt(&key, b"x", &[]).unwrap();
    clock.set(START_MS + HOUR_MS);
    let started = Instant::now();
    let (mut calls, mut slowest) = (0, Duration::ZERO);
    let mut rotated_after = None;
    while rotated_after.is_none() && started.elapsed() < Duration::from_secs(30) {
        let call = Instant::now();
        kms.encrypt(&key, b"x", &[]).unwrap();
        slowest = slowest.max(call.elapsed());
        calls += 1;
        if calls % 100 == 0 && kms.health().unwrap().rotations >= count as u64 {
            rotated_after = Some(started.elapsed());
        }
    }
    let took = rotated_after.expect("the thread did not get through what was due");
    println!(
        "{count} rotations by the thread in {took:?} ({:.0}/s) beside {calls} encryptions, the slowest {slowest:?}",
        count as f64 / took.as_secs_f64()
    );
    assert!(slowest < Duration::from_millis(500), "an encryption waited {slowest:?}");
    assert_eq!(versions(&kms, &key).len(), 2);
}

#[test]
fn a_storm_of_rotations_goes_through_in_batches() {
    let folder = Folder::without_a_disk();
    let count = scaled(3000);
    let (clock, key) = many_keys(&folder, count);
    let kms = Keystore::open(&folder.store(), &quiet().clock(clock.clone())).unwrap();
    // Ten intervals missed: one rotation, never a burst.
    clock.set(START_MS + 10 * HOUR_MS);
    let started = Instant::now();
    assert_eq!(kms.tick().unwrap().rotated, count);
    let took = started.elapsed();
    println!("{count} rotations by kms_tick in {took:?}: {:.0}/s", count as f64 / took.as_secs_f64());
    assert_eq!(kms.tick().unwrap().rotated, 0);
    assert_eq!(versions(&kms, &key).len(), 2);
}

/// A clock that panics on the rotation thread once the test arms it.
struct Panicking(ManualClock, Arc<AtomicBool>);

impl kms::Clock for Panicking {
    fn wall(&self) -> kms::Time {
        let ours = std::thread::current().name() == Some("libkms");
        assert!(!(ours && self.1.load(Ordering::SeqCst)), "the clock panics, as this test wants");
        self.0.wall()
    }

    fn now(&self) -> kms::internal::Now {
        self.wall();
        self.0.now()
    }

    fn is_manual(&self) -> bool {
        true
    }
}

#[test]
fn a_panic_on_the_rotation_thread_poisons_the_handle_and_is_told() {
    let folder = Folder::new();
    let (clock, panics, told) =
        (ManualClock::at(START_MS), Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(vec![])));
    let keep = told.clone();
    let options = with_thread().create(true).clock(Panicking(clock.clone(), panics.clone())).rotation_thread(true);
    let kms =
        Keystore::open(&folder.store(), &options.on_event(move |event| keep.lock().unwrap().push(event.kind))).unwrap();
    let key = new_key(&kms, Some(3600));
    clock.set(START_MS + HOUR_MS);
    let started = Instant::now();
    while kms.describe_key(&key).unwrap().version_count() < 2 {
        assert!(started.elapsed() < Duration::from_secs(5), "the thread doesn't rotate");
        std::thread::sleep(Duration::from_millis(5));
    }
    panics.store(true, Ordering::SeqCst);
    let found = loop {
        match kms.encrypt(&key, b"x", &[]) {
            Err(error) => break error.status(),
            Ok(_) => assert!(started.elapsed() < Duration::from_secs(10), "silence after a panic of the thread"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(found, kms::Status::Poisoned);
    drop(kms);
    assert_eq!(told.lock().unwrap().last(), Some(&EventKind::ThreadStopped));
    assert_eq!(versions(&folder.open(), &key).len(), 2, "the rotation before the panic is lost");
}
