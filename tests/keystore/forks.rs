//! Forks from a process whose threads are inside every kind of call, and the ways of forking that no handler sees.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kms::{Keystore, Options};

use crate::child::wait_for;
use crate::folder::{Folder, ROOT, choose, key_ids, new_key, quiet, seconds, versions};
use crate::worker::Worker;

const BLOBS: usize = 4;
/// A blob of five bytes.
const BLOB: usize = 85;

fn pipe() -> (std::fs::File, std::fs::File) {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for both descriptors, which then belong to the files.
    unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        (std::fs::File::from_raw_fd(ends[0]), std::fs::File::from_raw_fd(ends[1]))
    }
}

/// Makes a process by `make`, which is like fork(2); the child runs `body` for at most `patience` seconds. Returns its
/// output, or none if it hung or failed.
fn child(make: impl FnOnce() -> i64, patience: u32, body: impl FnOnce() -> Vec<u8>) -> Option<Vec<u8>> {
    let (mut from, mut to) = pipe();
    match make() {
        0 => {
            // SAFETY: plain calls; the child leaves by `_exit`.
            unsafe {
                libc::alarm(patience);
                let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
                let good = said.is_ok_and(|said| to.write_all(&said).is_ok());
                libc::_exit(if good { 0 } else { 3 })
            }
        }
        pid => {
            assert!(pid > 0, "no process could be made: {}", std::io::Error::last_os_error());
            drop(to);
            let mut said = Vec::new();
            from.read_to_end(&mut said).unwrap();
            (wait_for(pid as i32) == 0).then_some(said)
        }
    }
}

fn fork() -> i64 {
    // SAFETY: the child runs only what the library promises to work there.
    i64::from(unsafe { libc::fork() })
}

/// Past the C library, whose handlers don't run; `flags` as for clone(2).
fn raw_clone(flags: i32) -> i64 {
    // SAFETY: without a separate stack the child continues on a copy of this one, as after fork.
    unsafe { libc::syscall(libc::SYS_clone, i64::from(flags | libc::SIGCHLD), 0, 0, 0, 0) }
}

/// What each child does: opens its parent's blob, encrypts, rotates if requested, and encrypts again. Returns its
/// blobs.
fn use_all(kms: &Keystore, key: &str, before: &[u8], rotates: bool) -> Vec<u8> {
    assert_eq!(&*kms.decrypt(before, &[]).unwrap(), b"older");
    let mut blobs = Vec::new();
    for number in 0..BLOBS {
        if rotates && number == BLOBS / 2 {
            let version = kms.rotate(key).unwrap();
            assert!(versions(kms, key).contains(&version.to_string()), "a child's own rotation is lost");
        }
        let blob = kms.encrypt(key, b"child", &[]).unwrap();
        assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"child");
        blobs.extend(blob);
    }
    assert_eq!(blobs.len(), BLOBS * BLOB);
    blobs
}

/// The nonces seen, and their blobs.
#[derive(Default)]
struct Seen {
    nonces: HashSet<Vec<u8>>,
    blobs: Vec<Vec<u8>>,
    repeated: usize,
}

impl Seen {
    fn take(&mut self, blob: &[u8]) {
        if !self.nonces.insert(blob[40..64].to_vec()) {
            self.repeated += 1;
        }
        self.blobs.push(blob.to_vec());
    }
}

/// One thread's kind of work; errors of one thread must not be hidden, so each unwraps.
fn work(kms: &Keystore, kind: usize, number: usize, store: &str, keys: &[String], blobs: &mut Vec<Vec<u8>>) {
    let (key, own) = (&keys[0], &keys[kind]);
    let alias = format!("alias/thread-{kind}");
    let blob = kms.encrypt(key, b"older", &[]).unwrap();
    assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"older");
    if blobs.len() < 3000 {
        blobs.push(blob.clone());
    }
    match kind {
        0 => drop(kms.rotate(key).unwrap()),
        1 => drop(new_key(kms, None)),
        2 => {
            kms.disable_key(own).unwrap();
            kms.enable_key(own).unwrap();
        }
        3 if number == 0 => kms.create_alias(own, &alias).unwrap(),
        3 => {
            kms.update_alias(&keys[number % 2], &alias).unwrap();
            kms.list_aliases(None, None, 10, |_, _| true).unwrap();
        }
        4 => {
            kms.tag_resource(own, &[("number", &number.to_string())]).unwrap();
            kms.list_resource_tags(own).unwrap();
        }
        5 => {
            blobs.push(kms.reencrypt(&blob, &[], Some(own.into()), &[]).unwrap());
            kms.update_rotation_policy(own, Some(seconds(1 + number as i64 % 2))).unwrap();
        }
        6 => {
            let other = Keystore::open(store, &Options::new().root_key(&ROOT)).unwrap();
            other.encrypt(own, b"older", &[]).unwrap();
        }
        _ => {
            kms.tick().unwrap();
            kms.health().unwrap();
            kms.list_keys(None, 20, |_| true).unwrap();
        }
    }
    std::thread::sleep(Duration::from_micros(500));
}

/// Role. Arguments: the store, how many forks, seconds of a child. Eight threads and a rotation thread are at work all
/// the while. Says how many children failed, how many nonces repeated, and what else was seen.
pub fn storm(arguments: &[String]) {
    let (store, count, patience) =
        (&arguments[0], arguments[1].parse::<usize>().unwrap(), arguments[2].parse().unwrap());
    let kms = Arc::new(Keystore::open(store, &Options::new().root_key(&ROOT).create(true)).unwrap());
    let keys: Vec<String> = (0..8).map(|_| new_key(&kms, Some(1))).collect();
    let before = kms.encrypt(&keys[0], b"older", &[]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..8)
        .map(|kind| {
            let (kms, keys, stop, store) = (Arc::clone(&kms), keys.clone(), Arc::clone(&stop), store.clone());
            std::thread::spawn(move || {
                let mut blobs = Vec::new();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    work(&kms, kind, number, &store, &keys, &mut blobs);
                }
                blobs
            })
        })
        .collect();
    let mut seen = Seen::default();
    let (mut failed, began, mut slowest) = (0, Instant::now(), Duration::ZERO);
    let mut done = 0;
    for number in 0..count {
        let key = &keys[number % keys.len()];
        let forked = Instant::now();
        // A key may be disabled by the thread whose work that is.
        let key = if number % keys.len() == 2 { &keys[0] } else { key };
        match child(fork, patience, || use_all(&kms, key, &before, true)) {
            Some(said) => said.chunks(BLOB).for_each(|blob| seen.take(blob)),
            None => failed += 1,
        }
        slowest = slowest.max(forked.elapsed());
        done += 1;
        // Where a protection is off, one is enough.
        if failed > 0 {
            break;
        }
    }
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap().iter().for_each(|blob| seen.take(blob));
    }
    for blob in &seen.blobs {
        let text = kms.decrypt(blob, &[]).unwrap();
        assert!(*text == *b"older" || *text == *b"child");
    }
    println!(
        "failed {failed} repeated {} of {done} children in {took:?}, the slowest {slowest:?}, and {} nonces",
        seen.repeated,
        seen.nonces.len()
    );
}

/// Runs [`storm`] once. Returns its output, and whether the keystore is intact.
fn forks(count: usize, patience: u32, environment: &[(&str, &str)]) -> String {
    let folder = Folder::new();
    let arguments = [&folder.store(), &*count.to_string(), &*patience.to_string()];
    let told = Worker::start_with("storm", &arguments, environment).drain().join(" ");
    println!("{environment:?}: {told}");
    let kms = Keystore::open(&folder.store(), &quiet()).unwrap();
    for key in key_ids(&kms) {
        versions(&kms, &key);
    }
    let sound: String = folder.sqlite().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    told
}

#[test]
fn children_forked_from_the_midst_of_every_call_work_and_repeat_no_nonce() {
    let told = forks(choose(200, 1000), 20, &[]);
    assert!(told.starts_with("failed 0 repeated 0 "), "{told}");
}

/// The test above can fail: without the gate a child finds locks that are never released.
#[cfg(kms_faults)]
#[test]
fn without_the_fork_gate_children_hang() {
    for _ in 0..5 {
        if !forks(100, 3, &[("KMS_FAULT_NO_FORK_GATE", "1")]).starts_with("failed 0 ") {
            return;
        }
    }
    panic!("without the gate no child hung, so the test of the gate shows nothing");
}

/// Role. Arguments: the store, how many, `clone` or `namespace`, and `depth` inside the outer process of a namespace.
/// Makes processes past the C library from one without other threads.
pub fn cloned(arguments: &[String]) {
    let (store, count, kind) = (&arguments[0], arguments[1].parse::<usize>().unwrap(), arguments[2].as_str());
    let flags = if kind == "namespace" { libc::CLONE_NEWPID } else { 0 };
    let options = quiet().create(true);
    let run = || {
        let kms = Keystore::open(store, &options).unwrap();
        let key = new_key(&kms, None);
        let before = kms.encrypt(&key, b"older", &[]).unwrap();
        let mut seen = Seen::default();
        let mut failed = 0;
        for number in 0..count {
            let blob = kms.encrypt(&key, b"older", &[]).unwrap();
            seen.take(&blob);
            // Both take what comes next from what they share; after a rotation the parent has a new prefix anyway.
            let said = child(|| raw_clone(flags), 20, || use_all(&kms, &key, &before, number % 2 == 1));
            seen.take(&kms.encrypt(&key, b"older", &[]).unwrap());
            match said {
                Some(said) => said.chunks(BLOB).for_each(|blob| seen.take(blob)),
                None => failed += 1,
            }
        }
        let pid = std::process::id();
        format!("failed {failed} repeated {} of {count} children of process {pid}", seen.repeated).into_bytes()
    };
    let said = match kind {
        // Parent and child are both process 1.
        "namespace" => child(|| raw_clone(libc::CLONE_NEWPID), 50, run).expect("the outer process failed"),
        _ => run(),
    };
    println!("{}", String::from_utf8(said).unwrap());
}

fn clones(kind: &str, count: usize, environment: &[(&str, &str)]) -> String {
    let folder = Folder::new();
    let told =
        Worker::start_with("cloned", &[&folder.store(), &count.to_string(), kind], environment).drain().join(" ");
    println!("{kind} {environment:?}: {told}");
    told
}

/// SAFETY of the call: it only queries.
fn is_root() -> bool {
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn a_raw_clone_is_noticed_and_repeats_no_nonce() {
    let told = clones("clone", choose(50, 500), &[]);
    assert!(told.starts_with("failed 0 repeated 0 "), "{told}");
}

#[test]
fn process_one_of_a_namespace_and_its_child_of_the_same_number_repeat_no_nonce() {
    if !is_root() {
        println!("not root: no pid namespace can be made, nothing tried");
        return;
    }
    let told = clones("namespace", choose(50, 500), &[]);
    assert!(told.starts_with("failed 0 repeated 0 ") && told.ends_with("process 1"), "{told}");
}

/// The tests above can fail: without fork detection, nonces repeat.
#[cfg(kms_faults)]
#[test]
fn nonces_repeat_where_a_fork_goes_unnoticed() {
    let told = clones("clone", 10, &[("KMS_FAULT_FORK_UNNOTICED", "1")]);
    assert!(!told.contains(" repeated 0 "), "without the protection nothing repeated: {told}");
}
