//! Forking at any moment: parent and child both continue, and neither hangs, repeats a nonce or keeps the other's lock.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kms::{Keystore, Options, Status};

use crate::child::{fork, wait_for};
use crate::folder::{Folder, key_ids, new_key, quiet, scaled, status, versions};
use crate::roots::Counting;
use crate::worker::Worker;

fn pipe() -> (std::fs::File, std::fs::File) {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for both descriptors, which then belong to the files.
    unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        (std::fs::File::from_raw_fd(ends[0]), std::fs::File::from_raw_fd(ends[1]))
    }
}

fn nonce(blob: &[u8]) -> [u8; 24] {
    blob[40..64].try_into().unwrap()
}

/// Role. Arguments: the store, how many forks. A rotation thread and four busy threads run throughout.
pub fn fork_often(arguments: &[String]) {
    let wrapper: Arc<Counting> = Arc::default();
    let options = Options::new().root_callback(Arc::clone(&wrapper) as _).create(true);
    let kms = Arc::new(Keystore::open(&arguments[0], &options).unwrap());
    let keys: Vec<String> = (0..4).map(|_| new_key(&kms, Some(1))).collect();
    let unwraps = wrapper.unwraps.load(Ordering::SeqCst);
    let stop = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(number, key)| {
            let (kms, key, stop) = (Arc::clone(&kms), key.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut blobs = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let blob = kms.encrypt(&key, b"parent", &[]).unwrap();
                    assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"parent");
                    if number == 0 {
                        kms.rotate(&key).unwrap();
                        std::thread::sleep(Duration::from_millis(3));
                    }
                    blobs.push(blob);
                    if blobs.len() > 2000 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
                blobs
            })
        })
        .collect();
    let mut nonces = HashSet::new();
    let mut rotated = 0;
    let started = Instant::now();
    for number in 0..arguments[1].parse().unwrap() {
        let key = &keys[number % keys.len()];
        let blob = kms.encrypt(key, b"before", &[]).unwrap();
        let (mut from, mut to) = pipe();
        let child = fork(|| {
            assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"before");
            let version = kms.rotate(key).unwrap();
            let own = kms.encrypt(key, b"child", &[]).unwrap();
            let again = kms.decrypt(&own, &[]).unwrap();
            to.write_all(&nonce(&own)).unwrap();
            kms.inspect(&own).unwrap().key.to_string() == *key
                && *again == *b"child"
                && wrapper.unwraps.load(Ordering::SeqCst) == unwraps
                && versions(&kms, key).contains(&version.to_string())
        });
        drop(to);
        let own = kms.encrypt(key, b"parent", &[]).unwrap();
        assert!(nonces.insert(nonce(&own)));
        assert_eq!(wait_for(child), 0, "child {number} hung or failed");
        let mut theirs = [0; 24];
        from.read_exact(&mut theirs).unwrap();
        assert!(nonces.insert(theirs), "a child repeated a nonce");
        rotated += 1;
    }
    let took = started.elapsed();
    stop.store(true, Ordering::Relaxed);
    let mut count = 0;
    for thread in busy {
        for blob in thread.join().unwrap() {
            assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"parent");
            assert!(nonces.insert(nonce(&blob)), "a nonce repeats");
            count += 1;
        }
    }
    assert_eq!(wrapper.unwraps.load(Ordering::SeqCst), unwraps, "a child asked the root callback");
    println!("{rotated} forks in {took:?}; {count} blobs of the parent intact");
}

#[test]
fn a_fork_at_any_moment_leaves_both_working() {
    let folder = Folder::new();
    let told = Worker::start("fork", &[&folder.store(), &scaled(100).to_string()]).finish();
    println!("{told:?}");
    assert!(told[0].contains(" forks in "));
}

/// Role. Argument: the store. Forks, then forks once more from a function that `exit` runs.
pub fn fork_at_exit(arguments: &[String]) {
    extern "C" fn last() {
        let child = fork(|| true);
        println!("{}", wait_for(child));
    }
    let kms = Keystore::open(&arguments[0], &quiet().create(true)).unwrap();
    let key = new_key(&kms, None);
    assert_eq!(wait_for(fork(|| kms.encrypt(&key, b"x", &[]).is_ok())), 0);
    // SAFETY: a function that may run at exit.
    assert_eq!(unsafe { libc::atexit(last) }, 0);
}

#[test]
fn a_function_run_at_exit_may_fork() {
    let folder = Folder::new();
    assert_eq!(Worker::start("fork-at-exit", &[&folder.store()]).finish(), ["0"]);
}

/// Role. Argument: the store. A survey and the children of its process.
pub fn fork_survey(arguments: &[String]) {
    let kms = Keystore::open(&arguments[0], &quiet().create(true)).unwrap();
    let key = new_key(&kms, None);
    let blob = kms.encrypt(&key, b"x", &[]).unwrap();
    let mut survey = kms.survey();
    survey.add(&blob).unwrap();
    let child = fork(|| {
        let refused = [status(survey.add(&blob)), status(survey.counts())] == [Some(Status::Forked); 2];
        let mut own = kms.survey();
        refused && own.add(&blob).is_ok() && own.counts().unwrap()[0].count == 1
    });
    assert_eq!(wait_for(child), 0, "a child counted for its parent");
    survey.add(&blob).unwrap();
    assert_eq!(survey.counts().unwrap()[0].count, 2);
    println!("done");
}

#[test]
fn a_survey_is_of_the_process_that_began_it() {
    let folder = Folder::new();
    assert_eq!(Worker::start("fork-survey", &[&folder.store()]).finish(), ["done"]);
}

/// Role. A `memory:` keystore and its child.
pub fn fork_memory(_: &[String]) {
    let kms = Keystore::open("memory:", &quiet()).unwrap();
    let key = new_key(&kms, None);
    let blob = kms.encrypt(&key, b"x", &[]).unwrap();
    let forked = || {
        [
            status(kms.encrypt(&key, b"x", &[])),
            status(kms.decrypt(&blob, &[])),
            status(kms.rotate(&key)),
            status(kms.health()),
        ] == [Some(Status::Forked); 4]
    };
    assert_eq!(wait_for(fork(|| forked() && forked())), 0, "a child used its parent's memory");
    assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"x");
    // A child may close what it inherited.
    let mut kms = Some(kms);
    assert_eq!(wait_for(fork(|| kms.take().is_some())), 0);
    assert_eq!(&*kms.unwrap().decrypt(&blob, &[]).unwrap(), b"x");
    println!("done");
}

#[test]
fn a_keystore_in_memory_says_so_in_a_child() {
    assert_eq!(Worker::start("fork-memory", &[]).finish(), ["done"]);
}

/// Role. Argument: the store. Leaves an idle child behind, then writes until it is killed.
pub fn leave_child(arguments: &[String]) {
    let kms = Keystore::open(&arguments[0], &quiet()).unwrap();
    let key = key_ids(&kms)[0].clone();
    let writing = Arc::new(kms);
    let also = Arc::clone(&writing);
    let its_key = key.clone();
    std::thread::spawn(move || {
        loop {
            also.rotate(&its_key).unwrap();
        }
    });
    std::thread::sleep(Duration::from_millis(5));
    // SAFETY: the child only waits for its alarm.
    let child = fork(|| unsafe { libc::pause() == 0 });
    println!("{child}");
    loop {
        writing.rotate(&key).unwrap();
    }
}

#[test]
fn an_idle_child_does_not_keep_its_dead_parents_lock() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = new_key(&kms, None);
    let mut slowest = Duration::ZERO;
    for _ in 0..scaled(10) {
        let mut parent = Worker::start("leave-child", &[&folder.store()]);
        let child: libc::pid_t = parent.hear().parse().unwrap();
        std::thread::sleep(Duration::from_millis(7));
        parent.kill_only();
        let started = Instant::now();
        let done = status(kms.rotate(&key));
        slowest = slowest.max(started.elapsed());
        // SAFETY: the child that the role has just started, and that waits for a signal.
        unsafe { libc::kill(child, libc::SIGKILL) };
        assert_eq!(done, None, "the idle child of a dead parent keeps its lock");
    }
    println!("slowest write after a parent's death: {slowest:?}");
    assert!(slowest < Duration::from_secs(2));
}

/// Role. Argument: a folder. Forks while threads create, open and close keystores; each child does the same.
pub fn fork_beside_opening(arguments: &[String]) {
    let path = |name: String| format!("{}/{name}.db", arguments[0]);
    let use_one = |path: &str| {
        let kms = Keystore::open(path, &quiet().create(true)).unwrap();
        let key = new_key(&kms, None);
        kms.encrypt(&key, b"x", &[]).is_ok()
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (stop, path) = (&stop, &path);
            scope.spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    assert!(use_one(&path(format!("{thread}-{}", number % 50))));
                    number += 1;
                }
            });
        }
        for number in 0..arguments[1].parse().unwrap() {
            let own = path(format!("child-{}", number % 10));
            assert_eq!(
                wait_for(fork(|| use_one(&own) && use_one(&path("0-0".into())))),
                0,
                "child {number} hung or failed"
            );
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("done");
}

#[test]
fn a_fork_while_keystores_are_created_and_closed_leaves_the_child_working() {
    let folder = Folder::without_a_disk();
    let arguments = [folder.path("").to_str().unwrap().to_owned(), scaled(100).to_string()];
    assert_eq!(Worker::start("fork-beside-opening", &[&arguments[0], &arguments[1]]).finish(), ["done"]);
}
