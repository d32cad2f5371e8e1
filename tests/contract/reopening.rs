//! A later handle on the same file finds everything, and only the right root key opens it.

use kms::{Keystore, ManualClock, Options, Status};

use super::support::*;

#[test]
fn reopening_keeps_every_key_version_and_date() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    let mut blobs = Vec::new();
    let first = open(&path, &clock, |o| o);
    let ids = [first.rotating_key(DAY), first.plain_key(), first.external_key(), first.rotating_key(3 * DAY)];
    for day in 1..=10 {
        for id in [&ids[0], &ids[1], &ids[3]] {
            blobs.push((first.encrypt(id, format!("{id} {day}").as_bytes(), &[("d", id)]).unwrap(), id, day));
        }
        first.at(day * DAY_MS);
        first.tick().unwrap();
        first.rotate(&ids[1]).unwrap();
    }
    first.disable_key(&ids[3]).unwrap();
    let keys = ids.each_ref().map(|id| first.key(id));
    // The blobs are decrypted below.
    let versions = |kms: &TestKeystore, id| {
        kms.versions(id)
            .into_iter()
            .map(|mut version| {
                version.last_decrypt_date = None;
                version
            })
            .collect::<Vec<_>>()
    };
    let before = ids.each_ref().map(|id| versions(&first, id));
    drop(first);
    for _ in 0..2 {
        let later = open(&path, &clock, |o| o);
        assert_eq!(ids.each_ref().map(|id| later.key(id)), keys);
        assert_eq!(ids.each_ref().map(|id| versions(&later, id)), before);
        for (blob, id, day) in &blobs {
            let got = later.decrypt(blob, &[("d", id)]);
            if *id == &ids[3] {
                assert_eq!(refused(got), Status::RejectedDisabled);
            } else {
                assert_eq!(got.unwrap().as_slice(), format!("{id} {day}").as_bytes());
            }
        }
    }
}

#[test]
fn old_data_opens_after_five_years_of_reopening() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    let id = open(&path, &clock, |o| o).rotating_key(90 * DAY);
    let mut blobs = Vec::new();
    for month in 0..60 {
        clock.set(T0 + month * 30 * DAY_MS);
        let kms = open(&path, &clock, |o| o);
        blobs.push(kms.encrypt(&id, &month.to_le_bytes(), &[]).unwrap());
        for (blob, month) in blobs.iter().zip(0i64..) {
            assert_eq!(kms.decrypt(blob, &[]).unwrap().as_slice(), month.to_le_bytes());
        }
    }
    let kms = open(&path, &clock, |o| o);
    assert_eq!(kms.key(&id).version_count(), 20, "59 months of 30 days hold 19 intervals of 90 days");
}

#[test]
fn a_key_that_fell_due_while_nobody_was_there_rotates_once() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    let first = open(&path, &clock, |o| o);
    let (used, ticked) = (first.rotating_key(DAY), first.rotating_key(DAY));
    let old = first.sealed_under(&used);
    drop(first);
    clock.set(T0 + 100 * DAY_MS);
    let later = open(&path, &clock, |o| o);
    assert_ne!(later.sealed_under(&used), old);
    assert_eq!(later.tick().unwrap().rotated, 1);
    assert_eq!((later.key(&used).version_count(), later.key(&ticked).version_count()), (2, 2));
}

#[test]
fn another_root_key_opens_nothing_and_changes_nothing() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    let first = open(&path, &clock, |o| o);
    let id = first.plain_key();
    let blob = first.encrypt(&id, b"x", &[]).unwrap();
    drop(first);
    let bytes = std::fs::read(&path).unwrap();
    let options = Options::new().root_key(&[8; 32]).create(true).clock(clock.clone());
    assert_eq!(refused(Keystore::open(&path, &options)), Status::WrongRootKey);
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "something was written before the root key was checked");
    assert_eq!(open(&path, &clock, |o| o).decrypt(&blob, &[]).unwrap().as_slice(), b"x");
}

#[test]
fn a_keystore_that_is_not_there_is_made_only_when_asked() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    assert_eq!(refused(try_open(&path, &clock, |o| o.create(false))), Status::KeystoreNotFound);
    assert!(!std::path::Path::new(&path).exists());
    drop(open(&path, &clock, |o| o));
    assert!(try_open(&path, &clock, |o| o.create(false)).is_ok());
}

#[test]
fn a_bare_path_and_a_sqlite_location_are_the_same_keystore() {
    let (_folder, path) = place();
    let clock = ManualClock::at(T0);
    let id = open(&path, &clock, |o| o).plain_key();
    assert_eq!(open(&format!("sqlite:{path}"), &clock, |o| o).key(&id).id.to_string(), id);
}

#[test]
fn nothing_secret_is_in_the_files() {
    let (folder, path) = place();
    let clock = ManualClock::at(T0);
    let kms = open(&path, &clock, |o| o);
    let id = kms.plain_key();
    kms.encrypt(&id, b"a plaintext of ours", &[]).unwrap();
    let (data_key, _) = kms.generate_data_key(&id, 32, &[]).unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [&ROOT[..], b"a plaintext of ours", &data_key] {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret));
        }
    }
}
