//! A damaged list of free pages: SQLite would overwrite the listed pages when the file next grows.

use kms::{CreateKey, Keystore, Options, Status};

use crate::bytes::page_size;
use crate::pages::pages;
use crate::sample::{Place, faults, quiet};

/// A keystore whose `material` has several pages.
fn filled(place: &Place) -> Keystore {
    let kms = Keystore::open(&place.store(), &quiet().create(true)).unwrap();
    for _ in 0..100 {
        kms.create_key(&CreateKey::default()).unwrap();
    }
    kms
}

/// Names the first page of the list of free pages, and how many are in it, in the file's header.
fn set_list(bytes: &mut [u8], first: usize, count: u32) {
    bytes[32..36].copy_from_slice(&u32::try_from(first).unwrap().to_be_bytes());
    bytes[36..40].copy_from_slice(&count.to_be_bytes());
}

/// The file with one more page.
fn grown(bytes: &[u8], page: &[u32]) -> Vec<u8> {
    let size = page_size(bytes);
    let mut bytes = bytes.to_vec();
    let words: Vec<u8> = page.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend(&words);
    bytes.resize(bytes.len() + size - words.len(), 0);
    let count = u32::try_from(bytes.len() / size).unwrap();
    bytes[28..32].copy_from_slice(&count.to_be_bytes());
    bytes
}

#[test]
fn a_wrong_list_of_free_pages_is_told_and_not_backed_up() {
    let place = Place::new();
    drop(filled(&place));
    let whole = place.bytes();
    assert_eq!(whole[32..40], [0; 8], "no page is free");
    let leaf =
        pages(&whole).into_iter().find(|page| page.of == "material" && matches!(page.kind, 10 | 13)).unwrap().number;
    let live = u32::try_from(leaf).unwrap();
    let last = whole.len() / page_size(&whole);
    let with = |mut bytes: Vec<u8>, first, count| {
        set_list(&mut bytes, first, count);
        bytes
    };
    let beyond = u32::try_from(last + 100).unwrap();
    let damaged = [
        ("a page of a table is free", with(grown(&whole, &[0, 1, live]), last + 1, 2)),
        ("a page of a table is the list", with(whole.clone(), leaf, 1)),
        ("a page belongs to nothing", grown(&whole, &[])),
        ("fewer pages than said", with(grown(&whole, &[0, 0]), last + 1, 2)),
        ("a page beyond the end is free", with(grown(&whole, &[0, 1, beyond]), last + 1, 2)),
        ("more pages than there is room for", with(grown(&whole, &[0, u32::MAX]), last + 1, 1)),
        ("the list goes in a circle", with(grown(&whole, &[u32::try_from(last + 1).unwrap(), 0]), last + 1, 2)),
    ];
    for (number, (what, bytes)) in damaged.iter().enumerate() {
        place.put(bytes);
        let kms = place.open().unwrap();
        let (found, status) = faults(&kms);
        assert_eq!(status, Some(Status::KeystoreCorrupt), "{what}: verify");
        assert!(found.iter().any(|(key, text)| key.is_none() && text.contains("from a backup")), "{what}: {found:?}");
        let copy = place.path(&format!("copy-{number}.db"));
        let refused = kms.backup(&copy).map_err(|error| error.status());
        assert_eq!(refused, Err(Status::KeystoreCorrupt), "{what}: backup");
        assert!(!copy.exists(), "{what}: a bad copy is left");
    }
    place.put(&whole);
    assert_eq!(faults(&place.open().unwrap()), (vec![], None));
}

#[test]
fn free_pages_are_no_fault() {
    let place = Place::new();
    let kms = filled(&place);
    let key = kms.create_key(&CreateKey::default()).unwrap().to_string();
    for n in 0..300 {
        kms.create_alias(&key, &format!("alias/{n:0>200}")).unwrap();
    }
    for n in 0..300 {
        kms.delete_alias(&format!("alias/{n:0>200}")).unwrap();
    }
    let free: i64 = place.sqlite().query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap();
    assert!(free > 2, "{free} pages are free");
    assert_eq!(faults(&kms), (vec![], None));
    let copy = place.path("copy.db");
    kms.backup(&copy).unwrap();
    let root = Options::new().root_key(&crate::sample::ROOT).rotation_thread(false);
    assert_eq!(faults(&Keystore::open(copy.to_str().unwrap(), &root.read_only(true)).unwrap()), (vec![], None));
}
