//! Every order in which the threads of these programs can run, weak memory included, is tried by loom.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::sys::fault::breaks;

const LONG: Duration = Duration::from_secs(3600);

/// A model's clock stands still: a sleep that nobody ends is a deadlock, and loom says so.
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

/// A number whose accesses loom checks.
struct Watched(UnsafeCell<i32>);

// SAFETY: loom ends the test at an access that is not ordered.
unsafe impl Sync for Watched {}

/// What is read through it was written before it was published; loom's cell knows.
fn a_published_value_is_read_while_it_is_replaced() {
    loom::model(|| {
        let published = Arc::new(Published::new(Watched(UnsafeCell::new(1))));
        let (reader, writer) = (Arc::clone(&published), Arc::clone(&published));
        let reading = thread::spawn(move || {
            let first = reader.get();
            let second = reader.get().0.with(|value| {
                // SAFETY: nothing writes to it after it was published.
                unsafe { *value }
            });
            let again = first.0.with(|value| {
                // SAFETY: as above; what was replaced lives on.
                unsafe { *value }
            });
            assert!(again <= second, "an older value after a newer one");
        });
        let writing = thread::spawn(move || {
            let next = Watched(UnsafeCell::new(0));
            next.0.with_mut(|value| {
                // SAFETY: nobody else has it yet.
                unsafe { *value = 2 }
            });
            writer.set(next);
        });
        reading.join().unwrap();
        writing.join().unwrap();
        published.get().0.with(|value| {
            // SAFETY: as above.
            assert_eq!(unsafe { *value }, 2, "the last one stays");
        });
    });
}

#[test]
fn a_published_value_is_whole_and_outlives_its_successor() {
    a_published_value_is_read_while_it_is_replaced();
}

#[test]
fn the_model_notices_a_value_published_without_order() {
    assert!(breaks(
        "KMS_FAULT_PUBLISHED_UNORDERED",
        "sys::sync::model::a_published_value_is_whole_and_outlives_its_successor",
        "Causality violation"
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
