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
