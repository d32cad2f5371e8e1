//! A rotation that can't be stored: encryption continues under the old primary version, and an event reports the
//! failure. The rotation succeeds later.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use kms::{ManualClock, Status, health::EventKind};

use super::support::*;

/// SQLite's RESERVED byte: its holder blocks all other writers, but no readers.
const RESERVED: i64 = 0x4000_0001;

/// The write lock of a keystore file, held as another process would until dropped.
pub struct WriteLock(#[allow(dead_code)] File);

impl WriteLock {
    pub fn take(path: &str) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        // SAFETY: all-zero is a valid flock; it is filled below.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = libc::F_WRLCK as _;
        lock.l_whence = libc::SEEK_SET as _;
        (lock.l_start, lock.l_len) = (RESERVED, 1);
        let limit = Instant::now() + Duration::from_secs(10);
        loop {
            // SAFETY: the descriptor is open and `lock` outlives the call.
            match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) } {
                0 => return Self(file),
                _ if Instant::now() < limit => std::thread::sleep(Duration::from_millis(5)),
                _ => panic!("the write lock could not be taken: {}", std::io::Error::last_os_error()),
            }
        }
    }
}

fn impatient(path: &str, clock: &ManualClock) -> TestKeystore {
    open(path, clock, |options| options.busy_timeout(Duration::from_millis(100)))
}

#[test]
fn waiting_for_another_writer_is_bounded() {
    let (_folder, path) = place();
    let kms = impatient(&path, &ManualClock::at(T0));
    let id = kms.plain_key();
    let lock = WriteLock::take(&path);
    let start = Instant::now();
    assert_eq!(refused(kms.rotate(&id)), Status::KeystoreBusy);
    assert!(start.elapsed() < Duration::from_secs(5), "100 ms were asked for, {:?} waited", start.elapsed());
    assert_eq!(kms.key(&id).version_count(), 1);
    drop(lock);
    kms.rotate(&id).unwrap();
    assert_eq!(kms.key(&id).version_count(), 2);
}

#[test]
fn a_rotation_that_cannot_be_stored_leaves_the_old_primary_encrypting() {
    let (_folder, path) = place();
    let kms = impatient(&path, &ManualClock::at(T0));
    let id = kms.rotating_key(DAY);
    let old = kms.sealed_under(&id);
    kms.at(DAY_MS);
    let lock = WriteLock::take(&path);
    let blob = kms.encrypt(&id, b"during", &[]).expect("encryption goes on");
    assert_eq!(kms.inspect(&blob).unwrap().version, old);
    assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"during");
    let failures = kms.events(EventKind::RotationFailed);
    assert!(!failures.is_empty(), "the failure is an event");
    assert_eq!(failures[0].status, Some(Status::KeystoreBusy));
    assert!(kms.health().unwrap().rotation_failures > 0, "and a counter");
    assert!(kms.events(EventKind::Rotated).is_empty());
    let _ = kms.tick();
    assert_eq!(kms.key(&id).version_count(), 1, "nothing half-made is visible");
    drop(lock);
    kms.tick().unwrap();
    let key = kms.key(&id);
    assert_eq!(key.version_count(), 2, "it succeeds once the keystore can be written");
    assert_eq!(kms.sealed_under(&id), key.primary.unwrap().id);
    assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"during");
}

#[test]
fn a_pass_with_nothing_due_succeeds_while_last_used_dates_cannot_be_stored() {
    let (_folder, path) = place();
    let kms = impatient(&path, &ManualClock::at(T0));
    let id = kms.plain_key();
    kms.encrypt(&id, b"used", &[]).unwrap();
    let lock = WriteLock::take(&path);
    kms.tick().expect("nothing is due");
    assert_eq!(kms.versions(&id)[0].last_encrypt_date, None);
    drop(lock);
    kms.tick().unwrap();
    assert!(kms.versions(&id)[0].last_encrypt_date.is_some(), "the date is kept for the next pass");
}

#[test]
fn encrypting_alone_retries_the_rotation_in_the_end() {
    let (_folder, path) = place();
    let kms = impatient(&path, &ManualClock::at(T0));
    let id = kms.rotating_key(DAY);
    let old = kms.sealed_under(&id);
    kms.at(DAY_MS);
    let lock = WriteLock::take(&path);
    assert_eq!(kms.sealed_under(&id), old);
    drop(lock);
    let rotated = eventually(Duration::from_secs(90), || kms.sealed_under(&id) != old);
    assert!(rotated, "an encrypting program without a tick never got its rotation");
    assert_eq!(kms.key(&id).version_count(), 2);
}

#[test]
fn a_policy_that_cannot_be_stored_is_an_error_and_changes_nothing() {
    let (_folder, path) = place();
    let kms = impatient(&path, &ManualClock::at(T0));
    let id = kms.plain_key();
    kms.at(10 * DAY_MS);
    let before = kms.key(&id);
    let lock = WriteLock::take(&path);
    assert_eq!(refused(kms.update_rotation_policy(&id, Some(seconds(DAY)))), Status::KeystoreBusy);
    assert_eq!(refused(kms.disable_key(&id)), Status::KeystoreBusy);
    assert_eq!(kms.key(&id), before);
    drop(lock);
    assert_eq!(kms.key(&id), before);
}

/// A file with an overdue key: its writer, a read-only handle, the key, and the version that is primary.
fn overdue_for_a_reader(path: &str) -> (TestKeystore, TestKeystore, String, kms::VersionId) {
    let clock = ManualClock::at(T0);
    let writer = open(path, &clock, |o| o);
    let id = writer.rotating_key(DAY);
    let old = writer.primary(&id);
    let reader = open(path, &clock, |options| options.create(false).read_only(true));
    clock.set(T0 + DAY_MS);
    (writer, reader, id, old)
}

#[test]
fn a_read_only_handle_encrypts_under_the_old_primary_until_another_rotates() {
    let (_folder, path) = place();
    let (writer, reader, id, old) = overdue_for_a_reader(&path);
    assert!(reader.health().unwrap().read_only && !writer.health().unwrap().read_only);
    assert_eq!(reader.sealed_under(&id), old, "encryption goes on");
    assert_eq!(writer.key(&id).version_count(), 1, "a reader writes nothing");
    assert_eq!(writer.tick().unwrap().rotated, 1);
    assert_eq!(reader.sealed_under(&id), writer.primary(&id), "another's rotation is seen");
}

#[test]
fn a_rotation_that_a_read_only_handle_cannot_store_is_an_event_and_a_counter() {
    let (_folder, path) = place();
    let (_writer, reader, id, _) = overdue_for_a_reader(&path);
    reader.encrypt(&id, b"x", &[]).unwrap();
    assert!(!reader.events(EventKind::RotationFailed).is_empty(), "encrypting under an overdue key told nobody");
    assert!(reader.health().unwrap().rotation_failures > 0, "encrypting under an overdue key was not counted");
}

#[test]
fn a_read_only_handle_refuses_every_change() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    let id = open(&path, &clock, |o| o).plain_key();
    let reader = open(&path, &clock, |options| options.create(false).read_only(true));
    let statuses = [
        refused(reader.create_key(&Default::default())),
        refused(reader.rotate(&id)),
        refused(reader.update_rotation_policy(&id, Some(seconds(DAY)))),
        refused(reader.disable_key(&id)),
        refused(reader.schedule_key_deletion(&id, 7)),
    ];
    assert_eq!(statuses, [Status::KeystoreReadOnly; 5]);
    assert_eq!(reader.key(&id).version_count(), 1);
}
