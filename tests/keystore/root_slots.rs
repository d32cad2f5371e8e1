//! Several roots open one keystore: added, listed, removed, and never mistaken for each other.

use std::sync::Arc;

use kms::{Keystore, Options, Status, root::RootKind};

use crate::folder::{Folder, ROOT, new_key, quiet, status};
use crate::roots::Counting;

fn key(byte: u8) -> Options {
    Options::new().rotation_thread(false).root_key(&[byte; 32])
}

fn passphrase(text: &str) -> Options {
    Options::new().rotation_thread(false).root_passphrase(text.as_bytes())
}

fn opens(folder: &Folder, options: &Options) -> Option<Status> {
    status(Keystore::open(&folder.store(), options))
}

#[test]
fn each_of_several_roots_opens_the_keystore() {
    let folder = Folder::new();
    let wrapper: Arc<Counting> = Arc::default();
    let roots = [
        passphrase("recovery"),
        Options::new().rotation_thread(false).root_key_file(folder.path("second.key")).create(true),
        Options::new().rotation_thread(false).root_callback(Arc::clone(&wrapper) as _),
        key(9),
    ];
    let kms = folder.create();
    let id = new_key(&kms, None);
    let blob = kms.encrypt(&id, b"kept", &[]).unwrap();
    let sealed = |folder: &Folder| -> Vec<u8> {
        folder.sqlite().query_row("SELECT sealed FROM material", [], |row| row.get(0)).unwrap()
    };
    let before = sealed(&folder);
    let labels = ["recovery", "file", "hsm", "\u{e9}"];
    let ids: Vec<String> = roots
        .iter()
        .zip(labels)
        .map(|(root, label)| kms.add_root_slot(root, Some(label)).unwrap().to_string())
        .collect();
    assert_eq!(sealed(&folder), before, "a row was sealed again");
    let slots = kms.list_root_slots().unwrap();
    let kinds: Vec<RootKind> = slots.iter().map(|slot| slot.kind).collect();
    assert_eq!(kinds, [RootKind::Key, RootKind::Passphrase, RootKind::Key, RootKind::Callback, RootKind::Key]);
    assert_eq!(slots.iter().skip(1).map(|slot| slot.id.to_string()).collect::<Vec<_>>(), ids);
    assert_eq!(slots.iter().map(|slot| slot.label.as_deref()).collect::<Vec<_>>()[1..], labels.map(Some));
    assert_eq!((slots[0].label.as_deref(), slots[0].opened_this_handle), (None, true));
    assert!(slots.iter().all(|slot| slot.created.is_some_and(|time| time.millis() > 1_700_000_000_000)));
    assert!(slots.iter().skip(1).all(|slot| !slot.opened_this_handle));
    kms.verify(|fault| panic!("{fault:?}")).unwrap();
    drop(kms);
    for (at, root) in roots.iter().enumerate() {
        for root in [root.clone().create(false), root.clone().create(false).read_only(true)] {
            let kms = Keystore::open(&folder.store(), &root).unwrap();
            assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"kept");
            let opened: Vec<bool> = kms.list_root_slots().unwrap().iter().map(|slot| slot.opened_this_handle).collect();
            assert!(opened.iter().enumerate().all(|(slot, opened)| *opened == (slot == at + 1)), "{opened:?}");
        }
    }
    drop(folder.open());
}

#[test]
fn a_removed_root_opens_nothing_and_the_last_stays() {
    let folder = Folder::new();
    let kms = folder.create();
    let recovery = kms.add_root_slot(&passphrase("recovery"), Some("recovery")).unwrap().to_string();
    let first = kms.list_root_slots().unwrap()[0].id.to_string();
    kms.backup(folder.path("old.db")).unwrap();
    // The slot that opened this handle, which keeps working.
    kms.remove_root_slot(&first).unwrap();
    let id = new_key(&kms, None);
    kms.verify(|fault| panic!("{fault:?}")).unwrap();
    assert_eq!(status(kms.remove_root_slot(&recovery)), Some(Status::UnsupportedOperation));
    for gone in [first.as_str(), "nonsense", &id] {
        assert_eq!(status(kms.remove_root_slot(gone)), Some(Status::RootSlotNotFound), "{gone}");
    }
    assert_eq!(status(kms.remove_root_slot("")), Some(Status::InvalidArgument));
    drop(kms);
    assert_eq!(opens(&folder, &quiet()), Some(Status::WrongRootKey));
    assert_eq!(opens(&folder, &passphrase("recovery")), None);
    // An earlier copy still opens with the roots of that time.
    drop(Keystore::open(folder.path("old.db").to_str().unwrap(), &quiet()).unwrap());
    // The slot that was removed, put back from that copy.
    let sqlite = folder.sqlite();
    sqlite.execute("ATTACH ? AS old", [folder.path("old.db").to_str().unwrap()]).unwrap();
    sqlite
        .execute_batch(
            "INSERT INTO slot SELECT id + 7, kind, parameters, wrapped, created, label FROM old.slot WHERE id = 1",
        )
        .unwrap();
    assert_eq!(opens(&folder, &quiet()), Some(Status::KeystoreCorrupt));
    assert_eq!(opens(&folder, &passphrase("recovery")), Some(Status::KeystoreCorrupt));
}

#[test]
fn a_keystore_has_at_most_eight_slots() {
    let folder = Folder::new();
    let kms = folder.create();
    for byte in 20..27 {
        kms.add_root_slot(&key(byte), None).unwrap();
    }
    assert_eq!(status(kms.add_root_slot(&key(40), None)), Some(Status::LimitExceeded));
    assert_eq!(kms.list_root_slots().unwrap().len(), 8);
    let one = kms.list_root_slots().unwrap()[3].id.to_string();
    kms.remove_root_slot(&one).unwrap();
    kms.add_root_slot(&key(40), Some(&"x".repeat(255))).unwrap();
    assert_eq!(opens(&folder, &key(40)), None);
    assert_eq!(opens(&folder, &key(22)), Some(Status::WrongRootKey));
    kms.change_root(&key(50)).unwrap();
    assert_eq!(kms.list_root_slots().unwrap().len(), 1, "kms_change_root leaves one");
    for label in ["x".repeat(256), "a\0b".to_owned()] {
        assert!(kms.add_root_slot(&key(51), Some(&label)).is_err());
    }
}

#[test]
fn a_root_that_opens_the_keystore_is_not_taken_again() {
    let folder = Folder::new();
    let file = Options::new().rotation_thread(false).root_key_file(folder.path("root.key")).create(true);
    let kms = Keystore::open(&folder.store(), &file).unwrap();
    kms.add_root_slot(&passphrase("recovery"), None).unwrap();
    let before = kms.list_root_slots().unwrap();
    let the_file = std::fs::read(folder.path("root.key")).unwrap();
    let raw = Options::new().root_key(&the_file);
    for root in [&file, &raw, &passphrase("recovery")] {
        assert_eq!(status(kms.change_root(root)), Some(Status::RootSlotExists));
        assert_eq!(status(kms.add_root_slot(root, Some("again"))), Some(Status::RootSlotExists));
    }
    assert!(kms.list_root_slots().unwrap() == before, "a refused root changed something");
    // The key of a callback may have changed outside, so it may wrap the root key again; but not twice.
    let wrapper = Options::new().rotation_thread(false).root_callback(Arc::new(Counting::default()));
    kms.change_root(&wrapper).unwrap();
    kms.change_root(&wrapper).unwrap();
    assert_eq!(status(kms.add_root_slot(&wrapper, None)), Some(Status::RootSlotExists));
    assert_eq!(kms.list_root_slots().unwrap().len(), 1);
}

#[test]
fn a_root_key_of_zeros_is_refused_everywhere() {
    let folder = Folder::new();
    let zeros = Options::new().root_key(&[0; 32]);
    let file = folder.path("zeros.key");
    std::fs::write(&file, [0; 32]).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let by_file = Options::new().root_key_file(&file);
    for (root, expected) in [(zeros, Status::InvalidArgument), (by_file, Status::RootKeyUnavailable)] {
        assert!(Keystore::open(&folder.store(), &root.clone().create(true)).is_err());
        assert!(!folder.path("keys.db").exists(), "a keystore was made under a key of zeros");
        let elsewhere = Folder::new();
        let kms = elsewhere.create();
        for refused in [kms.change_root(&root), kms.add_root_slot(&root, None).map(drop)] {
            let error = refused.unwrap_err();
            assert_eq!(error.status(), expected);
            assert!(error.to_string().contains("zero"), "{error}");
        }
        drop(kms);
        assert_eq!(opens(&elsewhere, &root), Some(expected));
    }
}

/// A file with many slots of low cost, and one with guesses for slots: the same answer, at once.
#[test]
fn a_label_that_the_library_never_wrote_is_noticed() {
    let folder = Folder::new();
    drop(folder.create());
    let honest = std::fs::read(folder.store()).unwrap();
    for label in ["CAST(zeroblob(300) AS TEXT)", "CAST(zeroblob(15000000) AS TEXT)", "CAST(x'ff' AS TEXT)", "'x'", "''"]
    {
        folder.sqlite().execute_batch(&format!("UPDATE slot SET label = {label}")).unwrap();
        assert_eq!(opens(&folder, &quiet()), Some(Status::KeystoreCorrupt), "{label}");
        std::fs::write(folder.store(), &honest).unwrap();
    }
    assert_eq!(opens(&folder, &quiet()), None);
}

#[test]
fn crafted_slots_cost_nothing_and_tell_nothing() {
    let folder = Folder::new();
    drop(Keystore::open(&folder.store(), &passphrase("right").create(true)).unwrap());
    let text = |options: &Options| {
        let error = Keystore::open(&folder.store(), options).expect_err("opened");
        assert_eq!(error.status(), Status::WrongRootKey);
        error.to_string()
    };
    let wrong = text(&passphrase("wrong"));
    assert!(wrong.contains(&folder.store()) && wrong.contains("opens it now"), "{wrong}");
    let sqlite = folder.sqlite();
    let honest = std::fs::read(folder.store()).unwrap();
    let crafts = [
        // Low costs, in thousands.
        "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         INSERT INTO slot SELECT i, 5, CAST(x'000000080000000100000001' || randomblob(16) AS BLOB), randomblob(104), 0, '' FROM n",
        "UPDATE slot SET parameters = CAST(x'000000080000000100000001' || randomblob(16) AS BLOB)",
        "UPDATE slot SET parameters = x''",
        "UPDATE slot SET parameters = zeroblob(1000000)",
        "UPDATE slot SET kind = 2",
        "UPDATE slot SET kind = 99",
        "UPDATE slot SET wrapped = zeroblob(104)",
        "UPDATE slot SET wrapped = zeroblob(3000000)",
        "DELETE FROM slot",
        // The right passphrase, and a description that is not authentic.
        "UPDATE meta SET generation = generation + 1",
        "UPDATE meta SET mac = zeroblob(32)",
        "UPDATE meta SET uuid = randomblob(16)",
    ];
    for craft in crafts {
        sqlite.execute_batch(craft).unwrap();
        let start = std::time::Instant::now();
        assert_eq!(text(&passphrase("right")), wrong, "{craft}");
        assert!(start.elapsed().as_secs() < 20, "{craft}: {:?}", start.elapsed());
        std::fs::write(folder.store(), &honest).unwrap();
    }
    assert_eq!(opens(&folder, &passphrase("right")), None);
    // A slot for a guess, beside the right one: refused whether it is right or wrong, by a description that isn't its.
    sqlite
        .execute_batch("INSERT INTO slot SELECT id + 1, kind, parameters, wrapped, created, label FROM slot")
        .unwrap();
    assert_eq!(text(&passphrase("wrong")), wrong);
}

#[test]
fn slots_may_be_changed_by_several_handles_at_once() {
    let folder = Folder::new();
    let kms = folder.create();
    std::thread::scope(|scope| {
        for byte in 60..66 {
            let folder = &folder;
            scope.spawn(move || folder.open().add_root_slot(&key(byte), None).unwrap());
        }
    });
    assert_eq!(kms.list_root_slots().unwrap().len(), 7);
    for byte in 60..66 {
        assert_eq!(opens(&folder, &key(byte)), None, "{byte}");
    }
    let read_only = Keystore::open(&folder.store(), &quiet().read_only(true)).unwrap();
    let slot = read_only.list_root_slots().unwrap()[6].id.to_string();
    assert_eq!(status(read_only.remove_root_slot(&slot)), Some(Status::KeystoreReadOnly));
    assert_eq!(status(read_only.add_root_slot(&key(70), None)), Some(Status::KeystoreReadOnly));
    assert_eq!(ROOT, [7; 32]);
}

/// A slot of one keystore, or of another form, in the place of the slot of another, under the same callback.
#[test]
fn a_slot_of_another_keystore_or_form_opens_nothing() {
    let wrapper: Arc<Counting> = Arc::default();
    let options = Options::new().rotation_thread(false).root_callback(Arc::clone(&wrapper) as _);
    let (one, other) = (Folder::new(), Folder::new());
    drop(Keystore::open(&one.store(), &options.clone().create(true)).unwrap());
    drop(Keystore::open(&other.store(), &options.clone().create(true)).unwrap());
    let sqlite = one.sqlite();
    let whole = std::fs::read(one.store()).unwrap();
    sqlite.execute("ATTACH ? AS other", [other.store()]).unwrap();
    for (craft, expected) in [
        ("UPDATE slot SET wrapped = (SELECT wrapped FROM other.slot)", Status::RootKeyUnavailable),
        // As if no data were bound, as in format 1: the result is no key.
        ("UPDATE slot SET kind = 3", Status::RootKeyUnavailable),
        ("UPDATE slot SET kind = 4", Status::WrongRootKey),
        ("UPDATE slot SET label = 'another'", Status::KeystoreCorrupt),
        ("UPDATE slot SET created = created + 1", Status::KeystoreCorrupt),
    ] {
        sqlite.execute_batch(craft).unwrap();
        assert_eq!(opens(&one, &options), Some(expected), "{craft}");
        std::fs::write(one.store(), &whole).unwrap();
    }
    assert_eq!(opens(&one, &options), None);
}

/// The handle of a forked process keeps working, and so does one whose slot another process removed.
#[test]
fn a_handle_whose_slot_is_gone_keeps_working() {
    let folder = Folder::new();
    let (first, second) = (folder.create(), folder.open());
    let id = new_key(&first, None);
    second.change_root(&key(90)).unwrap();
    let blob = first.encrypt(&id, b"x", &[]).unwrap();
    first.rotate(&id).unwrap();
    assert_eq!(&*first.decrypt(&blob, &[]).unwrap(), b"x");
    assert!(first.list_root_slots().unwrap().iter().all(|slot| !slot.opened_this_handle));
    first.add_root_slot(&quiet(), Some("back again")).unwrap();
    assert_eq!(opens(&folder, &quiet()), None);
    assert_eq!(opens(&folder, &key(90)), None);
}

/// Calls the library on the handle whose slot it is making.
struct Reenters(std::sync::Mutex<Option<Arc<Keystore>>>);

impl kms::root::RootWrapper for Reenters {
    fn wrap(&self, root: &[u8], aad: &[u8]) -> kms::Result<Vec<u8>> {
        if let Some(kms) = self.0.lock().unwrap().take() {
            new_key(&kms, None);
            kms.add_root_slot(&key(91), None).unwrap();
        }
        Ok(crate::roots::toy_wrap(root, aad, 1))
    }

    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> kms::Result<kms::Plaintext> {
        crate::roots::toy_unwrap(wrapped, aad, 1)
    }
}

#[test]
fn a_root_callback_may_use_the_keystore() {
    let folder = Folder::new();
    let kms = Arc::new(folder.create());
    let wrapper = Arc::new(Reenters(std::sync::Mutex::new(Some(Arc::clone(&kms)))));
    let options = Options::new().rotation_thread(false).root_callback(wrapper as _);
    kms.add_root_slot(&options, None).unwrap();
    assert_eq!(kms.list_root_slots().unwrap().len(), 3);
    assert_eq!(opens(&folder, &options), None);
    assert_eq!(opens(&folder, &key(91)), None);
}
