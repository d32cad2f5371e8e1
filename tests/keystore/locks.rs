//! The keystore's locks hold while the host opens and closes the file itself; POSIX locks would not.

use crate::crash::check_acknowledged;
use crate::folder::{Folder, scaled};
use crate::worker::Worker;

/// How many changes of three processes were acknowledged, kept, failed, and how many processes broke down.
fn changes_beside_a_meddling_host(count: usize, environment: &[(&str, &str)]) -> (usize, usize, usize, usize) {
    let folder = Folder::new();
    drop(folder.create());
    let arguments = [&folder.store(), &*count.to_string(), "-", "meddle"];
    let mut workers: Vec<Worker> = (0..3).map(|_| Worker::start_with("change", &arguments, environment)).collect();
    for worker in &mut workers {
        assert!(worker.try_hear().is_some_and(|line| line.starts_with("ready ")));
    }
    for worker in &mut workers {
        worker.say("go");
    }
    let told: Vec<Vec<String>> = workers.into_iter().map(Worker::drain).collect();
    let broken = told.iter().filter(|lines| lines.len() < count).count();
    let Ok(kms) = kms::Keystore::open(&folder.store(), &crate::folder::quiet()) else { return (1, 0, 0, broken) };
    let mut sum = (0, 0, 0, broken);
    for lines in &told {
        let (acknowledged, kept, failed) = check_acknowledged(&kms, lines);
        sum = (sum.0 + acknowledged, sum.1 + kept, sum.2 + failed, sum.3);
    }
    sum
}

#[test]
fn acknowledged_changes_survive_a_host_that_opens_and_closes_the_file() {
    let count = scaled(300);
    let sum = changes_beside_a_meddling_host(count, &[]);
    println!("OFD locks: acknowledged, kept, failed, broken: {sum:?}");
    assert_eq!(sum, (3 * count, 3 * count, 0, 0));
}

/// The test above can fail: with SQLite's default locks it does.
#[test]
fn posix_locks_would_lose_changes() {
    for attempt in 0..5 {
        let count = 300;
        let sum = changes_beside_a_meddling_host(count, &[("KMS_FAULT_POSIX_LOCKS", "1")]);
        println!("POSIX locks, attempt {attempt}: acknowledged, kept, failed, broken: {sum:?}");
        if sum != (3 * count, 3 * count, 0, 0) {
            return;
        }
    }
    panic!("without our locks nothing went wrong, so the test of the locks shows nothing");
}
