//! Connections that are delayed, half-closed and cut during COMMIT. An acknowledged change is stored exactly once. Any
//! other change is stored at most once, and never if the library could find out.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kms::{CreateKey, KeyId, Keystore, ManualClock, Status};

use crate::hosts::within;
use crate::proxy::{
    CUT_IN_THE_MIDDLE, CUT_THE_ANSWER, CUT_THE_COMMIT, DELAY, DELAY_AND_CUT, HALF_CLOSE_THE_CLIENT,
    HALF_CLOSE_THE_SERVER, HOLD_AND_CUT, LOSE_AND_CUT_LATER, PASS,
};
use crate::{T0, is_sound, name, numbers, open, options, proxied, session, sql, status, through_proxy};

/// What happens to a commit, and whether the change is stored afterwards. None means that the server may also find its
/// client gone before it reaches the commit; then the library has to find out.
const FATES: [(u8, Option<bool>); 9] = [
    (PASS, Some(true)),
    (CUT_THE_ANSWER, Some(true)),
    (CUT_THE_COMMIT, Some(false)),
    (CUT_IN_THE_MIDDLE, Some(false)),
    (DELAY, Some(true)),
    (DELAY_AND_CUT, None),
    (LOSE_AND_CUT_LATER, Some(false)),
    (HALF_CLOSE_THE_SERVER, Some(true)),
    (HALF_CLOSE_THE_CLIENT, None),
];

/// The state of a keystore after the acknowledged changes.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    keys: usize,
    versions: Vec<u64>,
    is_enabled: bool,
    aliases: BTreeSet<String>,
}

impl Held {
    fn read(kms: &Keystore, key: KeyId) -> Self {
        Self {
            keys: kms.keys().map(Result::unwrap).count(),
            versions: numbers(kms, key),
            is_enabled: kms.encrypt(key, b"text", &[]).is_ok(),
            aliases: kms.aliases().map(|alias| alias.unwrap().0).collect(),
        }
    }

    /// Makes the change of a round. Returns the state that it would lead to.
    fn change(&self, kms: &Keystore, key: KeyId, round: usize) -> (kms::Result<()>, Self) {
        let Self { keys, versions, is_enabled, aliases } = self;
        let (mut keys, mut versions, mut is_enabled, mut aliases) =
            (*keys, versions.clone(), *is_enabled, aliases.clone());
        let done = match round % 5 {
            0 => {
                keys += 1;
                kms.create_key(&CreateKey::default()).map(drop)
            }
            1 => {
                is_enabled = !is_enabled;
                if is_enabled { kms.enable_key(key) } else { kms.disable_key(key) }
            }
            // An alias lies in another shard than its key.
            2 if aliases.len() < 4 => {
                let alias = format!("alias/{round}");
                aliases.insert(alias.clone());
                kms.create_alias(key, &alias)
            }
            2 => {
                let alias = aliases.pop_first().unwrap();
                kms.delete_alias(&alias)
            }
            _ if !is_enabled => {
                is_enabled = true;
                kms.enable_key(key)
            }
            _ => {
                versions.insert(0, versions[0] + 1);
                kms.rotate(key).map(drop)
            }
        };
        (done, Self { keys, versions, is_enabled, aliases })
    }
}

/// `KMS_TEST_CAMPAIGN`: 1,000 commits.
#[test]
fn a_connection_that_is_cut_during_commit_loses_no_change_and_makes_none_twice() {
    let rounds = if std::env::var_os("KMS_TEST_CAMPAIGN").is_some() { 1_000 } else { 54 };
    let (name, clock) = (name("commit"), ManualClock::at(T0));
    let (location, proxy) = proxied(&name);
    // Long enough for a busy machine to find out about each commit.
    let patient = options().clock(clock.clone()).poll_interval(Duration::from_secs(60)).rotation_thread(false);
    let kms = Keystore::open(&location, &patient).unwrap();
    let direct = open(&name, &clock);
    let key = kms.create_key(&CreateKey::default()).unwrap();
    let mut held = Held::read(&direct, key);
    let mut acknowledged = 0;
    for round in 0..rounds {
        let (fate, stands) = FATES[round * 7 % FATES.len()];
        proxy.traffic.delay_ms.store(5 + round as u64 * 37 % 60, Ordering::SeqCst);
        proxy.traffic.next_commit.store(fate, Ordering::SeqCst);
        let (done, then) = held.change(&kms, key, round);
        assert_eq!(proxy.traffic.next_commit.load(Ordering::SeqCst), PASS, "round {round}: nothing was committed");
        assert!(stands.is_none_or(|stands| stands == done.is_ok()), "round {round}, fate {fate}: {done:?}");
        match done {
            Ok(()) => (held, acknowledged) = (then, acknowledged + 1),
            Err(error) => {
                assert_eq!(error.status(), Status::KeystoreUnavailable, "round {round}, fate {fate}: {error}");
                assert!(!error.text().contains("unknown whether"), "round {round}, fate {fate}: {error}");
            }
        }
        // Reads the rows themselves: another handle's memory may be as old as the last poll.
        let found = within_a_poll(&direct, key, &held);
        assert_eq!(found, held, "round {round}, fate {fate}: a change is lost, or was made twice");
    }
    let entries = direct.changes(Default::default()).map(Result::unwrap).count();
    println!("{rounds} commits, {acknowledged} acknowledged, {entries} entries of the change log");
    assert!(is_sound(&direct) && is_sound(&kms));
}

/// The state once the other handle has seen the change, or the state that stays instead.
fn within_a_poll(kms: &Keystore, key: KeyId, expected: &Held) -> Held {
    let mut found = Held::read(kms, key);
    for _ in 0..500 {
        if found == *expected {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        found = Held::read(kms, key);
    }
    found
}

/// The lock is not free before the server has the commit, so no one can know.
#[test]
fn a_commit_that_arrives_too_late_to_find_out_is_named_unknown_and_made_once() {
    let (name, clock) = (name("held"), ManualClock::at(T0));
    let (kms, proxy) = through_proxy(&name, &clock);
    let key = kms.create_key(&CreateKey::default()).unwrap();
    proxy.traffic.next_commit.store(HOLD_AND_CUT, Ordering::SeqCst);
    let error = kms.rotate(key).unwrap_err();
    assert_eq!(error.status(), Status::KeystoreUnavailable, "{error}");
    assert!(error.text().contains("unknown whether"), "{error}");
    assert_eq!(status(kms.rotate(key)), Some(Status::KeystoreBusy), "a shard that may be changed was changed");
    proxy.traffic.is_held.store(false, Ordering::SeqCst);
    let direct = open(&name, &clock);
    within(Duration::from_secs(20), "the commit is lost", || numbers(&direct, key) == [2, 1]);
    within(Duration::from_secs(20), "the handle stays stuck", || kms.rotate(key).is_ok());
    assert_eq!(numbers(&direct, key), [3, 2, 1]);
    assert!(is_sound(&kms));
}

/// The transaction is over when its commit fails. A second try would find nothing to commit, and succeed.
#[test]
fn a_change_that_the_server_cancels_at_its_commit_is_not_acknowledged() {
    let (name, clock) = (name("cancelled"), ManualClock::at(T0));
    let location = format!("{}?application_name={name}#{name}", crate::server());
    let kms = Keystore::open(&location, &options().clock(clock)).unwrap();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    // What the commit brings has to wait for entries of the same numbers.
    let insert = "INSERT INTO change(store, generation, change_id, at_ms, boot_ms, pid, uid, program, action, count, status, \
                  omitted, mac) SELECT store, generation + 1, sha256(generation::text::bytea), 0, 0, 0, 0, '', '', 0, 0, 0, '' \
                  FROM shard WHERE store = {store}";
    let mut other = session(&name, &format!("BEGIN; {insert}; SELECT pg_sleep(60)"));
    let others = format!("query LIKE 'BEGIN; INSERT INTO change%{name}%'");
    let of_others = |what: &str| sql(&name, &format!("SELECT {what} FROM pg_stat_activity WHERE {others}"));
    within(Duration::from_secs(20), "nothing was inserted", || of_others("max(wait_event)") == "PgSleep");
    let cancel = format!(
        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE application_name = '{name}' \
         AND wait_event_type = 'Lock'"
    );
    std::thread::scope(|scope| {
        let rotating = scope.spawn(|| kms.rotate(key));
        within(Duration::from_secs(20), "nobody waits", || sql(&name, &cancel) != "0");
        assert_eq!(status(rotating.join().unwrap()), Some(Status::KeystoreBusy), "a lost change is acknowledged");
    });
    of_others("pg_terminate_backend(pid)");
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(numbers(&kms, key), [1]);
    assert!(is_sound(&kms));
}
