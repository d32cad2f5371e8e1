//! Error texts name the key, the alias or the keystore, and the next step; never more than a line of them.

use kms::{CreateKey, Error, Keystore, Options, Origin, Result, Status};

use super::support::*;

#[track_caller]
fn text_of<T>(result: Result<T>, status: Status) -> String {
    let error: Error = result.map(drop).unwrap_err();
    assert_eq!(error.status(), status, "{error}");
    let text = error.to_string();
    assert!(text.len() < 500 && !text.contains('\n'), "{text}");
    text
}

#[test]
fn a_missing_name_is_in_the_text() {
    let kms = memory();
    let id = kms.plain_key();
    let unknown = kms::KeyId::from_random([5; 16]).to_string();
    for text in [
        text_of(kms.encrypt(&unknown, b"x", &[]), Status::KeyNotFound),
        text_of(kms.disable_key(&unknown), Status::KeyNotFound),
        text_of(kms.list_resource_tags(&unknown), Status::KeyNotFound),
        text_of(kms.list_key_versions(&unknown, None, 1, |_, _| true), Status::KeyNotFound),
    ] {
        assert!(text.contains(&unknown), "{text}");
    }
    for text in [
        text_of(kms.encrypt("alias/orders", b"x", &[]), Status::AliasNotFound),
        text_of(kms.update_alias(&id, "alias/orders"), Status::AliasNotFound),
        text_of(kms.delete_alias("alias/orders"), Status::AliasNotFound),
        text_of(kms.disable_key("alias/orders"), Status::UnsupportedAlias),
    ] {
        assert!(text.contains("alias/orders"), "{text}");
    }
    kms.create_alias(&id, "alias/orders").unwrap();
    assert!(text_of(kms.create_alias(&id, "alias/orders"), Status::AliasAlreadyExists).contains("alias/orders"));
    let version = text_of(kms.describe_key_version(&id, &unknown), Status::KeyVersionNotFound);
    assert!(version.contains(&id) && version.contains(&unknown), "{version}");
    let long = format!("alias/{}\n\u{1F511}\u{7}", "x".repeat(5000));
    assert!(text_of(kms.encrypt(&long, b"x", &[]), Status::AliasNotFound).is_ascii());
}

#[test]
fn a_refused_state_names_the_key() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    let external = kms.external_key();
    let mut texts = vec![
        text_of(kms.cancel_key_deletion(&id), Status::StateModifiedFailed),
        text_of(kms.delete_key_material(&id), Status::UnsupportedOrigin),
        text_of(kms.get_parameters_for_import(&id, kms::Wrapping::OaepSha1), Status::UnsupportedOrigin),
    ];
    kms.set_deletion_protection(&id, Some("")).unwrap();
    texts.push(text_of(kms.schedule_key_deletion(&id, 7), Status::DeletionProtected));
    kms.disable_key(&id).unwrap();
    texts.push(text_of(kms.encrypt(&id, b"x", &[]), Status::RejectedDisabled));
    texts.push(text_of(kms.decrypt(&blob, &[]), Status::RejectedDisabled));
    texts.push(text_of(kms.rotate(&id), Status::RejectedDisabled));
    texts.push(text_of(kms.reencrypt(&blob, &[], None, &[]), Status::RejectedDisabled));
    texts.push(text_of(kms.encrypt_batch(&id, &[]), Status::RejectedDisabled));
    for text in texts {
        assert!(text.contains(&id), "{text}");
    }
    for text in [
        text_of(kms.encrypt(&external, b"x", &[]), Status::RejectedPendingImport),
        text_of(kms.rotate(&external), Status::UnsupportedOperation),
        text_of(kms.update_rotation_policy(&external, Some(seconds(DAY))), Status::UnsupportedOperation),
    ] {
        assert!(text.contains(&external), "{text}");
    }
    let cancelled = text_of(kms.cancel_key_deletion(&external), Status::StateModifiedFailed);
    assert!(cancelled.contains(&external) && !cancelled.contains("import"), "that would not help: {cancelled}");
}

#[test]
fn an_error_of_the_keystore_names_its_path() {
    let (_folder, path) = place();
    let options = Options::new().root_key(&ROOT).create(true);
    let id = Keystore::open(&path, &options).unwrap().create_key(&CreateKey::default()).unwrap().to_string();
    let reader = Keystore::open(&path, &Options::new().root_key(&ROOT).read_only(true)).unwrap();
    let read_only = text_of(reader.disable_key(&id), Status::KeystoreReadOnly);
    let wrong = text_of(Keystore::open(&path, &Options::new().root_key(&[8; 32])).map(drop), Status::WrongRootKey);
    let occupied = text_of(reader.backup(&path), Status::KeystoreIo);
    let foreign = path.clone() + ".txt";
    std::fs::write(&foreign, "no keystore, but some text").unwrap();
    let not = text_of(Keystore::open(&foreign, &Options::new().root_key(&ROOT)).map(drop), Status::NotAKeystore);
    for text in [&read_only, &wrong, &occupied, &not] {
        assert_eq!(text.matches(&path).count(), 1, "{text}");
    }
}

#[test]
fn a_number_out_of_range_is_in_the_text() {
    let kms = memory();
    let id = kms.plain_key();
    assert!(text_of(kms.schedule_key_deletion(&id, 6), Status::InvalidArgument).contains("not 6"));
    assert!(text_of(kms.generate_data_key(&id, 1025, &[]), Status::InvalidArgument).contains("1025"));
    assert!(text_of(kms.create_keys(&CreateKey::default(), 1001), Status::InvalidArgument).contains("1001"));
    assert!(text_of(kms.tag_resource(&id, &[("a b", "")]), Status::InvalidArgument).contains("\"a b\""));
    let external = CreateKey { origin: Some(Origin::External), rotate_every: Some(seconds(9)), ..CreateKey::default() };
    assert!(text_of(kms.create_key(&external), Status::UnsupportedOperation).contains("EXTERNAL"));
}

#[test]
fn json_says_what_a_parameter_is_to_be() {
    let kms = memory();
    let text = |action: &str, request: &str| kms.call(action, request).unwrap_err().error.to_string();
    for (action, request, parts) in [
        ("Encrypt", r#"{"KeyId":"alias/a","Plaintext":"?"}"#, &["Plaintext", "Encrypt takes Base64"][..]),
        ("Encrypt", r#"{"KeyId":"alias/a"}"#, &["Plaintext is missing", "Base64"]),
        ("ScheduleKeyDeletion", r#"{"KeyId":"x","PendingWindowInDays":"soon"}"#, &["PendingWindowInDays", "7 to 366"]),
        ("ListKeys", r#"{"PageSize":101}"#, &["PageSize", "1 to 100"]),
        ("CreateKey", r#"{"Descripton":""}"#, &["Descripton", "CreateKey", "Description"]),
        ("MakeCoffee", "", &["MakeCoffee", "ListActions"]),
        ("CreateKey", "[]", &["JSON object"]),
    ] {
        let text = text(action, request);
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}

#[test]
fn failed_authentication_has_one_text_for_all() {
    let kms = memory();
    let id = kms.plain_key();
    let blob = kms.encrypt(&id, b"x", &[("a", "b")]).unwrap();
    let mut changed = blob.clone();
    *changed.last_mut().unwrap() ^= 1;
    let texts = [
        text_of(kms.decrypt(&blob, &[]), Status::AuthenticationFailed),
        text_of(kms.decrypt(&blob, &[("a", "c")]), Status::AuthenticationFailed),
        text_of(kms.decrypt(&changed, &[("a", "b")]), Status::AuthenticationFailed),
    ];
    assert!(texts.iter().all(|text| *text == texts[0] && !text.contains(&id)), "{texts:?}");
}
