use super::*;
use std::sync::Arc;

#[test]
fn a_lent_value_comes_back_and_waiting_is_bounded() {
    let pool = Pool::new([7]);
    let mut lent = pool.lend(Duration::ZERO).unwrap().unwrap();
    assert_eq!(*lent.get().unwrap(), 7);
    assert!(pool.lend(Duration::from_millis(5)).unwrap().is_none(), "the only value is lent");
    drop(lent);
    assert!(pool.lend(Duration::ZERO).unwrap().is_some());
}

#[test]
fn an_alarm_remembers_a_nudge_and_obeys_a_stop() {
    let alarm = Arc::new(Alarm::default());
    alarm.nudge();
    assert_eq!(alarm.sleep(Duration::from_secs(60)), Wake::Nudged);
    assert_eq!(alarm.sleep(Duration::ZERO), Wake::TimedOut);
    let sleeper = Arc::clone(&alarm);
    let thread = std::thread::spawn(move || sleeper.sleep(Duration::from_secs(60)));
    alarm.stop();
    assert_eq!(thread.join().unwrap(), Wake::Stop);
}

#[test]
fn a_panic_under_a_lock_is_an_error_for_the_next() {
    let lock = Arc::new(Lock::new(()));
    let other = Arc::clone(&lock);
    let _ = std::thread::spawn(move || {
        let _guard = other.lock().unwrap();
        panic!("on purpose");
    })
    .join();
    assert_eq!(lock.lock().unwrap_err().status(), Status::Poisoned);
}

/// One that waits for a disk inside the gate, one that wants to shut it, and one that only wants to pass.
#[test]
fn a_long_stay_in_a_gate_holds_up_only_who_wants_to_shut_it() {
    let (gate, stay) = (Gate::new(), Duration::from_secs(3));
    let started = Instant::now();
    let slowest = std::thread::scope(|scope| {
        let inside = gate.pass();
        let shut = scope.spawn(|| {
            drop(gate.shut());
            started.elapsed()
        });
        let mut slowest = Duration::ZERO;
        while started.elapsed() < stay {
            let asked = Instant::now();
            drop(gate.pass());
            slowest = slowest.max(asked.elapsed());
        }
        drop(inside);
        let shut = shut.join().unwrap();
        assert!(shut >= stay && shut < 2 * stay, "the gate was shut after {shut:?}");
        slowest
    });
    assert!(slowest < Duration::from_secs(1), "passing took {slowest:?}");
    drop(gate.pass());
}

#[test]
fn each_caller_of_a_pool_gets_the_first_value_that_it_wants() {
    let pool = Pool::new([10, 11, 12]);
    let (first, second) = (pool.lend(Duration::ZERO).unwrap().unwrap(), pool.lend(Duration::ZERO).unwrap().unwrap());
    assert_eq!((first.number(), second.number()), (0, 1));
    let below = |limit: usize, patience| pool.lend_where(patience, move |number, _| number < limit).unwrap();
    assert!(below(2, Duration::from_millis(5)).is_none(), "a value that is not wanted was lent");
    let waited = std::thread::scope(|scope| {
        let waiting = [1, 2].map(|limit| scope.spawn(move || (limit, below(limit, Duration::from_secs(60)))));
        std::thread::sleep(Duration::from_millis(50));
        drop(second);
        std::thread::sleep(Duration::from_millis(50));
        drop(first);
        waiting.map(|thread| thread.join().unwrap())
    });
    let numbers = waited.map(|(limit, mut lent)| (limit, lent.as_mut().map(|lent| *lent.get().unwrap())));
    assert_eq!(numbers, [(1, Some(10)), (2, Some(11))], "a waiter was not woken, or got another's value");
}
