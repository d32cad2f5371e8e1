//! The needs of many hosts: changes seen in time, keys while the database is unavailable, one clock for all.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::*;
use kms::health::{Event, EventKind};
use kms::internal::Now;
use kms::{Clock, Time};

/// The interval of the polls, and how much later a change may be obeyed on a busy machine.
pub const POLL: Duration = Duration::from_millis(100);
pub const TOLERANCE: Duration = Duration::from_secs(3);

/// Events of one handle.
#[derive(Clone, Default)]
pub struct EventLog(Arc<Mutex<Vec<Event>>>);

impl EventLog {
    pub fn of(&self, kind: EventKind) -> Vec<Event> {
        self.0.lock().unwrap().iter().filter(|event| event.kind == kind).cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }

    pub fn options(&self) -> Options {
        let log = self.clone();
        options().rotation_thread(false).on_event(move |event| log.0.lock().unwrap().push(event.clone()))
    }
}

pub fn within(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
    begun.elapsed()
}

pub fn uses(kms: &Keystore, key: KeyId) -> bool {
    match kms.encrypt(key, b"text", &[]) {
        Ok(_) => true,
        Err(error) if error.status() == Status::RejectedDisabled => false,
        Err(error) => panic!("{error}"),
    }
}

/// Each change goes to two pollers, while other transactions begin before it and end after it.
#[test]
fn no_change_is_missed_beside_transactions_that_stay_open() {
    let (name, clock) = (name("missed"), ManualClock::at(T0));
    let writers = [open(&name, &clock), open(&name, &clock)];
    let pollers = [open(&name, &clock), open(&name, &clock)];
    let keys: Vec<KeyId> = (0..24).map(|_| writers[0].create_key(&CreateKey::default()).unwrap()).collect();
    pollers.iter().for_each(|kms| keys.iter().for_each(|key| assert!(uses(kms, *key))));
    let is_done = AtomicBool::new(false);
    let mut delays = Vec::new();
    std::thread::scope(|scope| {
        // Slow commits: each holds another shard's lock, and writes, before and while the other changes are made.
        for shard in [5, 50] {
            let (name, is_done) = (&name, &is_done);
            scope.spawn(move || {
                while !is_done.load(Ordering::SeqCst) {
                    sql(
                        name,
                        &format!(
                            "BEGIN; UPDATE shard SET generation = generation WHERE store = {{store}} AND shard = {shard}; \
                             SELECT pg_sleep(0.25); COMMIT"
                        ),
                    );
                }
            });
        }
        for round in 0..48 {
            let key = keys[round % keys.len()];
            let is_on = round >= keys.len();
            let writer = &writers[round % 2];
            let change = || if is_on { writer.enable_key(key) } else { writer.disable_key(key) };
            // The two sessions hold their shards' locks for longer than a call waits.
            within(TOLERANCE * 4, "a change is never made", || change().is_ok());
            for kms in &pollers {
                delays.push(within(POLL + TOLERANCE, "a change is not obeyed within the bound", || {
                    uses(kms, key) == is_on
                }));
            }
        }
        is_done.store(true, Ordering::SeqCst);
    });
    delays.sort_unstable();
    println!("obeyed after {:?} (median), {:?} (worst)", delays[delays.len() / 2], delays.last().unwrap());
    for kms in &pollers {
        assert!(keys.iter().all(|key| uses(kms, *key)), "a change is missed for good");
        let health = kms.health().unwrap();
        assert!(health.polls > 10 && !health.keystore_unavailable && !health.polling, "{health:?}");
        assert!(health.age_ms < 5000, "{health:?}");
    }
}

/// A poll must not wait for the keys that are due.
#[test]
fn a_long_pass_delays_no_news() {
    let (name, log) = (name("long"), EventLog::default());
    let ours = Keystore::open(&format!("{}#{name}", server()), &log.options().rotation_thread(false)).unwrap();
    let due = CreateKey { rotate_every: Some(Interval::from_seconds(1).unwrap()), ..CreateKey::default() };
    for _ in 0..400 {
        ours.create_key(&due).unwrap();
    }
    let key = ours.create_key(&CreateKey::default()).unwrap();
    // Every second all of them are due.
    let theirs = Keystore::open(&format!("{}#{name}", server()), &options()).unwrap();
    assert!(uses(&theirs, key));
    for round in 0..10 {
        let change = || if round % 2 == 0 { ours.disable_key(key) } else { ours.enable_key(key) };
        within(TOLERANCE * 4, "a change is never made", || change().is_ok());
        within(POLL + TOLERANCE, "news waits for a pass", || uses(&theirs, key) == (round % 2 != 0));
    }
    assert!(theirs.health().unwrap().rotations > 0, "no key was due");
}

#[test]
fn keys_in_memory_outlive_the_database_for_the_limit_and_no_longer() {
    let (name, log) = (name("away"), EventLog::default());
    let (location, proxy) = proxied(&name);
    let limit = Duration::from_secs(4);
    let kms = Keystore::open(&location, &log.options().busy_timeout(HASTE).offline_limit(limit)).unwrap();
    let (key, cold) = (kms.create_key(&CreateKey::default()).unwrap(), kms.create_key(&CreateKey::default()).unwrap());
    let blob = kms.encrypt(key, b"text", &[]).unwrap();
    for round in 1..=2 {
        kms.encrypt(key, b"text", &[]).unwrap();
        proxy.traffic.is_down.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        within(TOLERANCE, "nobody noticed", || kms.health().unwrap().keystore_unavailable);
        let mut slowest = Duration::ZERO;
        while begun.elapsed() < limit - Duration::from_secs(1) {
            let call = Instant::now();
            kms.encrypt(key, b"text", &[]).unwrap();
            assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"text");
            slowest = slowest.max(call.elapsed());
        }
        assert!(slowest < Duration::from_secs(1), "the hot path waits for a database that is away: {slowest:?}");
        assert!(status(kms.encrypt(cold, b"text", &[])).is_some(), "a key came from nowhere");
        within(limit + TOLERANCE, "keys stay usable without end", || kms.encrypt(key, b"text", &[]).is_err());
        let refused = Instant::now();
        assert_eq!(status(kms.decrypt(&blob, &[])), Some(Status::KeystoreUnavailable));
        assert!(refused.elapsed() < Duration::from_secs(1), "a refusal waits");
        proxy.traffic.is_down.store(false, Ordering::SeqCst);
        within(TOLERANCE * 2, "the database is back, and nobody noticed", || kms.encrypt(key, b"text", &[]).is_ok());
        within(TOLERANCE, "the absence has no end", || !kms.health().unwrap().keystore_unavailable);
        assert_eq!(kms.health().unwrap().absences, round);
        let counts =
            [EventKind::KeystoreUnavailable, EventKind::KeystoreAvailable].map(|kind| log.of(kind).len() as u64);
        assert_eq!(counts, [round; 2], "an absence has one event when it begins, and one when it ends");
        assert!(log.of(EventKind::KeystoreUnavailable).iter().all(|event| event.status.is_some()));
        if round == 1 {
            kms.encrypt(cold, b"text", &[]).unwrap();
            kms.disable_key(cold).unwrap();
            kms.enable_key(cold).unwrap();
            // Not in memory in the next round.
            kms.disable_key(cold).unwrap();
        }
    }
}

#[test]
fn without_an_offline_limit_the_first_poll_without_an_answer_refuses() {
    let (name, log) = (name("strict"), EventLog::default());
    let (location, proxy) = proxied(&name);
    let kms = Keystore::open(&location, &log.options().busy_timeout(HASTE).offline_limit(Duration::ZERO)).unwrap();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    kms.encrypt(key, b"text", &[]).unwrap();
    proxy.traffic.is_down.store(true, Ordering::SeqCst);
    within(TOLERANCE, "keys are used without the database", || kms.encrypt(key, b"text", &[]).is_err());
    proxy.traffic.is_down.store(false, Ordering::SeqCst);
    within(TOLERANCE * 2, "the database is back, and nobody noticed", || kms.encrypt(key, b"text", &[]).is_ok());
}

/// A handle's own changes hold, even if no server can be asked.
#[test]
fn a_disable_is_obeyed_by_its_own_handle_although_the_database_goes_away() {
    let (name, log) = (name("own"), EventLog::default());
    let (location, proxy) = proxied(&name);
    let kms =
        Keystore::open(&location, &log.options().busy_timeout(HASTE).poll_interval(Duration::from_secs(1))).unwrap();
    let other = open(&name, &ManualClock::at(T0));
    let key = kms.create_key(&CreateKey::default()).unwrap();
    for _ in 0..5 {
        kms.encrypt(key, b"text", &[]).unwrap();
        // A change between, which the handle has not seen when it makes its own.
        other.rotate(key).unwrap();
        kms.disable_key(key).unwrap();
        proxy.traffic.is_down.store(true, Ordering::SeqCst);
        assert!(kms.encrypt(key, b"text", &[]).is_err(), "a key that this handle has disabled encrypts");
        proxy.traffic.is_down.store(false, Ordering::SeqCst);
        within(TOLERANCE * 2, "the key stays disabled", || kms.enable_key(key).is_ok());
        within(TOLERANCE * 2, "the key stays unusable", || kms.encrypt(key, b"text", &[]).is_ok());
    }
}

#[test]
fn the_clock_of_the_database_decides() {
    let (name, log) = (name("clock"), EventLog::default());
    let kms = Keystore::open(&format!("{}#{name}", server()), &log.options()).unwrap();
    let health = kms.health().unwrap();
    assert!(!health.host_clock_wrong && health.clock_ahead_ms.abs() < 2000, "{health:?}");
    assert!(log.of(EventKind::HostClockWrong).is_empty());
    let key = kms.create_key(&CreateKey::default()).unwrap();
    let now: i64 = sql(&name, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").parse().unwrap();
    let made = kms.describe_key(key).unwrap().created.millis();
    assert!((made - now).abs() < 2000, "a date is of another clock: {made}, {now}");
}

/// Processes of one host announce changes to one another, as those of a keystore in a file do.
#[test]
fn a_neighbour_on_the_host_sees_a_change_at_its_next_call() {
    const FOLDER: &str = "XDG_RUNTIME_DIR";
    const CHILD: &str = "KMS_TEST_CHILD";
    if std::env::var_os(CHILD).is_none() {
        // The other tests are about polling, and have no such folder.
        for mode in [0o700, 0o755] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            again.args(["--exact", "hosts::a_neighbour_on_the_host_sees_a_change_at_its_next_call"]);
            let done = again.env(FOLDER, folder.path()).env(CHILD, mode.to_string()).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
            let files = std::fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(
                files,
                usize::from(mode == 0o700),
                "a folder that others may use is trusted, or a file was left"
            );
        }
        return;
    }
    let is_safe = std::env::var(CHILD).unwrap() == 0o700.to_string();
    let (name, clock) = (name("neighbour"), ManualClock::at(T0));
    let rarely = options().clock(clock).poll_interval(Duration::from_secs(60));
    let open = || Keystore::open(&format!("{}#{name}", server()), &rarely).unwrap();
    let (ours, theirs) = (open(), open());
    let key = ours.create_key(&CreateKey::default()).unwrap();
    assert!(uses(&theirs, key));
    for round in 0..10 {
        if round % 2 == 0 {
            ours.disable_key(key).unwrap()
        } else {
            ours.enable_key(key).unwrap()
        }
        match is_safe {
            true => assert_eq!(uses(&theirs, key), round % 2 != 0, "round {round}: a neighbour's change is not seen"),
            false => assert!(uses(&theirs, key), "round {round}: a change was seen that nothing announced"),
        }
    }
    // A file that is gone is made again.
    if is_safe {
        let folder = std::env::var_os(FOLDER).unwrap();
        let word = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
        std::fs::remove_file(&word).unwrap();
        ours.disable_key(key).unwrap();
        assert!(word.exists());
        theirs.describe_key(key).unwrap();
        ours.enable_key(key).unwrap();
        assert!(uses(&theirs, key));
    }
}

const WRONG_CLOCK: &str = "KMS_FAULT_HOST_CLOCK_AHEAD";

#[test]
fn a_host_whose_clock_is_wrong_is_named() {
    if std::env::var_os(WRONG_CLOCK).is_none() {
        // In a separate process, since all tests of one process share the variable.
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "hosts::a_host_whose_clock_is_wrong_is_named"]).env(WRONG_CLOCK, "1");
        let done = again.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        return;
    }
    let (name, log) = (name("wrong"), EventLog::default());
    let kms = Keystore::open(&format!("{}#{name}", server()), &log.options()).unwrap();
    std::thread::sleep(POLL * 4);
    let health = kms.health().unwrap();
    assert!(health.host_clock_wrong && (9_000..11_000).contains(&health.clock_ahead_ms), "{health:?}");
    assert_eq!(log.of(EventKind::HostClockWrong).len(), 1, "an event for each poll, or none");
}

/// A host, by its clocks.
#[derive(Clone)]
struct Host(Arc<Mutex<Now>>);

const HOUR_MS: i64 = 3_600_000;

impl Host {
    fn new(boot: u8) -> Self {
        Self(Arc::new(Mutex::new(Now { wall: Time::from_millis(T0), boot: [boot; 16], since_boot_ms: 2 * HOUR_MS })))
    }

    fn pass(&self, ms: i64) {
        let mut now = self.0.lock().unwrap();
        *now = Now { wall: Time::from_millis(now.wall.millis() + ms), since_boot_ms: now.since_boot_ms + ms, ..*now };
    }
}

impl Clock for Host {
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

/// What another host confirmed is acted on by the database's clock, so a host has to agree with that.
#[test]
fn a_host_whose_clock_is_wrong_destroys_nothing_that_another_confirmed() {
    let is_wrong = std::env::var_os(WRONG_CLOCK).is_some();
    if !is_wrong {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "hosts::a_host_whose_clock_is_wrong_destroys_nothing_that_another_confirmed"]);
        let done = again.env(WRONG_CLOCK, "1").output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    }
    let (name, hosts) = (name("deletion"), [Host::new(1), Host::new(2)]);
    let handles = hosts.clone().map(|host| {
        let options = options().clock(host).rotation_thread(false);
        Keystore::open(&format!("{}#{name}", server()), &options).unwrap()
    });
    for kms in &handles {
        within(TOLERANCE, "the clock was not compared", || kms.health().unwrap().host_clock_wrong == is_wrong);
    }
    let key = handles[0].create_key(&CreateKey::default()).unwrap();
    handles[0].schedule_key_deletion(key, 7).unwrap();
    for _ in 0..7 {
        hosts.iter().for_each(|host| host.pass(24 * HOUR_MS));
        handles[0].tick().unwrap();
    }
    // The first has counted the full period, and confirmed the date once.
    hosts.iter().for_each(|host| host.pass(2 * HOUR_MS));
    handles[1].tick().unwrap();
    let is_there = || handles[0].keys().count() == 1;
    assert_eq!(is_there(), is_wrong, "a key was destroyed by a host that is not sure, or kept by one that is");
    handles[0].tick().unwrap();
    assert!(!is_there(), "the host that confirmed the date does not act on it");
}

/// The database has the record of backups, so a backup that any host makes counts for all.
#[test]
fn a_due_rotation_waits_for_the_backup_of_another_host() {
    let (name, clock, folder) = (name("backup"), ManualClock::at(T0), tempfile::tempdir().unwrap());
    let week = Duration::from_secs(7 * 86_400);
    let open = |wait: Duration| {
        let options = options().clock(clock.clone()).rotation_thread(false).require_backup(wait);
        Keystore::open(&format!("{}#{name}", server()), &options).unwrap()
    };
    let (ours, theirs) = (open(week), open(Duration::ZERO));
    let daily = CreateKey { rotate_every: Some(Interval::from_seconds(86_400).unwrap()), ..CreateKey::default() };
    let key = ours.create_key(&daily).unwrap();
    clock.advance_seconds(86_400);
    assert_eq!(ours.tick().unwrap().rotated, 0, "a version that no backup has was replaced");
    theirs.backup(folder.path().join("first.db")).unwrap();
    assert_eq!(ours.backups().unwrap().len(), 1);
    assert_eq!(ours.tick().unwrap().rotated, 1, "the backup of another host does not count");
    clock.advance_seconds(86_400);
    assert_eq!(ours.tick().unwrap().rotated, 0, "the backup before has the new version?");
    ours.backup(folder.path().join("second.db")).unwrap();
    assert_eq!(theirs.backups().unwrap().len(), 2);
    assert_eq!(ours.tick().unwrap().rotated, 1);
    assert_eq!(numbers(&ours, key), [3, 2, 1]);
    assert!(is_sound(&ours));
}

/// How much later than its call a disable of another host is obeyed; `KMS_TEST_CAMPAIGN`: with more of them.
#[test]
fn a_disable_of_another_host_is_obeyed_within_the_interval_of_the_polls() {
    let rounds = if std::env::var_os("KMS_TEST_CAMPAIGN").is_some() { 200 } else { 10 };
    let pooler = pooler();
    let name = name("staleness");
    let listening = Keystore::open(&format!("{}?notify=on#{name}", server()), &options().clock(ManualClock::at(T0)));
    let ours = listening.unwrap();
    let key = ours.create_key(&CreateKey::default()).unwrap();
    let (direct, address) = (server(), address(&server()));
    for (way, server) in [
        ("direct", direct.clone()),
        ("through pgbouncer", pooler.clone()),
        ("direct, LISTEN", format!("{direct}?notify=on")),
        ("through pgbouncer, LISTEN at the server", format!("{pooler}?notify={address}")),
    ] {
        for interval in [Duration::from_millis(100), Duration::from_secs(1)] {
            let options = options().clock(ManualClock::at(T0)).poll_interval(interval);
            let theirs = Keystore::open(&format!("{server}#{name}"), &options).unwrap();
            // By now a handle that listens has subscribed.
            std::thread::sleep(Duration::from_secs(1));
            let mut delays = Vec::new();
            let rounds = if interval < Duration::from_secs(1) { rounds } else { rounds / 3 };
            for round in 0..rounds {
                assert!(uses(&theirs, key));
                // At any moment between two polls.
                std::thread::sleep(interval * (round * 7 % 10) / 10);
                ours.disable_key(key).unwrap();
                delays.push(within(interval + TOLERANCE, "a disable is not obeyed within the bound", || {
                    !uses(&theirs, key)
                }));
                ours.enable_key(key).unwrap();
                within(interval + TOLERANCE, "an enable is not seen", || uses(&theirs, key));
            }
            delays.sort_unstable();
            let part = |percent: usize| delays[(delays.len() - 1) * percent / 100];
            println!("{way}, polls each {interval:?}: p50 {:?}, p99 {:?}, worst {:?}", part(50), part(99), part(100));
        }
    }
}
