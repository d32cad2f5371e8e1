//! The wait for other processes is bounded by the timeout, and hardly exceeds it.

use std::time::{Duration, Instant};

use kms::{Keystore, Status};

use crate::folder::{Folder, new_key, quiet, status};
use crate::worker::Worker;

const TIMEOUT: Duration = Duration::from_millis(600);

fn took(call: impl FnOnce() -> Option<Status>) -> Duration {
    let started = Instant::now();
    assert_eq!(call(), Some(Status::KeystoreBusy));
    started.elapsed()
}

fn is_near_the_timeout(took: Duration) {
    assert!(took >= TIMEOUT, "gave up after {took:?}");
    assert!(took < TIMEOUT + Duration::from_millis(500), "gave up only after {took:?}");
}

#[test]
fn a_busy_keystore_is_waited_for_as_long_as_asked() {
    let folder = Folder::new();
    let kms = Keystore::open(&folder.store(), &quiet().create(true).busy_timeout(TIMEOUT)).unwrap();
    let key = new_key(&kms, None);
    kms.encrypt(&key, b"x", &[]).unwrap();
    let mut holder = Worker::start("hold", &[&folder.store(), "BEGIN IMMEDIATE"]);
    assert_eq!(holder.hear(), "held");
    is_near_the_timeout(took(|| status(kms.rotate(&key))));
    // Reads continue beside a writer, even uncached ones, and even while a call of this handle waits to write.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| took(|| status(kms.rotate(&key))));
        std::thread::sleep(TIMEOUT / 4);
        let started = Instant::now();
        assert_eq!(status(kms.list_keys(None, 10, |_| true)), None);
        assert!(started.elapsed() < TIMEOUT / 4, "a reader waited {:?} behind a waiting writer", started.elapsed());
        is_near_the_timeout(waiting.join().unwrap());
    });
    // All callers wait at once, not one after the other.
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| took(|| status(kms.rotate(&key))))).collect();
        for thread in waiting {
            is_near_the_timeout(thread.join().unwrap());
        }
    });
    assert_eq!(holder.ask("let go"), "free");
    kms.rotate(&key).unwrap();
}

#[test]
fn an_exclusive_lock_holds_up_opening_no_longer_than_asked() {
    let folder = Folder::new();
    let key = new_key(&folder.create(), None);
    let kms = Keystore::open(&folder.store(), &quiet().busy_timeout(TIMEOUT)).unwrap();
    kms.encrypt(&key, b"x", &[]).unwrap();
    let mut holder = Worker::start("hold", &[&folder.store(), "BEGIN EXCLUSIVE"]);
    assert_eq!(holder.hear(), "held");
    is_near_the_timeout(took(|| status(Keystore::open(&folder.store(), &quiet().busy_timeout(TIMEOUT)))));
    is_near_the_timeout(took(|| status(kms.list_keys(None, 10, |_| true))));
    let at_once = took(|| status(Keystore::open(&folder.store(), &quiet().busy_timeout(Duration::ZERO))));
    assert!(at_once < Duration::from_millis(300), "no timeout took {at_once:?}");
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| Keystore::open(&folder.store(), &quiet()).map(drop));
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(holder.ask("let go"), "free");
        assert_eq!(status(opening.join().unwrap()), None, "an open did not wait");
    });
}
