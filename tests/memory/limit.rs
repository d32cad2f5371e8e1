//! RLIMIT_MEMLOCK: none at all, 64 KiB, and enough.

use kms::{CreateKey, Keystore, Options};

use crate::worker::Worker;

/// More than the process of a test locks.
const ENOUGH: u64 = 6 << 20;
/// Keys above the contexts of a thread.
const KEYS: usize = 300;
const THREADS: usize = 4;

fn hard_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes a local struct.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) }, 0);
    limit.rlim_max
}

/// Whether a process of this machine may lock the memory that a test needs.
pub fn is_generous() -> bool {
    let enough = hard_limit() >= ENOUGH;
    if !enough {
        eprintln!("RLIMIT_MEMLOCK is below {ENOUGH}: what is then locked is not looked at");
    }
    enough
}

/// The user of the limit: opens, works in several threads, and prints the result of `kms_health`.
pub fn measure(arguments: &[String]) {
    let limit: u64 = arguments[1].parse().unwrap();
    give_up_privilege();
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: reads a local struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);

    let location = format!("{}/keys.db", arguments[0]);
    let kms = Keystore::open(&location, &Options::new().root_key(&[7; 32]).create(true)).unwrap();
    let keys = kms.create_keys(&CreateKey::default(), KEYS).unwrap();
    let (before, mut during) = (locked_kib(), 0);
    let all = std::sync::Barrier::new(THREADS + 1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for key in &keys {
                    let blob = kms.encrypt(&key.to_string(), b"text", &[]).unwrap();
                    assert_eq!(*kms.decrypt(&blob, &[]).unwrap(), *b"text");
                }
                all.wait();
                all.wait();
            });
        }
        all.wait();
        during = locked_kib();
        all.wait();
    });
    let health = kms.health().unwrap();
    println!("{} {}", health.memory_not_locked, health.cipher_memory_unprotected);
    println!("{}", (during - before) / THREADS as u64);
}

/// What the process has locked.
fn locked_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The limit doesn't bind a process with CAP_IPC_LOCK.
fn give_up_privilege() {
    const VERSION_3: u32 = 0x2008_0522;
    const IPC_LOCK: u32 = 14;
    let header = [VERSION_3, 0];
    let mut sets = [0u32; 6];
    // SAFETY: a header and two triples of sets, as version 3 has them, of this thread, which is the only one.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()), 0);
        sets[0] &= !(1 << IPC_LOCK);
        sets[1] &= !(1 << IPC_LOCK);
        assert_eq!(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()), 0);
    }
}

fn flags_with(limit: u64) -> String {
    flags_and_locked_with(limit).0
}

/// And how many KiB each thread locked.
fn flags_and_locked_with(limit: u64) -> (String, u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut user = Worker::start_with("limit", &[folder.path().to_str().unwrap(), &limit.to_string()], &[]);
    (user.hear(), user.hear().parse().unwrap())
}

#[test]
fn a_limit_of_zero_works_and_says_so() {
    assert_eq!(flags_with(0), "true false");
}

#[test]
fn a_limit_of_64_kib_works_and_says_so() {
    assert_eq!(flags_with(64 << 10), "true false");
}

#[test]
fn with_enough_to_lock_nothing_is_said() {
    if is_generous() {
        let (flags, each_kib) = flags_and_locked_with(ENOUGH);
        assert_eq!(flags, "false false");
        assert!(each_kib > 100, "a thread locks next to nothing, so its cipher contexts are somewhere else");
        assert!(each_kib < 1024, "a thread locks {each_kib} KiB, more than docs/security.md says");
    }
}
