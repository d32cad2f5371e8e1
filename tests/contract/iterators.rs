//! Lists as iterators: everything once, in order, read page by page.

use kms::{CreateKey, KeyRef, Result, Status};

use super::support::*;

/// More than two pages.
const MANY: usize = 600;

#[test]
fn keys_are_iterated_once_in_the_order_of_their_ids() {
    let kms = memory();
    assert_eq!(kms.keys().count(), 0);
    let mut made = kms.create_keys(&CreateKey::default(), MANY).unwrap();
    made.sort_unstable();
    let found: Vec<_> = kms.keys().map(|key| key.unwrap().id).collect();
    assert_eq!(found, made);
}

#[test]
fn versions_are_iterated_newest_first() {
    let kms = memory();
    let id = kms.create_key(&CreateKey::default()).unwrap();
    for _ in 1..MANY {
        kms.rotate(id).unwrap();
    }
    let versions: Vec<_> = kms.key_versions(id).map(Result::unwrap).collect();
    assert!(versions.iter().map(|version| version.number).eq((1..=MANY as u64).rev()));
    assert_eq!(
        Some(versions[0].id),
        kms.describe_key(id).unwrap().primary.map(|primary| primary.id),
        "the first is the primary"
    );
}

#[test]
fn aliases_are_iterated_in_the_order_of_names() {
    let kms = memory();
    let keys = kms.create_keys(&CreateKey::default(), 2).unwrap();
    let names: Vec<_> = (0..MANY).map(|n| format!("alias/{n:04}")).collect();
    for (n, name) in names.iter().enumerate() {
        kms.create_alias(keys[n % 2], name).unwrap();
    }
    let all: Vec<_> = kms.aliases().map(Result::unwrap).collect();
    assert!(all.iter().map(|(name, _)| name).eq(&names));
    assert!(all.iter().enumerate().all(|(n, (_, key))| *key == keys[n % 2]));
    let second: Vec<_> = kms.aliases_of(keys[1]).map(Result::unwrap).collect();
    assert!(second.iter().eq(names.iter().skip(1).step_by(2)));
}

#[test]
fn an_error_is_the_last_item() {
    let kms = memory();
    let unknown = kms::KeyId::from_random([5; 16]);
    let status = |mut items: Vec<Result<()>>| (items.len() == 1).then(|| items.remove(0).unwrap_err().status());
    assert_eq!(status(kms.key_versions(unknown).map(|i| i.map(drop)).collect()), Some(Status::KeyNotFound));
    assert_eq!(status(kms.key_versions("alias/none").map(|i| i.map(drop)).collect()), Some(Status::AliasNotFound));
    assert_eq!(status(kms.aliases_of(&unknown).map(|i| i.map(drop)).collect()), Some(Status::KeyNotFound));
    assert_eq!(status(kms.aliases_of("alias/none").map(|i| i.map(drop)).collect()), Some(Status::UnsupportedAlias));
}

#[test]
fn an_alias_that_moves_does_not_mix_the_versions_of_two_keys() {
    let kms = memory();
    let keys = kms.create_keys(&CreateKey::default(), 2).unwrap();
    kms.create_alias(keys[0], "alias/moving").unwrap();
    for _ in 0..MANY {
        kms.rotate(keys[0]).unwrap();
    }
    let mut versions = kms.key_versions("alias/moving");
    assert!(versions.next().unwrap().is_ok());
    kms.update_alias(keys[1], "alias/moving").unwrap();
    assert_eq!(versions.map(Result::unwrap).count(), MANY, "all of the first key");
}

#[test]
fn a_key_is_named_by_its_id_its_text_or_an_alias() {
    let kms = memory();
    let id = kms.create_key(&CreateKey::default()).unwrap();
    kms.create_alias(id, "alias/named").unwrap();
    let text = id.to_string();
    for name in [KeyRef::from(id), (&id).into(), (&text).into(), text.as_str().into(), "alias/named".into()] {
        let blob = kms.encrypt(name, b"x", &[]).unwrap();
        assert_eq!(kms.inspect(&blob).unwrap().key, id);
        assert_eq!(kms.describe_key(name).unwrap().id, id);
    }
    assert_eq!(format!("{:?}", KeyRef::from("hunter2")), "KeyRef(7 bytes)", "what was passed by mistake");
}
