//! Files moved, removed or damaged under an open handle: nothing is written elsewhere, and the handle notices soon.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use kms::{Keystore, Options, Status};

use crate::folder::{Folder, ROOT, new_key, quiet, status, versions};
use crate::roles::UNPRIVILEGED;
use crate::worker::Worker;

#[test]
fn nothing_is_written_into_a_file_that_was_moved_away() {
    for (what, replace) in [("removed", false), ("replaced", true)] {
        let folder = Folder::new();
        let kms = folder.create();
        let key = new_key(&kms, None);
        let blob = kms.encrypt(&key, b"kept", &[]).unwrap();
        let other = Folder::new();
        new_key(&other.create(), None);
        let aside = folder.path("aside.db");
        std::fs::rename(folder.store(), &aside).unwrap();
        if replace {
            std::fs::copy(other.store(), folder.store()).unwrap();
        }
        let before = folder.snapshot();
        for _ in 0..3 {
            assert_eq!(status(kms.rotate(&key)), Some(Status::KeystoreReplaced), "{what}");
            let created = kms.create_key(&kms::CreateKey::default());
            assert_eq!(status(created), Some(Status::KeystoreReplaced), "{what}");
        }
        assert!(folder.snapshot() == before, "{what}: something was written");
        std::fs::rename(&aside, folder.store()).unwrap();
        kms.rotate(&key).unwrap();
        assert_eq!(versions(&kms, &key).len(), 2, "{what}: a refused rotation was kept");
        assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"kept");
    }
}

#[test]
fn an_older_copy_in_the_keystores_place_is_refused() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = new_key(&kms, None);
    let older = folder.path("older.db");
    std::fs::copy(folder.store(), &older).unwrap();
    kms.rotate(&key).unwrap();
    std::fs::rename(&older, folder.store()).unwrap();
    for _ in 0..3 {
        assert_eq!(status(kms.rotate(&key)), Some(Status::KeystoreReplaced));
    }
    drop(kms);
    assert_eq!(versions(&folder.open(), &key).len(), 1, "the older copy was changed");
}

#[test]
fn an_older_copy_than_what_was_read_of_others_changes_is_refused() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = new_key(&kms, None);
    let older = folder.path("older.db");
    std::fs::copy(folder.store(), &older).unwrap();
    folder.open().rotate(&key).unwrap();
    kms.encrypt(&key, b"x", &[]).unwrap();
    std::fs::rename(&older, folder.store()).unwrap();
    for _ in 0..3 {
        assert_eq!(status(kms.disable_key(&key)), Some(Status::KeystoreReplaced), "this handle had read a newer one");
    }
}

#[test]
fn an_older_copy_in_the_keystores_own_file_is_refused() {
    let folder = Folder::new();
    let kms = folder.create();
    let (key, unread) = (new_key(&kms, None), new_key(&kms, None));
    let reader = Keystore::open(&folder.store(), &quiet().read_only(true)).unwrap();
    let older = std::fs::read(folder.store()).unwrap();
    kms.disable_key(&key).unwrap();
    assert_eq!(status(reader.encrypt(&key, b"x", &[])), Some(Status::RejectedDisabled));
    // As by `cp`: the file stays the same one.
    std::fs::write(folder.store(), &older).unwrap();
    for _ in 0..3 {
        assert_eq!(status(kms.rotate(&unread)), Some(Status::KeystoreReplaced), "an older copy was written");
        assert_eq!(status(kms.describe_key(&unread)), Some(Status::KeystoreReplaced), "an older copy was read");
        assert_eq!(status(reader.describe_key(&unread)), Some(Status::KeystoreReplaced), "an older copy was read");
        assert_eq!(status(reader.verify(|_| true)), Some(Status::KeystoreReplaced), "an older copy is well");
    }
    assert!(std::fs::read(folder.store()).unwrap() == older, "something was written into an older copy");
}

/// Role. Argument: the folder of the keystore, opened by its bare name; then the process goes elsewhere.
pub fn change_folder(arguments: &[String]) {
    std::env::set_current_dir(&arguments[0]).unwrap();
    let kms = Keystore::open("keys.db", &quiet().create(true).anchor_file("anchor")).unwrap();
    std::env::set_current_dir("/").unwrap();
    let key = new_key(&kms, None);
    kms.rotate(&key).unwrap();
    println!("{}", versions(&kms, &key).len());
}

#[test]
fn a_relative_path_is_meant_as_of_the_open() {
    let folder = Folder::new();
    let told = Worker::start("change-folder", &[folder.path("").to_str().unwrap()]).finish();
    assert_eq!(told, ["2"]);
}

#[test]
fn a_symbolic_link_leads_to_the_same_keystore() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = new_key(&kms, None);
    let link = folder.path("link.db");
    std::os::unix::fs::symlink(folder.store(), &link).unwrap();
    let by_link = Keystore::open(link.to_str().unwrap(), &quiet()).unwrap();
    by_link.encrypt(&key, b"x", &[]).unwrap();
    for _ in 0..20 {
        kms.disable_key(&key).unwrap();
        assert_eq!(status(by_link.encrypt(&key, b"x", &[])), Some(Status::RejectedDisabled));
        by_link.enable_key(&key).unwrap();
        kms.encrypt(&key, b"x", &[]).unwrap();
    }
    assert!(!folder.path("link.db-gen").exists(), "whoever comes by the link looks at another generation file");
}

/// The damage to a generation file, and the user of the other processes.
#[derive(Clone, Copy)]
struct Case {
    what: &'static str,
    damage: fn(&Path),
    /// Without root's right to write read-only files.
    unprivileged: bool,
    /// The value of `polling` for a handle opened afterwards.
    polling: bool,
}

/// How long another process, opened before and after the damage, goes without seeing changes, and how long its own go
/// unseen; whether the one opened afterwards has no generation file.
fn seen_after(case: Case, kind: &str) -> (Duration, bool) {
    let folder = Folder::new();
    let kms = folder.create();
    let key = new_key(&kms, None);
    if case.unprivileged {
        give_away(&folder.path(""));
    }
    let environment: &[(&str, &str)] = if case.unprivileged { &[("KMS_TEST_UNPRIVILEGED", "1")] } else { &[] };
    let start = || {
        let mut worker = Worker::start_with("serve", &[&folder.store(), kind], environment);
        assert_eq!(worker.hear(), "open");
        worker
    };
    let generation = folder.path("keys.db-gen");
    let first = start();
    (case.damage)(&generation);
    let mut workers = [first, start()];
    let unmapped = workers[1].ask("health").contains("polling: true");
    let mut slowest = Duration::ZERO;
    for writer in [None, Some(0), None, Some(1)] {
        for worker in &mut workers {
            worker.ask(&format!("encrypt {key}"));
        }
        kms.encrypt(&key, b"x", &[]).unwrap();
        let version = match writer {
            None => kms.rotate(&key).unwrap().to_string(),
            Some(at) => workers[at].ask(&format!("rotate {key}")),
        };
        let started = Instant::now();
        let in_time = || assert!(started.elapsed() < Duration::from_secs(10), "{}: a change is never seen", case.what);
        for worker in &mut workers {
            while worker.ask(&format!("encrypt {key}")) != version {
                in_time();
            }
        }
        while kms.inspect(&kms.encrypt(&key, b"x", &[]).unwrap()).unwrap().version.to_string() != version {
            in_time();
        }
        slowest = slowest.max(started.elapsed());
    }
    let name = c_path(&generation);
    // SAFETY: a C string. Fails where nothing is mounted; what is mounted would keep the folder from being removed.
    unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH) };
    (slowest, unmapped)
}

fn is_root() -> bool {
    // SAFETY: has no precondition.
    unsafe { libc::geteuid() == 0 }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// Makes the folder and what is in it belong to the user that unprivileged workers are.
fn give_away(folder: &Path) {
    if is_root() {
        let inside = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        for path in inside.chain([folder.to_owned()]) {
            std::os::unix::fs::chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
    }
}

/// Mounts a file over itself, read-only, for this thread and the processes it starts.
fn mount_read_only(path: &Path) -> std::io::Result<()> {
    let told = |result| if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    let (name, none) = (c_path(path), std::ptr::null());
    let mount = |at: &CStr, flags| {
        // SAFETY: C strings; the other arguments may be null with these flags.
        told(unsafe { libc::mount(name.as_ptr(), at.as_ptr(), none, flags, none.cast()) })
    };
    // SAFETY: concerns this thread alone.
    told(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount(c"/", libc::MS_REC | libc::MS_PRIVATE)?;
    mount(&name, libc::MS_BIND)?;
    mount(&name, libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY)
}

#[test]
fn without_a_generation_file_changes_are_still_seen() {
    let removed: fn(&Path) = |path| std::fs::remove_file(path).unwrap();
    let garbage: fn(&Path) = |path| {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[0xff; 4096], 0).unwrap();
    };
    let short: fn(&Path) = |path| {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, b"libkms generatn\0").unwrap();
    };
    let impossible: fn(&Path) = |path| {
        std::fs::remove_file(path).unwrap();
        std::fs::create_dir(path).unwrap();
    };
    let of_another: fn(&Path) = |path| {
        let other = Folder::new();
        other.create();
        std::fs::remove_file(path).unwrap();
        std::fs::hard_link(other.path("keys.db-gen"), path).unwrap();
    };
    let read_only: fn(&Path) = |path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444)).unwrap();
    let mounted: fn(&Path) = |path| mount_read_only(path).unwrap();
    let case = |what, damage, polling| Case { what, damage, unprivileged: false, polling };
    let mut cases = vec![
        case("removed", removed, false),
        case("garbage", garbage, false),
        case("too short", short, false),
        case("a folder in its place", impossible, true),
        case("a hard link to another keystore's", of_another, false),
        Case { unprivileged: true, ..case("read-only by its mode", read_only, false) },
    ];
    if is_root() {
        cases.push(case("on a read-only mount", mounted, true));
    } else {
        println!("not tried: a read-only mount needs root");
    }
    std::thread::scope(|scope| {
        for kind in ["ticker", "quiet"] {
            for case in &cases {
                scope.spawn(move || {
                    let (what, (slowest, unmapped)) = (case.what, seen_after(*case, kind));
                    println!("{kind}, {what}: seen after {slowest:?}, polling {unmapped}");
                    assert!(slowest < Duration::from_secs(3), "{kind}, {what}: seen only after {slowest:?}");
                    assert_eq!(unmapped, case.polling, "{kind}, {what}: health");
                });
            }
        }
    });
}

#[test]
fn the_generation_file_of_another_keystore_is_left_alone() {
    let (ours, theirs) = (Folder::new(), Folder::new());
    drop(ours.create());
    let their_kms = theirs.create();
    let their_key = new_key(&their_kms, None);
    let their_file = theirs.path("keys.db-gen");
    std::fs::remove_file(ours.path("keys.db-gen")).unwrap();
    std::fs::hard_link(&their_file, ours.path("keys.db-gen")).unwrap();
    let before = std::fs::read(&their_file).unwrap();
    let kms = ours.open();
    let key = new_key(&kms, None);
    kms.rotate(&key).unwrap();
    assert!(std::fs::read(&their_file).unwrap() == before, "a change was announced in another keystore's file");
    assert_eq!(std::fs::metadata(&their_file).unwrap().nlink(), 1, "two keystores still share one generation file");
    let second = theirs.open();
    second.encrypt(&their_key, b"x", &[]).unwrap();
    their_kms.disable_key(&their_key).unwrap();
    let refused = status(second.encrypt(&their_key, b"x", &[]));
    assert_eq!(
        refused,
        Some(Status::RejectedDisabled),
        "the other keystore's changes are no longer seen on the next call"
    );
}

#[test]
fn a_read_only_handle_writes_nothing() {
    let folder = Folder::new();
    let key = new_key(&folder.create(), Some(1));
    let before = folder.snapshot();
    let kms = Keystore::open(&folder.store(), &Options::new().root_key(&ROOT).read_only(true)).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    kms.encrypt(&key, b"x", &[]).unwrap();
    assert_eq!(status(kms.rotate(&key)), Some(Status::KeystoreReadOnly));
    assert_eq!(status(kms.create_key(&kms::CreateKey::default())), Some(Status::KeystoreReadOnly));
    assert!(kms.health().unwrap().read_only);
    drop(kms);
    assert!(folder.snapshot() == before, "a read-only handle changed something");
}
