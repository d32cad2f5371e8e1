//! Keystores in PostgreSQL: several handles on one, a server that is slow or goes away, rows that a database user
//! edits. `KMS_TEST_POSTGRES` names the server; `ci/stage postgres` starts one.

mod commits;
mod connections;
mod copies;
#[path = "../keystore/gallery.rs"]
mod gallery;
mod hanging;
mod hosts;
mod killed;
mod news;
mod pooling;
mod protections;
mod proxy;
mod roles;
mod rollback;
mod standby;
mod tls;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kms::{CreateKey, Interval, KeyId, Keystore, ManualClock, Options, Status};
use proxy::Proxy;

const T0: i64 = 1_700_000_000_000;

fn server() -> String {
    std::env::var("KMS_TEST_POSTGRES").expect("KMS_TEST_POSTGRES names no server; run: ci/stage postgres")
}

/// The name of a keystore that no other test has.
fn name(of: &str) -> String {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{of}-{}-{since}", std::process::id())
}

fn options() -> Options {
    let options = Options::new().root_key(&[7; 32]).create(true).busy_timeout(Duration::from_secs(20));
    options.poll_interval(Duration::from_millis(100))
}

/// For tests of a silent server, or of a lock that stays.
const HASTE: Duration = Duration::from_millis(500);

fn impatient() -> Options {
    options().busy_timeout(HASTE)
}

fn open(name: &str, clock: &ManualClock) -> Keystore {
    Keystore::open(&format!("{}#{name}", server()), &options().clock(clock.clone())).unwrap()
}

/// A handle whose connection goes through a proxy, where no poll is counted.
fn through_proxy(name: &str, clock: &ManualClock) -> (Keystore, Proxy) {
    let (location, proxy) = proxied(name);
    let options = impatient().clock(clock.clone()).poll_interval(Duration::from_secs(60));
    (Keystore::open(&location, &options).unwrap(), proxy)
}

/// The location of the pooler, without a keystore.
fn pooler() -> String {
    std::env::var("KMS_TEST_PGBOUNCER").expect("KMS_TEST_PGBOUNCER names no pooler; run: ci/stage postgres")
}

/// The host and port in a location.
fn address(location: &str) -> String {
    let (_, address) = location.rsplit_once('@').unwrap();
    address.split_once('/').unwrap().0.to_owned()
}

fn proxied(name: &str) -> (String, Proxy) {
    let proxy = Proxy::to(address(&server()));
    (format!("{}#{name}", server_at(proxy.port)), proxy)
}

/// The location of the database on another server of this machine.
fn server_at(port: u16) -> String {
    let server = server();
    let (head, address) = server.rsplit_once('@').unwrap();
    let (_, database) = address.split_once('/').unwrap();
    format!("{head}@127.0.0.1:{port}/{database}")
}

/// Runs SQL as the database's user; `{store}` stands for the keystore of this name. Returns psql's output.
fn sql(name: &str, statement: &str) -> String {
    sql_at(&server(), name, statement)
}

fn sql_at(server: &str, name: &str, statement: &str) -> String {
    let done = session_at(server, name, statement).wait_with_output().unwrap();
    assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A separate session.
fn session(name: &str, statement: &str) -> std::process::Child {
    session_at(&server(), name, statement)
}

fn session_at(server: &str, name: &str, statement: &str) -> std::process::Child {
    let statement = statement.replace("{store}", &format!("(SELECT store FROM store WHERE name = '{name}')"));
    let mut psql = std::process::Command::new("psql");
    psql.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", &statement, server]);
    psql.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
}

fn numbers(kms: &Keystore, key: KeyId) -> Vec<u64> {
    kms.key_versions(key).map(|version| version.unwrap().number).collect()
}

fn status<R>(result: kms::Result<R>) -> Option<Status> {
    result.err().map(|error| error.status())
}

fn is_sound(kms: &Keystore) -> bool {
    let mut sound = true;
    let done = kms.verify(|fault| {
        println!("{}", fault.error);
        sound = false;
        true
    });
    sound && done.is_ok()
}

#[test]
fn another_handle_sees_a_change_within_a_poll() {
    let (name, clock) = (name("news"), ManualClock::at(T0));
    let (ours, theirs) = (open(&name, &clock), open(&name, &clock));
    let key = ours.create_key(&CreateKey::default()).unwrap();
    let blob = theirs.encrypt(key, b"one", &[]).unwrap();
    ours.disable_key(key).unwrap();
    std::thread::sleep(Duration::from_millis(250));
    assert_eq!(status(theirs.encrypt(key, b"two", &[])), Some(Status::RejectedDisabled), "a change is not seen");
    ours.enable_key(key).unwrap();
    let version = ours.rotate(key).unwrap();
    std::thread::sleep(Duration::from_millis(250));
    let sealed = theirs.encrypt(key, b"three", &[]).unwrap();
    assert_eq!(theirs.inspect(&sealed).unwrap().version, version);
    assert_eq!(&*ours.decrypt(&blob, &[]).unwrap(), b"one");
}

#[test]
fn of_many_that_rotate_a_due_key_one_does() {
    let (name, clock) = (name("rotation"), ManualClock::at(T0));
    let kms = open(&name, &clock);
    let due = CreateKey { rotate_every: Some(Interval::from_seconds(60).unwrap()), ..CreateKey::default() };
    let keys: Vec<_> = (0..100).map(|_| kms.create_key(&due).unwrap()).collect();
    clock.set(T0 + 61_000);
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (kms, keys) = (open(&name, &clock), keys.clone());
            std::thread::spawn(move || {
                let deadline = Instant::now() + Duration::from_secs(120);
                let mut rotated = 0;
                loop {
                    match kms.tick() {
                        Ok(done) => rotated += done.rotated,
                        Err(error) => assert_eq!(error.status(), Status::KeystoreBusy, "{error}"),
                    }
                    if keys.iter().all(|key| numbers(&kms, *key).len() > 1) {
                        return rotated;
                    }
                    assert!(Instant::now() < deadline, "keys stay due");
                }
            })
        })
        .collect();
    let rotated: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    assert_eq!(rotated, keys.len(), "a key was rotated twice, or an acknowledged rotation is lost");
    assert!(keys.iter().all(|key| numbers(&kms, *key) == [2, 1]));
    assert!(is_sound(&kms));
}

/// `KMS_TEST_CAMPAIGN`: with the counts of a campaign, and a restart of the server in the middle.
#[test]
fn processes_that_are_killed_at_any_moment_rotate_each_due_key_once() {
    let restart = std::env::var("KMS_TEST_POSTGRES_RESTART").ok();
    let is_campaign = std::env::var_os("KMS_TEST_CAMPAIGN").is_some();
    let (count, processes, pause) = if is_campaign { (20_000, 8, 1000) } else { (1000, 4, 150) };
    let (name, clock) = (name("kill"), ManualClock::at(T0));
    let kms = open(&name, &clock);
    let due = CreateKey { rotate_every: Some(Interval::from_seconds(60).unwrap()), ..CreateKey::default() };
    let mut keys = Vec::new();
    while keys.len() < count {
        keys.extend(kms.create_keys(&due, 250).unwrap());
    }
    clock.set(T0 + 61_000);
    let worker = || {
        // SAFETY: the child opens a new handle, and ends without running any code of its parent's.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let location = format!("{}#{name}", server());
            loop {
                // The server may just be away.
                let Ok(kms) = Keystore::open(&location, &options().clock(clock.clone())) else { continue };
                loop {
                    let _ = kms.tick();
                }
            }
        }
        child
    };
    let begun = Instant::now();
    let mut workers: Vec<i32> = (0..processes).map(|_| worker()).collect();
    let kill = |child: i32| {
        // SAFETY: ends a child of this test, and waits for it.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
    };
    let left = || -> usize {
        let count = "SELECT count(*) FROM key WHERE store = {store} AND primary_number < 2";
        sql(&name, count).parse().unwrap()
    };
    let (mut killed, mut restarted) = (0, false);
    while left() > 0 && begun.elapsed() < Duration::from_secs(300) {
        std::thread::sleep(Duration::from_millis(pause));
        kill(workers.remove(0));
        workers.push(worker());
        killed += 1;
        if let Some(command) = restart.as_ref().filter(|_| is_campaign && !restarted && left() < count / 2) {
            assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success());
            restarted = true;
        }
    }
    workers.into_iter().for_each(kill);
    let took = begun.elapsed();
    println!("{count} keys in {took:?}, {killed} processes killed, the server restarted: {restarted}");
    assert_eq!(left(), 0, "keys stay due");
    let made = sql(
        &name,
        "SELECT count(*), count(DISTINCT (key_row, number)), max(number) FROM material WHERE store = {store}",
    );
    assert_eq!(made, format!("{0}|{0}|2", 2 * count), "a key was rotated twice");
    let kms = open(&name, &clock);
    assert!(keys.iter().step_by(100).all(|key| numbers(&kms, *key) == [2, 1]), "a key was rotated twice");
    assert!(is_campaign || is_sound(&kms));
}

#[test]
fn a_server_that_falls_silent_is_not_waited_for() {
    let (name, clock) = (name("silence"), ManualClock::at(T0));
    let (kms, proxy) = through_proxy(&name, &clock);
    let key = kms.create_key(&CreateKey::default()).unwrap();
    let blob = kms.encrypt(key, b"text", &[]).unwrap();
    proxy.traffic.is_silent.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    assert_eq!(status(kms.rotate(key)), Some(Status::KeystoreUnavailable));
    assert!(begun.elapsed() < Duration::from_secs(30), "a call waits for a server that says nothing");
    proxy.traffic.is_silent.store(false, Ordering::SeqCst);
    kms.rotate(key).unwrap();
    assert_eq!(numbers(&kms, key), [2, 1]);
    assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"text");
}

#[test]
fn a_lock_of_another_session_is_waited_for_and_then_named() {
    let (name, clock) = (name("lock"), ManualClock::at(T0));
    let kms = Keystore::open(&format!("{}#{name}", server()), &impatient().clock(clock)).unwrap();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    let lock = "BEGIN; SELECT 1 FROM shard WHERE store = {store} FOR UPDATE; SELECT pg_sleep(4)";
    let mut other = session(&name, lock);
    std::thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    assert_eq!(status(kms.rotate(key)), Some(Status::KeystoreBusy));
    assert!(begun.elapsed() >= Duration::from_millis(400), "nobody waited");
    kms.describe_key(key).unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    // The server notices when its wait ends.
    std::thread::sleep(Duration::from_secs(4));
    kms.rotate(key).unwrap();
}

#[test]
fn what_a_database_user_edits_is_noticed() {
    let (name, clock) = (name("edits"), ManualClock::at(T0));
    let kms = open(&name, &clock);
    let key = kms.create_key(&CreateKey::default()).unwrap();
    sql(&name, "CREATE TABLE IF NOT EXISTS key_then AS SELECT * FROM key WHERE false");
    assert_eq!(sql(&name, "INSERT INTO key_then SELECT * FROM key WHERE store = {store}"), "INSERT 0 1");
    kms.disable_key(key).unwrap();
    for (edit, what) in [
        ("UPDATE key SET state = 1 WHERE store = {store}", "a row that was edited"),
        ("UPDATE key SET mac = '' WHERE store = {store}", "a row without a MAC"),
        ("DELETE FROM key WHERE store = {store}", "a row that was removed"),
        ("INSERT INTO key SELECT * FROM key_then WHERE store = {store}", "a row of before the change, put back"),
    ] {
        assert!(sql(&name, edit).ends_with(" 1"), "{edit}");
        let fresh = open(&name, &clock);
        assert_eq!(status(fresh.describe_key(key)), Some(Status::KeystoreCorrupt), "{what} is believed");
        assert!(!is_sound(&fresh), "{what} passes");
    }
    // One shard as it was before: a handle that has seen more refuses it.
    let other = open(&name, &clock);
    let fresh = other.create_key(&CreateKey::default()).unwrap();
    sql(&name, "CREATE TABLE IF NOT EXISTS shard_then AS SELECT * FROM shard WHERE false");
    assert_eq!(sql(&name, "INSERT INTO shard_then SELECT * FROM shard WHERE store = {store}"), "INSERT 0 64");
    other.rotate(fresh).unwrap();
    assert_eq!(sql(&name, "DELETE FROM shard WHERE store = {store}"), "DELETE 64");
    assert_eq!(sql(&name, "INSERT INTO shard SELECT * FROM shard_then WHERE store = {store}"), "INSERT 0 64");
    assert_eq!(status(other.rotate(fresh)), Some(Status::KeystoreRolledBack), "an older copy of a shard is believed");
}

#[test]
fn a_child_connects_by_itself_and_leaves_its_parents_connection_alone() {
    let (name, clock) = (name("fork"), ManualClock::at(T0));
    let kms = open(&name, &clock);
    let key = kms.create_key(&CreateKey::default()).unwrap();
    for round in 1..=20 {
        // SAFETY: the child uses the library, which supports that, and ends without running anything of its parent's.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let done = kms.rotate(key).is_ok() && kms.encrypt(key, b"child", &[]).is_ok();
            // SAFETY: as above.
            unsafe { libc::_exit(i32::from(!done)) };
        }
        kms.rotate(key).unwrap();
        let mut ended = 0;
        // SAFETY: `ended` is valid for the call to fill.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut ended, 0) }, child);
        assert_eq!(ended, 0, "round {round}: the child could not use its handle");
        assert_eq!(numbers(&kms, key).len(), 1 + 2 * round);
    }
    assert!(is_sound(&kms));
}

/// A change of one key: one to lock and read, one to read new material back, one to write and commit.
#[test]
fn a_change_takes_two_round_trips_and_one_more_for_new_material() {
    let (name, clock) = (name("trips"), ManualClock::at(T0));
    let (kms, proxy) = through_proxy(&name, &clock);
    let key = kms.create_key(&CreateKey::default()).unwrap();
    let turns = |body: &dyn Fn()| {
        let before = proxy.traffic.turns.load(Ordering::SeqCst);
        body();
        proxy.traffic.turns.load(Ordering::SeqCst) - before
    };
    assert_eq!(turns(&|| kms.disable_key(key).unwrap()), 2, "a change without material");
    kms.enable_key(key).unwrap();
    assert_eq!(turns(&|| assert!(kms.rotate(key).is_ok())), 3, "a rotation");
}

/// However long it is: the end of it is read, of all shards at once.
#[test]
fn the_end_of_a_long_log_takes_few_round_trips() {
    let (name, clock) = (name("log"), ManualClock::at(T0));
    let (kms, proxy) = through_proxy(&name, &clock);
    let keys: Vec<KeyId> = (0..64).map(|_| kms.create_key(&CreateKey::default()).unwrap()).collect();
    for (at, key) in keys.iter().cycle().take(1_000).enumerate() {
        clock.advance_seconds(1);
        kms.update_key_description(*key, &at.to_string()).unwrap();
    }
    let turns = |body: &dyn Fn()| {
        let before = proxy.traffic.turns.load(Ordering::SeqCst);
        body();
        proxy.traffic.turns.load(Ordering::SeqCst) - before
    };
    let count = || assert_eq!(kms.count_changes().unwrap(), 1_064);
    assert!(turns(&count) <= 4, "to count: {}", turns(&count));
    let newest = || {
        let newest: Vec<_> = kms.newest_changes().take(50).map(|entry| entry.unwrap().key).collect();
        let expected: Vec<_> = keys.iter().cycle().take(1_000).map(|key| Some(*key)).collect();
        assert!(newest.iter().eq(expected.iter().rev().take(50)), "not the newest ones");
    };
    assert!(turns(&newest) <= 8, "to show the newest: {}", turns(&newest));
    let all = || assert_eq!(kms.newest_changes().count(), 1_064);
    println!("the newest 50: {} round trips, all: {}", turns(&newest), turns(&all));
}

#[test]
fn a_connection_that_the_server_ended_is_made_again() {
    let (name, clock) = (name("ended"), ManualClock::at(T0));
    let location = format!("{}?application_name={name}#{name}", server());
    let kms = Keystore::open(&location, &options().clock(clock.clone())).unwrap();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    let end =
        format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '{name}'");
    // A poll may be about to make the connection again.
    let end = || hosts::within(Duration::from_secs(10), "there is no connection", || sql(&name, &end) == "1");
    for round in 2..6 {
        end();
        kms.rotate(key).unwrap();
        assert_eq!(numbers(&kms, key).first(), Some(&round));
        end();
        kms.describe_key(key).unwrap();
    }
}

#[test]
fn a_deadlock_is_not_the_callers_matter() {
    let (name, clock) = (name("deadlock"), ManualClock::at(T0));
    let kms = open(&name, &clock);
    let key = kms.create_key(&CreateKey::default()).unwrap();
    let deadlocks = || sql(&name, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
    let before: u64 = deadlocks().parse().unwrap();
    for round in 0..4 {
        // Only the library's session looks for a deadlock, so the server ends that one.
        let other = session(
            &name,
            "SET deadlock_timeout = '1min'; BEGIN; SELECT 1 FROM shard WHERE store = {store} AND shard <> \
             (SELECT min(key_row) >> 32 FROM key WHERE store = {store}) FOR UPDATE; SELECT pg_sleep(1); \
             SELECT 1 FROM shard WHERE store = {store} FOR UPDATE; COMMIT",
        );
        std::thread::sleep(Duration::from_millis(500));
        kms.create_alias(key, &format!("alias/{round}")).unwrap();
        assert!(other.wait_with_output().unwrap().status.success(), "the other session was ended");
    }
    // The server's counters come a moment later.
    std::thread::sleep(Duration::from_secs(1));
    assert!(deadlocks().parse::<u64>().unwrap() > before, "there was no deadlock");
    assert!(is_sound(&kms));
}
