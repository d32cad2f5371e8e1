//! Every order in which the threads of these programs can run, weak memory included, is tried by loom.

use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;

use super::*;
use crate::sys::fault::breaks;

const LONG: Duration = Duration::from_secs(3600);

/// A model's clock stands still: a sleep that no thread ends is a deadlock, which loom reports.
fn what_was_set_before_a_nudge_is_seen_after_it() {
    loom::model(|| {
        let alarm = Arc::new(Alarm::default());
        let due = Arc::new(atomic::AtomicUsize::new(0));
        let (sleeper, set) = (Arc::clone(&alarm), Arc::clone(&due));
        let ticker = thread::spawn(move || {
            while set.load(Ordering::Relaxed) == 0 {
                assert_eq!(sleeper.sleep(LONG), Wake::Nudged);
            }
        });
        due.store(1, Ordering::Relaxed);
        alarm.nudge();
        ticker.join().unwrap();
    });
}

#[test]
fn a_deadline_that_a_call_sets_is_looked_at() {
    what_was_set_before_a_nudge_is_seen_after_it();
}

#[test]
fn the_model_notices_a_nudge_that_is_not_remembered() {
    assert!(breaks(
        "KMS_FAULT_NUDGE_FORGOTTEN",
        "sys::sync::model::a_deadline_that_a_call_sets_is_looked_at",
        "deadlock"
    ));
}

#[test]
fn a_lent_value_has_one_borrower_and_comes_back() {
    loom::model(|| {
        let pool = Arc::new(Pool::new([0]));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || *pool.lend(LONG).unwrap().unwrap().get().unwrap() += 1)
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(
            *pool.lend(LONG).unwrap().unwrap().get().unwrap(),
            2,
            "both had the same value, one after the other"
        );
    });
}

#[test]
fn a_stop_ends_the_sleeper_whatever_nudges_come() {
    loom::model(|| {
        let alarm = Arc::new(Alarm::default());
        let (sleeper, stopper) = (Arc::clone(&alarm), Arc::clone(&alarm));
        let ticker = thread::spawn(move || while sleeper.sleep(LONG) != Wake::Stop {});
        let closing = thread::spawn(move || stopper.stop());
        alarm.nudge();
        ticker.join().unwrap();
        closing.join().unwrap();
    });
}
