//! The limits at creation: the last size that is accepted, the first that isn't.

use kms::{CreateKey, Interval, Status};

use super::support::*;

#[test]
fn a_context_has_at_most_8192_encoded_bytes() {
    let kms = memory();
    let id = kms.plain_key();
    // The count, and the two lengths of one entry with a key of one byte.
    let room = 8192 - 2 - 2 - 1 - 2;
    let (fits, too_long) = ("v".repeat(room), "v".repeat(room + 1));
    let blob = kms.encrypt(&id, b"x", &[("k", &fits)]).unwrap();
    kms.decrypt(&blob, &[("k", &fits)]).unwrap();
    kms.generate_data_key(&id, 32, &[("k", &fits)]).unwrap();
    kms.reencrypt(&blob, &[("k", &fits)], Some((&id).into()), &[("k", &fits)]).unwrap();
    let over = [("k", too_long.as_str())];
    assert_eq!(refused(kms.encrypt(&id, b"x", &over)), Status::LimitExceeded);
    assert_eq!(refused(kms.generate_data_key(&id, 32, &over)), Status::LimitExceeded);
    assert_eq!(refused(kms.generate_data_key_without_plaintext(&id, 32, &over)), Status::LimitExceeded);
    assert_eq!(refused(kms.reencrypt(&blob, &[("k", &fits)], Some((&id).into()), &over)), Status::LimitExceeded);
}

#[test]
fn a_context_of_many_entries_is_measured_by_its_encoding() {
    let kms = memory();
    let id = kms.plain_key();
    // An entry with a key of six bytes and no value takes ten; 819 of them and the count make 8192.
    let keys: Vec<String> = (0..820).map(|n| format!("k{n:05}")).collect();
    let context: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "")).collect();
    kms.encrypt(&id, b"x", &context[..819]).unwrap();
    assert_eq!(refused(kms.encrypt(&id, b"x", &context)), Status::LimitExceeded);
}

#[test]
fn the_limit_of_a_context_does_not_bind_when_opening() {
    let kms = memory();
    let id = kms.plain_key();
    let blob = kms.encrypt(&id, b"x", &[("k", "v")]).unwrap();
    let long = "v".repeat(20_000);
    assert_eq!(refused(kms.decrypt(&blob, &[("k", &long)])), Status::AuthenticationFailed);
}

#[test]
fn a_description_has_at_most_8192_characters_however_long_in_bytes() {
    let kms = memory();
    for letter in ["d", "é", "\u{1F511}"] {
        let (fits, too_long) = (letter.repeat(8192), letter.repeat(8193));
        let request = CreateKey { description: fits.clone(), ..CreateKey::default() };
        let id = kms.create_key(&request).unwrap().to_string();
        assert_eq!(kms.key(&id).description, fits);
        let request = CreateKey { description: too_long.clone(), ..CreateKey::default() };
        assert_eq!(refused(kms.create_key(&request)), Status::LimitExceeded);
        assert_eq!(refused(kms.update_key_description(&id, &too_long)), Status::LimitExceeded);
        kms.update_key_description(&id, &fits).unwrap();
        kms.set_deletion_protection(&id, Some(&fits)).unwrap();
        assert_eq!(refused(kms.set_deletion_protection(&id, Some(&too_long))), Status::LimitExceeded);
    }
}

#[test]
fn a_key_has_at_most_ten_tags() {
    let kms = memory();
    let id = kms.plain_key();
    let names: Vec<String> = (0..11).map(|n| format!("n{n}")).collect();
    let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    assert_eq!(refused(kms.tag_resource(&id, &all)), Status::LimitExceeded);
    assert_eq!(kms.list_resource_tags(&id).unwrap(), vec![]);
    kms.tag_resource(&id, &all[..10]).unwrap();
    assert_eq!(refused(kms.tag_resource(&id, &all[10..])), Status::LimitExceeded);
    kms.tag_resource(&id, &[("n0", "new"), ("n9", "new")]).unwrap();
    kms.untag_resource(&id, &["n0"]).unwrap();
    kms.tag_resource(&id, &all[10..]).unwrap();
    assert_eq!(kms.list_resource_tags(&id).unwrap().len(), 10);
}

#[test]
fn a_tag_has_a_name_of_1_to_128_and_a_value_of_0_to_256_characters() {
    let kms = memory();
    let id = kms.plain_key();
    let (name, value) = ("n".repeat(128), "v".repeat(256));
    kms.tag_resource(&id, &[(&name, &value), ("n", "")]).unwrap();
    kms.untag_resource(&id, &[&name]).unwrap();
    let too_long = |result| {
        let status = refused(result);
        assert!(matches!(status, Status::InvalidArgument | Status::LimitExceeded), "{status:?}");
    };
    too_long(kms.tag_resource(&id, &[(&"n".repeat(129), "v")]));
    too_long(kms.tag_resource(&id, &[("m", &"v".repeat(257))]));
    assert_eq!(refused(kms.tag_resource(&id, &[("", "v")])), Status::InvalidArgument);
    assert_eq!(kms.list_resource_tags(&id).unwrap(), vec![("n".to_owned(), String::new())]);
}

#[test]
fn an_alias_has_1_to_255_characters_after_its_prefix() {
    let kms = memory();
    let id = kms.plain_key();
    let (fits, too_long) = (format!("alias/{}", "n".repeat(255)), format!("alias/{}", "n".repeat(256)));
    kms.create_alias(&id, "alias/n").unwrap();
    kms.create_alias(&id, &fits).unwrap();
    assert_eq!(kms.key(&fits).id.to_string(), id);
    kms.delete_alias(&fits).unwrap();
    for result in [kms.create_alias(&id, &too_long), kms.update_alias(&id, &too_long)] {
        let status = refused(result);
        assert!(matches!(status, Status::InvalidArgument | Status::LimitExceeded), "{status:?}");
    }
    assert_eq!(refused(kms.create_alias(&id, "alias/")), Status::InvalidArgument);
}

#[test]
fn a_data_key_has_1_to_1024_bytes_by_either_call() {
    let kms = memory();
    let id = kms.plain_key();
    for len in [1, 1024] {
        assert_eq!(kms.generate_data_key(&id, len, &[]).unwrap().0.len(), len);
        let blob = kms.generate_data_key_without_plaintext(&id, len, &[]).unwrap();
        assert_eq!(kms.decrypt(&blob, &[]).unwrap().len(), len);
    }
    for len in [0, 1025] {
        assert_eq!(refused(kms.generate_data_key(&id, len, &[])), Status::InvalidArgument);
        assert_eq!(refused(kms.generate_data_key_without_plaintext(&id, len, &[])), Status::InvalidArgument);
    }
}

#[test]
fn an_interval_has_a_second_to_3650_days() {
    for good in ["1s", "3650d", "87600h", "5256000m", "315360000s"] {
        Interval::parse(good).unwrap();
    }
    for bad in ["0s", "0d", "3651d", "87601h", "5256001m", "315360001s", "99999999999999999999d"] {
        assert_eq!(refused(Interval::parse(bad)), Status::InvalidArgument, "{bad}");
    }
}
