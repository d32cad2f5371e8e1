//! Through pgbouncer in transaction mode, with fewer connections than handles.

use kms::{CreateKey, Keystore, ManualClock};

use crate::{T0, is_sound, name, numbers, open, options, pooler};

#[test]
fn each_transaction_may_run_on_another_connection() {
    let pooler = pooler();
    let (name, clock) = (name("pooled"), ManualClock::at(T0));
    let options = options().clock(clock.clone());
    let through = || Keystore::open(&format!("{pooler}#{name}"), &options).unwrap();
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
