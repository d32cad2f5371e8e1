//! A handle has further connections: what waits on one of them delays nothing on the others.

use std::collections::HashSet;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kms::health::EventKind;
use kms::{CreateKey, KeyId, Keystore, ManualClock, Options, Status, database};

use crate::hosts::{EventLog, within};
use crate::proxy::Proxy;
use crate::{HASTE, T0, address, is_sound, name, open, options, server, server_at, session, sql, status};

const SETTLING: Duration = Duration::from_secs(10);

/// A location whose connections the server lists under the keystore's name.
fn listed(name: &str) -> String {
    format!("{}?application_name={name}#{name}", server())
}

/// The server's processes that serve such connections.
fn serving(name: &str) -> HashSet<String> {
    let pids = format!("SELECT pid FROM pg_stat_activity WHERE application_name = '{name}'");
    sql(name, &pids).lines().map(str::to_owned).collect()
}

/// The shard of a key, of 64.
fn shard(key: KeyId) -> u8 {
    key.as_bytes()[0] >> 2
}

/// Keys that lie in shards of their own.
fn keys_in_different_shards(kms: &Keystore, count: usize) -> Vec<KeyId> {
    let mut found: Vec<KeyId> = Vec::new();
    while found.len() < count {
        for key in kms.create_keys(&CreateKey::default(), 32).unwrap() {
            if found.len() < count && found.iter().all(|known| shard(*known) != shard(key)) {
                found.push(key);
            }
        }
    }
    found
}

/// Another session that holds the lock of a key's shard for this time.
fn hold_shard(name: &str, tables: &str, condition: &str, key: KeyId, time: Duration) -> Child {
    let held = format!(
        "BEGIN; SELECT 1 FROM {tables}shard WHERE {condition} AND shard = {} FOR UPDATE; SELECT pg_sleep({}), '{name}'; COMMIT",
        shard(key),
        time.as_secs_f64()
    );
    let holder = session(name, &held);
    let sleeps = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND pid <> pg_backend_pid() AND query LIKE '%{name}%'"
    );
    within(SETTLING, "no session holds the lock", || sql(name, &sleeps) == "1");
    holder
}

fn hold_shard_of(name: &str, key: KeyId, time: Duration) -> Child {
    hold_shard(name, "", "store = {store}", key, time)
}

fn timed<R>(call: impl FnOnce() -> R) -> (R, Duration) {
    let begun = Instant::now();
    let value = call();
    (value, begun.elapsed())
}

struct Measured {
    change_that_waits: Duration,
    longest_read: Duration,
    longest_other_change: Duration,
    polls: u64,
}

/// How long a lock is held.
const HELD: Duration = Duration::from_secs(4);

/// While another session holds the lock of a key's shard and a change of that key waits for it: first uses of `cold` keys on two
/// threads, and changes of others.
fn beside_a_change_that_waits(
    kms: &Keystore,
    name: &str,
    locked: KeyId,
    cold: &[KeyId],
    changed: &[KeyId],
) -> Measured {
    let mut holder = hold_shard_of(name, locked, HELD);
    let measured = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| timed(|| kms.rotate(locked).unwrap()).1);
        std::thread::sleep(Duration::from_millis(200));
        let polls = kms.health().unwrap().polls;
        let reads = |keys: &[KeyId]| keys.iter().map(|key| timed(|| kms.encrypt(*key, b"text", &[]).unwrap()).1).max();
        let changes = || changed.iter().map(|key| timed(|| kms.rotate(*key).unwrap()).1).max();
        let (half, rest) = cold.split_at(cold.len() / 2);
        let (first, second) = (scope.spawn(move || reads(half)), scope.spawn(move || reads(rest)));
        let changing = scope.spawn(changes);
        std::thread::sleep(Duration::from_secs(1));
        let polls = kms.health().unwrap().polls - polls;
        let longest_read = first.join().unwrap().max(second.join().unwrap()).unwrap();
        let longest_other_change = changing.join().unwrap().unwrap();
        Measured { change_that_waits: waiter.join().unwrap(), longest_read, longest_other_change, polls }
    });
    assert!(holder.wait().unwrap().success());
    measured
}

#[test]
fn a_change_that_waits_for_another_process_delays_nothing_in_other_shards() {
    let (name, clock) = (name("waits"), ManualClock::at(T0));
    let keys = keys_in_different_shards(&open(&name, &clock), 40);
    let alone = options().clock(clock.clone()).poll_interval(Duration::from_secs(60));
    let small = Keystore::open(&listed(&name), &alone).unwrap();
    assert!(keys[..4].iter().all(|key| small.rotate(*key).is_ok()));
    assert_eq!(serving(&name).len(), 1, "a handle that waits for nothing has a further connection");
    drop(small);
    let kms = Keystore::open(&listed(&name), &options().clock(clock)).unwrap();
    for round in 0..2 {
        let (cold, changed) = (&keys[1 + round * 16..17 + round * 16], &keys[33..]);
        let found = beside_a_change_that_waits(&kms, &name, keys[0], cold, changed);
        let Measured { change_that_waits, longest_read, longest_other_change, polls } = found;
        println!(
            "the change waited {change_that_waits:?}; longest first use of a key {longest_read:?}, longest other change \
             {longest_other_change:?}, {polls} polls in a second"
        );
        assert!(change_that_waits > HELD / 2, "the lock was not held");
        // At first the further connections are opened, which takes a debug build some time.
        if round > 0 {
            assert!(longest_read < HELD / 2, "a first use of a key waited {longest_read:?} behind a change");
            assert!(longest_other_change < HELD / 2, "a change of another shard waited {longest_other_change:?}");
            assert!(polls > 0, "polls wait behind a change");
        }
    }
    let count = serving(&name).len();
    assert!((2..=3).contains(&count), "a handle has {count} connections");
    drop(kms);
    within(SETTLING, "a closed handle keeps connections", || serving(&name).is_empty());
}

/// A location may limit them.
#[test]
fn a_handle_has_no_more_connections_than_its_location_allows() {
    let (name, clock) = (name("limited"), ManualClock::at(T0));
    let keys = keys_in_different_shards(&open(&name, &clock), 3);
    for (limit, other_waits) in [(1, true), (2, false)] {
        let location = format!("{}?application_name={name}-{limit}&connections={limit}#{name}", server());
        let kms = Keystore::open(&location, &options().clock(clock.clone())).unwrap();
        let mut holder = hold_shard_of(&name, keys[0], HELD / 2);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| kms.rotate(keys[0]));
            std::thread::sleep(Duration::from_millis(100));
            let (read, took) = timed(|| kms.encrypt(keys[1], b"text", &[]));
            read.unwrap();
            assert_eq!(took > HELD / 4, other_waits, "{limit}: a first use took {took:?}");
            // Of two connections the second is for reads.
            let (changed, took) = timed(|| kms.rotate(keys[2]));
            changed.unwrap();
            assert!(other_waits || took > HELD / 8, "a change took the connection for reads");
            waiter.join().unwrap().unwrap();
        });
        assert!(holder.wait().unwrap().success());
        assert_eq!(serving(&format!("{name}-{limit}")).len(), limit);
    }
}

/// A server that has one connection for the role: what needs another waits for it.
#[test]
fn where_the_server_has_no_connection_left_calls_wait_for_the_one_that_there_is() {
    let (name, clock) = (name("few").replace('-', "_"), ManualClock::at(T0));
    let owner = format!("{}?schema={name}", server());
    sql("", &format!("CREATE ROLE {name} LOGIN PASSWORD 'application' CONNECTION LIMIT 1"));
    database::prepare(&owner, Some(&name)).unwrap();
    let keys = keys_in_different_shards(&Keystore::open(&owner, &options().clock(clock.clone())).unwrap(), 5);
    let location = format!("postgres://{name}:application@{}/postgres?schema={name}", address(&server()));
    let kms = Keystore::open(&location, &options().clock(clock)).unwrap();
    let held = Duration::from_secs(2);
    let mut holder = hold_shard(&name, &format!("{name}."), "true", keys[0], held);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| kms.rotate(keys[0]));
        std::thread::sleep(Duration::from_millis(100));
        let (read, took) = timed(|| kms.encrypt(keys[1], b"text", &[]));
        read.unwrap();
        assert!(took > held / 2, "the role has more connections than it may have");
        waiter.join().unwrap().unwrap();
    });
    assert!(holder.wait().unwrap().success());
    assert!(keys.iter().all(|key| kms.encrypt(*key, b"text", &[]).is_ok()));
}

/// Each connection lists the keys that it reads by itself, whatever another knows.
#[test]
fn a_copy_beside_a_change_that_waits_has_every_key() {
    let (name, clock) = (name("copied"), ManualClock::at(T0));
    let keys = keys_in_different_shards(&open(&name, &clock), 40);
    let count = open(&name, &clock).keys().count() as u64;
    let folder = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let kms = Keystore::open(&listed(&name), &options().clock(clock.clone())).unwrap();
        let mut holder = hold_shard_of(&name, keys[0], HELD / 2);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| kms.rotate(keys[0]));
            std::thread::sleep(Duration::from_millis(100));
            let copied = kms.copy(folder.path().join(format!("{round}.db")).to_str().unwrap(), |_| ()).unwrap();
            assert_eq!(copied.keys, count, "a copy lacks keys");
            waiter.join().unwrap().unwrap();
        });
        assert!(holder.wait().unwrap().success());
    }
}

/// Both lead through a proxy, which then leads elsewhere: no connection stays with the former server.
#[test]
fn a_handle_that_loses_one_connection_makes_all_of_them_again() {
    let (name, clock) = (name("again"), ManualClock::at(T0));
    let keys = keys_in_different_shards(&open(&name, &clock), 12);
    let proxy = Proxy::to(address(&server()));
    let location = format!("{}?application_name={name}#{name}", server_at(proxy.port));
    // Polls would find the loss before.
    let unpolled = options().busy_timeout(HASTE).poll_interval(Duration::from_secs(60)).clock(clock);
    let kms = Keystore::open(&location, &unpolled.clone().busy_timeout(Duration::from_secs(20))).unwrap();
    beside_a_lock(&kms, &name, &keys[..3]);
    let before = serving(&name);
    assert!(before.len() >= 2, "no further connection was opened");
    let ordered = format!("SELECT pid FROM pg_stat_activity WHERE application_name = '{name}' ORDER BY backend_start");
    let first = sql("", &ordered).lines().next().unwrap().to_owned();
    for lost in before.iter().filter(|pid| **pid != first) {
        sql("", &format!("SELECT pg_terminate_backend({lost})"));
    }
    within(SETTLING, "the server keeps the connections", || serving(&name).len() == 1);
    // The loss is noticed where the connection is used; the first one is then in use, too.
    beside_a_lock(&kms, &name, &keys[3..6]);
    kms.describe_key(keys[6]).unwrap();
    let now = serving(&name);
    assert!(!now.contains(&first), "a connection of before the loss is still used");
    assert!(now.len() >= 2, "a connection is never made again");
}

/// Has a change wait for a lock while another key is read, so that both connections are in use.
fn beside_a_lock(kms: &Keystore, name: &str, keys: &[KeyId]) {
    let mut holder = hold_shard_of(name, keys[0], Duration::from_millis(1500));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| kms.rotate(keys[0]));
        std::thread::sleep(Duration::from_millis(100));
        kms.describe_key(keys[1]).unwrap();
        kms.rotate(keys[2]).unwrap();
        waiter.join().unwrap().unwrap();
    });
    assert!(holder.wait().unwrap().success());
}

/// Forks; the child ends with what `body` returns.
fn fork(body: impl FnOnce() -> bool) -> libc::pid_t {
    // SAFETY: the child runs the library alone, which supports that, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: has no precondition.
        unsafe { libc::_exit(i32::from(!done.unwrap_or(false))) };
    }
    child
}

fn ended_well(child: libc::pid_t) -> bool {
    let mut ended = 0;
    // SAFETY: `ended` is valid for the call to fill.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut ended, 0) }, child);
    ended == 0
}

#[test]
fn a_fork_with_several_connections_open_harms_none_of_them() {
    let (name, clock) = (name("forked"), ManualClock::at(T0));
    let keys = keys_in_different_shards(&open(&name, &clock), 16);
    let kms = Keystore::open(&listed(&name), &options().clock(clock)).unwrap();
    beside_a_lock(&kms, &name, &keys[..3]);
    let ours = serving(&name);
    assert!(ours.len() >= 2, "no further connection was opened");
    let child = |round: usize| match round % 3 {
        0 => true,
        // Its own connections, beside those of its parent.
        1 => kms.rotate(keys[3]).is_ok() && keys.iter().all(|key| kms.encrypt(*key, b"text", &[]).is_ok()),
        _ => kms.encrypt(keys[4 + round % 8], b"text", &[]).is_ok(),
    };
    for round in 0..9 {
        assert!(ended_well(fork(|| child(round))), "round {round}: the child did not end well");
    }
    assert!(ours.is_subset(&serving(&name)), "a child ended a connection of its parent");
    // While both are in use.
    let mut holder = hold_shard_of(&name, keys[0], Duration::from_secs(2));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| kms.rotate(keys[0]));
        std::thread::sleep(Duration::from_millis(100));
        let reader = scope.spawn(|| (0..20).all(|_| keys[5..].iter().all(|key| kms.describe_key(*key).is_ok())));
        for round in 0..4 {
            assert!(ended_well(fork(|| child(round))), "round {round}: the child did not end well");
        }
        assert!(reader.join().unwrap(), "a fork broke a read");
        waiter.join().unwrap().unwrap();
    });
    assert!(holder.wait().unwrap().success());
    assert!(ours.is_subset(&serving(&name)), "a child ended a connection of its parent");
    assert!(is_sound(&kms));
}

/// Whether a key is disabled, as the thread that disables it knows: an odd number says that it is changing.
#[derive(Default)]
struct Knowledge {
    turn: AtomicU64,
    is_disabled: AtomicBool,
}

impl Knowledge {
    fn change(&self, is_disabled: bool, call: impl FnOnce()) {
        self.turn.fetch_add(1, Ordering::SeqCst);
        call();
        self.is_disabled.store(is_disabled, Ordering::SeqCst);
        self.turn.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether the key was disabled all the time while `call` ran; none if that is unknown.
    fn during<R>(&self, call: impl FnOnce() -> R) -> (R, Option<bool>) {
        let (before, is_disabled) = (self.turn.load(Ordering::SeqCst), self.is_disabled.load(Ordering::SeqCst));
        let value = call();
        let is_certain = before % 2 == 0 && self.turn.load(Ordering::SeqCst) == before;
        (value, is_certain.then_some(is_disabled))
    }
}

const STRESS: Duration = Duration::from_secs(8);

/// Numbers that differ from call to call.
fn draw(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % below
}

#[test]
fn threads_that_read_and_change_at_once_see_no_loss_and_obey_every_change() {
    let (name, log) = (name("stress"), EventLog::default());
    let small = || -> Options { log.options().cache_keys(8).poll_interval(Duration::from_millis(20)) };
    let kms = Keystore::open(&listed(&name), &small()).unwrap();
    let keys = keys_in_different_shards(&kms, 24);
    let (switched, others) = keys.split_at(8);
    let knowledge: Vec<Knowledge> = switched.iter().map(|_| Knowledge::default()).collect();
    let begun = Instant::now();
    let goes_on = || begun.elapsed() < STRESS;
    // Changes the same shards, without this handle's knowledge.
    let neighbour = fork(|| {
        let Ok(theirs) = Keystore::open(&listed(&name), &small()) else { return false };
        let mut seed = 99;
        while goes_on() {
            if theirs.rotate(others[draw(&mut seed, others.len())]).is_err() {
                return false;
            }
        }
        true
    });
    let (reads, changes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let read = |seed: u64| {
        let (mut seed, mut blobs) = (seed, Vec::new());
        while goes_on() {
            let key = others[draw(&mut seed, others.len())];
            blobs.push(kms.encrypt(key, b"text", &[]).unwrap_or_else(|error| panic!("an encrypt fails: {error}")));
            let blob = &blobs[draw(&mut seed, blobs.len())];
            assert_eq!(&*kms.decrypt(blob, &[]).unwrap(), b"text");
            let at = draw(&mut seed, switched.len());
            let (done, is_disabled) = knowledge[at].during(|| status(kms.encrypt(switched[at], b"text", &[])));
            match is_disabled {
                Some(true) => assert_eq!(done, Some(Status::RejectedDisabled), "a disabled key encrypts"),
                Some(false) => assert_eq!(done, None, "an enabled key does not encrypt"),
                None => assert!(matches!(done, None | Some(Status::RejectedDisabled)), "{done:?}"),
            }
            reads.fetch_add(1, Ordering::Relaxed);
        }
        blobs
    };
    let switch = || {
        let mut seed = 7;
        while goes_on() {
            let at = draw(&mut seed, switched.len());
            let key = switched[at];
            let is_disabled = !knowledge[at].is_disabled.load(Ordering::SeqCst);
            knowledge[at].change(is_disabled, || {
                if is_disabled {
                    kms.disable_key(key).unwrap()
                } else {
                    kms.enable_key(key).unwrap()
                };
            });
            assert_eq!(kms.encrypt(key, b"text", &[]).is_err(), is_disabled, "a thread does not see its own change");
            changes.fetch_add(1, Ordering::Relaxed);
        }
    };
    let change = || {
        let mut seed = 3;
        while goes_on() {
            let key = others[draw(&mut seed, others.len())];
            let version = kms.rotate(key).unwrap();
            assert!(kms.key_versions(key).any(|found| found.unwrap().id == version), "a rotation is not seen");
            kms.update_key_description(key, "changed").unwrap();
            changes.fetch_add(2, Ordering::Relaxed);
        }
    };
    // Has changes wait now and then.
    let hold = || {
        let mut seed = 5;
        while begun.elapsed() < STRESS / 2 {
            let key = keys[draw(&mut seed, keys.len())];
            let held = format!(
                "BEGIN; SELECT 1 FROM shard WHERE store = {{store}} AND shard = {} FOR UPDATE; SELECT pg_sleep(0.3); COMMIT",
                shard(key)
            );
            assert!(session(&name, &held).wait().unwrap().success());
        }
    };
    let blobs = std::thread::scope(|scope| {
        let readers = [scope.spawn(|| read(1)), scope.spawn(|| read(2))];
        let others = [scope.spawn(switch), scope.spawn(change), scope.spawn(hold)];
        others.into_iter().for_each(|thread| thread.join().unwrap());
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(ended_well(neighbour), "the other process failed");
    let health = kms.health().unwrap();
    println!("{reads:?} reads, {changes:?} changes, {} connections, {} polls", serving(&name).len(), health.polls);
    assert!(serving(&name).len() >= 2, "one connection did it all");
    for kind in [
        EventKind::KeystoreRolledBack,
        EventKind::KeystoreReplaced,
        EventKind::KeystoreUnavailable,
        EventKind::VersionLost,
    ] {
        assert!(log.of(kind).is_empty(), "{kind:?} without a cause");
    }
    assert_eq!((health.rolled_back, health.rollbacks), (false, 0), "a loss was seen where there is none");
    for blob in &blobs {
        assert_eq!(&*kms.decrypt(blob, &[]).unwrap(), b"text", "a ciphertext does not open");
    }
    assert!(is_sound(&kms));
}
