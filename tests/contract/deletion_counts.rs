//! A waiting period is counted by the boot clock: no wall clock, however wrong and for however long, shortens it.

use std::sync::{Arc, Mutex};

use kms::internal::Now;
use kms::{
    Clock, CreateKey, Keystore, Options, Status, Time,
    health::{Event, EventKind},
};

use super::support::*;

/// A machine: its wall clock and its boot clock go apart, and it may be off.
#[derive(Clone)]
struct Machine(Arc<Mutex<Now>>);

impl Machine {
    /// Up for two hours, with a wall clock that shows `wall`.
    fn showing(wall: i64) -> Self {
        Self(Arc::new(Mutex::new(Now { wall: Time::from_millis(wall), boot: [1; 16], since_boot_ms: 2 * HOUR_MS })))
    }

    fn wall_ms(&self) -> i64 {
        self.0.lock().unwrap().wall.millis()
    }

    fn set_wall(&self, ms: i64) {
        self.0.lock().unwrap().wall = Time::from_millis(ms);
    }

    fn pass(&self, ms: i64) {
        let mut now = self.0.lock().unwrap();
        now.wall = Time::from_millis(now.wall.millis() + ms);
        now.since_boot_ms += ms;
    }

    /// Switched off for this time; the wall clock keeps running.
    fn off(&self, ms: i64) {
        let mut now = self.0.lock().unwrap();
        now.wall = Time::from_millis(now.wall.millis() + ms);
        now.since_boot_ms = 1000;
        now.boot[0] += 1;
    }
}

impl Clock for Machine {
    fn wall(&self) -> Time {
        self.0.lock().unwrap().wall
    }

    fn now(&self) -> Now {
        *self.0.lock().unwrap()
    }

    fn is_manual(&self) -> bool {
        true
    }
}

fn options(machine: &Machine) -> Options {
    Options::new().root_key(&ROOT).create(true).clock(machine.clone())
}

fn opened(machine: &Machine) -> Keystore {
    Keystore::open("memory:", &options(machine)).unwrap()
}

fn doomed(kms: &Keystore, days: i32) -> String {
    let id = kms.create_key(&CreateKey::default()).unwrap().to_string();
    kms.schedule_key_deletion(&id, days).unwrap();
    id
}

fn is_there(kms: &Keystore, id: &str) -> bool {
    match kms.describe_key(id) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.status(), Status::KeyNotFound);
            false
        }
    }
}

/// The hours of an oscillating clock in a campaign, and in `make test`.
fn swinging_hours() -> i64 {
    if std::env::var_os("KMS_FULL").is_some_and(|value| value != "0") { 6 } else { 1 }
}

/// How long the key lives with a pass every `step`, after `wrong` replaced the right time.
fn lives_hours(machine: &Machine, kms: &Keystore, id: &str, step: i64, limit: i64) -> i64 {
    let mut hours = 0;
    while is_there(kms, id) {
        assert!(hours < limit, "still there after {limit} hours");
        machine.pass(step);
        kms.tick().unwrap();
        hours += step / HOUR_MS;
    }
    hours
}

#[test]
fn with_a_right_clock_a_key_lives_its_period_and_the_hour_of_the_confirmation() {
    let machine = Machine::showing(T0);
    let kms = opened(&machine);
    let id = doomed(&kms, 7);
    assert_eq!(lives_hours(&machine, &kms, &id, HOUR_MS, 1000), 7 * 24 + 1);
}

#[test]
fn a_deletion_scheduled_by_a_clock_that_was_behind_waits_as_long() {
    for behind in [T0, 21 * DAY_MS, DAY_MS, 10 * HOUR_MS] {
        let machine = Machine::showing(T0 - behind);
        let kms = opened(&machine);
        let id = doomed(&kms, 7);
        machine.pass(90_000);
        kms.tick().unwrap();
        machine.set_wall(T0);
        let hours = lives_hours(&machine, &kms, &id, HOUR_MS, 1000);
        assert!((7 * 24..=7 * 24 + 2).contains(&hours), "behind by {behind} ms: {hours} hours");
    }
}

#[test]
fn a_clock_corrected_back_only_delays() {
    let machine = Machine::showing(T0 + 21 * DAY_MS);
    let kms = opened(&machine);
    let id = doomed(&kms, 7);
    machine.pass(90_000);
    kms.tick().unwrap();
    machine.set_wall(T0);
    let hours = lives_hours(&machine, &kms, &id, HOUR_MS, 1000);
    assert!((28 * 24..=28 * 24 + 2).contains(&hours), "DeleteDate was 28 days away: {hours} hours");
}

#[test]
fn a_clock_that_never_stands_still_shortens_nothing_and_is_cheap() {
    for away in [21 * DAY_MS, -21 * DAY_MS, 400 * DAY_MS] {
        let machine = Machine::showing(T0);
        let kms = opened(&machine);
        let id = doomed(&kms, 7);
        let before = kms.health().unwrap().generation;
        for second in 0..swinging_hours() * 3600 {
            machine.pass(1000);
            let right = machine.wall_ms();
            if second % 2 == 0 {
                machine.set_wall(right + away);
            }
            kms.tick().unwrap();
            machine.set_wall(right);
        }
        let written = kms.health().unwrap().generation - before;
        let swung = swinging_hours();
        assert!(written <= (swung * 60) as u64, "{written} changes in {swung} hours, away by {away} ms");
        let hours = lives_hours(&machine, &kms, &id, HOUR_MS, 1000);
        let left = 7 * 24 - swung;
        assert!((left..=left + 2).contains(&hours), "{hours} hours after {swung}, away by {away} ms");
    }
}

#[test]
fn counting_costs_one_change_an_hour() {
    let machine = Machine::showing(T0);
    let kms = opened(&machine);
    for _ in 0..5 {
        doomed(&kms, 30);
    }
    let before = kms.health().unwrap().generation;
    for _ in 0..24 * 360 {
        machine.pass(10_000);
        kms.tick().unwrap();
    }
    let changes = kms.health().unwrap().generation - before;
    assert!((20..=24).contains(&changes), "{changes} changes in a day, for five keys");
}

#[test]
fn a_machine_that_is_off_at_night_counts_the_nights() {
    let machine = Machine::showing(T0);
    let (_folder, path) = place();
    let id = doomed(&Keystore::open(&path, &options(&machine)).unwrap(), 7);
    let mut days = 0;
    'days: loop {
        // On for eight hours, with a program that runs for a moment each hour.
        for _ in 0..8 {
            machine.pass(HOUR_MS);
            let kms = Keystore::open(&path, &options(&machine)).unwrap();
            kms.tick().unwrap();
            if !is_there(&kms, &id) {
                break 'days;
            }
        }
        machine.off(16 * HOUR_MS);
        days += 1;
        assert!(days < 20, "never destroyed");
    }
    assert_eq!(days, 7);
}

#[test]
fn a_machine_that_is_on_for_minutes_a_day_destroys_the_key_in_the_end() {
    let machine = Machine::showing(T0);
    let (_folder, path) = place();
    let id = doomed(&Keystore::open(&path, &options(&machine)).unwrap(), 7);
    let mut days = 0;
    loop {
        machine.pass(70 * 60_000);
        let kms = Keystore::open(&path, &options(&machine)).unwrap();
        kms.tick().unwrap();
        if !is_there(&kms, &id) {
            break;
        }
        drop(kms);
        machine.off(DAY_MS - 70 * 60_000);
        days += 1;
        assert!(days < 20, "never destroyed");
    }
    assert!((7..=8).contains(&days), "{days} days");
}

#[test]
fn a_reboot_adds_a_day_at_most() {
    let machine = Machine::showing(T0);
    let kms = opened(&machine);
    let id = doomed(&kms, 7);
    // Switched off for a year, or a wall clock a year ahead: the library cannot distinguish them.
    machine.off(365 * DAY_MS);
    kms.tick().unwrap();
    let hours = lives_hours(&machine, &kms, &id, HOUR_MS, 1000);
    assert!((6 * 24..=6 * 24 + 1).contains(&hours), "{hours} hours");
}

#[test]
fn a_machine_without_a_clock_of_its_own_counts_what_it_is_on() {
    let machine = Machine::showing(T0);
    let kms = opened(&machine);
    let id = doomed(&kms, 7);
    for boot in 0..3 {
        machine.off(0);
        // 1970 until the time comes from the network.
        let right = T0 + boot * 10 * DAY_MS;
        machine.set_wall(0);
        kms.tick().unwrap();
        machine.pass(120_000);
        machine.set_wall(right);
        kms.tick().unwrap();
        for _ in 0..48 {
            machine.pass(HOUR_MS);
            kms.tick().unwrap();
        }
    }
    assert!(is_there(&kms, &id), "six days were counted");
    machine.pass(25 * HOUR_MS);
    kms.tick().unwrap();
    machine.pass(HOUR_MS);
    kms.tick().unwrap();
    assert!(!is_there(&kms, &id), "seven days were counted");
}

#[test]
fn several_handles_do_not_count_twice() {
    let machine = Machine::showing(T0 - 30 * DAY_MS);
    let (_folder, path) = place();
    let handles: Vec<Keystore> = (0..4).map(|_| Keystore::open(&path, &options(&machine)).unwrap()).collect();
    let id = doomed(&handles[0], 7);
    machine.set_wall(T0);
    let mut hours = 0;
    while is_there(&handles[0], &id) {
        machine.pass(HOUR_MS);
        for kms in &handles {
            kms.tick().unwrap();
        }
        hours += 1;
        assert!(hours < 1000);
    }
    assert!((7 * 24..=7 * 24 + 2).contains(&hours), "{hours} hours");
}

#[test]
fn a_process_that_looks_once_a_week_counts_the_whole_week() {
    let machine = Machine::showing(T0);
    let (_folder, path) = place();
    let id = doomed(&Keystore::open(&path, &options(&machine)).unwrap(), 14);
    for week in 1..=2 {
        machine.pass(7 * DAY_MS);
        let kms = Keystore::open(&path, &options(&machine)).unwrap();
        kms.tick().unwrap();
        assert!(is_there(&kms, &id), "week {week}");
    }
    machine.pass(HOUR_MS);
    let kms = Keystore::open(&path, &options(&machine)).unwrap();
    kms.tick().unwrap();
    assert!(!is_there(&kms, &id));
}

#[test]
fn cancelling_forgets_what_was_counted() {
    let machine = Machine::showing(T0);
    let kms = opened(&machine);
    let id = doomed(&kms, 7);
    for _ in 0..6 * 24 {
        machine.pass(HOUR_MS);
        kms.tick().unwrap();
    }
    kms.cancel_key_deletion(&id).unwrap();
    kms.schedule_key_deletion(&id, 7).unwrap();
    assert_eq!(lives_hours(&machine, &kms, &id, HOUR_MS, 1000), 7 * 24 + 1);
}

#[test]
fn the_event_of_a_destruction_says_how_long_was_counted() {
    let machine = Machine::showing(T0 - 21 * DAY_MS);
    let told: Told = Told::default();
    let keep = told.clone();
    let heard = move |event: &Event| keep.lock().unwrap().push(event.clone());
    let kms = Keystore::open("memory:", &options(&machine).on_event(heard)).unwrap();
    let id = doomed(&kms, 7);
    machine.set_wall(T0);
    lives_hours(&machine, &kms, &id, HOUR_MS, 1000);
    let told = told.lock().unwrap();
    let destroyed: Vec<&Event> = told.iter().filter(|event| event.kind == EventKind::KeyDestroyed).collect();
    assert_eq!(destroyed.len(), 1);
    assert!((7 * DAY_MS..=7 * DAY_MS + HOUR_MS).contains(&destroyed[0].waited_ms), "{}", destroyed[0].waited_ms);
    assert!(told.iter().all(|event| event.kind == EventKind::KeyDestroyed || event.waited_ms == 0));
}
