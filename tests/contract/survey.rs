//! Surveys: counts by key and version, and the versions that nothing needs.

use kms::{Keystore, Status, file::FileOptions};

use super::support::*;

#[test]
fn a_survey_counts_every_version_of_the_keys_that_occur() {
    let kms = memory();
    let (cards, orders, absent) = (kms.plain_key(), kms.plain_key(), kms.plain_key());
    let mut blobs = Vec::new();
    for count in [2, 0, 3, 1] {
        blobs.extend((0..count).map(|_| kms.encrypt(&cards, b"x", &[("a", "b")]).unwrap()));
        kms.rotate(&cards).unwrap();
    }
    blobs.push(kms.encrypt(&orders, b"", &[]).unwrap());
    let mut survey = kms.survey();
    for blob in blobs.iter().rev() {
        let (key, version) = survey.add(blob).unwrap();
        let info = kms.inspect(blob).unwrap();
        assert_eq!((key, version), (info.key, info.version));
    }
    let counts = survey.counts().unwrap();
    let of = |key: &str| -> Vec<_> {
        let of_key = counts.iter().filter(|found| found.key.to_string() == *key);
        of_key.map(|found| (found.version.number, found.count, found.version.is_primary)).collect()
    };
    assert_eq!(of(&cards), [(5, 0, true), (4, 1, false), (3, 3, false), (2, 0, false), (1, 2, false)]);
    assert_eq!(of(&orders), [(1, 1, true)]);
    assert!(of(&absent).is_empty());
    assert_eq!((survey.readable(), survey.unreadable().total()), (7, 0));
    kms.rotate(&orders).unwrap();
    let later = survey.counts().unwrap();
    assert!(
        later.iter().any(|found| found.version.number == 2 && found.version.is_primary && found.count == 0),
        "{later:?}"
    );
}

#[test]
fn what_cannot_be_read_is_counted_by_reason() {
    let (kms, other) = (memory(), memory());
    let id = kms.plain_key();
    let good = kms.encrypt(&id, b"x", &[]).unwrap();
    let foreign = other.encrypt(&other.plain_key(), b"x", &[]).unwrap();
    let mut unknown = good.clone();
    unknown[30] ^= 1;
    let mut survey = kms.survey();
    survey.add(&good).unwrap();
    for _ in 0..3 {
        for (bytes, status) in [
            (&foreign[..], Status::KeyNotFound),
            (&unknown, Status::KeyVersionNotFound),
            (&good[..79], Status::MalformedCiphertext),
            (b"", Status::MalformedCiphertext),
        ] {
            let inspected = kms.inspect(bytes).unwrap_err();
            assert_eq!((survey.add(bytes).unwrap_err().status(), inspected.status()), (status, status));
        }
    }
    let found = survey.unreadable();
    assert_eq!((found.unknown_key, found.unknown_version, found.malformed, found.total()), (3, 3, 6, 12));
    assert_eq!(survey.readable(), 1);
}

#[test]
fn an_encrypted_file_counts_by_its_header() {
    let (_folder, path) = place();
    let kms = memory();
    let id = kms.plain_key();
    std::fs::write(&path, vec![7; 50_000]).unwrap();
    let sealed = format!("{path}.kms");
    kms.encrypt_file(&id, &path, &sealed, &[], &FileOptions::new()).unwrap();
    kms.rotate(&id).unwrap();
    let count = |expected| {
        let bytes = std::fs::read(&sealed).unwrap();
        let mut survey = kms.survey();
        survey.add(&bytes[..Keystore::FILE_HEADER_BYTES]).unwrap();
        survey.add(&bytes).unwrap();
        let used = survey.counts().unwrap().into_iter().find(|found| found.count > 0).unwrap();
        assert_eq!((used.version.number, used.count), (expected, 2));
        let error = survey.add(&bytes[..Keystore::FILE_HEADER_BYTES - 1]).unwrap_err();
        assert_eq!(error.status(), Status::MalformedCiphertext);
    };
    count(1);
    kms.reencrypt_file(&sealed, &[], None).unwrap();
    count(2);
}

#[test]
fn a_version_that_another_handle_makes_meanwhile_counts() {
    let (_folder, path) = place();
    let clock = kms::ManualClock::at(T0);
    let (first, second) = (open(&path, &clock, |options| options), open(&path, &clock, |options| options));
    let id = first.plain_key();
    let mut survey = first.survey();
    survey.add(&second.encrypt(&id, b"x", &[]).unwrap()).unwrap();
    second.rotate(&id).unwrap();
    survey.add(&second.encrypt(&id, b"x", &[]).unwrap()).unwrap();
    assert_eq!(survey.counts().unwrap().iter().map(|found| found.count).collect::<Vec<_>>(), [1, 1]);
}
