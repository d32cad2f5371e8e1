//! Backups are recorded beside the keystore, and due rotations may wait for one.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kms::{
    CreateKey, Interval, KeyId, Keystore, ManualClock, Options, Status, backup::BACKUP_WAIT_MAX, health::EventKind,
};

const START: i64 = 1_700_000_000_000;
const DAY: i64 = 86_400;

type Told = Arc<Mutex<Vec<EventKind>>>;

fn open(folder: &Path, more: impl FnOnce(Options) -> Options) -> Keystore {
    let path = folder.join("keys.db");
    Keystore::open(path.to_str().unwrap(), &more(Options::new().root_key(&[7; 32]).create(true))).unwrap()
}

/// A keystore whose due rotations wait three days, with a key that rotates daily.
fn waiting(folder: &Path) -> (Keystore, KeyId, ManualClock, Told) {
    let (clock, told) = (ManualClock::at(START), Told::default());
    let keep = Arc::clone(&told);
    let kms = open(folder, |options| {
        options
            .clock(clock.clone())
            .require_backup(Duration::from_secs(3 * 86_400))
            .on_event(move |event| keep.lock().unwrap().push(event.kind))
    });
    let rotate_every = Some(Interval::parse("1d").unwrap());
    let key = kms.create_key(&CreateKey { rotate_every, ..Default::default() }).unwrap();
    (kms, key, clock, told)
}

fn versions(kms: &Keystore, key: KeyId) -> u64 {
    kms.describe_key(key).unwrap().version_count()
}

#[test]
fn a_due_rotation_waits_for_a_backup_of_the_newest_version() {
    let folder = tempfile::tempdir().unwrap();
    let (kms, key, clock, told) = waiting(folder.path());
    clock.advance_seconds(DAY);
    for _ in 0..3 {
        assert_eq!(kms.tick().unwrap().rotated, 0, "it rotated without a backup");
    }
    kms.encrypt(key, b"x", &[]).unwrap();
    assert_eq!(versions(&kms, key), 1, "an encryption rotated without a backup");
    assert_eq!(*told.lock().unwrap(), [EventKind::RotationWaitsForBackup]);
    kms.backup(folder.path().join("b.db")).unwrap();
    assert_eq!(kms.tick().unwrap().rotated, 1, "it does not rotate after the backup");
    clock.advance_seconds(DAY);
    assert_eq!(kms.tick().unwrap().rotated, 0, "an older backup let it rotate");
    assert!(!told.lock().unwrap().contains(&EventKind::RotatedWithoutBackup));
}

#[test]
fn the_wait_for_a_backup_ends_with_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let (kms, key, clock, told) = waiting(folder.path());
    clock.advance_seconds(DAY + 3 * DAY - 1);
    assert_eq!(kms.tick().unwrap().rotated, 0);
    clock.advance_seconds(1);
    assert_eq!(kms.tick().unwrap().rotated, 1, "it waits without end");
    let expected = [EventKind::RotationWaitsForBackup, EventKind::RotatedWithoutBackup, EventKind::Rotated];
    let mut found = told.lock().unwrap().clone();
    found.sort_by_key(|kind| expected.iter().position(|known| known == kind));
    assert_eq!(found, expected);
    assert_eq!(versions(&kms, key), 2);
}

#[test]
fn the_deletion_of_a_version_waits_for_no_backup() {
    let folder = tempfile::tempdir().unwrap();
    let (kms, key, clock, _) = waiting(folder.path());
    let old = kms.describe_key(key).unwrap().primary.unwrap().id.to_string();
    kms.update_rotation_policy(key, Some(Interval::parse("6d").unwrap())).unwrap();
    kms.rotate(key).unwrap();
    kms.disable_key_version(key, &old).unwrap();
    kms.schedule_key_version_deletion(key, &old, 7).unwrap();
    clock.advance_seconds(7 * DAY);
    assert_eq!(kms.tick().unwrap().rotated, 0, "it rotated without a backup");
    clock.advance_seconds(3600);
    let done = kms.tick().unwrap();
    assert_eq!((done.rotated, done.versions_destroyed), (0, 1));
}

#[test]
fn each_wait_has_an_event_also_where_another_process_rotated_between() {
    let folder = tempfile::tempdir().unwrap();
    let (kms, key, clock, told) = waiting(folder.path());
    for waits in 1..3 {
        clock.advance_seconds(DAY);
        kms.tick().unwrap();
        kms.tick().unwrap();
        assert_eq!(*told.lock().unwrap(), vec![EventKind::RotationWaitsForBackup; waits]);
        open(folder.path(), |options| options.clock(clock.clone())).rotate(key).unwrap();
    }
}

#[test]
fn a_change_of_the_policy_waits_too_and_a_rotation_by_hand_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (kms, key, clock, _) = waiting(folder.path());
    clock.advance_seconds(DAY / 2);
    kms.update_rotation_policy(key, Some(Interval::parse("1h").unwrap())).unwrap();
    assert_eq!(versions(&kms, key), 1);
    kms.rotate(key).unwrap();
    assert_eq!(versions(&kms, key), 2);
    clock.advance_seconds(DAY / 2);
    kms.backup(folder.path().join("b.db")).unwrap();
    kms.encrypt(key, b"x", &[]).unwrap();
    assert_eq!(versions(&kms, key), 3, "an encryption does not rotate after the backup");
}

#[test]
fn the_thread_rotates_once_another_process_has_made_a_backup() {
    let folder = tempfile::tempdir().unwrap();
    let kms = open(folder.path(), |options| options.require_backup(BACKUP_WAIT_MAX));
    let rotate_every = Some(Interval::parse("1s").unwrap());
    let key = kms.create_key(&CreateKey { rotate_every, ..Default::default() }).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(versions(&kms, key), 1);
    open(folder.path(), |options| options.rotation_thread(false)).backup(folder.path().join("b.db")).unwrap();
    let begun = std::time::Instant::now();
    while versions(&kms, key) < 2 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the thread does not see the backup");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn backups_of_many_threads_and_handles_are_all_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let kms = open(folder.path(), |options| options.rotation_thread(false));
    kms.create_key(&CreateKey::default()).unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let folder = folder.path();
            scope.spawn(move || {
                let kms = open(folder, |options| options.rotation_thread(false));
                kms.backup(folder.join(format!("{number}.db"))).unwrap();
            });
        }
    });
    assert_eq!(kms.backups().unwrap().len(), 8, "a record was lost");
}

#[test]
fn a_record_lists_sixteen_backups_and_knows_what_each_has() {
    let folder = tempfile::tempdir().unwrap();
    let kms = open(folder.path(), |options| options.rotation_thread(false));
    let key = kms.create_key(&CreateKey::default()).unwrap();
    for number in 0..18 {
        kms.backup(folder.path().join(format!("{number}.db"))).unwrap();
    }
    let described = kms.describe_key(key).unwrap();
    let backups = kms.backups().unwrap();
    assert_eq!(backups.len(), 16);
    assert!(backups.iter().all(|backup| backup.has_newest_version_of(&described) && backup.verified().is_none()));
    kms.record_verified_backup(backups[3].path(), described.created).unwrap();
    assert_eq!(kms.backups().unwrap()[3].verified(), Some(described.created));
    kms.rotate(key).unwrap();
    let described = kms.describe_key(key).unwrap();
    assert!(!kms.backups().unwrap().iter().any(|backup| backup.has_newest_version_of(&described)));
    // Damage costs the record, and nothing else.
    std::fs::write(folder.path().join("keys.db-backups"), [0xff; 100]).unwrap();
    assert!(kms.backups().unwrap().is_empty());
    kms.backup(folder.path().join("last.db")).unwrap();
    assert_eq!(kms.backups().unwrap().len(), 1);
}

#[test]
fn a_wait_has_a_limit_and_needs_a_file() {
    let longer = BACKUP_WAIT_MAX + Duration::from_secs(1);
    for (location, wait) in [("memory:", Duration::from_secs(1)), ("keys.db", longer)] {
        let options = Options::new().root_key(&[7; 32]).require_backup(wait);
        assert_eq!(Keystore::open(location, &options).unwrap_err().status(), Status::InvalidArgument, "{location}");
    }
}
