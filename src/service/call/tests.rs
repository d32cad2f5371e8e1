use super::*;
use crate::Options;
use crate::clock::ManualClock;

fn open() -> (Kms, ManualClock) {
    let clock = ManualClock::at(1_621_492_461_000);
    let kms = Kms::open("memory:", &Options::new().root_key(&[7; 32]).clock(clock.clone())).unwrap();
    (kms, clock)
}

fn ok(kms: &Kms, action: &str, request: Value) -> Value {
    let response = kms.call(action, &request.to_string()).unwrap_or_else(|e| panic!("{action} {request}: {}", e.body));
    serde_json::from_str(&response).unwrap()
}

fn refused(kms: &Kms, action: &str, request: Value) -> (i64, String) {
    let failed = kms.call(action, &request.to_string()).unwrap_err();
    let body: Value = serde_json::from_str(&failed.body).unwrap();
    assert!(body["RequestId"].as_str().unwrap().len() == 36 && !body["Message"].as_str().unwrap().is_empty());
    (body["HttpStatus"].as_i64().unwrap(), body["Code"].as_str().unwrap().to_owned())
}

#[test]
fn metadata_follows_the_services_conventions() {
    let (kms, _) = open();
    let made = ok(&kms, "CreateKey", json!({ "EnableAutomaticRotation": true, "RotationInterval": "7d" }));
    let key = &made["KeyMetadata"];
    assert_eq!(key["CreationDate"], "2021-05-20T06:34:21Z");
    assert_eq!(key["RotationInterval"], "604800s");
    assert_eq!(key["NextRotationDate"], "2021-05-27T06:34:21Z");
    assert_eq!(
        (&key["Description"], &key["DeleteDate"], &key["MaterialExpireTime"]),
        (&json!(""), &json!(""), &json!(""))
    );
    assert!(key.get("DeletionProtection").is_none(), "only DescribeKey shows it");
    let plain = ok(&kms, "CreateKey", json!({}));
    assert!(plain["KeyMetadata"].get("RotationInterval").is_none(), "absent while rotation is off");
    let shown = ok(&kms, "DescribeKey", json!({ "KeyId": key["KeyId"] }));
    assert_eq!(shown["KeyMetadata"]["DeletionProtection"], "Disabled");
    assert!(shown["KeyMetadata"].get("DeletionProtectionDescription").is_none());
}

#[test]
fn a_plaintext_is_the_base64_of_its_bytes_both_ways() {
    let (kms, _) = open();
    let key = ok(&kms, "CreateKey", json!({}))["KeyMetadata"]["KeyId"].clone();
    let context = json!({ "tenant": "42" });
    let sealed = ok(&kms, "Encrypt", json!({ "KeyId": key, "Plaintext": "aGVsbG8=", "EncryptionContext": context }));
    assert_eq!(sealed["KeyId"], key);
    // A context may also be a text that holds JSON, as in a query.
    let blob = &sealed["CiphertextBlob"];
    let request = json!({ "CiphertextBlob": blob, "EncryptionContext": context.to_string() });
    let opened = ok(&kms, "Decrypt", request);
    assert_eq!(opened["Plaintext"], "aGVsbG8=");
    assert_eq!(opened["KeyVersionId"], sealed["KeyVersionId"]);
    assert_eq!(refused(&kms, "Decrypt", json!({ "CiphertextBlob": blob })), (400, "InvalidParameter".into()));
    assert_eq!(refused(&kms, "Encrypt", json!({ "KeyId": key, "Plaintext": "?" })), (400, "InvalidParameter".into()));
}

#[test]
fn what_is_missing_unknown_or_misspelt_is_refused() {
    let (kms, _) = open();
    assert_eq!(refused(&kms, "MakeCoffee", json!({})), (400, Status::UnknownAction.code().into()));
    assert_eq!(refused(&kms, "DescribeKey", json!({})), (400, "MissingParameter".into()));
    assert_eq!(refused(&kms, "CreateKey", json!({ "Descripton": "x" })), (400, "InvalidParameter".into()));
    let nowhere = json!({ "KeyId": "ffffffff-ffff-4fff-bfff-ffffffffffff" });
    assert_eq!(refused(&kms, "DescribeKey", nowhere), (404, "Forbidden.KeyNotFound".into()));
    let no_interval = json!({ "EnableAutomaticRotation": true });
    assert_eq!(refused(&kms, "CreateKey", no_interval), (400, "MissingParameter".into()));
    assert!(kms.call("CreateKey", "[]").is_err() && kms.call("CreateKey", "{").is_err());
    assert!(kms.call("CreateKey", "").is_ok());
}

#[test]
fn lists_come_in_pages_and_keys_are_filtered() {
    let (kms, _) = open();
    for number in 0..12 {
        let key = ok(&kms, "CreateKey", json!({}))["KeyMetadata"]["KeyId"].clone();
        if number < 2 {
            ok(&kms, "DisableKey", json!({ "KeyId": key }));
        }
        ok(&kms, "CreateAlias", json!({ "KeyId": key, "AliasName": format!("alias/{number:02}") }));
    }
    kms.create_service_key("oss").unwrap();
    let page = ok(&kms, "ListKeys", json!({ "PageNumber": 2 }));
    assert_eq!((page["Keys"]["Key"].as_array().unwrap().len(), &page["TotalCount"]), (3, &json!(13)));
    let filter = json!([{ "Key": "KeyState", "Values": ["Disabled"] }]);
    assert_eq!(ok(&kms, "ListKeys", json!({ "Filters": filter.to_string() }))["TotalCount"], 2);
    let filter = json!([{ "Key": "CreatorType", "Values": ["Service"] }]);
    assert_eq!(ok(&kms, "ListKeys", json!({ "Filters": filter }))["TotalCount"], 1);
    let aliases = ok(&kms, "ListAliases", json!({ "PageSize": 5, "PageNumber": 3 }));
    assert_eq!(aliases["Aliases"]["Alias"].as_array().unwrap().len(), 3);
    for bad in [json!({ "PageNumber": 0 }), json!({ "PageSize": 101 }), json!({ "Filters": "x" })] {
        assert_eq!(refused(&kms, "ListKeys", bad).0, 400);
    }
}

#[test]
fn every_action_of_the_reference_is_there() {
    let actions = "CreateKey DescribeKey ListKeys EnableKey DisableKey ScheduleKeyDeletion CancelKeyDeletion \
        UpdateKeyDescription SetDeletionProtection UpdateRotationPolicy CreateKeyVersion DescribeKeyVersion \
        ListKeyVersions Encrypt Decrypt ReEncrypt GenerateDataKey GenerateDataKeyWithoutPlaintext ExportDataKey \
        GenerateAndExportDataKey GetParametersForImport ImportKeyMaterial DeleteKeyMaterial CreateAlias UpdateAlias \
        DeleteAlias ListAliases ListAliasesByKeyId TagResource UntagResource ListResourceTags";
    assert!(actions.split_whitespace().all(|name| action(name).is_some()));
}
