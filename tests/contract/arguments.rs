//! Arguments: the valid ids, names and sizes. Parameters are checked before existence, origin and state.

use kms::{CreateKey, KeyId, Keystore, Result, Status, Wrapping};

use super::support::*;

type Call = (&'static str, fn(&Keystore, &str) -> Result<()>);

/// Operations whose key may be an id or an alias.
const BY_ID_OR_ALIAS: &[Call] = &[
    ("describe_key", |kms, key| kms.describe_key(key).map(drop)),
    ("list_key_versions", |kms, key| kms.list_key_versions(key, None, 9, |_, _| true)),
    ("rotate", |kms, key| kms.rotate(key).map(drop)),
    ("encrypt", |kms, key| kms.encrypt(key, b"x", &[]).map(drop)),
    ("generate_data_key", |kms, key| kms.generate_data_key(key, 32, &[]).map(drop)),
    ("reencrypt", |kms, key| {
        let source = kms.create_key(&CreateKey::default())?.to_string();
        kms.reencrypt(&kms.encrypt(&source, b"x", &[])?, &[], Some(key.into()), &[]).map(drop)
    }),
    ("generate_data_key_without_plaintext", |kms, key| kms.generate_data_key_without_plaintext(key, 32, &[]).map(drop)),
];

/// Operations that take an id only.
const BY_ID: &[Call] = &[
    ("enable_key", |kms, key| kms.enable_key(key)),
    ("disable_key", |kms, key| kms.disable_key(key)),
    ("schedule_key_deletion", |kms, key| kms.schedule_key_deletion(key, 7)),
    ("cancel_key_deletion", |kms, key| kms.cancel_key_deletion(key)),
    ("update_rotation_policy", |kms, key| kms.update_rotation_policy(key, Some(seconds(DAY)))),
    ("update_rotation_policy, off", |kms, key| kms.update_rotation_policy(key, None)),
];

#[test]
fn an_alias_is_refused_where_only_an_id_will_do() {
    let kms = memory();
    for (name, call) in BY_ID {
        assert_eq!(refused(call(&kms, "alias/orders")), Status::UnsupportedAlias, "{name}");
    }
}

#[test]
fn an_unknown_alias_is_an_alias_not_found() {
    let kms = memory();
    for (name, call) in BY_ID_OR_ALIAS {
        assert_eq!(refused(call(&kms, "alias/orders")), Status::AliasNotFound, "{name}");
    }
}

#[test]
fn an_unknown_id_is_a_key_not_found() {
    let kms = memory();
    let real = kms.plain_key();
    let unknown = KeyId::from_random([5; 16]).to_string();
    let cut = &real[..35];
    let longer = format!("{real}0");
    let spaced = format!(" {}", &real[..35]);
    let names = [unknown.as_str(), "orders", "Alias/orders", "-", "x", cut, &longer, &spaced, "\u{1F511}"];
    for (name, call) in BY_ID.iter().chain(BY_ID_OR_ALIAS) {
        for key in names {
            assert_eq!(refused(call(&kms, key)), Status::KeyNotFound, "{name}({key:?})");
        }
    }
}

#[test]
fn an_empty_key_is_an_invalid_argument() {
    let kms = memory();
    for (name, call) in BY_ID.iter().chain(BY_ID_OR_ALIAS) {
        assert_eq!(refused(call(&kms, "")), Status::InvalidArgument, "{name}");
    }
}

#[test]
fn parameters_are_checked_before_existence() {
    let kms = memory();
    let unknown = KeyId::from_random([5; 16]).to_string();
    let long = "v".repeat(9000);
    assert_eq!(refused(kms.encrypt(&unknown, b"x", &[("", "v")])), Status::InvalidArgument);
    assert_eq!(refused(kms.encrypt(&unknown, b"x", &[("k", &long)])), Status::LimitExceeded);
    assert_eq!(refused(kms.generate_data_key(&unknown, 0, &[])), Status::InvalidArgument);
    assert_eq!(refused(kms.generate_data_key(&unknown, 1025, &[])), Status::InvalidArgument);
    assert_eq!(refused(kms.schedule_key_deletion(&unknown, 6)), Status::InvalidArgument);
    let mut foreign = memory_blob();
    assert_eq!(refused(kms.decrypt(&foreign, &[("k", "1"), ("k", "2")])), Status::InvalidArgument);
    foreign.truncate(79);
    assert_eq!(refused(kms.decrypt(&foreign, &[])), Status::MalformedCiphertext);
}

/// A blob of a keystore that is gone.
fn memory_blob() -> Vec<u8> {
    let kms = memory();
    kms.encrypt(&kms.plain_key(), b"x", &[]).unwrap()
}

#[test]
fn parameters_are_checked_before_origin_and_state() {
    let kms = memory();
    let (disabled, pending, external) = (kms.plain_key(), kms.plain_key(), kms.external_key());
    kms.disable_key(&disabled).unwrap();
    kms.schedule_key_deletion(&pending, 7).unwrap();
    for id in [&disabled, &pending, &external] {
        assert_eq!(refused(kms.encrypt(id, b"x", &[("", "v")])), Status::InvalidArgument);
        assert_eq!(refused(kms.generate_data_key(id, 0, &[])), Status::InvalidArgument);
        assert_eq!(refused(kms.schedule_key_deletion(id, 367)), Status::InvalidArgument);
    }
}

#[test]
fn existence_is_checked_before_state() {
    let kms = memory();
    let id = kms.plain_key();
    let mut blob = kms.encrypt(&id, b"x", &[]).unwrap();
    blob[24] ^= 1;
    kms.disable_key(&id).unwrap();
    assert_eq!(
        refused(kms.decrypt(&blob, &[])),
        Status::KeyVersionNotFound,
        "a version that doesn't exist is told first"
    );
}

#[test]
fn state_is_checked_before_authenticity() {
    let kms = memory();
    let id = kms.plain_key();
    let mut blob = kms.encrypt(&id, b"x", &[]).unwrap();
    *blob.last_mut().unwrap() ^= 1;
    kms.disable_key(&id).unwrap();
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::RejectedDisabled);
}

#[test]
fn a_plaintext_of_more_than_a_gibibyte_is_too_much() {
    let kms = memory();
    let id = kms.plain_key();
    // Never touched, so it costs no memory: the size is checked first.
    let plaintext = vec![0; (1 << 30) + 1];
    assert_eq!(refused(kms.encrypt(&id, &plaintext, &[])), Status::LimitExceeded);
}

#[test]
fn a_description_has_at_most_8192_characters() {
    let kms = memory();
    for description in [String::new(), "é".repeat(8192), "line\nand \"quotes\" \u{1F511}".into()] {
        let id = kms.create_key(&CreateKey { description: description.clone(), ..CreateKey::default() }).unwrap();
        assert_eq!(kms.key(&id.to_string()).description, description);
    }
    let request = CreateKey { description: "é".repeat(8193), ..CreateKey::default() };
    let status = refused(kms.create_key(&request));
    assert!(matches!(status, Status::InvalidArgument | Status::LimitExceeded), "{status:?}");
}

#[test]
fn an_error_never_tells_what_was_to_be_kept_secret() {
    let kms = memory();
    let id = kms.plain_key();
    let (plaintext, value, other) = ("the plaintext itself", "a context value", "another value");
    let blob = kms.encrypt(&id, plaintext.as_bytes(), &[("k", value)]).unwrap();
    let errors = [
        kms.decrypt(&blob, &[("k", other)]).err().unwrap(),
        kms.encrypt(&id, plaintext.as_bytes(), &[("k", value), ("k", value)]).err().unwrap(),
    ];
    for error in errors {
        let text = format!("{error} {error:?}");
        assert!(!text.contains(plaintext) && !text.contains(value) && !text.contains(other), "{text}");
    }
}

#[test]
fn wrong_context_and_tampering_are_the_same_error() {
    let kms = memory();
    let id = kms.plain_key();
    let mut blob = kms.encrypt(&id, b"x", &[("a", "1")]).unwrap();
    let wrong = kms.decrypt(&blob, &[("a", "2")]).err().unwrap();
    let missing = kms.decrypt(&blob, &[]).err().unwrap();
    *blob.last_mut().unwrap() ^= 1;
    let tampered = kms.decrypt(&blob, &[("a", "1")]).err().unwrap();
    assert_eq!([&wrong, &missing], [&tampered, &tampered], "failed authentication has one fixed text");
}

#[test]
fn a_key_that_is_not_there_is_told_before_a_version_that_is_not() {
    let kms = memory();
    let unknown = KeyId::from_random([5; 16]).to_string();
    for version in [unknown.as_str(), "no id", ""] {
        assert_eq!(refused(kms.describe_key_version(&unknown, version)), Status::KeyNotFound, "{version:?}");
        assert_eq!(refused(kms.describe_key_version(&kms.plain_key(), version)), Status::KeyVersionNotFound);
    }
}

#[test]
fn arguments_of_an_export_are_checked_before_its_key() {
    let kms = memory();
    let id = kms.plain_key();
    let (fits, too_long) = (kms.encrypt(&id, &[1; 190], &[]).unwrap(), kms.encrypt(&id, &[1; 191], &[]).unwrap());
    kms.disable_key(&id).unwrap();
    // Any RSA-2048 public key will do; this one is available.
    let receiver = kms.get_parameters_for_import(&kms.external_key(), Wrapping::OaepSha256).unwrap();
    let export = |blob: &[u8], context: &[(&str, &str)]| {
        refused(kms.export_data_key(blob, context, &receiver.public_key, Wrapping::OaepSha256))
    };
    assert_eq!(export(&too_long, &[]), Status::LimitExceeded);
    assert_eq!(export(&fits, &[("", "an empty name")]), Status::InvalidArgument);
    assert_eq!(export(&fits, &[]), Status::RejectedDisabled);
}

#[test]
fn an_id_in_capitals_is_answered_in_lower_case() {
    let kms = memory();
    let id = kms.external_key();
    kms.tag_resource(&id, &[("team", "orders")]).unwrap();
    let request = format!(
        r#"{{"KeyId":"{}","WrappingKeySpec":"RSA_2048","WrappingAlgorithm":"RSAES_OAEP_SHA_256"}}"#,
        id.to_ascii_uppercase()
    );
    let parameters = kms.call("GetParametersForImport", &request).unwrap();
    assert!(parameters.contains(&id), "{parameters}");
    let tags = kms.call("ListResourceTags", &format!(r#"{{"KeyId":"{}"}}"#, id.to_ascii_uppercase())).unwrap();
    assert!(tags.contains(&id), "{tags}");
}
