//! Batches: records succeed or fail independently, all under one version, and a failed one leaves nothing.

use kms::{Record, ReencryptItem, Status};

use super::support::*;

const MAP: &[(&str, &str)] = &[("tenant", "42")];

fn texts(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| format!("record {n}").repeat(n).into_bytes()).collect()
}

fn records<'a>(texts: &'a [Vec<u8>], context: &'a [(&'a str, &'a str)]) -> Vec<Record<'a>> {
    texts.iter().map(|data| Record { data, context }).collect()
}

#[test]
fn a_batch_gives_what_single_calls_would() {
    let kms = memory();
    let (id, texts) = (kms.plain_key(), texts(40));
    let sealed: Vec<Vec<u8>> =
        kms.encrypt_batch(&id, &records(&texts, MAP)).unwrap().into_iter().map(Result::unwrap).collect();
    for (blob, text) in sealed.iter().zip(&texts) {
        assert_eq!(kms.decrypt(blob, MAP).unwrap().as_slice(), text);
    }
    let opened = kms.decrypt_batch(&records(&sealed, MAP)).unwrap();
    for (opened, text) in opened.into_iter().zip(&texts) {
        assert_eq!(opened.unwrap().as_slice(), text);
    }
    let nonces: std::collections::HashSet<&[u8]> = sealed.iter().map(|blob| &blob[40..64]).collect();
    assert_eq!(nonces.len(), sealed.len(), "a nonce repeats in a batch");
}

#[test]
fn records_that_share_a_context_and_others_are_bound_to_their_own() {
    let kms = memory();
    let key = kms.plain_key();
    let (shared, twin, wrong) = ([("tenant", "1")], [("tenant", "2")], [("", "an empty name")]);
    let contexts: [&[(&str, &str)]; 8] = [&shared, &shared, &twin, &wrong, &shared, &[], &[], &shared];
    let records: Vec<Record> = contexts.iter().map(|context| Record { data: b"text", context }).collect();
    let sealed = kms.encrypt_batch(&key, &records).unwrap();
    for (context, blob) in contexts.iter().zip(&sealed) {
        match blob {
            Ok(blob) => assert_eq!(&*kms.decrypt(blob, context).unwrap(), b"text"),
            Err(error) => assert_eq!((error.status(), *context), (Status::InvalidArgument, &wrong[..])),
        }
    }
    // The other way, with the contexts of two records swapped.
    let blobs: Vec<Vec<u8>> = sealed.into_iter().flatten().collect();
    let contexts: [&[(&str, &str)]; 7] = [&shared, &shared, &shared, &twin, &[], &[], &shared];
    let records: Vec<Record> =
        blobs.iter().zip(contexts).map(|(blob, context)| Record { data: blob, context }).collect();
    let opened: Vec<bool> = kms.decrypt_batch(&records).unwrap().iter().map(Result::is_ok).collect();
    assert_eq!(opened, [true, true, false, false, true, true, true]);
}

#[test]
fn all_records_of_a_call_are_under_one_version_also_when_the_key_rotates_meanwhile() {
    let (_folder, path) = place();
    let kms = open(&path, &kms::ManualClock::at(T0), |options| options);
    let id = kms.plain_key();
    let texts = vec![vec![7; 2000]; 400];
    let done = std::sync::atomic::AtomicBool::new(false);
    let mut versions = std::collections::HashSet::new();
    std::thread::scope(|scope| {
        let rotating = scope.spawn(|| {
            let mut rotations = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                kms.rotate(&id).unwrap();
                rotations += 1;
            }
            rotations
        });
        for _ in 0..60 {
            let sealed = kms.encrypt_batch(&id, &records(&texts, &[])).unwrap();
            let used: std::collections::HashSet<_> =
                sealed.iter().map(|blob| kms.inspect(blob.as_ref().unwrap()).unwrap().version).collect();
            assert_eq!(used.len(), 1, "one call used several versions");
            versions.extend(used);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(rotating.join().unwrap() > 0);
    });
    assert!(versions.len() > 1, "no rotation came between, so the test proves nothing");
}

#[test]
fn an_overdue_key_rotates_before_the_first_record_and_never_after_it() {
    let kms = memory();
    let id = kms.rotating_key(60);
    let first = kms.primary(&id);
    kms.at(61_000);
    let texts = texts(3);
    let sealed = kms.encrypt_batch(&id, &records(&texts, &[])).unwrap();
    let used: Vec<_> = sealed.iter().map(|blob| kms.inspect(blob.as_ref().unwrap()).unwrap().version).collect();
    assert_ne!(used[0], first, "an overdue key encrypted");
    assert!(used.iter().all(|version| *version == kms.primary(&id)));
}

#[test]
fn a_failed_record_leaves_the_others_alone() {
    let kms = memory();
    let (id, other) = (kms.plain_key(), kms.plain_key());
    let good = kms.encrypt(&id, b"good", MAP).unwrap();
    let mut changed = good.clone();
    changed[70] ^= 1;
    let of_other = kms.encrypt(&other, b"other", &[]).unwrap();
    kms.disable_key(&other).unwrap();
    let wrong = [("tenant", "43")];
    let opened = kms
        .decrypt_batch(&[
            Record { data: &good, context: MAP },
            Record { data: &changed, context: MAP },
            Record { data: &good, context: &wrong },
            Record { data: b"not a blob", context: &[] },
            Record { data: &of_other, context: &[] },
            Record { data: &good, context: &[("", "empty key")] },
            Record { data: &good, context: MAP },
        ])
        .unwrap();
    let statuses: Vec<Option<Status>> = opened.iter().map(|one| one.as_ref().err().map(|e| e.status())).collect();
    assert_eq!(
        statuses,
        [
            None,
            Some(Status::AuthenticationFailed),
            Some(Status::AuthenticationFailed),
            Some(Status::MalformedCiphertext),
            Some(Status::RejectedDisabled),
            Some(Status::InvalidArgument),
            None
        ]
    );
    let long = "x".repeat(9000);
    let sealed = kms
        .encrypt_batch(&id, &[Record { data: b"a", context: &[("k", &long)] }, Record { data: b"b", context: &[] }])
        .unwrap();
    assert_eq!(sealed[0].as_ref().unwrap_err().status(), Status::LimitExceeded);
    assert_eq!(kms.decrypt(sealed[1].as_ref().unwrap(), &[]).unwrap().as_slice(), b"b");
}

#[test]
fn what_is_about_the_key_fails_the_whole_call() {
    let kms = memory();
    let id = kms.plain_key();
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    let sealing = [Record { data: b"x", context: &[] }];
    let moving = [ReencryptItem { blob: &blob, ..ReencryptItem::default() }];
    let unknown = "00000000-0000-4000-8000-000000000000";
    assert_eq!(refused(kms.encrypt_batch(unknown, &sealing)), Status::KeyNotFound);
    assert_eq!(refused(kms.encrypt_batch("alias/none", &sealing)), Status::AliasNotFound);
    assert_eq!(refused(kms.encrypt_batch("", &sealing)), Status::InvalidArgument);
    assert_eq!(refused(kms.encrypt_batch(unknown, &[])), Status::KeyNotFound, "also without records");
    assert_eq!(refused(kms.reencrypt_batch(Some("alias/none".into()), &moving)), Status::AliasNotFound);
    assert_eq!(refused(kms.reencrypt_batch(Some("".into()), &moving)), Status::InvalidArgument);
    assert_eq!(refused(kms.reencrypt_batch(Some(unknown.into()), &moving)), Status::KeyNotFound);
    kms.disable_key(&id).unwrap();
    assert_eq!(refused(kms.encrypt_batch(&id, &sealing)), Status::RejectedDisabled);
    assert_eq!(refused(kms.reencrypt_batch(Some((&id).into()), &moving)), Status::RejectedDisabled);
    assert!(kms.encrypt_batch(&kms.plain_key(), &[]).unwrap().is_empty());
}

#[test]
fn a_batch_moves_ciphertexts_of_several_keys_to_one_version() {
    let kms = memory();
    let keys = [kms.plain_key(), kms.plain_key()];
    let to = kms.plain_key();
    let blobs: Vec<Vec<u8>> = (0..10).map(|n| kms.encrypt(&keys[n % 2], &[n as u8; 50], MAP).unwrap()).collect();
    let new = [("tenant", "43"), ("moved", "yes")];
    let mut moves: Vec<ReencryptItem<'_>> =
        blobs.iter().map(|blob| ReencryptItem { blob, source_context: MAP, destination_context: &new }).collect();
    moves[3].source_context = &[];
    let moved = kms.reencrypt_batch(Some((&to).into()), &moves).unwrap();
    for (n, blob) in moved.iter().enumerate() {
        if n == 3 {
            assert_eq!(blob.as_ref().unwrap_err().status(), Status::AuthenticationFailed);
            continue;
        }
        let blob = blob.as_ref().unwrap();
        assert_eq!(kms.decrypt(blob, &new).unwrap().as_slice(), [n as u8; 50]);
        assert_eq!(kms.inspect(blob).unwrap().version, kms.primary(&to));
    }
}

#[test]
fn a_batch_without_a_destination_moves_each_ciphertext_to_its_own_keys_newest_version() {
    let kms = memory();
    let keys = [kms.plain_key(), kms.plain_key(), kms.plain_key()];
    let blobs: Vec<Vec<u8>> = (0..9).map(|n| kms.encrypt(&keys[n % 3], &[n as u8; 5000], &[]).unwrap()).collect();
    for key in &keys {
        kms.rotate(key).unwrap();
    }
    kms.disable_key(&keys[2]).unwrap();
    let moves: Vec<ReencryptItem<'_>> =
        blobs.iter().map(|blob| ReencryptItem { blob, ..ReencryptItem::default() }).collect();
    for (n, moved) in kms.reencrypt_batch(None, &moves).unwrap().into_iter().enumerate() {
        if n % 3 == 2 {
            assert_eq!(refused(moved), Status::RejectedDisabled);
            continue;
        }
        let moved = moved.unwrap();
        assert_eq!(kms.inspect(&moved).unwrap().version, kms.primary(&keys[n % 3]), "record {n}");
        assert_eq!(kms.decrypt(&moved, &[]).unwrap().as_slice(), [n as u8; 5000]);
    }
}

#[test]
fn a_batch_goes_to_the_key_that_the_alias_names() {
    let kms = memory();
    let (from, to) = (kms.plain_key(), kms.plain_key());
    kms.create_alias(&to, "alias/to").unwrap();
    let blob = kms.encrypt(&from, b"x", &[]).unwrap();
    let moved = kms
        .reencrypt_batch(Some("alias/to".into()), &[ReencryptItem { blob: &blob, ..ReencryptItem::default() }])
        .unwrap();
    assert_eq!(kms.inspect(moved[0].as_ref().unwrap()).unwrap().key.to_string(), to);
}
