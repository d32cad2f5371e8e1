//! The keystore's file replaced, removed or overwritten under a handle that only encrypts: within a second it stops,
//! reports it, and trusts no cached state that the file at its path does not confirm.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kms::{KeyVersion, Keystore, Options, Status, health::EventKind};

use crate::folder::{Folder, ROOT, new_key, quiet, status, versions};

/// A handle that only encrypts and decrypts, and its events.
struct User {
    kms: Keystore,
    told: Arc<Mutex<Vec<Option<Status>>>>,
}

/// With the rotation thread, without, and read-only.
const KINDS: [&str; 3] = ["thread", "quiet", "read-only"];

impl User {
    fn new(folder: &Folder, kind: &str) -> Self {
        Self::at(&folder.store(), kind)
    }

    fn at(path: &str, kind: &str) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&told);
        let options = match kind {
            "thread" => Options::new().root_key(&ROOT),
            "quiet" => quiet(),
            _ => quiet().read_only(true),
        };
        let options = options.on_event(move |event| {
            if event.kind == EventKind::KeystoreReplaced {
                note.lock().unwrap().push(event.status);
            }
        });
        Self { kms: Keystore::open(path, &options).unwrap(), told }
    }

    /// Waits until the rotation thread has stored the last uses of these keys, which takes up to a second. A file that
    /// another program overwrites during a change would hold a part of each.
    #[track_caller]
    fn settle(&self, kind: &str, keys: &[&str], is_stored: impl Fn(&KeyVersion) -> bool) {
        if kind != "thread" {
            return;
        }
        let started = Instant::now();
        for key in keys {
            while !is_stored(&self.kms.key_versions(*key).next().unwrap().unwrap()) {
                assert!(started.elapsed() < Duration::from_secs(20), "{key}: the dates are not stored");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// A separate thread delivers events.
    #[track_caller]
    fn is_told(&self, times: usize, what: &str) {
        let started = Instant::now();
        while self.told() < times && started.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.told(), times, "{what}");
    }

    fn told(&self) -> usize {
        let told = self.told.lock().unwrap();
        assert!(told.iter().all(|status| *status == Some(Status::KeystoreReplaced)), "{told:?}");
        told.len()
    }

    /// Encrypts until the expected answer comes. That is within a second or two on an idle machine.
    #[track_caller]
    fn waits_for(&self, key: &str, wanted: Option<Status>, what: &str) -> Duration {
        self.waits_until(what, |answer| answer == wanted, key)
    }

    #[track_caller]
    fn waits_until(&self, what: &str, is_wanted: impl Fn(Option<Status>) -> bool, key: &str) -> Duration {
        let started = Instant::now();
        loop {
            let answer = status(self.kms.encrypt(key, b"x", &[]));
            if is_wanted(answer) {
                return started.elapsed();
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{what}: encrypt still says {answer:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn primary(&self, key: &str) -> String {
        let blob = self.kms.encrypt(key, b"x", &[]).unwrap();
        self.kms.inspect(&blob).unwrap().version.to_string()
    }
}

/// As by rsync or a configuration tool, and as by cp.
fn put(copy: &Path, store: &str, by_rename: bool) {
    if by_rename {
        let beside = format!("{store}.tmp");
        std::fs::copy(copy, &beside).unwrap();
        std::fs::rename(beside, store).unwrap();
    } else {
        std::fs::write(store, std::fs::read(copy).unwrap()).unwrap();
    }
}

#[test]
fn a_removed_keystore_stops_encryption_until_it_is_back() {
    std::thread::scope(|scope| {
        for kind in KINDS {
            scope.spawn(move || {
                let folder = Folder::new();
                let key = new_key(&folder.create(), None);
                let user = User::new(&folder, kind);
                let blob = user.kms.encrypt(&key, b"kept", &[]).unwrap();
                user.kms.decrypt(&blob, &[]).unwrap();
                let aside = folder.path("aside.db");
                std::fs::rename(folder.store(), &aside).unwrap();
                let took = user.waits_for(&key, Some(Status::KeystoreReplaced), kind);
                println!("{kind}: noticed after {took:?}");
                user.is_told(1, kind);
                assert!(user.kms.health().unwrap().keystore_replaced, "{kind}");
                assert_eq!(&*user.kms.decrypt(&blob, &[]).unwrap(), b"kept", "{kind}: keys in memory decrypt");
                if kind != "read-only" {
                    assert_eq!(status(user.kms.rotate(&key)), Some(Status::KeystoreReplaced), "{kind}");
                }
                assert_eq!(status(user.kms.verify(|_| true)), Some(Status::KeystoreReplaced), "{kind}");
                std::fs::rename(&aside, folder.store()).unwrap();
                user.waits_for(&key, None, kind);
                assert!(!user.kms.health().unwrap().keystore_replaced, "{kind}");
                user.is_told(1, kind);
            });
        }
    });
}

#[test]
fn what_is_no_newer_keystore_stops_everything_until_the_keystore_is_back() {
    type Replace = fn(&Folder, &Path);
    let older: Replace = |folder, older| put(older, &folder.store(), true);
    let older_in_place: Replace = |folder, older| put(older, &folder.store(), false);
    let another: Replace = |folder, _| {
        let other = Folder::new();
        new_key(&other.create(), None);
        put(Path::new(&other.store()), &folder.store(), true);
    };
    let rubbish: Replace = |folder, _| {
        std::fs::remove_file(folder.store()).unwrap();
        std::fs::write(folder.store(), b"rubbish").unwrap();
    };
    std::thread::scope(|scope| {
        for kind in KINDS {
            for (what, replace) in
                [("older", older), ("older in place", older_in_place), ("another", another), ("rubbish", rubbish)]
            {
                scope.spawn(move || {
                    let what = format!("{kind}, {what}");
                    let folder = Folder::new();
                    let kms = folder.create();
                    let (key, other) = (new_key(&kms, None), new_key(&kms, None));
                    let copy = folder.path("older.db");
                    kms.backup(&copy).unwrap();
                    kms.rotate(&other).unwrap();
                    let user = User::new(&folder, kind);
                    let blob = user.kms.encrypt(&key, b"kept", &[]).unwrap();
                    user.kms.decrypt(&blob, &[]).unwrap();
                    // The newest copy must have the dates of these uses.
                    user.settle(kind, &[&key], |v| v.last_encrypt_date.is_some() && v.last_decrypt_date.is_some());
                    let newest = folder.path("newest.db");
                    kms.backup(&newest).unwrap();
                    drop(kms);
                    replace(&folder, &copy);
                    user.waits_for(&key, Some(Status::KeystoreReplaced), &what);
                    user.is_told(1, &what);
                    assert!(user.kms.health().unwrap().keystore_replaced, "{what}");
                    let opened = status(user.kms.decrypt(&blob, &[]));
                    assert_eq!(opened, Some(Status::KeystoreReplaced), "{what}: a key in memory is believed");
                    put(&newest, &folder.store(), true);
                    user.waits_for(&key, None, &what);
                    assert_eq!(&*user.kms.decrypt(&blob, &[]).unwrap(), b"kept", "{what}");
                    user.is_told(1, &what);
                    assert!(!user.kms.health().unwrap().keystore_replaced, "{what}");
                });
            }
        }
    });
}

/// Two histories of one keystore with the same keys: `ours` rotated one, `theirs` disabled it, rotated the other, and
/// made `more` changes besides.
#[test]
fn another_history_is_taken_for_what_it_says_whatever_its_generation() {
    std::thread::scope(|scope| {
        for kind in KINDS {
            for by_rename in [true, false] {
                for more in [0, 1, 5, 40] {
                    scope.spawn(move || other_history(kind, by_rename, more));
                }
            }
        }
    });
}

fn other_history(kind: &str, by_rename: bool, more: u64) {
    let what = format!("{kind}, by rename: {by_rename}, {more} more changes");
    let folder = Folder::without_a_disk();
    let ours = folder.create();
    let (key, other, third) = (new_key(&ours, None), new_key(&ours, None), new_key(&ours, None));
    let theirs = Folder::without_a_disk();
    ours.backup(theirs.path("keys.db")).unwrap();
    let elsewhere = theirs.open();
    for _ in 0..2 {
        ours.rotate(&key).unwrap();
    }
    elsewhere.disable_key(&key).unwrap();
    elsewhere.rotate(&other).unwrap();
    drop(ours);
    let user = User::new(&folder, kind);
    user.kms.encrypt(&key, b"x", &[]).unwrap();
    let under_ours = user.primary(&other);
    user.settle(kind, &[&key, &other], |version| version.last_encrypt_date.is_some());
    // The thread's dates are changes, too.
    let generation = |kms: &Keystore| kms.health().unwrap().generation;
    while generation(&elsewhere) < generation(&user.kms) + more {
        elsewhere.rotate(&third).unwrap();
    }
    put(Path::new(&theirs.store()), &folder.store(), by_rename);
    user.waits_for(&key, Some(Status::RejectedDisabled), &format!("{what}: a disable is never seen"));
    let newest = versions(&elsewhere, &other)[0].clone();
    assert_ne!(under_ours, newest);
    assert_eq!(user.primary(&other), newest, "{what}: encrypted under a version that the file lacks");
    // After that number of changes, nothing shows whether they follow this handle's last one. Then the handle discards
    // its caches, and reports it only if the path has another file.
    user.is_told(usize::from(more < 30 || by_rename), &what);
    assert!(!user.kms.health().unwrap().keystore_replaced, "{what}");
    if kind != "read-only" {
        user.kms.rotate(&other).unwrap();
        assert_eq!(versions(&folder.open(), &other).len(), 3, "{what}");
    }
}

/// SQLite keeps its pages while a count of changes and two sizes in the file's header are unchanged. A copy that was
/// changed as often has the same values.
#[test]
fn a_copy_that_was_changed_as_often_is_not_taken_for_the_open_file() {
    for kind in KINDS {
        let folder = Folder::without_a_disk();
        let ours = folder.create();
        let (key, other) = (new_key(&ours, None), new_key(&ours, None));
        let user = User::new(&folder, kind);
        for key in [&key, &other] {
            user.kms.encrypt(key, b"x", &[]).unwrap();
        }
        user.settle(kind, &[&key, &other], |version| version.last_encrypt_date.is_some());
        let theirs = Folder::without_a_disk();
        std::fs::copy(folder.store(), theirs.store()).unwrap();
        let elsewhere = theirs.open();
        elsewhere.disable_key(&key).unwrap();
        ours.disable_key(&other).unwrap();
        user.kms.encrypt(&key, b"x", &[]).unwrap();
        assert_eq!(changes_counted(&theirs.store()), changes_counted(&folder.store()), "the test needs equal headers");
        put(Path::new(&theirs.store()), &folder.store(), false);
        user.waits_for(&key, Some(Status::RejectedDisabled), &format!("{kind}: a disable is never seen"));
        user.kms.encrypt(&other, b"x", &[]).unwrap();
        user.is_told(1, kind);
        ours.rotate(&other).unwrap();
        folder.open().verify(|fault| panic!("{kind}: pages of two histories in one file: {fault:?}")).unwrap();
    }
}

/// The bytes by which SQLite sees that a file has changed.
fn changes_counted(store: &str) -> Vec<u8> {
    std::fs::read(store).unwrap()[24..40].to_vec()
}

/// As by a deploy that moves a link from one release to the next.
#[test]
fn a_link_that_leads_elsewhere_stops_everything_until_it_leads_back() {
    for kind in KINDS {
        let folder = Folder::new();
        let (one, two) = (folder.path("one"), folder.path("two"));
        for release in [&one, &two] {
            std::fs::create_dir(release).unwrap();
        }
        let link = |target: &Path| {
            let beside = folder.path("current.tmp");
            std::os::unix::fs::symlink(target, &beside).unwrap();
            std::fs::rename(beside, folder.path("current")).unwrap();
        };
        let key = new_key(&folder.create(), None);
        std::fs::rename(folder.store(), one.join("keys.db")).unwrap();
        std::fs::copy(one.join("keys.db"), two.join("keys.db")).unwrap();
        link(&one);
        let path = folder.path("current").join("keys.db");
        let user = User::at(path.to_str().unwrap(), kind);
        user.kms.encrypt(&key, b"x", &[]).unwrap();
        link(&two);
        user.waits_for(&key, Some(Status::KeystoreReplaced), kind);
        assert!(user.kms.health().unwrap().keystore_replaced, "{kind}");
        user.is_told(1, kind);
        if kind != "read-only" {
            assert_eq!(status(user.kms.rotate(&key)), Some(Status::KeystoreReplaced), "{kind}");
        }
        link(&one);
        user.waits_for(&key, None, kind);
    }
}

/// As where a keystore is distributed to hosts that only encrypt.
#[test]
fn a_newer_copy_is_taken_without_a_word_and_without_forgetting() {
    // A rotation thread writes, so its handle's history parts from that of the copies.
    for kind in ["quiet", "read-only"] {
        let folder = Folder::without_a_disk();
        let source = folder.create();
        let keys: Vec<String> = (0..5).map(|_| new_key(&source, None)).collect();
        let hosted = Folder::without_a_disk();
        source.backup(hosted.path("keys.db")).unwrap();
        let user = User::new(&hosted, kind);
        for key in &keys {
            user.kms.encrypt(key, b"x", &[]).unwrap();
        }
        for (round, key) in keys.iter().enumerate().take(2) {
            let newest = source.rotate(key).unwrap().to_string();
            let copy = folder.path(&format!("{round}.db"));
            source.backup(&copy).unwrap();
            put(&copy, &hosted.store(), true);
            let started = Instant::now();
            while user.primary(key) != newest {
                assert!(started.elapsed() < Duration::from_secs(20), "{kind}: the newer copy is not seen");
                std::thread::sleep(Duration::from_millis(10));
            }
            let health = user.kms.health().unwrap();
            assert_eq!((user.told(), health.keystore_replaced), (0, false), "{kind}");
            assert_eq!(health.keys_cached, 5, "{kind}: what goes on from what is known needs no forgetting");
        }
    }
}

/// The journal of the new file repairs that file; playing it back into the old file would lose it.
#[test]
fn the_hot_journal_of_the_file_in_its_place_is_left_alone() {
    for kind in KINDS {
        let folder = Folder::new();
        let key = new_key(&folder.create(), None);
        let user = User::new(&folder, kind);
        user.kms.encrypt(&key, b"x", &[]).unwrap();
        // Another keystore, cut off during a change.
        let other = Folder::new();
        let their_key = new_key(&other.create(), None);
        let host = other.sqlite();
        host.execute_batch(
            "PRAGMA cache_size = 1; BEGIN IMMEDIATE; UPDATE key SET description = 'cut off';
             INSERT INTO node SELECT 1000 + value, zeroblob(3000) FROM
             (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 100) SELECT value FROM n)",
        )
        .unwrap();
        let journal = std::fs::read(other.path("keys.db-journal")).unwrap();
        assert!(journal.len() > 512, "the journal is not hot");
        std::fs::write(folder.path("keys.db-journal"), &journal).unwrap();
        put(Path::new(&other.store()), &folder.store(), true);
        host.execute_batch("ROLLBACK").unwrap();
        let before = std::fs::read(folder.store()).unwrap();
        if kind == "read-only" {
            // Only a handle that may write can repair the file.
            user.waits_until(kind, |said| !matches!(said, None | Some(Status::KeystoreBusy)), &key);
            assert!(user.kms.health().unwrap().keystore_replaced, "{kind}");
        } else {
            user.waits_for(&key, Some(Status::KeystoreReplaced), kind);
        }
        drop(user);
        let opened = Keystore::open(&folder.store(), &quiet()).unwrap();
        opened.verify(|fault| panic!("{kind}: {fault:?}")).unwrap();
        opened.encrypt(&their_key, b"x", &[]).unwrap();
        assert!(std::fs::read(folder.store()).unwrap() != before, "{kind}: there was nothing to play back");
    }
}
