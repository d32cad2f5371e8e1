//! Lists of keys and versions: complete, in order, paged, and stopped when the visitor says so.

use kms::{KeyId, Status};

use super::support::*;

fn ids(kms: &TestKeystore, after: Option<&str>, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    kms.list_keys(after, limit, |key| {
        found.push(key.id.to_string());
        true
    })
    .unwrap();
    found
}

#[test]
fn an_empty_keystore_lists_nothing() {
    assert!(ids(&memory(), None, usize::MAX).is_empty());
}

#[test]
fn every_key_is_listed_once_in_the_order_of_ids() {
    let kms = memory();
    let mut made: Vec<_> = (0..700).map(|_| kms.plain_key()).collect();
    made.sort();
    assert_eq!(ids(&kms, None, usize::MAX), made);
}

#[test]
fn pages_continue_after_the_last_id_seen() {
    let kms = memory();
    let mut made: Vec<_> = (0..25).map(|_| kms.plain_key()).collect();
    made.sort();
    for size in [1, 2, 7, 24, 25, 26] {
        let mut found: Vec<String> = Vec::new();
        loop {
            let page = ids(&kms, found.last().map(String::as_str), size);
            assert!(page.len() <= size, "a page is at most the limit");
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, made, "pages of {size}");
    }
}

#[test]
fn a_limit_of_zero_shows_nothing() {
    let kms = memory();
    let id = kms.plain_key();
    assert!(ids(&kms, None, 0).is_empty());
    for id in [id, kms.imported_key()] {
        kms.list_key_versions(&id, None, 0, |_, _| panic!("a version was shown")).unwrap();
    }
}

#[test]
fn a_visitor_that_says_stop_sees_no_more() {
    let kms = memory();
    let keys: Vec<_> = (0..10).map(|_| kms.plain_key()).collect();
    let mut seen = 0;
    kms.list_keys(None, usize::MAX, |_| {
        seen += 1;
        seen < 4
    })
    .unwrap();
    assert_eq!(seen, 4);
    for _ in 0..9 {
        kms.rotate(&keys[0]).unwrap();
    }
    let mut seen = 0;
    kms.list_key_versions(&keys[0], None, usize::MAX, |_, _| {
        seen += 1;
        seen < 4
    })
    .unwrap();
    assert_eq!(seen, 4);
}

#[test]
fn a_list_continues_after_a_key_that_was_destroyed_meanwhile() {
    let kms = memory();
    for _ in 0..10 {
        kms.plain_key();
    }
    let before = ids(&kms, None, 10);
    kms.schedule_key_deletion(&before[4], 7).unwrap();
    kms.at(8 * DAY_MS);
    kms.tick().unwrap();
    kms.at(9 * DAY_MS);
    assert_eq!(kms.tick().unwrap().destroyed, 1);
    assert_eq!(ids(&kms, Some(&before[4]), 10), before[5..]);
}

#[test]
fn a_listed_key_is_the_described_key() {
    let kms = memory();
    for id in [kms.rotating_key(DAY), kms.plain_key(), kms.external_key()] {
        let _ = kms.rotate(&id);
    }
    kms.list_keys(None, 10, |key| {
        assert_eq!(*key, kms.key(&key.id.to_string()), "and a visitor may call the keystore");
        true
    })
    .unwrap();
}

#[test]
fn an_alias_is_no_place_to_continue_a_list() {
    let kms = memory();
    assert_eq!(refused(kms.list_keys(Some("alias/orders"), 10, |_| true)), Status::UnsupportedAlias);
}

#[test]
fn versions_are_listed_newest_first_and_the_first_is_the_primary() {
    let kms = memory();
    let id = kms.plain_key();
    for step in 1..=300 {
        kms.at(step);
        kms.rotate(&id).unwrap();
    }
    let mut seen = Vec::new();
    kms.list_key_versions(&id, None, usize::MAX, |version, is_primary| {
        seen.push((*version, is_primary));
        true
    })
    .unwrap();
    assert_eq!(seen.len(), 301);
    for (place, (version, is_primary)) in seen.iter().enumerate() {
        assert_eq!(*is_primary, place == 0, "exactly one primary, and it is the newest");
        assert_eq!(version.number, 301 - place as u64);
        assert_eq!(version.created.millis(), T0 + 300 - place as i64);
    }
    assert_eq!(seen[0].0.id, kms.primary(&id));
}

#[test]
fn version_pages_continue_below_a_number() {
    let kms = memory();
    let id = kms.plain_key();
    for _ in 0..9 {
        kms.rotate(&id).unwrap();
    }
    let all = kms.versions(&id);
    let mut found: Vec<kms::KeyVersion> = Vec::new();
    loop {
        let (before, had) = (found.last().map(|v| v.number), found.len());
        kms.list_key_versions(&id, before, 3, |version, is_primary| {
            assert_eq!(is_primary, version.number == 10);
            found.push(*version);
            true
        })
        .unwrap();
        if found.len() == had {
            break;
        }
        assert!(found.len() - had <= 3);
    }
    assert_eq!(found, all);
}

#[test]
fn the_versions_of_another_key_are_not_listed() {
    let kms = memory();
    let (one, two) = (kms.plain_key(), kms.plain_key());
    kms.rotate(&one).unwrap();
    kms.rotate(&two).unwrap();
    let (first, second) = (kms.versions(&one), kms.versions(&two));
    assert_eq!((first.len(), second.len()), (2, 2));
    assert!(first.iter().all(|v| !second.contains(v)));
}

#[test]
fn keys_made_at_once_by_many_threads_are_all_there() {
    let kms = memory();
    let mut made = std::thread::scope(|scope| {
        let make = || (0..50).map(|_| kms.plain_key()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect::<Vec<_>>()
    });
    made.sort();
    assert_eq!(ids(&kms, None, usize::MAX), made);
    assert!(made.iter().all(|id| KeyId::parse(id).is_some()));
}
