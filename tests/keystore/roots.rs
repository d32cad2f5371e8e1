//! The root key's slots: each kind of root reopens its keystores, and calls its callbacks no more than necessary.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kms::{Keystore, Options, Plaintext, Status, root::RootWrapper};

use crate::folder::{Folder, new_key, status};

/// Puts `aad` before the key, each byte changed by `with`. A toy: nothing is secret.
pub fn toy_wrap(root: &[u8], aad: &[u8], with: u8) -> Vec<u8> {
    [aad, root].concat().iter().map(|byte| byte ^ with).collect()
}

/// What [`toy_wrap`] wrapped, where `aad` is the same.
pub fn toy_unwrap(wrapped: &[u8], aad: &[u8], with: u8) -> kms::Result<Plaintext> {
    let bytes: Vec<u8> = wrapped.iter().map(|byte| byte ^ with).collect();
    let found = bytes.strip_prefix(aad).map(|root| root.to_vec().into());
    found.ok_or_else(|| Status::RootKeyUnavailable.error("wrapped for something else"))
}

/// Counts its calls.
#[derive(Default)]
pub struct Counting {
    pub wraps: AtomicUsize,
    pub unwraps: AtomicUsize,
}

impl RootWrapper for Counting {
    fn wrap(&self, root: &[u8], aad: &[u8]) -> kms::Result<Vec<u8>> {
        self.wraps.fetch_add(1, Ordering::SeqCst);
        Ok(toy_wrap(root, aad, 0x5a))
    }

    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> kms::Result<Plaintext> {
        self.unwraps.fetch_add(1, Ordering::SeqCst);
        toy_unwrap(wrapped, aad, 0x5a)
    }
}

fn made_and_opened_by(make: impl Fn(&Folder) -> Options) {
    let folder = Folder::new();
    let options = make(&folder).rotation_thread(false);
    let (key, blob) = {
        let kms = Keystore::open(&folder.store(), &options.clone().create(true)).unwrap();
        let key = new_key(&kms, None);
        let blob = kms.encrypt(&key, b"kept", &[]).unwrap();
        (key, blob)
    };
    for options in [options.clone(), options.clone().create(true), options.read_only(true)] {
        let kms = Keystore::open(&folder.store(), &options).unwrap();
        assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"kept");
        kms.encrypt(&key, b"more", &[]).unwrap();
    }
}

#[test]
fn each_kind_of_root_opens_what_it_made() {
    made_and_opened_by(|_| Options::new().root_key(&[1; 32]));
    made_and_opened_by(|folder| Options::new().root_key_file(folder.path("root.key")));
    made_and_opened_by(|_| Options::new().root_passphrase("pass \u{e9} phrase".as_bytes()));
    let wrapper: Arc<Counting> = Arc::default();
    made_and_opened_by(|_| Options::new().root_callback(Arc::clone(&wrapper) as _));
}

#[test]
fn a_key_file_is_a_raw_key_in_a_file() {
    let folder = Folder::new();
    let path = folder.path("root.key");
    drop(Keystore::open(&folder.store(), &Options::new().root_key_file(&path).create(true)).unwrap());
    let bytes = std::fs::read(&path).unwrap();
    drop(Keystore::open(&folder.store(), &Options::new().root_key(&bytes)).unwrap());
    let elsewhere = Folder::new();
    let copy = elsewhere.path("copy.key");
    std::fs::write(&copy, &bytes).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o400)).unwrap();
    drop(Keystore::open(&folder.store(), &Options::new().root_key_file(&copy)).unwrap());
}

#[test]
fn the_callback_is_asked_once_per_open() {
    let folder = Folder::new();
    let wrapper: Arc<Counting> = Arc::default();
    let options = Options::new().root_callback(Arc::clone(&wrapper) as _).rotation_thread(false);
    let kms = Keystore::open(&folder.store(), &options.clone().create(true)).unwrap();
    let counts = || (wrapper.wraps.load(Ordering::SeqCst), wrapper.unwraps.load(Ordering::SeqCst));
    assert_eq!(counts(), (1, 2), "to create: wrapped once, tried twice");
    let key = new_key(&kms, None);
    for _ in 0..20 {
        kms.rotate(&key).unwrap();
    }
    assert_eq!(counts(), (1, 2), "work asked the callback again");
    drop(kms);
    for opened in 3..6 {
        drop(Keystore::open(&folder.store(), &options).unwrap());
        assert_eq!(counts(), (1, opened));
    }
}

/// Returns the configured answer, if any.
struct Gives(Option<Result<Vec<u8>, Status>>);

impl RootWrapper for Gives {
    fn wrap(&self, root: &[u8], aad: &[u8]) -> kms::Result<Vec<u8>> {
        Ok(toy_wrap(root, aad, 0))
    }

    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> kms::Result<Plaintext> {
        match self.0.clone() {
            Some(answer) => answer.map(Plaintext::from).map_err(|status| status.error("told so")),
            None => toy_unwrap(wrapped, aad, 0),
        }
    }
}

#[test]
fn what_the_callback_says_is_what_the_caller_hears() {
    let folder = Folder::new();
    let options = |gives| Options::new().root_callback(Arc::new(Gives(gives)));
    let made = |gives| status(Keystore::open(&folder.store(), &options(gives).create(true)));
    assert_eq!(made(Some(Ok(vec![1; 32]))), Some(Status::RootKeyUnavailable));
    assert!(folder.snapshot().is_empty(), "a keystore was made that nothing opens");
    assert_eq!(made(None), None);
    let before = folder.snapshot();
    let opened = |gives| status(Keystore::open(&folder.store(), &options(Some(gives))));
    assert_eq!(opened(Err(Status::RootKeyUnavailable)), Some(Status::RootKeyUnavailable));
    assert_eq!(opened(Err(Status::KeystoreIo)), Some(Status::KeystoreIo));
    assert_eq!(opened(Ok(vec![1; 31])), Some(Status::RootKeyUnavailable));
    assert_eq!(opened(Ok(Vec::new())), Some(Status::RootKeyUnavailable));
    assert_eq!(opened(Ok(vec![0; 32])), Some(Status::RootKeyUnavailable));
    assert_eq!(opened(Ok(vec![2; 32])), Some(Status::WrongRootKey));
    assert!(folder.snapshot() == before);
}

/// As a process leaves them that is killed once it has given both files their names.
#[test]
fn second_names_of_keystore_and_root_key_go_at_the_next_open() {
    let folder = Folder::new();
    let (key, store) = (folder.path("root.key"), folder.store());
    let options = Options::new().rotation_thread(false).root_key_file(&key);
    drop(Keystore::open(&store, &options.clone().create(true)).unwrap());
    let second = |of: &str| folder.path(&format!("{of}.kms-new-0123456789abcdef"));
    std::fs::hard_link(&store, second("keys.db")).unwrap();
    std::fs::hard_link(&key, second("root.key")).unwrap();
    let backup = folder.path("keys.db.kms-new-20261129");
    std::fs::copy(&store, &backup).unwrap();
    drop(Keystore::open(&store, &options.clone().read_only(true)).unwrap());
    assert!(second("root.key").exists(), "a handle that only reads removed a file");
    drop(Keystore::open(&store, &options).unwrap());
    assert!(!second("keys.db").exists() && !second("root.key").exists(), "a second name of the root key stays");
    assert!(backup.exists(), "a file without the mark of an unfinished one is gone");
}

#[test]
fn a_creator_who_was_too_slow_leaves_no_key_file() {
    for _ in 0..10 {
        let folder = Folder::new();
        let paths: Vec<_> = (0..4).map(|number| folder.path(&format!("{number}.key"))).collect();
        let together = std::sync::Barrier::new(paths.len());
        let made = std::thread::scope(|scope| {
            let (folder, together) = (&folder, &together);
            let creators = Vec::from_iter(paths.iter().map(|path| {
                scope.spawn(move || {
                    let options = Options::new().rotation_thread(false).root_key_file(path).create(true);
                    together.wait();
                    status(Keystore::open(&folder.store(), &options))
                })
            }));
            Vec::from_iter(creators.into_iter().map(|creator| creator.join().unwrap()))
        });
        assert_eq!(made.iter().filter(|status| status.is_none()).count(), 1, "one keystore for one root: {made:?}");
        for (path, status) in paths.iter().zip(&made) {
            assert_eq!(path.exists(), status.is_none(), "{status:?}: a key file that opens nothing");
            assert!(matches!(status, None | Some(Status::RootKeyUnavailable)), "{status:?}");
        }
    }
}
