//! A slow disk delays only its users: not the other keystores of the process, even while one of its threads forks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kms::Keystore;

use crate::folder::{Folder, new_key, quiet};
use crate::worker::Worker;

/// Role. Arguments: two keystores, and the stalling operation. Prints its duration, the slowest fork, and the slowest
/// other call.
pub fn stall(arguments: &[String]) {
    let (slow, quick) =
        (Keystore::open(&arguments[0], &quiet()).unwrap(), Keystore::open(&arguments[1], &quiet()).unwrap());
    let (key, done) = (crate::folder::key_ids(&slow)[0].clone(), AtomicBool::new(false));
    let (mut slowest_fork, mut slowest_call) = (Duration::ZERO, Duration::ZERO);
    let timed = |slowest: &mut Duration, call: &dyn Fn()| {
        let started = Instant::now();
        call();
        *slowest = (*slowest).max(started.elapsed());
    };
    let took = std::thread::scope(|scope| {
        let stalled = scope.spawn(|| {
            let started = Instant::now();
            match arguments[2].as_str() {
                "backup" => slow.backup(format!("{}.copy", arguments[0])).unwrap(),
                "check" => slow.verify(|fault| panic!("{fault:?}")).unwrap(),
                _ => (0..12).for_each(|_| assert!(slow.rotate(&key).is_ok())),
            }
            done.store(true, Ordering::Relaxed);
            started.elapsed()
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                timed(&mut slowest_call, &|| drop(crate::folder::key_ids(&quick)));
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                timed(&mut slowest_fork, &|| {
                    // SAFETY: the child ends at once.
                    let child = unsafe { libc::fork() };
                    if child == 0 {
                        // SAFETY: ends this process.
                        unsafe { libc::_exit(0) };
                    }
                    // SAFETY: a child of this process.
                    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
                });
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        stalled.join().unwrap()
    });
    println!("{} {} {}", took.as_millis(), slowest_fork.as_millis(), slowest_call.as_millis());
}

#[test]
fn a_slow_disk_holds_up_nobody_else() {
    for (what, fault, keys) in [
        ("backup", "KMS_FAULT_SLOW_BACKUP", 8000),
        ("commit", "KMS_FAULT_SLOW_COMMIT", 8000),
        ("check", "KMS_FAULT_SLOW_CHECK", 20),
    ] {
        let (slow, quick) = (Folder::without_a_disk(), Folder::without_a_disk());
        new_key(&quick.create(), None);
        let kms = slow.create();
        (0..keys / 20).for_each(|_| drop(kms.create_keys(&kms::CreateKey::default(), 20).unwrap()));
        drop(kms);
        let told = Worker::start_with("stall", &[&slow.store(), &quick.store(), what], &[(fault, "1")]).finish();
        let [took, fork, call]: [u64; 3] =
            Vec::from_iter(told[0].split(' ').map(|n| n.parse().unwrap())).try_into().unwrap();
        println!("{what}: {took} ms, slowest fork {fork} ms, slowest call on another keystore {call} ms");
        assert!(took >= 2200, "{what}: the disk was not slow: {took} ms");
        // One step, or one commit, takes 200 ms.
        assert!(fork < 1500, "{what}: a fork waits for all of it: {fork} of {took} ms");
        assert!(call < 1000, "{what}: a call on another keystore waits for this one's disk: {call} ms");
    }
}
