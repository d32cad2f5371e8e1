//! Files moved, removed or damaged under an open handle: nothing is written elsewhere, and nothing is missed for long.

use std::time::{Duration, Instant};

use kms::{Kms, Options, Status};

use crate::folder::{Folder, ROOT, new_key, quiet, status, versions};
use crate::process::Worker;

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
        assert_eq!(&**kms.decrypt(&blob, &[]).unwrap(), b"kept");
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
    let reader = Kms::open(&folder.store(), &quiet().read_only(true)).unwrap();
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
    let kms = Kms::open("keys.db", &quiet().create(true).anchor_file("anchor")).unwrap();
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
    let by_link = Kms::open(link.to_str().unwrap(), &quiet()).unwrap();
    by_link.encrypt(&key, b"x", &[]).unwrap();
    for _ in 0..20 {
        kms.disable_key(&key).unwrap();
        assert_eq!(status(by_link.encrypt(&key, b"x", &[])), Some(Status::RejectedDisabled));
        by_link.enable_key(&key).unwrap();
        kms.encrypt(&key, b"x", &[]).unwrap();
    }
    assert!(!folder.path("link.db-gen").exists(), "whoever comes by the link looks at another generation file");
}

/// How long another process, opened before and after `damage` to the generation file, goes without seeing changes.
fn seen_after(damage: impl Fn(&std::path::Path), kind: &str) -> (Duration, bool) {
    let folder = Folder::new();
    let kms = folder.create();
    let key = new_key(&kms, None);
    let mut workers = vec![Worker::start("serve", &[&folder.store(), kind])];
    assert_eq!(workers[0].hear(), "open");
    damage(&folder.path("keys.db-gen"));
    workers.push(Worker::start("serve", &[&folder.store(), kind]));
    assert_eq!(workers[1].hear(), "open");
    let unmapped = workers[1].ask("health").contains("not_mapped: true");
    let mut slowest = Duration::ZERO;
    for _ in 0..2 {
        for worker in &mut workers {
            worker.ask(&format!("encrypt {key}"));
        }
        let version = kms.rotate(&key).unwrap().to_string();
        let started = Instant::now();
        for worker in &mut workers {
            while worker.ask(&format!("encrypt {key}")) != version {
                assert!(started.elapsed() < Duration::from_secs(10), "a change is never seen");
            }
            slowest = slowest.max(started.elapsed());
        }
    }
    (slowest, unmapped)
}

#[test]
fn without_a_generation_file_changes_are_still_seen() {
    let removed = |path: &std::path::Path| std::fs::remove_file(path).unwrap();
    let garbage = |path: &std::path::Path| {
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[0xff; 4096], 0).unwrap();
    };
    let short = |path: &std::path::Path| {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, b"libkms generatn\0").unwrap();
    };
    let impossible = |path: &std::path::Path| {
        std::fs::remove_file(path).unwrap();
        std::fs::create_dir(path).unwrap();
    };
    let cases = [
        ("removed", &removed as &(dyn Fn(&std::path::Path) + Sync), false),
        ("garbage", &garbage, false),
        ("too short", &short, false),
        ("a folder in its place", &impossible, true),
    ];
    std::thread::scope(|scope| {
        for kind in ["ticker", "quiet"] {
            for (what, damage, not_mapped) in cases {
                scope.spawn(move || {
                    let (slowest, unmapped) = seen_after(damage, kind);
                    println!("{kind}, {what}: seen after {slowest:?}, not_mapped {unmapped}");
                    assert!(slowest < Duration::from_secs(3), "{kind}, {what}: seen only after {slowest:?}");
                    assert_eq!(unmapped, not_mapped, "{kind}, {what}: health");
                });
            }
        }
    });
}

#[test]
fn a_generation_file_that_may_not_be_written_hides_no_change() {
    use std::os::unix::fs::PermissionsExt;
    let read_only = |path: &std::path::Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444)).unwrap();
        let file = std::fs::OpenOptions::new().read(true).open(path).unwrap();
        assert!(file.metadata().unwrap().permissions().readonly());
    };
    let (slowest, unmapped) = seen_after(read_only, "bound-by-modes");
    println!("read-only: seen after {slowest:?}, not_mapped {unmapped}");
    assert!(slowest < Duration::from_secs(3), "seen only after {slowest:?}");
    assert!(!unmapped, "the file was not made anew, though its folder may be written");
}

#[test]
fn a_read_only_handle_writes_nothing() {
    let folder = Folder::new();
    let key = new_key(&folder.create(), Some(1));
    let before = folder.snapshot();
    let kms = Kms::open(&folder.store(), &Options::new().root_key(&ROOT).read_only(true)).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    kms.encrypt(&key, b"x", &[]).unwrap();
    assert_eq!(status(kms.rotate(&key)), Some(Status::KeystoreReadOnly));
    assert_eq!(status(kms.create_key(&kms::CreateKey::default())), Some(Status::KeystoreReadOnly));
    assert!(kms.health().unwrap().read_only);
    drop(kms);
    assert!(folder.snapshot() == before, "a read-only handle changed something");
}
