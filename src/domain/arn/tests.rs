use super::*;

#[test]
fn what_is_printed_is_read_back() {
    let id = KeyId::from_random([3; 16]);
    assert_eq!(key_id(&of_key(id)), id.to_string());
    assert_eq!(alias(&of_alias("alias/a/b")), "alias/a/b");
}

#[test]
fn every_other_text_is_left_alone() {
    for text in [
        "",
        "alias/a",
        "acs:",
        PREFIX,
        "acs:kms:local:libkms:",
        "acs:kms:cn-hangzhou:1:key/x",
        "ACS:KMS:local:libkms:key/x",
    ] {
        assert_eq!((key_id(text), alias(text)), (text, text));
    }
    assert_eq!(key_id("acs:kms:local:libkms:alias/a"), "acs:kms:local:libkms:alias/a", "an alias is no key id");
    assert_eq!(alias("acs:kms:local:libkms:key/a"), "acs:kms:local:libkms:key/a", "a key id is no alias");
}

#[test]
fn a_resource_name_of_any_service_is_known_for_one() {
    for text in [of_key(KeyId::from_random([3; 16])).as_str(), "acs:oss:cn-hangzhou:1:bucket"] {
        assert!(is_meant(text), "{text}");
    }
    for text in ["", "alias/acs:", "acs", "ACS:kms:"] {
        assert!(!is_meant(text), "{text}");
    }
}
