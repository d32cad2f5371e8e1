//! A wrong clock, back or forward, briefly or absurdly, must not make a schedule burst, lapse or hang.

use std::sync::mpsc;
use std::time::Duration;

use kms::health::EventKind;

use super::support::*;

#[test]
fn a_clock_stepped_back_rotates_nothing_early() {
    let kms = memory();
    let id = kms.rotating_key(10 * DAY);
    kms.at(8 * DAY_MS);
    kms.tick().unwrap();
    for day in [2, 3, 5, 9] {
        kms.at(day * DAY_MS);
        assert_eq!(kms.tick().unwrap().rotated, 0);
        kms.sealed_under(&id);
    }
    assert_eq!(kms.key(&id).version_count(), 1);
    kms.at(10 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 1, "the schedule is what it was");
}

#[test]
fn a_clock_wrong_only_for_a_while_rotates_nothing_early() {
    let kms = memory();
    let id = kms.rotating_key(10 * DAY);
    kms.at(-100 * DAY_MS);
    kms.tick().unwrap();
    kms.at(6 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 0, "the clock is right again, and Next is in four days");
    kms.sealed_under(&id);
    assert_eq!(kms.key(&id).version_count(), 1);
    kms.at(10 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 1);
}

#[test]
fn a_clock_stepped_forward_rotates_each_due_key_once() {
    let kms = memory();
    let keys: Vec<_> = (1..=50).map(|days| kms.rotating_key(days * DAY)).collect();
    kms.at(3650 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 50);
    assert_eq!(kms.tick().unwrap().rotated, 0);
    assert!(keys.iter().all(|id| kms.key(id).version_count() == 2));
}

#[test]
fn a_last_in_the_future_is_told_and_rotates_one_interval_after_it_was_noticed() {
    let kms = memory();
    kms.at(1000 * DAY_MS);
    let id = kms.rotating_key(10 * DAY);
    kms.at(0);
    assert_eq!(kms.tick().unwrap().rotated, 0, "nothing rotates early");
    let told = kms.events(EventKind::ClockSuspect);
    assert!(!told.is_empty(), "a Last in the future is an event");
    assert_eq!(told[0].key.unwrap().to_string(), id);
    assert_eq!(kms.key(&id).next_rotation().unwrap().millis(), T0 + 10 * DAY_MS, "when it will really rotate");
    kms.at(10 * DAY_MS - 1);
    assert_eq!(kms.tick().unwrap().rotated, 0);
    kms.at(10 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 1, "a glitch doesn't switch rotation off for years");
    let key = kms.key(&id);
    assert_eq!(key.last_rotation().unwrap().millis(), T0 + 10 * DAY_MS);
    assert_eq!(key.next_rotation().unwrap().millis(), T0 + 20 * DAY_MS, "and the schedule is sane again");
    kms.at(20 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 1);
}

#[test]
fn the_next_rotation_date_is_when_the_key_will_really_rotate() {
    let kms = memory();
    kms.at(1000 * DAY_MS);
    let id = kms.rotating_key(10 * DAY);
    let next = || kms.key(&id).next_rotation().unwrap().millis() - T0;
    assert_eq!(next(), 1010 * DAY_MS);
    kms.at(0);
    assert_eq!(next(), 10 * DAY_MS, "before anybody noticed");
    kms.tick().unwrap();
    kms.at(4 * DAY_MS);
    assert_eq!(next(), 10 * DAY_MS, "one interval after it was noticed");
    kms.at(11 * DAY_MS);
    assert_eq!(next(), 10 * DAY_MS, "overdue");
    kms.at(1001 * DAY_MS);
    assert_eq!(next(), 1010 * DAY_MS, "the first clock was right after all");
    kms.at(11 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 1);
    assert_eq!(next(), 21 * DAY_MS);
}

/// A key that a clock a hundred days behind has recorded; by the right clock it is overdue.
fn overdue_with_a_void_note(kms: &TestKeystore) -> String {
    let id = kms.rotating_key(10 * DAY);
    kms.at(-100 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 0);
    kms.at(11 * DAY_MS);
    id
}

#[test]
fn a_note_that_proves_void_does_not_hold_up_a_rotation_that_is_due() {
    let kms = memory();
    let id = overdue_with_a_void_note(&kms);
    assert_eq!(kms.tick().unwrap().rotated, 1, "the first look rotates");
    assert_eq!(kms.key(&id).version_count(), 2);

    let kms = memory();
    let id = overdue_with_a_void_note(&kms);
    let first = kms.primary(&id);
    assert_ne!(kms.sealed_under(&id), first, "encrypting under an overdue key rotates it first");

    let kms = memory();
    let id = overdue_with_a_void_note(&kms);
    kms.disable_key(&id).unwrap();
    kms.enable_key(&id).unwrap();
    assert_eq!(kms.key(&id).version_count(), 2, "an overdue key that becomes Enabled rotates at once");
}

#[test]
fn looking_again_does_not_postpone_a_key_whose_last_is_in_the_future() {
    let kms = memory();
    kms.at(1000 * DAY_MS);
    let id = kms.rotating_key(10 * DAY);
    for day in 0..10 {
        kms.at(day * DAY_MS);
        assert_eq!(kms.tick().unwrap().rotated, 0);
    }
    kms.at(10 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 1);
    assert_eq!(kms.key(&id).version_count(), 2);
}

#[test]
fn a_last_in_the_future_noticed_once_is_remembered_by_the_next_handle() {
    let (_folder, path) = place();
    let clock = kms::ManualClock::at(T0 + 1000 * DAY_MS);
    let first = open(&path, &clock, |o| o);
    let id = first.rotating_key(10 * DAY);
    first.at(0);
    first.tick().unwrap();
    drop(first);
    clock.set(T0 + 9 * DAY_MS);
    let second = open(&path, &clock, |o| o);
    assert_eq!(second.tick().unwrap().rotated, 0);
    second.at(10 * DAY_MS);
    assert_eq!(second.tick().unwrap().rotated, 1, "the time it was noticed is stored");
    assert_eq!(second.key(&id).version_count(), 2);
}

#[test]
fn a_program_that_only_encrypts_also_recovers_from_a_last_in_the_future() {
    let kms = memory();
    kms.at(1000 * DAY_MS);
    let id = kms.rotating_key(10 * DAY);
    for day in 0..=30 {
        kms.at(day * DAY_MS);
        kms.sealed_under(&id);
        assert!(day >= 10 || kms.key(&id).version_count() == 1, "day {day}: early");
    }
    assert!(!kms.events(EventKind::ClockSuspect).is_empty(), "a Last in the future is an event");
    assert!(kms.key(&id).version_count() >= 2, "a glitch switched rotation off where nothing but encryption runs");
}

#[test]
fn a_last_slightly_in_the_future_does_not_wait_longer_than_next() {
    let kms = memory();
    kms.at(5_000);
    let id = kms.rotating_key(DAY);
    kms.at(0);
    kms.tick().unwrap();
    kms.at(DAY_MS + 5_000);
    assert_eq!(kms.tick().unwrap().rotated, 1);
    assert_eq!(kms.key(&id).version_count(), 2);
}

#[test]
fn a_key_in_the_future_still_encrypts_and_decrypts() {
    let kms = memory();
    kms.at(1000 * DAY_MS);
    let id = kms.rotating_key(10 * DAY);
    let blob = kms.encrypt(&id, b"written tomorrow", &[]).unwrap();
    kms.at(0);
    assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"written tomorrow");
    kms.encrypt(&id, b"x", &[]).unwrap();
    assert_eq!(kms.key(&id).version_count(), 1);
}

#[test]
fn a_last_in_the_future_of_a_disabled_key_rotates_nothing() {
    let kms = memory();
    kms.at(1000 * DAY_MS);
    let id = kms.rotating_key(10 * DAY);
    kms.disable_key(&id).unwrap();
    for day in [0, 10, 11, 900] {
        kms.at(day * DAY_MS);
        assert_eq!(kms.tick().unwrap().rotated, 0);
    }
    assert_eq!(kms.key(&id).version_count(), 1);
}

#[test]
fn no_clock_value_panics_or_hangs() {
    let (done, wait) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        let kms = memory();
        let (id, doomed) = (kms.rotating_key(3650 * DAY), kms.plain_key());
        let blob = kms.encrypt(&id, b"x", &[]).unwrap();
        kms.schedule_key_deletion(&doomed, 366).unwrap();
        for time in [i64::MAX, i64::MIN, 0, -1, i64::MAX - 1, T0, i64::MIN + 1, i64::MAX, T0] {
            kms.clock.set(time);
            let _ = kms.tick();
            let _ = kms.tick();
            kms.encrypt(&id, b"y", &[]).unwrap();
            assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"x", "at {time}");
            kms.key(&id).next_rotation().unwrap();
            kms.rotate(&id).unwrap();
            let _ = kms.update_rotation_policy(&id, Some(seconds(3650 * DAY)));
        }
        done.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(60)).expect("a clock value panicked or hung the keystore");
    worker.join().unwrap();
}

/// Steps of a clock in milliseconds: a second to ten years, both ways.
const STEPS: [i64; 7] = [1000, 60_000, HOUR_MS, DAY_MS, 30 * DAY_MS, 365 * DAY_MS, 3652 * DAY_MS];

#[test]
fn steps_of_any_size_rotate_at_most_once_a_period_and_destroy_nothing_early() {
    let starts = [0, 2_147_483_647_000, 4_102_444_800_000, T0];
    for start in starts {
        for (step, back) in STEPS.iter().flat_map(|step| [(*step, false), (*step, true)]) {
            let clock = kms::ManualClock::at(start);
            let kms = open("memory:", &clock, |options| options);
            let (id, doomed) = (kms.rotating_key(DAY), kms.plain_key());
            let blob = kms.encrypt(&id, b"kept", &[]).unwrap();
            kms.schedule_key_deletion(&doomed, 7).unwrap();
            clock.set(if back { start - step } else { start + step });
            let rotated = kms.tick().unwrap().rotated;
            let due = usize::from(!back && step >= DAY_MS);
            assert_eq!(rotated, due, "from {start} by {step}, back: {back}");
            assert_eq!(kms.tick().unwrap().rotated, 0, "one version, whatever was missed");
            kms.sealed_under(&id);
            assert_eq!(kms.key(&id).version_count(), 1 + due as u64);
            assert!(
                kms.describe_key(&doomed).is_ok(),
                "one look destroyed a key: from {start} by {step}, back: {back}"
            );
            // The clock is right again: a deletion that seemed due is not.
            clock.set(start + 2 * HOUR_MS);
            kms.tick().unwrap();
            clock.set(start + 4 * HOUR_MS);
            kms.tick().unwrap();
            assert!(kms.describe_key(&doomed).is_ok(), "a clock wrong for a while destroyed a key");
            assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"kept");
        }
    }
}

#[test]
fn a_frozen_clock_rotates_nothing_and_close_does_not_wait_for_it() {
    let clock = kms::ManualClock::at(T0);
    let kms = open("memory:", &clock, |options| options.rotation_thread(true));
    let id = kms.rotating_key(1);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(kms.key(&id).version_count(), 1);
    let started = std::time::Instant::now();
    drop(kms);
    // 100 ms are promised; the margin is for a busy machine.
    assert!(started.elapsed() < Duration::from_millis(1500), "closing took {:?}", started.elapsed());
}

#[test]
fn two_clocks_an_hour_apart_shorten_a_period_by_an_hour_at_most() {
    let (_folder, path) = place();
    let (clock, ahead) = (kms::ManualClock::at(T0), kms::ManualClock::at(T0 + HOUR_MS));
    let first = open(&path, &clock, |options| options);
    let second = open(&path, &ahead, |options| options);
    let id = first.rotating_key(DAY);
    let mut rotated = 0;
    for hour in 1..=240 {
        clock.set(T0 + hour * HOUR_MS);
        ahead.set(T0 + (hour + 1) * HOUR_MS);
        rotated += first.tick().unwrap().rotated + second.tick().unwrap().rotated;
        assert_eq!(first.sealed_under(&id), second.sealed_under(&id), "hour {hour}");
    }
    // The handle that is behind sees a last rotation in the future and records it. That record binds the other handle.
    assert!((9..=10).contains(&rotated), "{rotated} rotations in ten days");
    let dates: Vec<i64> = first.versions(&id).iter().map(|version| version.created.millis()).collect();
    assert!(
        dates.windows(2).all(|pair| pair[0] - pair[1] >= DAY_MS - HOUR_MS),
        "two versions in one period: {dates:?}"
    );
}
