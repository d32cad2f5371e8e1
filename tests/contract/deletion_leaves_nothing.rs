//! Destruction also clears the disk: no sealed byte remains in the file, its free pages or its journal.

use kms::{KeyId, Status};
use rusqlite::{Connection, OpenFlags};

use super::imported::*;
use super::support::*;

/// The sealed material of all of a key's versions, as stored in the file.
fn sealed(path: &str, id: &str) -> Vec<Vec<u8>> {
    let sqlite = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let id = KeyId::parse(id).unwrap();
    let rows = "SELECT sealed FROM material JOIN key ON key_row = row WHERE id = ? ORDER BY number";
    let mut rows = sqlite.prepare(rows).unwrap();
    rows.query_map([id.as_bytes().as_slice()], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// How many of `sought` are found in the keystore or any file next to it; any 16 bytes of one count.
fn found(folder: &tempfile::TempDir, sought: &[Vec<u8>]) -> usize {
    let files: Vec<Vec<u8>> =
        std::fs::read_dir(folder.path()).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    let pieces: std::collections::HashSet<&[u8]> = files.iter().flat_map(|bytes| bytes.windows(16)).collect();
    sought.iter().filter(|sealed| sealed.windows(16).any(|piece| pieces.contains(piece))).count()
}

/// A key with `versions` versions, one of which is the first.
fn rotated(kms: &TestKeystore, versions: usize) -> String {
    let id = kms.plain_key();
    for _ in 1..versions {
        kms.rotate(&id).unwrap();
    }
    id
}

fn destroy(kms: &TestKeystore, ids: &[&String]) {
    for id in ids {
        kms.schedule_key_deletion(id, 7).unwrap();
    }
    let start = kms.clock.millis() - T0;
    for ms in [7 * DAY_MS, 7 * DAY_MS + HOUR_MS] {
        kms.at(start + ms);
        kms.tick().unwrap();
    }
    for id in ids {
        assert_eq!(refused(kms.describe_key(id)), Status::KeyNotFound);
    }
}

#[test]
fn a_destroyed_key_leaves_no_sealed_byte_behind() {
    let (folder, path) = place();
    let kms = open(&path, &kms::ManualClock::at(T0), |o| o);
    let (gone, stays) = (rotated(&kms, 5), rotated(&kms, 3));
    let blob = kms.encrypt(&stays, b"x", &[]).unwrap();
    let (of_gone, of_stays) = (sealed(&path, &gone), sealed(&path, &stays));
    assert_eq!((of_gone.len(), of_stays.len()), (5, 3));
    assert_eq!(found(&folder, &of_gone), 5, "the search itself works");
    destroy(&kms, &[&gone]);
    assert_eq!(found(&folder, &of_gone), 0, "while the keystore is open");
    assert_eq!((found(&folder, &of_stays), sealed(&path, &stays)), (3, of_stays), "the other key is untouched");
    drop(kms);
    assert_eq!(found(&folder, &of_gone), 0, "and after it was closed");
    let kms = open(&path, &kms::ManualClock::at(T0), |o| o);
    assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"x");
}

#[test]
fn keys_that_fill_many_pages_leave_nothing_in_the_free_ones() {
    let (folder, path) = place();
    let kms = open(&path, &kms::ManualClock::at(T0), |o| o);
    let ids: Vec<String> = (0..40).map(|_| rotated(&kms, 10)).collect();
    let (gone, stay): (Vec<_>, Vec<_>) = ids.iter().enumerate().partition(|(at, _)| at % 4 != 0);
    let gone: Vec<&String> = gone.into_iter().map(|(_, id)| id).collect();
    let of_gone: Vec<Vec<u8>> = gone.iter().flat_map(|id| sealed(&path, id)).collect();
    let of_stay: Vec<Vec<u8>> = stay.iter().flat_map(|(_, id)| sealed(&path, id)).collect();
    assert_eq!((of_gone.len(), found(&folder, &of_gone)), (300, 300));
    destroy(&kms, &gone);
    assert_eq!(found(&folder, &of_gone), 0);
    assert_eq!(found(&folder, &of_stay), 100);
    let sqlite = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let free: i64 = sqlite.query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap();
    assert!(free > 0, "there are free pages to look into");
}

#[test]
fn deleted_material_leaves_no_sealed_byte_behind() {
    let (folder, path) = place();
    let kms = open(&path, &kms::ManualClock::at(T0), |o| o);
    let (id, other) = (kms.imported_key(), kms.imported_key());
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    let (before, of_other) = (sealed(&path, &id), sealed(&path, &other));
    assert_eq!(found(&folder, &before), 1);
    kms.delete_key_material(&id).unwrap();
    assert_eq!((sealed(&path, &id).len(), found(&folder, &before)), (0, 0));
    assert_eq!((sealed(&path, &other), found(&folder, &of_other)), (of_other.clone(), 1));
    kms.import_raw_key_material(&id, &MATERIAL, None).unwrap();
    assert_eq!(found(&folder, &before), 0, "it was sealed anew");
    assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"x");
}

#[test]
fn expired_material_leaves_no_sealed_byte_behind() {
    let (folder, path) = place();
    let kms = open(&path, &kms::ManualClock::at(T0), |o| o);
    let id = kms.external_key();
    kms.import_raw_key_material(&id, &MATERIAL, Some(kms::Time::from_millis(T0 + DAY_MS))).unwrap();
    let before = sealed(&path, &id);
    kms.at(DAY_MS);
    kms.tick().unwrap();
    assert_eq!(found(&folder, &before), 1, "a first confirmation erases nothing");
    kms.at(DAY_MS + HOUR_MS);
    kms.tick().unwrap();
    assert_eq!((sealed(&path, &id).len(), found(&folder, &before)), (0, 0));
}

#[test]
fn the_material_itself_is_never_in_the_file() {
    let (folder, path) = place();
    let kms = open(&path, &kms::ManualClock::at(T0), |o| o);
    let id = kms.imported_key();
    kms.encrypt(&id, b"x", &[]).unwrap();
    assert_eq!(found(&folder, &[MATERIAL.to_vec(), ROOT.to_vec()]), 0);
}
