//! Several handles on one file: one winner per rotation, and a change is seen on the other's next call.

use std::collections::HashSet;
use std::sync::Barrier;

use kms::{KeyState, ManualClock, Status};

use super::support::*;

#[test]
fn many_handles_that_find_a_key_due_make_exactly_one_version() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    let handles = [open(&path, &clock, |o| o), open(&path, &clock, |o| o)];
    let id = handles[0].rotating_key(DAY);
    let mut blobs = Vec::new();
    for round in 1..=15u64 {
        clock.set(T0 + round as i64 * DAY_MS);
        let barrier = Barrier::new(8);
        let sealed: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|number| {
                    let (kms, id, barrier) = (&handles[number % 2], &id, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        if number % 4 < 2 {
                            kms.tick().unwrap();
                        }
                        kms.encrypt(id, b"x", &[]).unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for kms in &handles {
            assert_eq!(kms.key(&id).version_count(), round + 1, "round {round}: exactly one new version");
        }
        let used: HashSet<_> = sealed.iter().map(|blob| handles[0].inspect(blob).unwrap().version).collect();
        assert_eq!(used, HashSet::from([handles[0].primary(&id)]), "round {round}: the old primary sealed a message");
        blobs.extend(sealed);
    }
    for blob in &blobs {
        assert!(handles.iter().all(|kms| kms.decrypt(blob, &[]).unwrap().as_slice() == b"x"));
    }
    let rotations: u64 = handles.iter().map(|kms| kms.health().unwrap().rotations).sum();
    assert_eq!(rotations, 15, "what the handles counted is what happened");
}

#[test]
fn many_handles_share_a_batch_of_due_keys_without_rotating_one_twice() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    let handles: Vec<_> = (0..3).map(|_| open(&path, &clock, |o| o)).collect();
    let ids: Vec<_> = (0..60).map(|_| handles[0].rotating_key(DAY)).collect();
    clock.set(T0 + 2 * DAY_MS);
    let rotated: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = handles.iter().map(|kms| scope.spawn(|| kms.tick().unwrap().rotated)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(rotated, 60);
    assert!(ids.iter().all(|id| handles[1].key(id).version_count() == 2));
}

#[test]
fn manual_rotations_of_many_threads_all_count() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    let handles = [open(&path, &clock, |o| o), open(&path, &clock, |o| o)];
    let id = handles[0].plain_key();
    let made: HashSet<_> = std::thread::scope(|scope| {
        let id = &id;
        let rotate = move |kms: &TestKeystore| (0..10).map(|_| kms.rotate(id).unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = handles.iter().chain(&handles).map(|kms| scope.spawn(move || rotate(kms))).collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(made.len(), 40);
    let listed: Vec<_> = handles[1].versions(&id);
    assert_eq!(listed.len(), 41);
    assert!(made.iter().all(|version| listed.iter().any(|v| v.id == *version)));
}

#[test]
fn a_change_by_one_handle_is_seen_on_the_next_call_of_another() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    let (one, two) = (open(&path, &clock, |o| o), open(&path, &clock, |o| o));
    let id = one.plain_key();
    let blob = two.encrypt(&id, b"x", &[]).unwrap();
    for _ in 0..20 {
        let version = one.rotate(&id).unwrap();
        assert_eq!(two.sealed_under(&id), version, "the next call already uses the new primary");
        let by_one = one.encrypt(&id, b"new", &[]).unwrap();
        assert_eq!(two.decrypt(&by_one, &[]).unwrap().as_slice(), b"new");
        assert!(!two.inspect(&blob).unwrap().is_primary);
    }
    one.disable_key(&id).unwrap();
    assert_eq!(refused(two.encrypt(&id, b"x", &[])), Status::RejectedDisabled);
    assert_eq!(refused(two.decrypt(&blob, &[])), Status::RejectedDisabled);
    two.enable_key(&id).unwrap();
    assert_eq!(one.decrypt(&blob, &[]).unwrap().as_slice(), b"x");
    one.schedule_key_deletion(&id, 7).unwrap();
    assert_eq!(two.key(&id).state, KeyState::PendingDeletion);
    assert_eq!(refused(two.decrypt(&blob, &[])), Status::RejectedPendingDeletion);
    clock.set(T0 + 8 * DAY_MS);
    one.tick().unwrap();
    clock.set(T0 + 9 * DAY_MS);
    one.tick().unwrap();
    assert_eq!(refused(two.decrypt(&blob, &[])), Status::KeyNotFound, "a key destroyed there is gone here");
    assert_eq!(refused(two.describe_key(&id)), Status::KeyNotFound);
}

#[test]
fn two_looks_by_two_handles_are_two_confirmations() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    let (one, two) = (open(&path, &clock, |o| o), open(&path, &clock, |o| o));
    let id = one.plain_key();
    one.schedule_key_deletion(&id, 7).unwrap();
    clock.set(T0 + 7 * DAY_MS);
    assert_eq!(one.tick().unwrap().destroyed + two.tick().unwrap().destroyed, 0, "no hour has passed");
    clock.set(T0 + 7 * DAY_MS + HOUR_MS);
    assert_eq!(one.tick().unwrap().destroyed + two.tick().unwrap().destroyed, 1);
}

#[test]
fn keystores_in_memory_share_nothing() {
    let (one, two) = (memory(), memory());
    let id = one.plain_key();
    assert_eq!(refused(two.describe_key(&id)), Status::KeyNotFound);
}
