//! Backups and copies key by key: of a keystore whose rows are in several shards, to a file and back.
//!
//! With `KMS_TEST_SHARDS` a keystore in memory has four shards; with `KMS_TEST_POSTGRES` it is in a database.

use kms::backup::CopyStep;
use kms::{CreateKey, KeyId, Keystore, ManualClock, Options, Status};

use crate::folder::{Folder, ROOT, status};
use crate::gallery::{DAY, Gallery, same, sound};

const T0: i64 = 1_700_000_000_000;

/// Runs the test of this name in a process where a keystore in memory has several shards; whether this is it.
pub fn in_shards(test: &str) -> bool {
    if std::env::var_os("KMS_TEST_SHARDS").is_some() || std::env::var_os("KMS_TEST_POSTGRES").is_some() {
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let done = std::process::Command::new(program)
        .args(["--exact", "--nocapture", &format!("copies::{test}")])
        .env("KMS_TEST_SHARDS", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&done.stderr));
    false
}

fn options(clock: &ManualClock) -> Options {
    Options::new().root_key(&ROOT).clock(clock.clone())
}

#[test]
fn a_backup_of_several_shards_is_a_whole_keystore() {
    if !in_shards("a_backup_of_several_shards_is_a_whole_keystore") {
        return;
    }
    let (folder, clock) = (Folder::new(), ManualClock::at(T0));
    let kms = Keystore::open("memory:", &options(&clock)).unwrap();
    let gallery = Gallery::fill(&kms, &clock);
    let path = folder.path("backup.db");
    kms.backup(&path).unwrap();
    assert_eq!(Vec::from_iter(folder.snapshot().into_keys()), ["backup.db"], "something was left behind");
    assert_eq!(status(kms.backup(&path)), Some(Status::KeystoreIo), "a backup was replaced");
    let path = path.to_str().unwrap();
    let read_only = Keystore::open(path, &options(&clock).read_only(true)).unwrap();
    same(&kms, &read_only);
    assert_eq!(gallery.opened(&kms), gallery.opened(&read_only));
    drop(read_only);
    let recovery = Options::new().root_key(&[9; 32]).clock(clock.clone());
    let copy = Keystore::open(path, &recovery).unwrap();
    sound(&copy);
    same(&kms, &copy);
    // It is used as any other.
    let key = gallery.blobs[0].0;
    copy.rotate(key).unwrap();
    copy.create_key(&CreateKey::default()).unwrap();
    clock.advance_seconds(10 * DAY);
    copy.tick().unwrap();
    clock.advance_seconds(2 * 3600);
    copy.tick().unwrap();
    sound(&copy);
    let mut entries = copy.changes(Default::default()).map(|entry| entry.unwrap().action);
    assert_eq!(entries.next().as_deref(), Some("CopyKeystore"), "the copy's log does not begin with the copying");
}

#[test]
fn a_copy_of_several_shards_has_all_and_replaces_nothing() {
    if !in_shards("a_copy_of_several_shards_has_all_and_replaces_nothing") {
        return;
    }
    let (folder, clock) = (Folder::new(), ManualClock::at(T0));
    let kms = Keystore::open("memory:", &options(&clock)).unwrap();
    let gallery = Gallery::fill(&kms, &clock);
    let path = folder.store();
    let steps = std::cell::RefCell::new(Vec::new());
    let report = kms.copy(&path, |step| steps.borrow_mut().push(format!("{step:?}"))).unwrap();
    assert_eq!(Vec::from_iter(folder.snapshot().into_keys()), ["keys.db"], "something was left behind");
    let keys = kms.keys().count() as u64;
    assert_eq!((report.keys, report.aliases), (keys, kms.aliases().count() as u64));
    let versions = kms.keys().map(|key| kms.key_versions(key.unwrap().id).count() as u64).sum::<u64>();
    assert_eq!(report.versions + 1, versions, "the erased version has no material");
    assert_eq!(steps.borrow().last().map(String::as_str), Some("Locked"));
    assert!(steps.borrow().contains(&format!("Compared({keys})")), "not all was compared");
    assert_eq!(status(kms.copy(&path, |_| ())), Some(Status::KeystoreIo), "a keystore was replaced");
    assert_eq!(status(kms.copy("memory:", |_| ())), Some(Status::InvalidArgument));
    let copy = Keystore::open(&path, &options(&clock)).unwrap();
    sound(&copy);
    same(&kms, &copy);
    assert_eq!(gallery.opened(&kms), gallery.opened(&copy));
}

/// What changes while the keys are copied, and after they were compared, is in the copy.
#[test]
fn a_copy_has_what_changes_meanwhile() {
    if !in_shards("a_copy_has_what_changes_meanwhile") {
        return;
    }
    let (folder, clock) = (Folder::new(), ManualClock::at(T0));
    let kms = Keystore::open("memory:", &options(&clock)).unwrap();
    let gallery = Gallery::fill(&kms, &clock);
    let keys: Vec<KeyId> = gallery.blobs.iter().map(|(key, _)| *key).collect();
    let change = |at: usize| {
        let made = kms.create_key(&CreateKey::default()).unwrap();
        kms.create_alias(made, &format!("alias/made-{at}")).unwrap();
        kms.rotate(keys[at]).unwrap();
        kms.tag_resource(keys[at + 1], &[("at", &at.to_string())]).unwrap();
        kms.update_alias(keys[at], &format!("alias/number-{}", at + 5)).unwrap();
        kms.delete_alias(&format!("alias/second-{at}")).unwrap();
        kms.schedule_key_deletion(keys[at + 2], 7).unwrap();
        kms.add_root_slot(&Options::new().root_key(&[100 + at as u8; 32]), None).unwrap();
        // Some are destroyed.
        for wait in [8 * DAY, 2 * 3600] {
            clock.advance_seconds(wait);
            kms.tick().unwrap();
        }
    };
    let changes = std::cell::Cell::new(0);
    kms.copy(&folder.store(), |step| match (step, changes.get()) {
        (CopyStep::Copied(_), 0) | (CopyStep::Compared(_), 1) => {
            changes.set(changes.get() + 1);
            change(4 * changes.get() - 4);
        }
        _ => {}
    })
    .unwrap();
    assert_eq!(changes.get(), 2, "nothing was changed meanwhile");
    let copy = Keystore::open(&folder.store(), &options(&clock)).unwrap();
    sound(&copy);
    same(&kms, &copy);
    assert_eq!(gallery.opened(&kms), gallery.opened(&copy));
}

#[test]
fn a_copy_of_a_file_keeps_its_log() {
    let (folder, clock) = (Folder::new(), ManualClock::at(T0));
    let kms = Keystore::open(&folder.store(), &options(&clock).create(true)).unwrap();
    let gallery = Gallery::fill(&kms, &clock);
    let path = folder.path("copy.db");
    let before = std::fs::read(folder.store()).unwrap();
    let report = kms.copy(path.to_str().unwrap(), |_| ()).unwrap();
    assert!(std::fs::read(folder.store()).unwrap() == before, "the copied keystore was changed");
    assert_eq!(report.keys, kms.keys().count() as u64);
    let copy = Keystore::open(path.to_str().unwrap(), &options(&clock)).unwrap();
    sound(&copy);
    same(&kms, &copy);
    assert_eq!(gallery.opened(&kms), gallery.opened(&copy));
    let log = |kms: &Keystore| kms.changes(Default::default()).map(|entry| entry.unwrap().id).collect::<Vec<_>>();
    assert_eq!(log(&kms), log(&copy));
}
