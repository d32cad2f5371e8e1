//! The rotation thread: keys rotate by themselves, in real time or by a clock that jumps, and closing doesn't wait.

use std::time::{Duration, Instant};

use kms::{CreateKey, Keystore, ManualClock, Options, health::EventKind};

use super::support::*;
use super::unstorable::WriteLock;

fn with_thread(location: &str) -> Keystore {
    Keystore::open(location, &Options::new().root_key(&ROOT).create(true)).unwrap()
}

fn every_second(kms: &Keystore) -> String {
    let request = CreateKey { rotate_every: Some(seconds(1)), ..CreateKey::default() };
    kms.create_key(&request).unwrap().to_string()
}

#[test]
fn the_thread_rotates_a_key_that_nobody_uses() {
    let kms = with_thread("memory:");
    assert!(!kms.health().unwrap().no_rotation_thread);
    let id = every_second(&kms);
    let start = Instant::now();
    assert!(eventually(Duration::from_secs(30), || kms.describe_key(&id).unwrap().version_count() >= 4));
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(2500), "three rotations of 1 s took {waited:?}");
    let mut created = Vec::new();
    kms.list_key_versions(&id, None, usize::MAX, |version, _| {
        created.push(version.created.millis());
        true
    })
    .unwrap();
    assert!(created.windows(2).all(|pair| pair[0] - pair[1] >= 1000), "a version came early: {created:?}");
}

#[test]
fn encryption_goes_on_while_the_thread_rotates_and_every_blob_opens_later() {
    let (_folder, path) = place();
    let kms = with_thread(&path);
    let id = every_second(&kms);
    let blobs: Vec<_> = std::thread::scope(|scope| {
        let encrypt = || {
            let start = Instant::now();
            let mut blobs = Vec::new();
            while start.elapsed() < Duration::from_millis(3200) {
                let blob = kms.encrypt(&id, b"x", &[]).unwrap();
                kms.decrypt(&blob, &[]).unwrap();
                blobs.push(blob);
                std::thread::sleep(Duration::from_millis(5));
            }
            blobs
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(encrypt)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(kms.describe_key(&id).unwrap().version_count() >= 2);
    drop(kms);
    let later = with_thread(&path);
    for blob in &blobs {
        assert_eq!(later.decrypt(blob, &[]).unwrap().as_slice(), b"x");
    }
}

#[test]
fn a_key_made_due_sooner_wakes_the_thread() {
    let kms = with_thread("memory:");
    let id = kms.create_key(&CreateKey::default()).unwrap().to_string();
    std::thread::sleep(Duration::from_millis(300));
    kms.update_rotation_policy(&id, Some(seconds(1))).unwrap();
    assert!(eventually(Duration::from_secs(20), || kms.describe_key(&id).unwrap().version_count() >= 2));
}

#[test]
fn the_thread_notices_a_clock_that_jumps() {
    let kms = open("memory:", &ManualClock::at(T0), |options| options.rotation_thread(true));
    let id = kms.rotating_key(90 * DAY);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(kms.key(&id).version_count(), 1);
    kms.at(400 * DAY_MS);
    assert!(eventually(Duration::from_secs(20), || kms.key(&id).version_count() == 2));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(kms.key(&id).version_count(), 2, "one rotation, whatever was missed");
}

#[test]
fn the_thread_destroys_a_key_only_when_an_hour_lies_between_its_looks() {
    let kms = open("memory:", &ManualClock::at(T0), |options| options.rotation_thread(true));
    let id = kms.plain_key();
    kms.schedule_key_deletion(&id, 7).unwrap();
    kms.at(7 * DAY_MS);
    assert!(eventually(Duration::from_secs(20), || !kms.events(EventKind::DeletionDue).is_empty()));
    kms.at(7 * DAY_MS + HOUR_MS - 1);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(kms.key(&id).state, kms::KeyState::PendingDeletion);
    kms.at(7 * DAY_MS + HOUR_MS);
    assert!(eventually(Duration::from_secs(20), || kms.describe_key(&id).is_err()));
}

#[test]
fn closing_does_not_wait_for_the_next_rotation() {
    let kms = with_thread("memory:");
    let request = CreateKey { rotate_every: Some(seconds(DAY)), ..CreateKey::default() };
    kms.create_key(&request).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    drop(kms);
    // 100 ms are promised; the margin is for a busy machine.
    assert!(start.elapsed() < Duration::from_millis(1500), "closing took {:?}", start.elapsed());
}

#[test]
fn without_the_thread_nothing_happens_by_itself() {
    let options = Options::new().root_key(&ROOT).create(true).rotation_thread(false);
    let kms = Keystore::open("memory:", &options).unwrap();
    assert!(kms.health().unwrap().no_rotation_thread);
    let id = every_second(&kms);
    std::thread::sleep(Duration::from_millis(2200));
    assert_eq!(kms.describe_key(&id).unwrap().version_count(), 1);
    assert_eq!(kms.tick().unwrap().rotated, 1);
}

#[test]
fn two_handles_with_threads_rotate_once_per_interval() {
    let (_folder, path) = place();
    let handles = [with_thread(&path), with_thread(&path), with_thread(&path)];
    let id = every_second(&handles[0]);
    let enough = || handles[1].describe_key(&id).unwrap().version_count() >= 4;
    assert!(eventually(Duration::from_secs(30), enough));
    let mut created = Vec::new();
    handles[2]
        .list_key_versions(&id, None, usize::MAX, |version, _| {
            created.push(version.created.millis());
            true
        })
        .unwrap();
    assert!(created.windows(2).all(|pair| pair[0] - pair[1] >= 1000), "an interval rotated twice: {created:?}");
}

#[test]
fn a_locked_keystore_delays_the_thread_but_not_encryption() {
    let (_folder, path) = place();
    let told = Told::default();
    let keep = told.clone();
    let options = Options::new().root_key(&ROOT).create(true).busy_timeout(Duration::from_millis(1500));
    let options = options.on_event(move |event| keep.lock().unwrap().push(event.clone()));
    let kms = Keystore::open(&path, &options).unwrap();
    let id = every_second(&kms);
    kms.encrypt(&id, b"x", &[]).unwrap();
    let lock = WriteLock::take(&path);
    let stuck_at = kms.describe_key(&id).unwrap().version_count();
    let (start, mut slowest) = (Instant::now(), Duration::ZERO);
    let failed = || told.lock().unwrap().iter().any(|event| event.kind == EventKind::RotationFailed);
    while start.elapsed() < Duration::from_secs(4) || (!failed() && start.elapsed() < Duration::from_secs(20)) {
        let call = Instant::now();
        let blob = kms.encrypt(&id, b"x", &[]).expect("encryption goes on");
        kms.decrypt(&blob, &[]).expect("decryption goes on");
        slowest = slowest.max(call.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(failed(), "the failure is an event");
    assert!(kms.health().unwrap().rotation_failures > 0, "and a counter");
    assert_eq!(kms.describe_key(&id).unwrap().version_count(), stuck_at);
    assert!(slowest < Duration::from_millis(1000), "a call with a cached key waited {slowest:?} for the disk");
    drop(lock);
    let caught_up = || kms.describe_key(&id).unwrap().version_count() > stuck_at;
    assert!(eventually(Duration::from_secs(90), caught_up), "the thread retries");
    assert!(eventually(Duration::from_secs(90), || !kms.health().unwrap().rotation_failing));
}
