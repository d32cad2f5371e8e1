//! The generation file truncated in place, as `cp` of a folder copy over a live keystore does: no process ends, and the
//! host's own SIGBUS handler keeps its faults.

use std::ffi::{c_int, c_void};
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kms::{Keystore, Status};

use crate::child::{fork, wait_for};
use crate::folder::{Folder, choose, new_key, quiet, status};
use crate::role;
use crate::worker::{Worker, heard};

const PAGE: usize = 4096;

fn truncate(path: &Path) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
}

/// Encrypts and decrypts on three threads, each with a handle of another kind, until the test stops it. Also answers
/// whether the key can be used.
pub fn use_always(arguments: &[String]) {
    let [store, key] = arguments else { panic!("two arguments") };
    let handles = [
        Keystore::open(store, &quiet()).unwrap(),
        Keystore::open(store, &quiet().rotation_thread(true)).unwrap(),
        Keystore::open(store, &quiet().read_only(true)).unwrap(),
    ];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for kms in &handles {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // A refusal is no end of the process.
                    if let Ok(blob) = kms.encrypt(key, b"x", &[]) {
                        let _ = kms.decrypt(&blob, &[]);
                    }
                }
            });
        }
        println!("begun");
        while heard().is_some() {
            let refused = |kms| status(Keystore::encrypt(kms, key, b"x", &[])) == Some(Status::RejectedDisabled);
            println!("{}", handles.iter().filter(|kms| refused(kms)).count());
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// The time until all handles of the worker refuse the key, or none does.
fn seen_after(worker: &mut Worker, refused: &str) -> Duration {
    let started = Instant::now();
    while worker.ask("look") != refused {
        assert!(started.elapsed() < Duration::from_secs(4), "a change was not seen");
    }
    started.elapsed()
}

#[test]
fn a_truncated_generation_file_ends_no_process_and_hides_no_change_for_long() {
    let folder = Folder::without_a_disk();
    let kms = folder.create();
    let key = new_key(&kms, None);
    let generation = folder.path("keys.db-gen");
    let mut workers: Vec<Worker> = (0..2).map(|_| Worker::start("use-always", &[&folder.store(), &key])).collect();
    workers.iter_mut().for_each(|worker| assert_eq!(worker.hear(), "begun"));
    let mut longest = Duration::ZERO;
    for round in 0..choose(8, 100) {
        let whole = std::fs::read(&generation).unwrap();
        for _ in 0..50 {
            truncate(&generation);
            std::fs::write(&generation, &whole).unwrap();
        }
        match round % 4 {
            0 => truncate(&generation),
            1 => std::fs::write(&generation, &whole[..100]).unwrap(),
            2 => {
                truncate(&generation);
                std::thread::sleep(Duration::from_millis(20));
                std::fs::write(&generation, &whole).unwrap();
            }
            _ => {}
        }
        kms.disable_key(&key).unwrap();
        for worker in &mut workers {
            longest = longest.max(seen_after(worker, "3"));
        }
        kms.enable_key(&key).unwrap();
        workers.iter_mut().for_each(|worker| assert_eq!(worker.ask("look"), "0", "round {round}: on the next call"));
    }
    println!("the first change after a truncation was seen after {longest:?} at most");
    for worker in workers {
        worker.end();
    }
    kms.verify(|fault| panic!("{fault:?}")).unwrap();
}

#[test]
fn a_copy_over_the_files_of_an_open_keystore_ends_no_process() {
    for copy in ["cp -r copy/. live/", "tar -cf copy.tar -C copy . && tar --overwrite -xf copy.tar -C live"] {
        let folder = Folder::without_a_disk();
        std::fs::create_dir(folder.path("live")).unwrap();
        let store = folder.path("live/keys.db");
        let store = store.to_str().unwrap();
        let kms = Keystore::open(store, &quiet().create(true)).unwrap();
        let key = new_key(&kms, None);
        let run = |script: &str| {
            let done = std::process::Command::new("sh").args(["-ec", script]).current_dir(folder.path("")).status();
            assert!(done.unwrap().success(), "{script}");
        };
        run("cp -r live copy");
        let mut workers: Vec<Worker> = (0..2).map(|_| Worker::start("use-always", &[store, &key])).collect();
        workers.iter_mut().for_each(|worker| assert_eq!(worker.hear(), "begun"));
        for _ in 0..choose(40, 400) {
            run(copy);
            // The writer too may find an older or incomplete copy, and continues.
            let _ = kms.rotate(&key);
        }
        for worker in workers {
            worker.end();
        }
    }
}

static CALLS: AtomicUsize = AtomicUsize::new(0);
/// Where the host mapped a file.
static HOSTS: AtomicUsize = AtomicUsize::new(0);

/// A host's handler, which mends the host's own page alone.
extern "C" fn mend(_: c_int) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    let at = std::ptr::with_exposed_provenance_mut(HOSTS.load(Ordering::Relaxed));
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: over the host's page, to which no reference exists.
    unsafe { libc::mmap(at, PAGE, libc::PROT_READ, kind, -1, 0) };
}

extern "C" fn mend_with_info(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel, or the handler that chains, passes a complete siginfo_t.
    assert_eq!(unsafe { (*info).si_addr() }.expose_provenance(), HOSTS.load(Ordering::Relaxed));
    mend(signal);
}

fn set_action(handler: usize, flags: c_int) {
    // SAFETY: all zeroes is a valid sigaction, and the handler is of the type that the flags say.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (action.sa_sigaction, action.sa_flags) = (handler, flags);
        assert_eq!(libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()), 0);
    }
}

/// Reads the host's own mapping of a file that was truncated.
fn fault_of_the_hosts(folder: &Path) -> u8 {
    let path = folder.join("host");
    std::fs::write(&path, vec![9; PAGE]).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    // SAFETY: a new mapping of a file; read as one that another program may change.
    unsafe {
        let page = libc::mmap(std::ptr::null_mut(), PAGE, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
        assert_ne!(page, libc::MAP_FAILED);
        assert_eq!(page.cast::<u8>().read_volatile(), 9);
        HOSTS.store(page.expose_provenance(), Ordering::Relaxed);
        truncate(&path);
        page.cast::<u8>().read_volatile()
    }
}

/// Truncates the generation file under an open handle, in a process with an earlier action, then triggers that one.
pub fn chain(arguments: &[String]) {
    let [folder, action, then] = arguments else { panic!("three arguments") };
    let folder = Path::new(folder);
    match action.as_str() {
        "plain" => set_action(mend as extern "C" fn(c_int) as usize, 0),
        "info" => set_action(
            mend_with_info as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize,
            libc::SA_SIGINFO,
        ),
        "once" => set_action(mend as extern "C" fn(c_int) as usize, libc::SA_RESETHAND),
        "ignore" => set_action(libc::SIG_IGN, 0),
        _ => set_action(libc::SIG_DFL, 0),
    }
    let store = folder.join("keys.db");
    let kms = Keystore::open(store.to_str().unwrap(), &quiet().create(true)).unwrap();
    let key = new_key(&kms, None);
    for _ in 0..3 {
        truncate(&folder.join("keys.db-gen"));
        kms.encrypt(&key, b"x", &[]).unwrap();
        kms.rotate(&key).unwrap();
        assert!(!kms.health().unwrap().polling);
    }
    assert_eq!(CALLS.load(Ordering::Relaxed), 0, "the host's handler was called for a page of the library's");
    println!("begun");
    match then.as_str() {
        "fault" => assert_eq!((fault_of_the_hosts(folder), CALLS.load(Ordering::Relaxed)), (0, 1)),
        "twice" => {
            fault_of_the_hosts(folder);
            fault_of_the_hosts(folder);
        }
        // SAFETY: all zeroes is an empty set; the mask is this thread's.
        "blocked" => unsafe {
            let mut bus: libc::sigset_t = std::mem::zeroed();
            libc::sigaddset(&mut bus, libc::SIGBUS);
            assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &bus, std::ptr::null_mut()), 0);
        },
        // SAFETY: sends a signal to this thread.
        _ => assert_eq!(unsafe { libc::raise(libc::SIGBUS) }, 0),
    }
    truncate(&folder.join("keys.db-gen"));
    kms.encrypt(&key, b"x", &[]).unwrap();
}

#[test]
fn every_other_sigbus_does_what_it_did_without_the_library() {
    for (action, then, killed) in [
        ("plain", "fault", false),
        ("plain", "twice", false),
        ("plain", "sent", false),
        ("info", "fault", false),
        ("once", "fault", false),
        ("once", "twice", true),
        ("ignore", "fault", true),
        ("ignore", "sent", false),
        ("default", "fault", true),
        ("default", "sent", true),
        // The kernel calls no handler if the thread blocks the signal, as kms.h documents.
        ("plain", "blocked", true),
    ] {
        let folder = Folder::without_a_disk();
        let mut command = role::command("chain-sigbus");
        let run =
            command.args([folder.path("").to_str().unwrap(), action, then]).stderr(Stdio::null()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&run.stdout), "begun\n", "{action}, {then}");
        let expected = if killed { (Some(libc::SIGBUS), None) } else { (None, Some(0)) };
        assert_eq!((run.status.signal(), run.status.code()), expected, "{action}, {then}");
    }
}

static LATER: OnceLock<libc::sigaction> = OnceLock::new();

/// A host's handler that was installed after the library's, and chains for faults that it doesn't know.
extern "C" fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
    // SAFETY: the library's handler is of this type.
    let replaced: Handler = unsafe { std::mem::transmute(LATER.get().unwrap().sa_sigaction) };
    replaced(signal, info, context);
}

/// As [`chain`], with the host's handler installed later, on a small stack for signals.
pub fn chain_later(arguments: &[String]) {
    let [folder] = arguments else { panic!("one argument") };
    let folder = Path::new(folder);
    let kms = Keystore::open(folder.join("keys.db").to_str().unwrap(), &quiet().create(true)).unwrap();
    let key = new_key(&kms, None);
    // SAFETY: the stack stays for the life of the process; all zeroes is a valid sigaction.
    unsafe {
        let memory = Box::leak(Box::new([0u8; 8192]));
        let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: memory.len() };
        assert_eq!(libc::sigaltstack(&stack, std::ptr::null_mut()), 0);
        let mut replaced: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut replaced), 0);
        LATER.set(replaced).unwrap_or_else(|_| panic!("once"));
    }
    let handler = pass_on as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
    set_action(handler as usize, libc::SA_SIGINFO | libc::SA_ONSTACK);
    for _ in 0..3 {
        truncate(&folder.join("keys.db-gen"));
        kms.encrypt(&key, b"x", &[]).unwrap();
        kms.rotate(&key).unwrap();
        // Another handle doesn't install the library's handler over the host's.
        drop(Keystore::open(folder.join("keys.db").to_str().unwrap(), &quiet()).unwrap());
    }
    assert!(CALLS.load(Ordering::Relaxed) >= 3);
}

#[test]
fn a_later_handler_that_chains_keeps_the_protection() {
    let folder = Folder::without_a_disk();
    Worker::start("chain-sigbus-later", &[folder.path("").to_str().unwrap()]).finish();
}

/// A child handles a truncated file like its parent, even a child that has not used the handle before.
pub fn truncate_in_children(arguments: &[String]) {
    let [folder] = arguments else { panic!("one argument") };
    let generation = Path::new(folder).join("keys.db-gen");
    let kms = Keystore::open(&format!("{folder}/keys.db"), &quiet().create(true)).unwrap();
    let key = new_key(&kms, None);
    let go_on = || {
        truncate(&generation);
        kms.encrypt(&key, b"x", &[]).is_ok() && kms.rotate(&key).is_ok()
    };
    let alone = || go_on() && !kms.health().unwrap().polling;
    for _ in 0..3 {
        let child = fork(|| go_on() && wait_for(fork(go_on)) == 0 && go_on());
        assert!(go_on());
        assert_eq!(wait_for(child), 0);
        assert_eq!(wait_for(fork(alone)), 0);
        assert!(alone());
    }
}

#[test]
fn a_forked_child_outlives_a_truncated_file_too() {
    let folder = Folder::without_a_disk();
    Worker::start("truncate-in-children", &[folder.path("").to_str().unwrap()]).finish();
}

#[cfg(kms_faults)]
#[test]
fn without_the_handler_a_truncated_file_ends_the_process() {
    let folder = Folder::without_a_disk();
    let mut command = role::command("truncate-in-children");
    command.arg(folder.path("").to_str().unwrap()).env("KMS_FAULT_NO_BUS_HANDLER", "1").stderr(Stdio::null());
    assert_eq!(command.status().unwrap().signal(), Some(libc::SIGBUS), "the tests above notice nothing");
}
