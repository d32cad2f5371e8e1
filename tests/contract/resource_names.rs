//! Resource names (ARNs): the library accepts those that it prints in place of an id or an alias.

use kms::{Keystore, ReencryptItem, Result, Status};

use super::imported::*;
use super::support::*;

const ARN: &str = "acs:kms:local:libkms:";

type Call = fn(&TestKeystore, &str) -> Result<()>;

/// Every call that takes a key id, and whether it also takes an alias.
const CALLS: [(bool, Call); 25] = [
    (true, |kms, key| kms.describe_key(key).map(drop)),
    (true, |kms, key| kms.encrypt(key, b"x", &[]).map(drop)),
    (true, |kms, key| kms.encrypt_batch(key, &[]).map(drop)),
    (true, |kms, key| kms.generate_data_key(key, 32, &[]).map(drop)),
    (true, |kms, key| kms.generate_data_key_without_plaintext(key, 32, &[]).map(drop)),
    (true, |kms, key| kms.rotate(key).map(drop)),
    (true, |kms, key| kms.list_key_versions(key, None, 9, |_, _| true)),
    (true, |kms, key| {
        let version = kms.describe_key(key)?.primary.unwrap().id.to_string();
        kms.describe_key_version(key, &version).map(drop)
    }),
    (true, |kms, key| {
        let blob = kms.encrypt(key, b"x", &[])?;
        kms.reencrypt(&blob, &[], Some(key.into()), &[]).map(drop)
    }),
    (true, |kms, key| {
        let blob = kms.encrypt(key, b"x", &[])?;
        kms.reencrypt_batch(Some(key.into()), &[ReencryptItem { blob: &blob, ..ReencryptItem::default() }]).map(drop)
    }),
    (false, |kms, key| kms.enable_key(key)),
    (false, |kms, key| kms.disable_key(key).and_then(|()| kms.enable_key(key))),
    (false, |kms, key| kms.update_key_description(key, "x")),
    (false, |kms, key| {
        kms.set_deletion_protection(key, Some("x")).and_then(|()| kms.set_deletion_protection(key, None))
    }),
    (false, |kms, key| kms.update_rotation_policy(key, Some(seconds(DAY)))),
    (false, |kms, key| kms.schedule_key_deletion(key, 7).and_then(|()| kms.cancel_key_deletion(key))),
    (false, |kms, key| kms.tag_resource(key, &[("a", "b")])),
    (false, |kms, key| kms.untag_resource(key, &["a"])),
    (false, |kms, key| kms.list_resource_tags(key).map(drop)),
    (false, |kms, key| kms.list_aliases(Some(key), None, 9, |_, _| true)),
    (false, |kms, key| kms.list_keys(Some(key), 9, |_| true)),
    (false, |kms, key| kms.create_alias(key, "alias/made").and_then(|()| kms.delete_alias("alias/made"))),
    (false, |kms, key| kms.update_alias(key, "alias/a")),
    (false, |kms, key| match kms.get_parameters_for_import(key, WRAPPINGS[0]) {
        Err(e) if e.status() == Status::UnsupportedOrigin => Ok(()),
        other => other.map(drop),
    }),
    (false, |kms, key| match kms.delete_key_material(key) {
        Err(e) if e.status() == Status::UnsupportedOrigin => Ok(()),
        other => other,
    }),
];

#[test]
fn a_printed_resource_name_is_accepted_wherever_an_id_or_an_alias_is() {
    let kms = memory();
    let id = kms.plain_key();
    kms.create_alias(&id, "alias/a").unwrap();
    for (number, (aliases, call)) in CALLS.into_iter().enumerate() {
        call(&kms, &format!("{ARN}key/{id}")).unwrap_or_else(|e| panic!("call {number}: {e}"));
        call(&kms, &format!("{ARN}key/{}", id.to_uppercase())).unwrap_or_else(|e| panic!("call {number}: {e}"));
        match aliases {
            true => call(&kms, &format!("{ARN}alias/a")).unwrap_or_else(|e| panic!("call {number}: {e}")),
            false => assert_eq!(refused(call(&kms, &format!("{ARN}alias/a"))), Status::UnsupportedAlias, "{number}"),
        }
    }
    let raw = kms.external_key();
    kms.import_raw_key_material(&format!("{ARN}key/{raw}"), &MATERIAL, None).unwrap();
}

#[test]
fn an_aliass_resource_name_is_accepted_where_an_alias_is() {
    let kms = memory();
    let (one, two) = (kms.plain_key(), kms.plain_key());
    let arn = format!("{ARN}alias/a");
    kms.create_alias(&one, &arn).unwrap();
    assert_eq!(kms.key("alias/a").id.to_string(), one);
    kms.update_alias(&two, &arn).unwrap();
    assert_eq!(kms.key("alias/a").id.to_string(), two);
    let mut after = 0;
    kms.list_aliases(None, Some(&arn), 9, |_, _| {
        after += 1;
        true
    })
    .unwrap();
    assert_eq!(after, 0);
    kms.delete_alias(&arn).unwrap();
    assert_eq!(refused(kms.describe_key("alias/a")), Status::AliasNotFound);
}

#[test]
fn an_alias_that_was_moved_names_its_new_key_also_by_its_resource_name() {
    let kms = memory();
    let (one, two) = (kms.plain_key(), kms.plain_key());
    kms.create_alias(&one, "alias/a").unwrap();
    let arn = format!("{ARN}alias/a");
    assert_eq!(kms.sealed_under(&arn), kms.primary(&one));
    kms.update_alias(&two, "alias/a").unwrap();
    assert_eq!(kms.sealed_under(&arn), kms.primary(&two), "a thread's cached name goes on meaning the old key");
    kms.delete_alias("alias/a").unwrap();
    assert_eq!(refused(kms.encrypt(&arn, b"x", &[])), Status::AliasNotFound);
}

#[test]
fn a_foreign_resource_name_names_no_key_and_the_text_shows_what_does() {
    let kms = memory();
    let id = kms.plain_key();
    let long = format!("acs:{}", "x\n".repeat(4000));
    for name in [
        &format!("acs:kms:cn-hangzhou:1234:key/{id}"),
        &format!("acs:kms:local:libkms:key/{id} "),
        &format!("acs:kms:local:libkms:{id}"),
        "acs:kms:local:libkms:key/alias/a",
        "acs:kms:cn-hangzhou:1234:alias/a",
        long.as_str(),
    ] {
        for error in [kms.describe_key(name).unwrap_err(), kms.enable_key(name).unwrap_err()] {
            assert_eq!(error.status(), Status::KeyNotFound, "{name}");
            let text = error.to_string();
            assert!(
                text.contains("acs:kms:local:libkms:key/ID") && text.contains(name[..20].replace('\n', "?").as_str()),
                "{text}"
            );
            assert!(text.len() < 300 && !text.contains('\n'), "{text}");
        }
    }
}

#[test]
fn what_names_no_key_is_not_repeated_in_the_text() {
    let kms = memory();
    for name in ["4111 1111 1111 1111", "correct horse battery staple", "x"] {
        let text = kms.encrypt(name, b"x", &[]).unwrap_err().to_string();
        assert!(!text.contains(name) || name == "x", "an argument passed by mistake may be a secret: {text}");
        assert!(text.contains(&format!("{} bytes", name.len())), "{text}");
    }
}

fn call(kms: &Keystore, action: &str, request: &serde_json::Value) -> serde_json::Value {
    let done = kms.call(action, &request.to_string()).unwrap_or_else(|failed| panic!("{action}: {}", failed.body));
    serde_json::from_str(&done).unwrap()
}

#[test]
fn json_accepts_what_it_prints_and_answers_with_the_real_id() {
    use serde_json::json;
    let kms = memory();
    let key = call(&kms, "CreateKey", &json!({"Origin": "EXTERNAL"}))["KeyMetadata"].clone();
    let (id, arn) = (key["KeyId"].as_str().unwrap(), key["Arn"].as_str().unwrap());
    let wrapping = json!({"KeyId": arn, "WrappingKeySpec": "RSA_2048", "WrappingAlgorithm": "RSAES_OAEP_SHA_256"});
    assert_eq!(call(&kms, "GetParametersForImport", &wrapping)["KeyId"], id);
    call(&kms, "TagResource", &json!({"KeyId": arn, "Tags": [{"TagKey": "a", "TagValue": "b"}]}));
    assert_eq!(call(&kms, "ListResourceTags", &json!({"KeyId": arn}))["Tags"]["Tag"][0]["KeyId"], id);
    call(&kms, "CreateAlias", &json!({"KeyId": arn, "AliasName": "alias/a"}));
    let alias = call(&kms, "ListAliasesByKeyId", &json!({"KeyId": arn}))["Aliases"]["Alias"][0]["AliasArn"].clone();
    assert_eq!(call(&kms, "DescribeKey", &json!({"KeyId": alias}))["KeyMetadata"]["KeyId"], id);
    call(&kms, "DeleteAlias", &json!({"AliasName": alias}));
    let protect = |resource: &str| {
        let request = json!({"ProtectedResourceArn": resource, "EnableDeletionProtection": true});
        kms.call("SetDeletionProtection", &request.to_string()).map(drop).map_err(|failed| failed.error.status())
    };
    assert_eq!(protect(arn), Ok(()));
    assert_eq!(protect(&format!("acs:kms:cn-hangzhou:1:key/{id}")), Err(Status::KeyNotFound), "another account's key");
    assert_eq!(protect(id), Err(Status::InvalidArgument));
}
