//! Tags: names and values that users attach to keys.

use kms::{KeyId, Status};

use super::support::*;

fn tags(kms: &TestKeystore, id: &str) -> Vec<(String, String)> {
    kms.list_resource_tags(id).unwrap()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn tags_are_set_overwritten_and_removed_by_name() {
    let kms = memory();
    let id = kms.plain_key();
    assert_eq!(tags(&kms, &id), vec![]);
    kms.tag_resource(&id, &[("team", "payments"), ("env", "test")]).unwrap();
    assert_eq!(tags(&kms, &id), pairs(&[("env", "test"), ("team", "payments")]), "in the order of names");
    kms.tag_resource(&id, &[("team", "orders"), ("cost", "")]).unwrap();
    assert_eq!(tags(&kms, &id), pairs(&[("cost", ""), ("env", "test"), ("team", "orders")]));
    kms.untag_resource(&id, &["env", "unknown"]).unwrap();
    assert_eq!(tags(&kms, &id), pairs(&[("cost", ""), ("team", "orders")]), "an unknown name is passed over");
    kms.untag_resource(&id, &["cost", "team"]).unwrap();
    assert_eq!(tags(&kms, &id), vec![]);
}

#[test]
fn tags_belong_to_their_key() {
    let kms = memory();
    let (one, two) = (kms.plain_key(), kms.plain_key());
    kms.tag_resource(&one, &[("team", "a")]).unwrap();
    kms.tag_resource(&two, &[("team", "b")]).unwrap();
    kms.untag_resource(&two, &["team"]).unwrap();
    assert_eq!((tags(&kms, &one), tags(&kms, &two)), (pairs(&[("team", "a")]), vec![]));
    let unknown = KeyId::from_random([5; 16]).to_string();
    assert_eq!(refused(kms.tag_resource(&unknown, &[("a", "b")])), Status::KeyNotFound);
    assert_eq!(refused(kms.untag_resource(&unknown, &["a"])), Status::KeyNotFound);
    assert_eq!(refused(kms.list_resource_tags(&unknown)), Status::KeyNotFound);
}

#[test]
fn tags_do_not_touch_the_key() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    let before = kms.key(&id);
    kms.tag_resource(&id, &[("team", "a")]).unwrap();
    kms.untag_resource(&id, &["team"]).unwrap();
    assert_eq!(kms.key(&id), before);
}

#[test]
fn the_characters_of_a_tag_are_the_services() {
    let kms = memory();
    let id = kms.plain_key();
    let all = "azAZ09/_-.+=@:";
    kms.tag_resource(&id, &[(all, all)]).unwrap();
    assert_eq!(tags(&kms, &id), pairs(&[(all, all)]));
    for bad in ["a b", "é", "a\0", "a\n", "a,b", "a\"b", "a;b", "\u{1F511}"] {
        assert_eq!(refused(kms.tag_resource(&id, &[(bad, "v")])), Status::InvalidArgument, "name {bad:?}");
        assert_eq!(refused(kms.tag_resource(&id, &[("n", bad)])), Status::InvalidArgument, "value {bad:?}");
        assert_eq!(refused(kms.untag_resource(&id, &[bad])), Status::InvalidArgument, "name {bad:?}");
    }
    assert_eq!(refused(kms.tag_resource(&id, &[("", "v")])), Status::InvalidArgument);
    assert_eq!(refused(kms.untag_resource(&id, &[""])), Status::InvalidArgument);
    assert_eq!(tags(&kms, &id).len(), 1);
}

#[test]
fn a_call_sets_all_of_its_tags_or_none() {
    let kms = memory();
    let id = kms.plain_key();
    kms.tag_resource(&id, &[("a", "1")]).unwrap();
    assert_eq!(refused(kms.tag_resource(&id, &[("a", "2"), ("b", "not good")])), Status::InvalidArgument);
    let many: Vec<String> = (0..10).map(|n| format!("n{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "v")).collect();
    assert_eq!(refused(kms.tag_resource(&id, &many)), Status::LimitExceeded, "ten more on one");
    assert_eq!(tags(&kms, &id), pairs(&[("a", "1")]));
}

#[test]
fn a_destroyed_key_takes_its_tags_with_it() {
    let (_folder, path) = place();
    let kms = open(&path, &kms::ManualClock::at(T0), |o| o);
    let (gone, other) = (kms.plain_key(), kms.plain_key());
    for id in [&gone, &other] {
        kms.tag_resource(id, &[("team", id)]).unwrap();
    }
    kms.schedule_key_deletion(&gone, 7).unwrap();
    assert_eq!(tags(&kms, &gone).len(), 1, "listed until then");
    for hours in [0, 1] {
        kms.at(7 * DAY_MS + hours * HOUR_MS);
        kms.tick().unwrap();
    }
    assert_eq!(refused(kms.list_resource_tags(&gone)), Status::KeyNotFound);
    assert_eq!(tags(&kms, &other), pairs(&[("team", &other)]));
    drop(kms);
    let left = std::fs::read(&path).unwrap();
    assert!(!left.windows(gone.len()).any(|bytes| bytes == gone.as_bytes()), "no tag row is left behind");
}

#[test]
fn tags_outlive_the_handle_and_are_seen_by_others() {
    let (_folder, path) = place();
    let clock = kms::ManualClock::at(T0);
    let (one, two) = (open(&path, &clock, |o| o), open(&path, &clock, |o| o));
    let id = one.plain_key();
    one.tag_resource(&id, &[("team", "a")]).unwrap();
    assert_eq!(tags(&two, &id), pairs(&[("team", "a")]));
    two.tag_resource(&id, &[("team", "b")]).unwrap();
    assert_eq!(tags(&one, &id), pairs(&[("team", "b")]));
    drop((one, two));
    assert_eq!(tags(&open(&path, &clock, |o| o), &id), pairs(&[("team", "b")]));
}
