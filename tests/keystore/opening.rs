//! Opening what can't be opened: each reason has its own status, and nothing on disk changes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use kms::{Keystore, Options, Status, root::RootWrapper};

use crate::folder::{Folder, ROOT, new_key, quiet, status};
use crate::roots::{toy_unwrap, toy_wrap};

/// Opens the result of `prepare`, and checks that the open changed nothing.
fn refused(prepare: impl FnOnce(&Folder), options: &Options) -> Option<Status> {
    let folder = Folder::new();
    new_key(&folder.create(), None);
    prepare(&folder);
    let before = folder.snapshot();
    let found = status(Keystore::open(&folder.store(), options));
    assert!(folder.snapshot() == before, "a refused open changed the folder: {found:?}");
    found
}

fn replaced_by(content: &[u8]) -> Option<Status> {
    let found = refused(|folder| std::fs::write(folder.store(), content).unwrap(), &quiet());
    let creating = refused(|folder| std::fs::write(folder.store(), content).unwrap(), &quiet().create(true));
    assert_eq!(found, creating, "`create` changes what a broken file is");
    found
}

#[test]
fn what_is_not_a_keystore_is_refused() {
    assert_eq!(replaced_by("just some text, longer than a header\n".repeat(5).as_bytes()), Some(Status::NotAKeystore));
    assert_eq!(replaced_by(b"short"), Some(Status::NotAKeystore));
    assert_eq!(replaced_by(b""), Some(Status::NotAKeystore));
    let another = |folder: &Folder| {
        std::fs::remove_file(folder.store()).unwrap();
        folder.sqlite().execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(1)").unwrap();
    };
    assert_eq!(refused(another, &quiet()), Some(Status::NotAKeystore));
    let directory = |folder: &Folder| {
        std::fs::remove_file(folder.store()).unwrap();
        std::fs::create_dir(folder.store()).unwrap();
    };
    assert_eq!(refused(directory, &quiet()), Some(Status::NotAKeystore));
    let ours_in_name_only = |folder: &Folder| {
        std::fs::remove_file(folder.store()).unwrap();
        folder
            .sqlite()
            .execute_batch("PRAGMA application_id = 0x6b6d736b; PRAGMA user_version = 1; CREATE TABLE t(x)")
            .unwrap();
    };
    assert_eq!(refused(ours_in_name_only, &quiet()), Some(Status::KeystoreCorrupt));
}

#[test]
fn a_newer_format_is_refused() {
    let newer = |folder: &Folder| folder.sqlite().execute_batch("PRAGMA user_version = 3").unwrap();
    assert_eq!(refused(newer, &quiet()), Some(Status::KeystoreTooNew));
    assert_eq!(refused(newer, &quiet().create(true)), Some(Status::KeystoreTooNew));
    assert_eq!(refused(newer, &quiet().read_only(true)), Some(Status::KeystoreTooNew));
    let zero = |folder: &Folder| folder.sqlite().execute_batch("PRAGMA user_version = 0").unwrap();
    assert_eq!(refused(zero, &quiet()), Some(Status::NotAKeystore));
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let folder = Folder::new();
    for _ in 0..40 {
        new_key(&folder.create(), None);
    }
    let whole = std::fs::read(folder.store()).unwrap();
    let lengths = [1, 15, 16, 50, 99, 100, 101, 511, 512, 513, 4095, 4096, 4097, 8192, 12288, 20000];
    for len in lengths.into_iter().chain([whole.len() / 2, whole.len() - 4096, whole.len() - 1]) {
        assert_eq!(replaced_by(&whole[..len]), Some(Status::KeystoreCorrupt), "cut to {len} of {} bytes", whole.len());
    }
}

struct Plain(u8);

impl RootWrapper for Plain {
    fn wrap(&self, root: &[u8], aad: &[u8]) -> kms::Result<Vec<u8>> {
        Ok(toy_wrap(root, aad, self.0))
    }

    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> kms::Result<kms::Plaintext> {
        toy_unwrap(wrapped, aad, self.0)
    }
}

#[test]
fn a_wrong_root_key_is_refused() {
    let callback = |byte| Options::new().rotation_thread(false).root_callback(std::sync::Arc::new(Plain(byte)));
    let file = |folder: &Folder, content: &[u8]| {
        let path = folder.path("other.key");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Options::new().root_key_file(path)
    };
    let elsewhere = Folder::new();
    let wrong =
        [Options::new().root_key(&[8; 32]), Options::new().root_passphrase(b"guess"), file(&elsewhere, &[9; 32])];
    for options in wrong {
        assert_eq!(refused(|_| (), &options), Some(Status::WrongRootKey));
        assert_eq!(refused(|_| (), &options.clone().read_only(true)), Some(Status::WrongRootKey));
    }
    assert_eq!(refused(|_| (), &callback(1)), Some(Status::WrongRootKey), "no slot is for a callback");
    for (right, wrong, expected) in [
        (Options::new().root_passphrase(b"right"), Options::new().root_passphrase(b"wrong"), Status::WrongRootKey),
        (callback(5), callback(6), Status::RootKeyUnavailable),
    ] {
        let folder = Folder::new();
        drop(Keystore::open(&folder.store(), &right.create(true)).unwrap());
        let before = folder.snapshot();
        assert_eq!(status(Keystore::open(&folder.store(), &wrong)), Some(expected));
        assert!(folder.snapshot() == before, "a wrong root key changed the folder");
    }
}

#[test]
fn key_file_and_store_belong_together() {
    let by_file = |folder: &Folder| Options::new().root_key_file(folder.path("root.key")).rotation_thread(false);
    let folder = Folder::new();
    drop(Keystore::open(&folder.store(), &by_file(&folder).create(true)).unwrap());
    let key = std::fs::read(folder.path("root.key")).unwrap();
    assert_eq!(key.len(), 32);
    for name in ["root.key", "keys.db", "keys.db-gen"] {
        assert_eq!(std::fs::metadata(folder.path(name)).unwrap().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(folder.snapshot().len(), 3, "something was left behind: {:?}", folder.snapshot().keys());
    drop(Keystore::open(&folder.store(), &by_file(&folder).create(true)).unwrap());
    assert_eq!(std::fs::read(folder.path("root.key")).unwrap(), key, "`create` made the key file anew");

    let spoilt = |spoil: &dyn Fn(&Folder), expected: Status| {
        for create in [false, true] {
            let folder = Folder::new();
            drop(Keystore::open(&folder.store(), &by_file(&folder).create(true)).unwrap());
            spoil(&folder);
            let before = folder.snapshot();
            assert_eq!(status(Keystore::open(&folder.store(), &by_file(&folder).create(create))), Some(expected));
            assert!(folder.snapshot() == before, "a refused open changed the folder: {expected:?}");
        }
    };
    spoilt(&|folder| std::fs::remove_file(folder.path("root.key")).unwrap(), Status::RootKeyUnavailable);
    spoilt(&|folder| std::fs::remove_file(folder.store()).unwrap(), Status::KeystoreNotFound);
    for len in [0, 31, 33, 64] {
        spoilt(&|folder| std::fs::write(folder.path("root.key"), vec![1; len]).unwrap(), Status::RootKeyUnavailable);
    }
    for mode in [0o604, 0o620, 0o644, 0o660, 0o601] {
        let open_to_others = |folder: &Folder| {
            std::fs::set_permissions(folder.path("root.key"), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        spoilt(&open_to_others, Status::RootKeyUnavailable);
    }
}

#[test]
fn options_that_contradict_are_refused() {
    assert_eq!(refused(|_| (), &Options::new()), Some(Status::MissingParameter));
    assert_eq!(refused(|_| (), &quiet().root_key(&ROOT)), Some(Status::InvalidArgument));
    assert_eq!(refused(|_| (), &quiet().root_passphrase(b"x")), Some(Status::InvalidArgument));
    assert_eq!(refused(|_| (), &Options::new().root_key(&[1; 31])), Some(Status::InvalidArgument));
    assert_eq!(refused(|_| (), &Options::new().root_passphrase(b"")), Some(Status::InvalidArgument));
    assert_eq!(refused(|_| (), &quiet().read_only(true).create(true)), Some(Status::InvalidArgument));
}

#[test]
fn where_nothing_is_nothing_is_made() {
    let folder = Folder::new();
    for options in [quiet(), quiet().read_only(true), Options::new().root_key_file(folder.path("root.key"))] {
        assert_eq!(status(Keystore::open(&folder.store(), &options)), Some(Status::KeystoreNotFound));
        assert!(folder.snapshot().is_empty(), "an open without `create` made something");
    }
    let inside = folder.path("no/such/folder.db");
    assert_eq!(status(Keystore::open(inside.to_str().unwrap(), &quiet())), Some(Status::KeystoreNotFound));
    let no_key = Options::new().root_key_file(folder.path("no/such/root.key")).create(true);
    for (store, options, expected) in [
        (inside.to_str().unwrap(), quiet().create(true), Status::KeystoreIo),
        (&folder.store(), no_key, Status::RootKeyUnavailable),
    ] {
        let error = Keystore::open(store, &options).expect_err("made where there is no folder");
        assert_eq!(error.status(), expected);
        assert!(error.to_string().contains("its folder does not exist; make it"), "{error}");
    }
    assert!(folder.snapshot().is_empty());
}
