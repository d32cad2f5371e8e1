//! Through pgbouncer in transaction mode, with fewer connections than handles.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kms::{CreateKey, Keystore, ManualClock, Status, Time};

use crate::proxy::Proxy;
use crate::{T0, address, is_sound, name, numbers, open, options, pooler, server, server_at, sql};

#[test]
fn each_transaction_may_run_on_another_connection() {
    work_by_many("pooled", &pooler());
}

/// This pooler forwards the names of prepared statements unchanged, and changes sessions.
#[test]
fn statements_are_prepared_no_more_where_sessions_change() {
    work_by_many("prepared-pooled", &format!("{}?prepare=on", pooler()));
}

fn work_by_many(name: &str, location: &str) {
    let (name, clock) = (crate::name(name), ManualClock::at(T0));
    let options = options().clock(clock.clone());
    let through = || Keystore::open(&format!("{location}#{name}"), &options).unwrap();
    let first = through();
    let key = first.create_key(&CreateKey::default()).unwrap();
    let workers: Vec<_> = (0..6)
        .map(|at| {
            let kms = through();
            std::thread::spawn(move || {
                for _ in 0..10 {
                    kms.rotate(key).unwrap();
                    let own = kms.create_key(&CreateKey::default()).unwrap();
                    kms.create_alias(own, &format!("alias/{at}-{own}")).unwrap();
                    kms.describe_key(own).unwrap();
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    // Without the pooler there is the same.
    let direct = open(&name, &clock);
    assert_eq!(numbers(&direct, key).len(), 61);
    assert!(is_sound(&direct) && is_sound(&first));
}

/// In bytes, because a prepared statement is sent without its text.
#[test]
fn a_prepared_statement_is_sent_once() {
    let sent = |setting: &str| {
        let (name, clock) = (name("prepared"), ManualClock::at(T0));
        let proxy = Proxy::to(address(&server()));
        let location = format!("{}?{setting}#{name}", server_at(proxy.port));
        let options = options().clock(clock.clone()).poll_interval(Duration::from_secs(60));
        let kms = Keystore::open(&location, &options).unwrap();
        let key = kms.create_key(&CreateKey::default()).unwrap();
        let change = || {
            kms.rotate(key).unwrap();
            kms.update_key_description(key, "changed").unwrap();
            kms.tag_resource(key, &[("a", "1"), ("b", "2")]).unwrap();
        };
        change();
        let (before, turns) = (proxy.traffic.asked.load(Ordering::SeqCst), proxy.traffic.turns.load(Ordering::SeqCst));
        change();
        assert_eq!(proxy.traffic.turns.load(Ordering::SeqCst) - turns, 8, "round trips with {setting}");
        let sent = proxy.traffic.asked.load(Ordering::SeqCst) - before;
        assert!(is_sound(&open(&name, &clock)));
        sent
    };
    let (each_time, once) = (sent("prepare=off"), sent("prepare=on"));
    assert!(once * 2 < each_time, "{once} bytes with prepared statements, {each_time} without");
}

/// The check of the session fails in each transaction that has prepared statements.
#[test]
fn what_another_session_refuses_is_made_once_more() {
    let exe = std::env::current_exe().unwrap();
    let test = "pooling::statements_are_prepared_no_more_where_sessions_change";
    let run = Command::new(exe).args(["--exact", test]).env("KMS_FAULT_OTHER_SESSION", "1").output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

/// Whether this test is the process that [`with_a_name_that_is_taken`] started.
fn is_name_taken() -> bool {
    std::env::var_os("KMS_FAULT_NAME_TAKEN").is_some()
}

/// Runs a test again where the last statements of each transaction cannot be prepared, as where another client of a pooler
/// has prepared one of the same name.
fn with_a_name_that_is_taken(test: &str) {
    let exe = std::env::current_exe().unwrap();
    let run = Command::new(exe).args(["--exact", test]).env("KMS_FAULT_NAME_TAKEN", "1").output().unwrap();
    let said = [run.stdout, run.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

/// A transaction that has deleted rows is not made again without the deletion.
#[test]
fn what_a_transaction_deleted_before_its_last_statements_is_deleted() {
    if !is_name_taken() {
        return with_a_name_that_is_taken("pooling::what_a_transaction_deleted_before_its_last_statements_is_deleted");
    }
    let (name, clock) = (name("deleted"), ManualClock::at(T0));
    open(&name, &clock).create_key(&CreateKey::default()).unwrap();
    let before = sql(&name, "SELECT count(*) FROM change WHERE store = {store}");
    clock.set(T0 + 60_000);
    let options = options().clock(clock.clone()).poll_interval(Duration::from_secs(60));
    let kms = Keystore::open(&format!("{}?prepare=on#{name}", server()), &options).unwrap();
    let first = kms.cut_changes(Time::from_millis(T0 + 1));
    if let Err(error) = &first {
        assert_eq!(error.status(), Status::KeystoreBusy, "{error}");
    }
    let second = kms.cut_changes(Time::from_millis(T0 + 1)).unwrap();
    println!("{before} entries; {first:?}, then {second}");
    assert!(first.unwrap_or(0) + second > 0);
    assert!(is_sound(&open(&name, &clock)), "rows that were deleted are there again");
}

/// The client closes each statement that it drops, in the session that it has then.
#[test]
fn statements_that_are_used_no_more_are_not_closed_in_another_session() {
    if !is_name_taken() {
        return with_a_name_that_is_taken(
            "pooling::statements_that_are_used_no_more_are_not_closed_in_another_session",
        );
    }
    let (name, clock) = (name("closed"), ManualClock::at(T0));
    let key = open(&name, &clock).create_key(&CreateKey::default()).unwrap();
    let proxy = Proxy::to(address(&server()));
    let location = format!("{}?prepare=on#{name}", server_at(proxy.port));
    let kms = Keystore::open(&location, &options().clock(clock).poll_interval(Duration::from_secs(60))).unwrap();
    for _ in 0..3 {
        kms.update_key_description(key, "changed").unwrap();
    }
    drop(kms);
    assert!(proxy.traffic.prepared.load(Ordering::SeqCst) > 0, "nothing was prepared");
    assert_eq!(proxy.traffic.closed.load(Ordering::SeqCst), 0, "a statement is closed");
}
