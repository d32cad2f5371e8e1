//! `verify` beside everything else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kms::{CreateKey, Kms, Origin};

use crate::sample::{Place, faults, quiet};

#[test]
fn a_keystore_that_changes_meanwhile_is_whole() {
    let place = Place::new();
    let kms = Kms::open(&place.store(), &quiet().create(true)).unwrap();
    let keys: Vec<String> = (0..300).map(|_| kms.create_key(&CreateKey::default()).unwrap().to_string()).collect();
    let done = AtomicBool::new(false);
    let mut slowest = Duration::ZERO;
    let mut changes = 0;
    std::thread::scope(|scope| {
        let verifier = scope.spawn(|| {
            let other = place.open().unwrap();
            for _ in 0..5 {
                assert_eq!(faults(&other), (vec![], None), "a change beside it passes for damage");
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) && !verifier.is_finished() {
            let key = &keys[changes % keys.len()];
            let started = Instant::now();
            match changes % 5 {
                0 => drop(kms.rotate(key).unwrap()),
                1 => kms.tag_resource(key, &[("n", &changes.to_string())]).unwrap(),
                2 => kms.create_alias(key, &format!("alias/n{changes}")).unwrap(),
                3 => drop(kms.create_key(&CreateKey::default()).unwrap()),
                _ => kms.delete_alias(&format!("alias/n{}", changes - 2)).unwrap(),
            }
            slowest = slowest.max(started.elapsed());
            changes += 1;
        }
    });
    println!("{changes} changes beside 5 walks, the slowest took {slowest:?}");
    assert!(changes > 0);
}

#[test]
fn many_versions_are_walked_in_steps() {
    let place = Place::new();
    let kms = Kms::open(&place.store(), &quiet().create(true)).unwrap();
    let key = kms.create_key(&CreateKey::default()).unwrap().to_string();
    for _ in 0..1100 {
        kms.rotate(&key).unwrap();
    }
    assert_eq!(faults(&kms), (vec![], None));
    drop(kms);
    place.sqlite().execute_batch("DELETE FROM material WHERE number = 700").unwrap();
    let kms = place.open().unwrap();
    let (found, _) = faults(&kms);
    assert!(found.iter().any(|(id, _)| id.as_ref() == Some(&key)), "a missing version among many: {found:?}");
}

#[test]
fn the_visitor_ends_the_walk() {
    let sample = crate::sample::sample();
    let place = Place::new();
    place.put(&sample.bytes);
    place.sqlite().execute_batch("UPDATE key SET description = 'x'").unwrap();
    let kms = place.open().unwrap();
    let mut told = 0;
    let verdict = kms.verify(|_| {
        told += 1;
        false
    });
    assert_eq!((told, verdict.is_err()), (1, true));
    assert_eq!(faults(&kms).0.len(), sample.keys.len(), "each key is named once");
}

#[test]
fn material_that_is_taken_away_and_brought_back_is_whole() {
    let kms = Kms::open("memory:", &quiet()).unwrap();
    let many = kms.create_key(&CreateKey::default()).unwrap().to_string();
    // With the next key's version, as many rows as one step of the walk looks at.
    for _ in 0..510 {
        kms.rotate(&many).unwrap();
    }
    let external = CreateKey { origin: Some(Origin::External), ..CreateKey::default() };
    let key = kms.create_key(&external).unwrap().to_string();
    kms.import_raw_key_material(&key, &[1; 32], None).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                kms.delete_key_material(&key).unwrap();
                kms.import_raw_key_material(&key, &[1; 32], None).unwrap();
            }
        });
        let walks = Vec::from_iter((0..20).map(|_| faults(&kms)));
        done.store(true, Ordering::Relaxed);
        assert!(walks.iter().all(|walk| *walk == (vec![], None)), "a change beside it passes for damage: {walks:?}");
    });
}
