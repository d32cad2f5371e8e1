//! Several processes on one keystore: one rotation each time, changes seen at once, one creator.

use std::time::{Duration, Instant};

use kms::{Keystore, ManualClock, Options};

use crate::folder::{Folder, ROOT, choose, key_ids, new_key, quiet, scaled, versions};
use crate::worker::{Worker, heard};

const START_MS: i64 = 1_900_000_000_000;

/// Role. Arguments: the store. Rotates due keys with its thread, until every key has `wanted` versions.
pub fn rotate_due(arguments: &[String]) {
    let clock = ManualClock::at(START_MS);
    let options = Options::new().root_key(&ROOT).clock(clock.clone()).rotation_thread(true);
    let kms = Keystore::open(&arguments[0], &options).unwrap();
    println!("open");
    while let Some(now) = heard() {
        clock.set(now.parse().unwrap());
        let due = || {
            let mut due = false;
            kms.list_keys(None, usize::MAX, |key| {
                due |= key.primary.unwrap().created.millis() < clock.millis();
                !due
            })
            .unwrap();
            due
        };
        while due() {
            std::thread::sleep(Duration::from_millis(5));
        }
        println!("done");
    }
    // Joins the thread, so that its rotations are counted.
    let before = kms.health().unwrap().rotations;
    println!("{before}");
}

#[test]
fn each_due_rotation_happens_exactly_once() {
    for (processes, count) in [(2, scaled(200)), (4, choose(1000, 10_000))] {
        let folder = Folder::without_a_disk();
        let kms = Keystore::open(&folder.store(), &quiet().create(true).clock(ManualClock::at(START_MS))).unwrap();
        for _ in 0..count {
            new_key(&kms, Some(3600));
        }
        let mut workers: Vec<Worker> =
            (0..processes).map(|_| Worker::start("rotate-due", &[&folder.store()])).collect();
        for worker in &mut workers {
            assert_eq!(worker.hear(), "open");
        }
        let rounds = 3;
        for round in 1..=rounds {
            let now = (START_MS + 3_600_000 * round).to_string();
            for worker in &mut workers {
                worker.say(&now);
            }
            for worker in &mut workers {
                assert_eq!(worker.hear(), "done");
            }
        }
        let counts: Vec<usize> = workers.into_iter().map(|worker| worker.end()[0].parse().unwrap()).collect();
        println!("{processes} processes rotated {counts:?}");
        assert_eq!(counts.iter().sum::<usize>(), count * rounds as usize, "{counts:?}");
        for key in key_ids(&kms) {
            assert_eq!(versions(&kms, &key).len(), 1 + rounds as usize, "not exactly one version per due rotation");
        }
    }
}

#[test]
fn a_change_is_seen_on_the_next_call_of_another_process() {
    for kind in ["ticker", "quiet", "read-only"] {
        let folder = Folder::new();
        let kms = folder.create();
        let key = new_key(&kms, None);
        let mut other = Worker::start("serve", &[&folder.store(), kind]);
        assert_eq!(other.hear(), "open");
        let encrypt = format!("encrypt {key}");
        assert_eq!(other.ask(&encrypt), versions(&kms, &key)[0]);
        let mut slowest = 0;
        for _ in 0..scaled(100) {
            kms.disable_key(&key).unwrap();
            let answer = other.ask(&format!("timed-{encrypt}"));
            let (micros, answer) = answer.split_once(' ').unwrap();
            assert_eq!(answer, "RejectedDisabled", "{kind}: encrypted under a key that was disabled before the call");
            slowest = slowest.max(micros.parse::<u64>().unwrap());
            kms.enable_key(&key).unwrap();
            let version = kms.rotate(&key).unwrap().to_string();
            assert_eq!(
                other.ask(&encrypt),
                version,
                "{kind}: encrypted under a version that was replaced before the call"
            );
        }
        println!("{kind}: slowest call that saw a change: {slowest} us");
    }
}

/// Role. Arguments: the store, and the key file or nothing for a raw key.
pub fn create_together(arguments: &[String]) {
    println!("ready");
    heard();
    let root = match arguments.get(1) {
        Some(path) => Options::new().root_key_file(path),
        None => Options::new().root_key(&ROOT),
    };
    let kms = Keystore::open(&arguments[0], &root.create(true)).unwrap();
    println!("{}", new_key(&kms, None));
    heard();
    println!("{}", key_ids(&kms).join(" "));
}

#[test]
fn creators_at_the_same_moment_make_one_keystore() {
    for round in 0..scaled(10) {
        let folder = Folder::new();
        let key_file = folder.path("root.key");
        let mut arguments = vec![folder.store()];
        if round % 2 == 0 {
            arguments.push(key_file.to_str().unwrap().to_owned());
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut workers: Vec<Worker> = (0..6).map(|_| Worker::start("create-together", &arguments)).collect();
        for worker in &mut workers {
            assert_eq!(worker.hear(), "ready");
        }
        for worker in &mut workers {
            worker.say("go");
        }
        let mut keys: Vec<String> = workers.iter_mut().map(Worker::hear).collect();
        keys.sort();
        for mut worker in workers {
            let seen = worker.ask("list");
            assert_eq!(seen.split(' ').collect::<Vec<_>>(), keys, "a creator doesn't see all keys");
            worker.finish();
        }
        let left: Vec<String> = folder.snapshot().into_keys().filter(|name| name != "root.key").collect();
        assert_eq!(left, ["keys.db", "keys.db-gen", "keys.db-journal"], "left behind");
    }
}

#[test]
fn opening_waits_for_a_writer_that_is_committing() {
    let folder = Folder::new();
    let key = new_key(&folder.create(), None);
    let mut busy: Vec<Worker> = (0..2).map(|_| Worker::start("change", &[&folder.store(), "1000000", &key])).collect();
    for worker in &mut busy {
        worker.hear();
    }
    let until = Instant::now() + Duration::from_millis(1500);
    let mut opened = 0;
    while Instant::now() < until {
        let kms = Keystore::open(&folder.store(), &quiet())
            .unwrap_or_else(|e| panic!("open {opened}: {:?}: {e}", e.status()));
        kms.describe_key(&key).unwrap();
        opened += 1;
    }
    println!("opened {opened} times beside two writers");
    for worker in busy {
        worker.kill();
    }
}

/// Another process makes this number of changes. Returns how many were unseen by calls of a third that began after the
/// acknowledgement.
#[cfg(kms_faults)]
fn unseen(rounds: usize, environment: &[(&str, &str)]) -> usize {
    let folder = Folder::new();
    let key = new_key(&folder.create(), None);
    let mut reader = Worker::start("serve", &[&folder.store(), "quiet"]);
    let mut writer = Worker::start_with("serve", &[&folder.store(), "quiet"], environment);
    assert_eq!((reader.hear(), writer.hear()), ("open".to_owned(), "open".to_owned()));
    let encrypt = format!("encrypt {key}");
    let mut unseen = 0;
    for _ in 0..rounds {
        reader.ask(&encrypt);
        let answered = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(writer.ask(&format!("disable {key}")), "ok");
                answered.store(true, std::sync::atomic::Ordering::SeqCst);
            });
            // Includes calls made during the change.
            while !answered.load(std::sync::atomic::Ordering::SeqCst) {
                reader.ask(&encrypt);
            }
        });
        unseen += usize::from(reader.ask(&encrypt) != "RejectedDisabled");
        assert_eq!(writer.ask(&format!("enable {key}")), "ok");
        let enabled = Instant::now();
        while reader.ask(&encrypt) == "RejectedDisabled" {
            assert!(enabled.elapsed() < Duration::from_secs(10), "a change is never seen");
        }
    }
    unseen
}

#[cfg(kms_faults)]
#[test]
fn a_change_announced_before_its_commit_or_not_at_all_would_be_noticed() {
    assert_eq!(unseen(20, &[]), 0, "a change that was acknowledged is not seen by the next call");
    for fault in ["KMS_FAULT_UNANNOUNCED", "KMS_FAULT_ANNOUNCED_BEFORE_COMMIT"] {
        let unseen = unseen(5, &[(fault, "1")]);
        println!("{fault}: {unseen} of 5 changes unseen");
        assert!(unseen > 0, "{fault}: the check of coherence can't fail");
    }
}
