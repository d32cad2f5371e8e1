//! Backups of a keystore in use are complete, never replace another file, and equal the original.

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use kms::{Keystore, Options, Status};

use crate::folder::{Folder, ROOT, key_ids, new_key, quiet, status, versions};

#[test]
fn a_backup_is_a_whole_keystore() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = new_key(&kms, Some(86_400));
    kms.create_alias(&key, "alias/kept").unwrap();
    let old = kms.encrypt(&key, b"before", &[]).unwrap();
    kms.rotate(&key).unwrap();
    let blob = kms.encrypt("alias/kept", b"kept", &[]).unwrap();
    let path = folder.path("backup.db");
    kms.backup(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600, "others can read the backup");
    let names = Vec::from_iter(folder.snapshot().into_keys());
    assert_eq!(
        names,
        ["backup.db", "keys.db", "keys.db-backups", "keys.db-gen", "keys.db-journal"],
        "something was left behind"
    );
    kms.rotate(&key).unwrap();
    drop(kms);
    // Restored: put where the keystore was, with no handle open.
    std::fs::copy(&path, folder.store()).unwrap();
    let kms = folder.open();
    kms.verify(|fault| panic!("{fault:?}")).unwrap();
    assert_eq!(&*kms.decrypt(&old, &[]).unwrap(), b"before");
    assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"kept");
    assert_eq!(versions(&kms, &key).len(), 2);
    kms.rotate(&key).unwrap();
}

#[test]
fn a_backup_replaces_nothing() {
    let folder = Folder::new();
    let kms = folder.create();
    new_key(&kms, None);
    std::fs::write(folder.path("other"), b"precious").unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path("link")).unwrap();
    let before = folder.snapshot();
    for name in ["other", "keys.db", "keys.db-gen", "link"] {
        assert_eq!(status(kms.backup(folder.path(name))), Some(Status::KeystoreIo), "{name}");
    }
    assert_eq!(status(kms.backup(folder.path("no/such/folder"))), Some(Status::KeystoreIo));
    assert!(folder.snapshot() == before, "a refused backup changed something");
    kms.rotate(&key_ids(&kms)[0]).unwrap();
}

#[test]
fn a_backup_replaces_what_a_killed_one_left_and_waits_for_a_living_one() {
    let folder = Folder::new();
    let kms = Keystore::open(&folder.store(), &quiet().create(true).busy_timeout(std::time::Duration::from_millis(50)))
        .unwrap();
    new_key(&kms, None);
    let unfinished = folder.path("b.db.kms-new");
    std::fs::write(&unfinished, b"a text of the user").unwrap();
    assert_eq!(status(kms.backup(folder.path("b.db"))), Some(Status::KeystoreIo), "this is no unfinished backup");
    assert_eq!(std::fs::read(&unfinished).unwrap(), b"a text of the user");
    let half = b"SQLite format 3\0, and half of a backup";
    std::fs::write(&unfinished, half).unwrap();
    let writer = std::fs::File::open(&unfinished).unwrap();
    writer.lock().unwrap();
    let error = kms.backup(folder.path("b.db")).unwrap_err();
    assert_eq!(error.status(), Status::KeystoreBusy, "{error}");
    assert_eq!(std::fs::read(&unfinished).unwrap(), half);
    drop(writer);
    assert_eq!(status(kms.backup(&unfinished)), Some(Status::KeystoreIo), "the next backup to b.db would remove it");

    let prepared = kms.prepare_backup(folder.path("b.db")).unwrap();
    assert_eq!(prepared.file(), unfinished);
    assert!(kms.backups().unwrap().is_empty() && !folder.path("b.db").exists());
    assert_eq!(status(kms.backup(folder.path("b.db"))), Some(Status::KeystoreBusy));
    drop(prepared);
    assert!(!unfinished.exists());

    let prepared = kms.prepare_backup(folder.path("b.db")).unwrap();
    std::fs::write(folder.path("b.db"), b"precious").unwrap();
    assert_eq!(status(kms.finish_backup(prepared)), Some(Status::KeystoreIo));
    assert_eq!(std::fs::read(folder.path("b.db")).unwrap(), b"precious");
    assert!(kms.backups().unwrap().is_empty() && !unfinished.exists(), "a backup that is not there is recorded");
}

#[test]
fn a_backup_takes_no_name_that_belongs_to_a_keystore() {
    let folder = Folder::new();
    let kms = folder.create();
    new_key(&kms, None);
    std::fs::remove_file(folder.path("keys.db-gen")).unwrap();
    std::fs::remove_file(folder.path("keys.db-journal")).unwrap();
    for suffix in ["-gen", "-journal", "-wal", "-shm"] {
        let name = folder.path(&format!("keys.db{suffix}"));
        let made = [
            kms.backup(&name),
            Keystore::open("memory:", &quiet()).unwrap().backup(&name),
            Keystore::open(name.to_str().unwrap(), &quiet().create(true)).map(drop),
        ];
        for answer in made {
            let error = answer.unwrap_err();
            assert_eq!(error.status(), Status::KeystoreIo, "{error}");
            assert!(error.to_string().contains(&format!("keys.db{suffix} is a name that belongs to")), "{error}");
        }
        assert!(!name.exists());
        kms.backup(folder.path(&format!("other{suffix}"))).unwrap();
    }
    assert_eq!(status(kms.backup("")), Some(Status::InvalidArgument));
    kms.rotate(&key_ids(&kms)[0]).unwrap();
}

#[test]
fn a_backup_that_fails_does_not_cost_a_keystore_in_memory() {
    let folder = Folder::new();
    let kms = Keystore::open("memory:", &Options::new().root_key(&ROOT)).unwrap();
    let key = new_key(&kms, None);
    assert_eq!(status(kms.backup(folder.path("no/such/folder"))), Some(Status::KeystoreIo));
    kms.rotate(&key).unwrap();
    assert_eq!(versions(&kms, &key).len(), 2);
    kms.backup(folder.path("backup.db")).unwrap();
}

#[test]
fn a_backup_is_of_one_moment() {
    let folder = Folder::without_a_disk();
    let kms = folder.create();
    let keys: Vec<String> = (0..20).map(|_| new_key(&kms, None)).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = folder.open();
            for key in keys.iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                other.rotate(key).unwrap();
            }
        });
        for number in 0..10 {
            let path = folder.path(&format!("backup-{number}.db"));
            kms.backup(&path).unwrap();
            let copy = Keystore::open(path.to_str().unwrap(), &quiet().read_only(true)).unwrap();
            copy.verify(|fault| panic!("{fault:?}")).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_keystore_in_memory_can_be_kept() {
    let folder = Folder::new();
    let kms = Keystore::open("memory:", &quiet()).unwrap();
    let key = new_key(&kms, None);
    let blob = kms.encrypt(&key, b"kept", &[]).unwrap();
    kms.backup(folder.store()).unwrap();
    drop(kms);
    assert_eq!(&*folder.open().decrypt(&blob, &[]).unwrap(), b"kept");
}

fn by(root: &Options) -> Options {
    root.clone().rotation_thread(false)
}

#[test]
fn a_changed_root_alone_opens_the_keystore() {
    let folder = Folder::new();
    let roots = [
        Options::new().root_key(&ROOT),
        Options::new().root_passphrase(b"first"),
        Options::new().root_passphrase(b"second"),
        Options::new().root_key_file(folder.path("root.key")).create(true),
        Options::new().root_callback(std::sync::Arc::new(crate::roots::Counting::default())),
        Options::new().root_key(&[9; 32]),
    ];
    let kms = folder.create();
    let key = new_key(&kms, None);
    let blob = kms.encrypt(&key, b"kept", &[]).unwrap();
    drop(kms);
    for pair in roots.windows(2) {
        let kms = Keystore::open(&folder.store(), &by(&pair[0])).unwrap();
        kms.change_root(&pair[1]).unwrap();
        kms.rotate(&key).unwrap();
        drop(kms);
        let kms = Keystore::open(&folder.store(), &by(&pair[1])).unwrap();
        assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"kept");
        kms.verify(|fault| panic!("{fault:?}")).unwrap();
        drop(kms);
        let refused = status(Keystore::open(&folder.store(), &by(&pair[0]).create(false)));
        assert_eq!(refused, Some(Status::WrongRootKey), "the old root still opens the keystore");
    }
}

/// The slot that was there before, from a backup, with a passphrase that leaked.
#[test]
fn an_old_slot_that_is_put_back_is_refused() {
    let folder = Folder::new();
    let kms = folder.create();
    kms.backup(folder.path("old.db")).unwrap();
    kms.change_root(&Options::new().root_key(&[9; 32])).unwrap();
    drop(kms);
    let sqlite = folder.sqlite();
    sqlite.execute("ATTACH ? AS old", [folder.path("old.db").to_str().unwrap()]).unwrap();
    sqlite.execute_batch("INSERT INTO slot SELECT 7, kind, parameters, wrapped, created, label FROM old.slot").unwrap();
    drop(sqlite);
    for root in [ROOT, [9; 32]] {
        let opened = Keystore::open(&folder.store(), &Options::new().root_key(&root).rotation_thread(false));
        assert_eq!(status(opened), Some(Status::KeystoreCorrupt));
    }
}

/// Wraps, and returns something else when it unwraps.
struct Forgetful;

impl kms::root::RootWrapper for Forgetful {
    fn wrap(&self, root: &[u8], _: &[u8]) -> kms::Result<Vec<u8>> {
        Ok(root.to_vec())
    }

    fn unwrap(&self, _: &[u8], _: &[u8]) -> kms::Result<kms::Plaintext> {
        Ok(vec![1; 32].into())
    }
}

#[test]
fn a_root_that_could_not_open_the_keystore_is_refused() {
    let folder = Folder::new();
    let kms = folder.create();
    let before = kms.list_root_slots().unwrap();
    let refused = |options: Options| status(kms.change_root(&options));
    assert_eq!(refused(Options::new().root_callback(std::sync::Arc::new(Forgetful))), Some(Status::RootKeyUnavailable));
    assert_eq!(refused(Options::new()), Some(Status::MissingParameter));
    assert_eq!(refused(Options::new().root_key_file(folder.path("none"))), Some(Status::RootKeyUnavailable));
    assert!(kms.list_root_slots().unwrap() == before, "a refused root changed something");
    let read_only = Keystore::open(&folder.store(), &quiet().read_only(true)).unwrap();
    assert_eq!(status(read_only.change_root(&Options::new().root_key(&[9; 32]))), Some(Status::KeystoreReadOnly));
    let key_file = Options::new().root_key_file(folder.path("new.key")).create(true);
    assert_eq!(status(read_only.change_root(&key_file)), Some(Status::KeystoreReadOnly));
    assert!(!folder.path("new.key").exists(), "a key file was made that opens nothing");
    drop(folder.open());
}
