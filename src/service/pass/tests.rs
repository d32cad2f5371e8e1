use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::{BATCH_TIME, LARGEST_BATCH, SMALLEST_BATCH, next_size};
use crate::clock::CallbackClock;
use crate::{CreateKey, Interval, Keystore, Options};

const DAY_MS: i64 = 86_400_000;
const T0: i64 = 1_700_000_000_000;

#[test]
fn a_clock_that_jumps_between_two_looks_does_not_keep_a_pass_busy_for_ever() {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        // Back by 1000 days for one pass, then a day further at each.
        let looks = Arc::new(AtomicI64::new(-1));
        let seen = Arc::clone(&looks);
        let clock = CallbackClock(move || match seen.load(Ordering::SeqCst) {
            -1 => T0 + 1000 * DAY_MS,
            _ => match seen.fetch_add(1, Ordering::SeqCst) {
                0 => T0,
                look => T0 + (1000 + look) * DAY_MS,
            },
        });
        let kms = Keystore::open("memory:", &Options::new().root_key(&[7; 32]).clock(clock)).unwrap();
        let rotate_every = Some(Interval::from_seconds(86_400).unwrap());
        let id = kms.create_key(&CreateKey { rotate_every, ..CreateKey::default() }).unwrap().to_string();
        looks.store(0, Ordering::SeqCst);
        kms.tick().unwrap();
        done.send(kms.describe_key(&id).unwrap().version_count()).unwrap();
    });
    let versions = wait.recv_timeout(Duration::from_secs(30)).expect("one pass never ends");
    assert!(versions <= 3, "one pass made {versions} versions of a key");
}

#[test]
fn batches_grow_and_shrink_to_the_time_they_may_take() {
    assert_eq!(next_size(400, BATCH_TIME), 400);
    assert_eq!(next_size(400, BATCH_TIME * 4 / 5), 500);
    assert_eq!(next_size(400, BATCH_TIME * 2), 200);
    // One odd batch says little.
    assert_eq!(next_size(400, BATCH_TIME * 100), 200);
    assert_eq!(next_size(400, Duration::ZERO), 800);
    assert_eq!(next_size(SMALLEST_BATCH, BATCH_TIME * 100), SMALLEST_BATCH);
    assert_eq!(next_size(LARGEST_BATCH, Duration::ZERO), LARGEST_BATCH);
}
