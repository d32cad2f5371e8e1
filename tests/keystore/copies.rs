//! Backups and copies key by key: of a keystore whose rows are in several shards, to a file and back.
//!
//! `KMS_TEST_SHARDS` has a keystore in memory be of four shards, `KMS_TEST_POSTGRES` be one of a database.

use std::fmt::Write;

use kms::backup::CopyStep;
use kms::{CreateKey, KeyId, KeyState, Keystore, ManualClock, Options, Origin, Status, VersionState};

use crate::folder::{Folder, ROOT, seconds, status};

const T0: i64 = 1_700_000_000_000;
const DAY: i64 = 86_400;

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

/// Keys of each kind and state, and what each of their versions encrypted.
pub struct Gallery {
    pub blobs: Vec<(KeyId, Vec<u8>)>,
}

impl Gallery {
    pub fn fill(kms: &Keystore, clock: &ManualClock) -> Self {
        let mut blobs = Vec::new();
        let mut seal = |key: KeyId| blobs.push((key, kms.encrypt(key, b"kept", &[("tenant", "42")]).unwrap()));
        let plain = CreateKey { description: "plain \u{1f511}".to_owned(), ..CreateKey::default() };
        // Enough for each shard to have some.
        for number in 0..20 {
            let key = kms.create_key(&plain).unwrap();
            seal(key);
            kms.tag_resource(key, &[("number", &number.to_string()), ("empty", "")]).unwrap();
            kms.create_alias(key, &format!("alias/number-{number}")).unwrap();
            kms.create_alias(key, &format!("alias/second-{number}")).unwrap();
        }
        let rotating = CreateKey { rotate_every: Some(seconds(7 * DAY)), ..CreateKey::default() };
        let many = kms.create_key(&rotating).unwrap();
        for _ in 0..300 {
            kms.rotate(many).unwrap();
        }
        seal(many);
        let versions = kms.create_key(&rotating).unwrap();
        for _ in 0..5 {
            seal(versions);
            clock.advance_seconds(8 * DAY);
            kms.tick().unwrap();
        }
        seal(versions);
        let ids: Vec<String> = kms.key_versions(versions).map(|version| version.unwrap().id.to_string()).collect();
        for id in &ids[2..] {
            kms.disable_key_version(versions, id).unwrap();
        }
        for id in &ids[3..] {
            kms.schedule_key_version_deletion(versions, id, 7).unwrap();
        }
        kms.cancel_key_version_deletion(versions, &ids[3]).unwrap();
        clock.advance_seconds(8 * DAY);
        kms.tick().unwrap();
        clock.advance_seconds(2 * 3600);
        kms.tick().unwrap();
        assert!(kms.key_versions(versions).any(|version| version.unwrap().state == VersionState::Destroyed));
        let old: Vec<String> = kms.key_versions(many).map(|version| version.unwrap().id.to_string()).collect();
        kms.disable_key_version(many, &old[9]).unwrap();
        kms.schedule_key_version_deletion(many, &old[9], 30).unwrap();
        let disabled = kms.create_key(&plain).unwrap();
        seal(disabled);
        kms.disable_key(disabled).unwrap();
        let leaving = kms.create_key(&rotating).unwrap();
        seal(leaving);
        kms.create_alias(leaving, "alias/leaving").unwrap();
        kms.schedule_key_deletion(leaving, 9).unwrap();
        clock.advance_seconds(DAY);
        kms.tick().unwrap();
        let protected = kms.create_key(&plain).unwrap();
        kms.set_deletion_protection(protected, Some("it is needed")).unwrap();
        let external = CreateKey { origin: Some(Origin::External), ..CreateKey::default() };
        let waiting = kms.create_key(&external).unwrap();
        assert_eq!(kms.describe_key(waiting).unwrap().state, KeyState::PendingImport);
        let imported = kms.create_key(&external).unwrap();
        kms.import_raw_key_material(imported, &[5; 32], None).unwrap();
        seal(imported);
        let expiring = kms.create_key(&external).unwrap();
        kms.import_raw_key_material(expiring, &[6; 32], Some(kms::Time::from_millis(clock.millis() + 9 * DAY * 1000)))
            .unwrap();
        seal(expiring);
        let erased = kms.create_key(&external).unwrap();
        kms.import_raw_key_material(erased, &[8; 32], None).unwrap();
        seal(erased);
        kms.delete_key_material(erased).unwrap();
        seal(kms.create_service_key("disk").unwrap());
        kms.add_root_slot(&Options::new().root_key(&[9; 32]), Some("recovery")).unwrap();
        // The days of use are stored.
        clock.advance_seconds(DAY);
        kms.tick().unwrap();
        Self { blobs }
    }

    /// What each blob opens to, or why it doesn't.
    fn opened(&self, kms: &Keystore) -> Vec<Result<Vec<u8>, Status>> {
        let open = |blob: &[u8]| match kms.decrypt(blob, &[("tenant", "42")]) {
            Ok(opened) => Ok(opened.to_vec()),
            Err(error) => Err(error.status()),
        };
        self.blobs.iter().map(|(_, blob)| open(blob)).collect()
    }
}

/// All that the calls show of a keystore.
pub fn shown(kms: &Keystore) -> String {
    let mut text = String::new();
    let mut keys: Vec<_> = kms.keys().map(Result::unwrap).collect();
    keys.sort_by_key(|key| key.id.to_string());
    for key in keys {
        writeln!(text, "{key:?} {:?}", kms.list_resource_tags(key.id).unwrap()).unwrap();
        kms.key_versions(key.id).for_each(|version| writeln!(text, "  {:?}", version.unwrap()).unwrap());
        kms.aliases_of(key.id).for_each(|name| writeln!(text, "  {}", name.unwrap()).unwrap());
    }
    kms.aliases().for_each(|alias| writeln!(text, "{:?}", alias.unwrap()).unwrap());
    for slot in kms.list_root_slots().unwrap() {
        writeln!(text, "{} {:?} {:?} {:?}", slot.id, slot.kind, slot.created, slot.label).unwrap();
    }
    text
}

fn sound(kms: &Keystore) {
    kms.verify(|fault| panic!("{fault:?}")).unwrap();
}

#[track_caller]
fn same(a: &Keystore, b: &Keystore) {
    let (a, b) = (shown(a), shown(b));
    let differing: Vec<_> = a.lines().zip(b.lines()).filter(|(a, b)| a != b).take(3).collect();
    assert!(differing.is_empty(), "the copy differs: {differing:#?}");
    assert_eq!(a.lines().count(), b.lines().count(), "something is missing in the copy");
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
