//! The library's descriptors never take a number of the host's, and none is used after the host took its number away.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kms::{CreateKey, Keystore, Options, Status};

use crate::child::{fork, wait_for};
use crate::folder::{Folder, key_ids, new_key, quiet, status, versions};
use crate::role;
use crate::worker::{Worker, heard};

const LINE: &[u8] = b"worker 1: started, listening on port 8080\n";

fn options(folder: &Path) -> Options {
    Options::new().root_key_file(folder.join("root.key")).anchor_file(folder.join("anchor")).rotation_thread(false)
}

/// Logs to the standard descriptors, closed or not, all the time.
fn log_beside<R>(closed: &[i32], body: impl FnOnce() -> R) -> R {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for descriptor in closed {
                    // SAFETY: write takes any number.
                    unsafe { libc::write(*descriptor, LINE.as_ptr().cast(), LINE.len()) };
                }
            }
        });
        let result = body();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// Uses a keystore in every way with some of the standard descriptors closed.
pub fn low(arguments: &[String]) {
    let [folder, closed] = arguments else { panic!("two arguments") };
    let folder = Path::new(folder);
    let closed: Vec<i32> = closed.bytes().map(|digit| i32::from(digit - b'0')).collect();
    for descriptor in &closed {
        // SAFETY: nothing of this process uses it.
        unsafe { libc::close(*descriptor) };
    }
    if std::env::var_os("KMS_FAULT_LOW_DESCRIPTORS").is_some() {
        // SAFETY: takes any number. A keystore that is being overwritten may keep its calls waiting.
        unsafe { libc::alarm(10) };
    }
    let store = folder.join("keys.db");
    let store = store.to_str().unwrap();
    log_beside(&closed, || {
        let kms = Keystore::open(store, &options(folder).create(true)).unwrap();
        let reader = Keystore::open(store, &options(folder).read_only(true)).unwrap();
        for round in 0..5 {
            let key = new_key(&kms, None);
            kms.rotate(&key).unwrap();
            let blob = reader.encrypt(&key, b"x", &[]).unwrap();
            kms.decrypt(&blob, &[]).unwrap();
            std::fs::remove_file(folder.join("keys.db-gen")).unwrap();
            kms.disable_key(&key).unwrap();
            kms.backup(folder.join(format!("backup-{}-{round}.db", std::process::id()))).unwrap();
        }
        let key = new_key(&kms, None);
        let child = fork(|| log_beside(&closed, || kms.rotate(&key).is_ok() && kms.rotate(&key).is_ok()));
        assert_eq!(wait_for(child), 0);
    });
    for descriptor in closed {
        // SAFETY: fcntl takes any number.
        assert_eq!(unsafe { libc::fcntl(descriptor, libc::F_GETFD) }, -1, "descriptor {descriptor} is open");
    }
}

/// Whether all files in the folder are intact after two runs of [`low`].
fn whole_after(closed: &str, fault: Option<&str>) -> bool {
    let folder = Folder::without_a_disk();
    let path = folder.path("");
    let run = || {
        let mut command = role::command("low-descriptors");
        command.args([path.to_str().unwrap(), closed]).stderr(std::process::Stdio::null());
        command.envs(fault.map(|name| (name, "1")));
        command.status().unwrap().success()
    };
    let ran = run() && run();
    let whole = Keystore::open(&folder.store(), &options(&path)).is_ok_and(|kms| {
        let keys = kms.verify(|fault| {
            println!("{fault:?}");
            true
        });
        println!("{closed}: {keys:?}");
        keys.is_ok() && key_ids(&kms).len() == 12
    });
    let backups = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let backups: Vec<PathBuf> = backups.filter(|p| p.to_str().unwrap().contains("/backup-")).collect();
    let restores = |backup: &PathBuf| {
        let options = Options::new().root_key_file(path.join("root.key")).rotation_thread(false);
        Keystore::open(backup.to_str().unwrap(), &options).is_ok_and(|kms| kms.verify(|_| true).is_ok())
    };
    ran && whole && backups.len() == 10 && backups.iter().all(restores)
}

#[test]
fn a_log_line_to_a_closed_descriptor_reaches_none_of_our_files() {
    for closed in ["2", "1", "0", "12", "012"] {
        assert!(whole_after(closed, None), "descriptors {closed} were closed");
    }
}

#[cfg(kms_faults)]
#[test]
fn without_the_rule_a_log_line_destroys_the_keystore() {
    assert!(!whole_after("2", Some("KMS_FAULT_LOW_DESCRIPTORS")), "the test above notices nothing");
}

/// Files of the host, which take the former numbers of the library's descriptors.
struct Hosts(Vec<(std::fs::File, PathBuf, Vec<u8>, u64)>);

impl Hosts {
    fn take_numbers(folder: &Path, same: bool) -> Self {
        let files = (0..40).map(|number| {
            let path = match (same, number % 4) {
                (true, 0) => folder.join("keys.db"),
                (true, 1) => folder.join("anchor"),
                (true, 2) => folder.join("keys.db-gen"),
                _ => folder.join(format!("host-{number}")),
            };
            if path.to_str().unwrap().contains("host-") {
                std::fs::write(&path, vec![number; 8192]).unwrap();
            }
            let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            file.seek(SeekFrom::Start(17)).unwrap();
            (file, path.clone(), std::fs::read(&path).unwrap(), 17)
        });
        Self(files.collect())
    }

    fn check(mut self) {
        for (file, path, content, offset) in &mut self.0 {
            let name = path.display();
            // SAFETY: fcntl takes any number.
            assert!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFD) } >= 0, "{name}: was closed");
            assert_eq!(file.stream_position().unwrap(), *offset, "{name}: its offset was moved");
            if path.to_str().unwrap().contains("host-") {
                assert!(std::fs::read(&path).unwrap() == *content, "{name}: was written");
                file.try_lock().unwrap_or_else(|e| panic!("{name}: is locked ({e})"));
            }
        }
    }
}

/// SAFETY: nothing of this process but the library has descriptors above 2 that it still uses.
unsafe fn close_from_three() {
    // SAFETY: the caller guarantees it.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}

/// Creates keys. On each command it closes every descriptor that it didn't open, as a daemon does, and opens other
/// files. Prints which keys were acknowledged, and what was refused.
pub fn become_daemon(arguments: &[String]) {
    let [folder, same, read_only] = arguments else { panic!("three arguments") };
    let (folder, same) = (Path::new(folder), same == "same");
    let store = folder.join("keys.db");
    let kms = Keystore::open(store.to_str().unwrap(), &options(folder).read_only(read_only == "reads")).unwrap();
    let mut seen = 0;
    while let Some(word) = heard() {
        if word == "close" {
            // SAFETY: what is open are the library's files and those of the last round, which were given up.
            unsafe { close_from_three() };
            let hosts = Hosts::take_numbers(folder, same);
            let answer = use_it(&kms, read_only == "reads", &mut seen);
            hosts.0.iter().for_each(|(file, ..)| assert!(file.metadata().is_ok()));
            hosts.check();
            println!("{answer}");
        } else {
            println!("{}", use_it(&kms, read_only == "reads", &mut seen));
        }
    }
}

/// Opens a keystore with a rotation thread, then becomes a daemon in the usual way: forks twice and closes all
/// descriptors before it uses the handle, in the process that closes them and in a child of it.
pub fn fork_then_close(arguments: &[String]) {
    let [folder] = arguments else { panic!("one argument") };
    let folder = Path::new(folder);
    let store = folder.join("keys.db");
    let kms = Keystore::open(store.to_str().unwrap(), &options(folder).rotation_thread(true).create(true)).unwrap();
    let key = new_key(&kms, None);
    let daemon = fork(|| {
        let daemon = fork(|| {
            // SAFETY: what is open is the library's.
            unsafe { close_from_three() };
            let hosts = Hosts::take_numbers(folder, false);
            kms.rotate(&key).unwrap();
            let child = fork(|| kms.rotate(&key).is_ok());
            kms.rotate(&key).unwrap();
            hosts.check();
            wait_for(child) == 0
        });
        wait_for(daemon) == 0
    });
    assert_eq!(wait_for(daemon), 0);
    assert_eq!(versions(&kms, &key).len(), 4);
}

#[test]
fn a_daemon_goes_on_with_the_handle_that_was_opened_before_it_closed_all_descriptors() {
    let folder = Folder::without_a_disk();
    Worker::start("fork-then-close", &[folder.path("").to_str().unwrap()]).finish();
}

fn use_it(kms: &Keystore, reads: bool, seen: &mut usize) -> String {
    if reads {
        let mut count = 0;
        return match kms.list_keys(None, usize::MAX, |_| {
            count += 1;
            true
        }) {
            Ok(_) => {
                assert!(count >= *seen, "keys are gone");
                *seen = count;
                "read".into()
            }
            Err(e) => format!("refused {e}"),
        };
    }
    match kms.create_key(&CreateKey::default()) {
        Ok(id) => format!("made {id}"),
        Err(e) => format!("refused {e}"),
    }
}

/// Both processes make keys while one loses its descriptors; returns the lost keys, and the number of refused calls.
fn lost_beside(same: &str, reads: &str, fault: Option<&str>) -> (usize, Vec<String>) {
    let folder = Folder::without_a_disk();
    let path = folder.path("");
    let kms = Keystore::open(&folder.store(), &options(&path).create(true)).unwrap();
    let environment: Vec<(&str, &str)> = fault.map(|name| (name, "1")).into_iter().collect();
    let mut daemon = Worker::start_with("become-daemon", &[path.to_str().unwrap(), same, reads], &environment);
    let mut acknowledged = BTreeSet::new();
    let mut refused = Vec::new();
    for round in 0..24 {
        acknowledged.insert(new_key(&kms, None));
        let answer = daemon.ask(if round % 3 == 1 { "close" } else { "go" });
        match answer.split_once(' ') {
            Some(("made", id)) => drop(acknowledged.insert(id.to_owned())),
            Some(("refused", why)) => refused.push(why.to_owned()),
            _ => assert_eq!(answer, "read"),
        }
    }
    daemon.end();
    drop(kms);
    let kms = Keystore::open(&folder.store(), &options(&path)).unwrap();
    kms.verify(|fault| panic!("{fault:?}")).unwrap();
    let kept: BTreeSet<String> = key_ids(&kms).into_iter().collect();
    (acknowledged.difference(&kept).count(), refused)
}

#[test]
fn a_host_that_closes_all_descriptors_loses_nothing_and_keeps_its_own_files() {
    for same in ["other", "same"] {
        for reads in ["writes", "reads"] {
            let (lost, refused) = lost_beside(same, reads, None);
            assert_eq!((lost, refused), (0, Vec::new()), "{same}, {reads}");
        }
    }
}

#[cfg(kms_faults)]
#[test]
fn without_the_check_a_host_that_closes_all_descriptors_is_harmed() {
    let harmed = std::panic::catch_unwind(|| {
        let (lost, refused) = lost_beside("other", "writes", Some("KMS_FAULT_DESCRIPTORS_TRUSTED"));
        assert_eq!((lost, refused), (0, Vec::new()));
    });
    assert!(harmed.is_err(), "the test above notices nothing");
}

/// Closes all descriptors repeatedly during calls.
pub fn close_beside(arguments: &[String]) {
    let [folder] = arguments else { panic!("one argument") };
    let kms = Keystore::open(&format!("{folder}/keys.db"), &quiet()).unwrap();
    let until = Instant::now() + Duration::from_millis(1500);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < until {
                std::thread::sleep(Duration::from_micros(700));
                // SAFETY: only the library opens files in this process.
                unsafe { close_from_three() };
            }
        });
        while Instant::now() < until {
            if let Ok(id) = kms.create_key(&CreateKey::default()) {
                println!("{id}");
            }
        }
    });
    kms.create_key(&CreateKey::default()).expect("the handle works again");
}

#[test]
fn no_acknowledged_change_is_lost_where_descriptors_are_closed_within_a_call() {
    let folder = Folder::without_a_disk();
    drop(folder.create());
    let path = folder.path("");
    let workers: Vec<Worker> = (0..2).map(|_| Worker::start("close-beside", &[path.to_str().unwrap()])).collect();
    let kms = folder.open();
    let mut acknowledged: BTreeSet<String> = (0..200).map(|_| new_key(&kms, None)).collect();
    for worker in workers {
        acknowledged.extend(worker.finish());
    }
    drop(kms);
    let kms = folder.open();
    kms.verify(|fault| panic!("{fault:?}")).unwrap();
    let kept: BTreeSet<String> = key_ids(&kms).into_iter().collect();
    println!("{} keys acknowledged, {} there", acknowledged.len(), kept.len());
    assert_eq!(acknowledged.difference(&kept).count(), 0);
}

/// Encrypts constantly for a second, even if the keystore fails.
pub fn encrypt_always(arguments: &[String]) {
    let [store, key] = arguments else { panic!("two arguments") };
    let kms = Keystore::open(store, &quiet()).unwrap();
    let until = Instant::now() + Duration::from_secs(1);
    kms.encrypt(key, b"x", &[]).unwrap();
    println!("begun");
    while Instant::now() < until {
        // That the keystore was replaced is an error, and no end of the process.
        let _ = kms.encrypt(key, b"x", &[]);
    }
}

#[test]
fn a_copy_that_replaces_files_by_name_ends_no_process() {
    for restore in [
        "tar -cf copy.tar -C live . && tar -xf copy.tar -C live",
        "cp -r live copy && cp -r --remove-destination copy/. live/",
        "cp -r live copy && for file in keys.db keys.db-gen; do mv copy/$file live/$file; done",
    ] {
        let folder = Folder::without_a_disk();
        std::fs::create_dir(folder.path("live")).unwrap();
        let store = folder.path("live/keys.db");
        let store = store.to_str().unwrap();
        let key = new_key(&Keystore::open(store, &quiet().create(true)).unwrap(), None);
        let mut worker = Worker::start("encrypt-always", &[store, &key]);
        assert_eq!(worker.hear(), "begun");
        for _ in 0..5 {
            let script = format!("rm -rf copy; {restore}");
            let done = std::process::Command::new("sh").args(["-ec", &script]).current_dir(folder.path("")).status();
            assert!(done.unwrap().success(), "{restore}");
        }
        worker.finish();
    }
}

/// How many descriptors are open on files of `folder`, and how many mappings there are of them.
fn kept_of(folder: &Path) -> (usize, usize) {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|f| std::fs::read_link(f.path()).ok());
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().filter(|line| line.contains(folder.to_str().unwrap())).count();
    (links.filter(|target| target.starts_with(folder)).count(), mapped)
}

#[test]
fn a_generation_file_that_is_deleted_again_and_again_leaks_nothing() {
    let folder = Folder::without_a_disk();
    let (writer, reader) = (folder.create(), folder.open());
    let path = folder.path("keys.db").parent().unwrap().to_owned();
    let key = new_key(&writer, None);
    let before = kept_of(&path);
    for round in 0..300 {
        std::fs::remove_file(folder.path("keys.db-gen")).unwrap();
        writer.disable_key(&key).unwrap();
        // Without the file, no process hears of the change that creates it again; all hear of the next one.
        let deadline = Instant::now() + Duration::from_secs(3);
        while round % 50 == 0 && status(reader.encrypt(&key, b"x", &[])) != Some(Status::RejectedDisabled) {
            assert!(Instant::now() < deadline, "a disable was not seen");
        }
        writer.enable_key(&key).unwrap();
    }
    reader.verify(|_| true).unwrap();
    assert_eq!(kept_of(&path), before, "descriptors and mappings, before and after");
    writer.disable_key(&key).unwrap();
    assert_eq!(status(reader.encrypt(&key, b"x", &[])), Some(Status::RejectedDisabled), "seen on the next call again");
}
