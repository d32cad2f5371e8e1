//! An anchor outside the keystore: an older copy of the whole file is refused, and a crash never locks the owner out.

use std::sync::{Arc, Mutex};

use kms::{CreateKey, Keystore, Options, Status, root::AnchorStore};

use crate::sample::{Place, quiet};

fn anchored(place: &Place) -> Options {
    quiet().anchor_file(place.path("anchor")).create(true)
}

fn said<T>(result: kms::Result<T>) -> Option<Status> {
    result.err().map(|error| error.status())
}

fn new_key(kms: &Keystore) -> String {
    kms.create_key(&CreateKey::default()).unwrap().to_string()
}

#[test]
fn an_older_copy_of_the_whole_keystore_is_refused() {
    let place = Place::new();
    let kms = Keystore::open(&place.store(), &anchored(&place)).unwrap();
    let key = new_key(&kms);
    let mut copies = Vec::new();
    for _ in 0..4 {
        copies.push(place.bytes());
        kms.disable_key(&key).unwrap();
        kms.enable_key(&key).unwrap();
    }
    let newest = place.bytes();
    drop(kms);
    for copy in &copies {
        place.put(copy);
        assert_eq!(said(Keystore::open(&place.store(), &anchored(&place))), Some(Status::KeystoreRolledBack));
        let read_only = anchored(&place).create(false).read_only(true);
        assert_eq!(said(Keystore::open(&place.store(), &read_only)), Some(Status::KeystoreRolledBack));
    }
    place.put(&newest);
    drop(Keystore::open(&place.store(), &anchored(&place)).unwrap());
    // A lost keystore is not created again.
    std::fs::remove_file(place.store()).unwrap();
    assert_eq!(said(Keystore::open(&place.store(), &anchored(&place))), Some(Status::KeystoreRolledBack));
    assert!(!place.path("keys.db").exists(), "a keystore was made in the place of a lost one");
}

#[test]
fn an_older_copy_that_was_changed_to_the_same_generation_is_refused() {
    let place = Place::new();
    let kms = Keystore::open(&place.store(), &anchored(&place)).unwrap();
    let older = place.bytes();
    let key = new_key(&kms);
    drop(kms);
    place.put(&older);
    new_key(&Keystore::open(&place.store(), &quiet()).unwrap());
    assert_eq!(said(Keystore::open(&place.store(), &anchored(&place))), Some(Status::KeystoreRolledBack), "{key}");
}

#[test]
fn an_older_copy_under_an_open_handle_is_not_written() {
    let place = Place::new();
    let kms = Keystore::open(&place.store(), &anchored(&place)).unwrap();
    let key = new_key(&kms);
    let older = place.bytes();
    kms.disable_key(&key).unwrap();
    // In place, as by `cp`: the file is the same one.
    std::fs::write(place.store(), &older).unwrap();
    for _ in 0..2 {
        let found = said(kms.rotate(&key));
        assert!(matches!(found, Some(Status::KeystoreRolledBack | Status::KeystoreReplaced)), "{found:?}");
    }
    assert!(place.bytes() == older, "something was written into an older copy");
}

/// A crash between commit and anchor leaves the anchor behind.
#[test]
fn an_anchor_that_lags_locks_nobody_out() {
    let place = Place::new();
    let kms = Keystore::open(&place.store(), &anchored(&place)).unwrap();
    let key = new_key(&kms);
    let behind = std::fs::read(place.path("anchor")).unwrap();
    kms.disable_key(&key).unwrap();
    drop(kms);
    std::fs::write(place.path("anchor"), &behind).unwrap();
    let kms = Keystore::open(&place.store(), &anchored(&place)).unwrap();
    assert!(std::fs::read(place.path("anchor")).unwrap() != behind, "opening did not raise the anchor");
    kms.enable_key(&key).unwrap();
}

/// A power cut while the anchor is written leaves one of its two records.
#[test]
fn a_torn_anchor_is_still_one() {
    let place = Place::new();
    let kms = Keystore::open(&place.store(), &anchored(&place)).unwrap();
    let key = new_key(&kms);
    let older = place.bytes();
    kms.disable_key(&key).unwrap();
    kms.enable_key(&key).unwrap();
    drop(kms);
    let whole = std::fs::read(place.path("anchor")).unwrap();
    for place_of_record in [0, 4096] {
        for len in [0, 1, 50, 103] {
            let mut torn = whole.clone();
            torn[place_of_record + len..place_of_record + 104].fill(0);
            std::fs::write(place.path("anchor"), &torn).unwrap();
            drop(Keystore::open(&place.store(), &anchored(&place)).unwrap());
            let kept = place.bytes();
            std::fs::write(place.path("anchor"), &torn).unwrap();
            place.put(&older);
            assert_eq!(said(Keystore::open(&place.store(), &anchored(&place))), Some(Status::KeystoreRolledBack));
            place.put(&kept);
        }
    }
}

#[test]
fn a_missing_damaged_or_foreign_anchor_is_not_passed_over() {
    let place = Place::new();
    let kms = Keystore::open(&place.store(), &anchored(&place)).unwrap();
    new_key(&kms);
    let anchor = std::fs::read(place.path("anchor")).unwrap();
    std::fs::rename(place.path("anchor"), place.path("away")).unwrap();
    assert_eq!(said(kms.create_key(&CreateKey::default())), Some(Status::AnchorUnavailable));
    drop(kms);
    assert_eq!(said(Keystore::open(&place.store(), &anchored(&place))), Some(Status::AnchorUnavailable));
    for at in 0..104 {
        let mut damaged = anchor.clone();
        damaged[at] ^= 1;
        damaged.truncate(4000);
        std::fs::write(place.path("anchor"), &damaged).unwrap();
        assert_eq!(
            said(Keystore::open(&place.store(), &anchored(&place))),
            Some(Status::AnchorUnavailable),
            "byte {at}"
        );
    }
    let other = Place::new();
    drop(Keystore::open(&other.store(), &anchored(&other)).unwrap());
    std::fs::copy(other.path("anchor"), place.path("anchor")).unwrap();
    assert_eq!(said(Keystore::open(&place.store(), &anchored(&place))), Some(Status::AnchorUnavailable));
    // Emptied on purpose, the anchor accepts the present keystore.
    std::fs::write(place.path("anchor"), b"").unwrap();
    new_key(&Keystore::open(&place.store(), &anchored(&place)).unwrap());
}

#[test]
fn a_failed_anchor_is_told_and_mended_by_the_next_change() {
    let place = Place::new();
    let store = Arc::new(Kept::default());
    let options = quiet().create(true).anchor_callback(Arc::clone(&store) as _);
    let kms = Keystore::open(&place.store(), &options).unwrap();
    let older = place.bytes();
    let key = new_key(&kms);
    *store.fails.lock().unwrap() = true;
    assert_eq!(said(kms.disable_key(&key)), Some(Status::AnchorUnavailable));
    assert_eq!(kms.describe_key(&key).unwrap().state, kms::KeyState::Disabled, "the change was made");
    *store.fails.lock().unwrap() = false;
    kms.enable_key(&key).unwrap();
    drop(kms);
    place.put(&older);
    assert_eq!(said(Keystore::open(&place.store(), &options)), Some(Status::KeystoreRolledBack));
}

#[derive(Default)]
struct Kept {
    record: Mutex<Vec<u8>>,
    fails: Mutex<bool>,
}

impl AnchorStore for Kept {
    fn get(&self) -> kms::Result<Vec<u8>> {
        Ok(self.record.lock().unwrap().clone())
    }

    fn put(&self, record: &[u8]) -> kms::Result<()> {
        if *self.fails.lock().unwrap() {
            return Err(Status::KeystoreIo.error("told to fail"));
        }
        *self.record.lock().unwrap() = record.to_vec();
        Ok(())
    }
}

#[test]
fn several_handles_share_one_anchor() {
    let place = Place::new();
    let key = new_key(&Keystore::open(&place.store(), &anchored(&place)).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let kms = Keystore::open(&place.store(), &anchored(&place)).unwrap();
                for _ in 0..25 {
                    kms.rotate(&key).unwrap();
                }
            });
        }
    });
    let newest = place.bytes();
    let kms = Keystore::open(&place.store(), &anchored(&place)).unwrap();
    kms.rotate(&key).unwrap();
    drop(kms);
    place.put(&newest);
    assert_eq!(said(Keystore::open(&place.store(), &anchored(&place))), Some(Status::KeystoreRolledBack));
}

/// An anchor of the caller, whose read first does something else.
struct Meddling {
    kept: Arc<Kept>,
    meddle: Box<dyn Fn() + Send + Sync>,
}

impl AnchorStore for Meddling {
    fn get(&self) -> kms::Result<Vec<u8>> {
        (self.meddle)();
        self.kept.get()
    }

    fn put(&self, record: &[u8]) -> kms::Result<()> {
        self.kept.put(record)
    }
}

#[test]
fn a_change_beside_an_opening_is_no_rollback() {
    let place = Place::new();
    let kept = Arc::new(Kept::default());
    let writer = Keystore::open(&place.store(), &quiet().create(true).anchor_callback(Arc::clone(&kept) as _)).unwrap();
    let key = new_key(&writer);
    let id = key.clone();
    let meddle = Box::new(move || _ = writer.rotate(&id).unwrap());
    let beside = quiet().anchor_callback(Arc::new(Meddling { kept, meddle }));
    let kms = Keystore::open(&place.store(), &beside).unwrap();
    kms.disable_key(&key).unwrap();
}

#[test]
fn another_creator_who_was_faster_is_no_rollback() {
    let place = Place::new();
    let kept = Arc::new(Kept::default());
    let faster = quiet().create(true).anchor_callback(Arc::clone(&kept) as _);
    let store = place.store();
    let meddle = Box::new(move || drop(Keystore::open(&store, &faster).unwrap()));
    let slower = quiet().create(true).anchor_callback(Arc::new(Meddling { kept, meddle }));
    new_key(&Keystore::open(&place.store(), &slower).unwrap());
}
