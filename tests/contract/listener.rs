//! A listener that blocks, panics or uses the keystore delays neither rotation nor calls, and does not hang close.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kms::{CreateKey, Keystore, ManualClock, Options, health::Event};

use super::support::*;

/// A listener that waits in its first call until it is let go.
struct Blocked {
    kms: Keystore,
    told: Arc<AtomicUsize>,
    let_go: Sender<()>,
}

fn blocked(options: Options) -> Blocked {
    let (let_go, wait): (Sender<()>, Receiver<()>) = channel();
    let (wait, told) = (Mutex::new(wait), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&told);
    let options = options.on_event(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = wait.lock().unwrap().recv();
    });
    Blocked { kms: Keystore::open("memory:", &options).unwrap(), told, let_go }
}

fn with_thread() -> Options {
    Options::new().root_key(&ROOT)
}

fn plain(kms: &Keystore) -> String {
    kms.create_key(&CreateKey::default()).unwrap().to_string()
}

#[test]
fn rotation_and_calls_go_on_while_a_listener_blocks() {
    let Blocked { kms, told, let_go } = blocked(with_thread());
    let request = CreateKey { rotate_every: Some(seconds(1)), ..CreateKey::default() };
    let id = kms.create_key(&request).unwrap().to_string();
    assert!(eventually(Duration::from_secs(30), || kms.describe_key(&id).unwrap().version_count() >= 4));
    assert_eq!(told.load(Ordering::SeqCst), 1, "one event at a time");
    let started = Instant::now();
    kms.rotate(&id).unwrap();
    kms.tick().unwrap();
    assert!(started.elapsed() < Duration::from_secs(2));
    let health = kms.health().unwrap();
    assert!(!health.rotation_failing && !health.thread_stalled && health.events_dropped == 0);
    drop(let_go);
    assert!(eventually(Duration::from_secs(10), || told.load(Ordering::SeqCst) >= 4), "what waited is told");
}

#[test]
fn what_does_not_fit_in_the_queue_is_dropped_and_counted() {
    let Blocked { kms, told, let_go } = blocked(with_thread());
    let id = plain(&kms);
    for _ in 0..1100 {
        kms.rotate(&id).unwrap();
    }
    // One is being delivered, 1024 wait.
    assert_eq!(kms.health().unwrap().events_dropped, 1100 - 1025);
    drop(let_go);
    assert!(eventually(Duration::from_secs(20), || told.load(Ordering::SeqCst) == 1025));
    kms.rotate(&id).unwrap();
    assert!(
        eventually(Duration::from_secs(20), || told.load(Ordering::SeqCst) == 1026),
        "told again once there is room"
    );
}

#[test]
fn closing_leaves_a_listener_that_blocks_alone() {
    let Blocked { kms, told, let_go } = blocked(with_thread());
    let id = plain(&kms);
    kms.rotate(&id).unwrap();
    kms.rotate(&id).unwrap();
    assert!(eventually(Duration::from_secs(10), || told.load(Ordering::SeqCst) == 1));
    let started = Instant::now();
    drop(kms);
    let took = started.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(9), "closing took {took:?}");
    drop(let_go);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(told.load(Ordering::SeqCst), 1, "told after the handle was closed");
}

#[test]
fn closing_tells_what_waits_in_order() {
    let told: Told = Told::default();
    let keep = told.clone();
    let options = with_thread().on_event(move |event: &Event| {
        std::thread::sleep(Duration::from_millis(2));
        keep.lock().unwrap().push(event.clone());
    });
    let kms = Keystore::open("memory:", &options).unwrap();
    let id = plain(&kms);
    let made: Vec<_> = (0..100).map(|_| kms.rotate(&id).unwrap()).collect();
    drop(kms);
    let told: Vec<_> = told.lock().unwrap().iter().map(|event| event.version.unwrap()).collect();
    assert_eq!(told, made);
}

#[test]
fn a_listener_may_use_the_keystore_and_panic() {
    let handle: Arc<Mutex<Option<Arc<Keystore>>>> = Arc::default();
    let (used, own, panicked) = (handle.clone(), Arc::new(AtomicUsize::new(0)), AtomicBool::new(false));
    let count = Arc::clone(&own);
    let options = with_thread().on_event(move |event: &Event| {
        let Some(kms) = used.lock().unwrap().clone() else { return };
        let id = event.key.unwrap().to_string();
        assert_eq!(kms.decrypt(&kms.encrypt(&id, b"x", &[]).unwrap(), &[]).unwrap().as_slice(), b"x");
        if count.fetch_add(1, Ordering::SeqCst) < 5 {
            kms.rotate(&id).unwrap();
        }
        if !panicked.swap(true, Ordering::SeqCst) {
            std::panic::resume_unwind(Box::new("a listener's own panic"));
        }
    });
    let kms = Arc::new(Keystore::open("memory:", &options).unwrap());
    *handle.lock().unwrap() = Some(Arc::clone(&kms));
    let id = plain(&kms);
    kms.rotate(&id).unwrap();
    assert!(eventually(Duration::from_secs(20), || own.load(Ordering::SeqCst) == 6), "each of its rotations is told");
    assert_eq!(kms.describe_key(&id).unwrap().version_count(), 7);
    *handle.lock().unwrap() = None;
}

#[test]
fn without_the_rotation_thread_an_event_is_told_before_its_call_returns() {
    let here = std::thread::current().id();
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let options = with_thread().rotation_thread(false).on_event(move |_| {
        assert_eq!(std::thread::current().id(), here);
        count.fetch_add(1, Ordering::SeqCst);
    });
    let kms = Keystore::open("memory:", &options).unwrap();
    kms.rotate(&plain(&kms)).unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

/// A clock that doesn't return blocks the thread that reads it, and health shows that.
#[test]
fn a_rotation_thread_that_is_held_up_shows_in_health() {
    struct Clock(ManualClock, Arc<AtomicBool>);
    impl kms::Clock for Clock {
        fn wall(&self) -> kms::Time {
            let ours = std::thread::current().name() == Some("libkms");
            while ours && self.1.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            self.0.wall()
        }
        fn now(&self) -> kms::internal::Now {
            self.wall();
            self.0.now()
        }
        fn is_manual(&self) -> bool {
            true
        }
    }
    let stuck = Arc::new(AtomicBool::new(false));
    let clock = Clock(ManualClock::at(T0), Arc::clone(&stuck));
    let kms = Keystore::open("memory:", &with_thread().clock(clock).rotation_thread(true)).unwrap();
    let late = || kms.health().unwrap().thread_stalled;
    assert!(!late());
    stuck.store(true, Ordering::SeqCst);
    assert!(eventually(Duration::from_secs(30), late));
    stuck.store(false, Ordering::SeqCst);
    assert!(eventually(Duration::from_secs(5), || !late()));
}
