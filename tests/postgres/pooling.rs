//! Through pgbouncer in transaction mode, with fewer connections than handles.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kms::{CreateKey, Keystore, ManualClock};

use crate::proxy::Proxy;
use crate::{T0, address, is_sound, name, numbers, open, options, pooler, server, server_at};

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
