use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

mod memory;

use super::*;
use crate::Options;
use crate::clock::ManualClock;

fn open() -> (Keystore, ManualClock) {
    let clock = ManualClock::at(1_621_492_461_000);
    let kms = Keystore::open("memory:", &Options::new().root_key(&[7; 32]).clock(clock.clone())).unwrap();
    (kms, clock)
}

fn ok(kms: &Keystore, action: &str, request: Value) -> Value {
    let response = kms.call(action, &request.to_string()).unwrap_or_else(|e| panic!("{action} {request}: {}", e.body));
    serde_json::from_str(&response).unwrap()
}

fn refused(kms: &Keystore, action: &str, request: Value) -> (i64, String) {
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
fn keys_are_made_by_the_own_actions() {
    let (kms, _) = open();
    let made = ok(&kms, "CreateKeys", json!({ "Count": 3, "Description": "alike" }));
    let keys = made["Keys"]["Key"].as_array().unwrap();
    assert_eq!(keys.len(), 3);
    for key in keys {
        let shown = ok(&kms, "DescribeKey", json!({ "KeyId": key["KeyArn"] }));
        assert_eq!(
            (&shown["KeyMetadata"]["KeyId"], &shown["KeyMetadata"]["Description"]),
            (&key["KeyId"], &json!("alike"))
        );
    }
    for count in [0, -1, 1001] {
        assert_eq!(refused(&kms, "CreateKeys", json!({ "Count": count })), (400, "InvalidParameter".into()));
    }
    let first = ok(&kms, "CreateServiceKey", json!({ "ServiceName": "disk" }))["KeyMetadata"]["KeyId"].clone();
    let again = ok(&kms, "CreateServiceKey", json!({ "ServiceName": "disk" }))["KeyMetadata"]["KeyId"].clone();
    assert_eq!(first, again);
    assert_eq!(ok(&kms, "DescribeKey", json!({ "KeyId": "alias/acs/disk" }))["KeyMetadata"]["KeyId"], first);
}

#[test]
fn raw_material_is_imported() {
    let (kms, _) = open();
    let key = ok(&kms, "CreateKey", json!({ "Origin": "EXTERNAL" }))["KeyMetadata"]["KeyId"].clone();
    let material = STANDARD.encode([9; 32]);
    ok(&kms, "ImportRawKeyMaterial", json!({ "KeyId": key, "KeyMaterial": material }));
    assert_eq!(ok(&kms, "DescribeKey", json!({ "KeyId": key }))["KeyMetadata"]["KeyState"], "Enabled");
    let other = json!({ "KeyId": key, "KeyMaterial": STANDARD.encode([8; 32]) });
    assert_eq!(refused(&kms, "ImportRawKeyMaterial", other), (400, "InvalidKeyMaterial".into()));
}

#[test]
fn a_batch_answers_each_record_by_itself() {
    let (kms, _) = open();
    let key = ok(&kms, "CreateKey", json!({}))["KeyMetadata"]["KeyId"].clone();
    let context = json!({ "tenant": "42" });
    let records = json!([{ "Plaintext": "b25l", "EncryptionContext": context }, { "Plaintext": "dHdv" }]);
    let sealed = ok(&kms, "EncryptBatch", json!({ "KeyId": key, "Records": records }));
    let blob = |of: &Value, at: usize| of["Records"]["Record"][at]["CiphertextBlob"].clone();
    assert_eq!(ok(&kms, "Inspect", json!({ "CiphertextBlob": blob(&sealed, 0) }))["HasEncryptionContext"], true);

    let version = ok(&kms, "CreateKeyVersion", json!({ "KeyId": key }))["KeyVersion"]["KeyVersionId"].clone();
    let inspected = ok(&kms, "Inspect", json!({ "CiphertextBlob": blob(&sealed, 1) }));
    assert_eq!((&inspected["KeyId"], &inspected["IsPrimary"]), (&key, &json!(false)));
    let records = json!([
        { "CiphertextBlob": blob(&sealed, 0), "SourceEncryptionContext": context },
        { "CiphertextBlob": blob(&sealed, 1), "DestinationEncryptionContext": context },
        { "CiphertextBlob": "eHg=" },
    ]);
    let moved = ok(&kms, "ReEncryptBatch", json!({ "Records": records }));
    assert_eq!(ok(&kms, "Inspect", json!({ "CiphertextBlob": blob(&moved, 0) }))["KeyVersionId"], version);
    let failed = &moved["Records"]["Record"][2];
    assert!(failed["Code"] == "InvalidParameter" && failed.get("CiphertextBlob").is_none(), "{failed}");

    let records = json!([
        { "CiphertextBlob": blob(&moved, 0) },
        { "CiphertextBlob": blob(&moved, 1), "EncryptionContext": context },
        { "CiphertextBlob": blob(&moved, 1) },
    ]);
    let opened = ok(&kms, "DecryptBatch", json!({ "Records": records }));
    let opened = opened["Records"]["Record"].as_array().unwrap();
    assert_eq!((&opened[0]["Plaintext"], &opened[1]["Plaintext"]), (&json!("b25l"), &json!("dHdv")));
    assert!(opened[2].get("Plaintext").is_none() && opened[2]["Code"] == "InvalidParameter");

    for records in [
        json!(["x"]),
        json!({}),
        json!("[]"),
        json!([{}]),
        json!([{ "Plaintext": "?" }]),
        json!([{ "Plaintext": "", "More": 1 }]),
    ] {
        assert_eq!(refused(&kms, "EncryptBatch", json!({ "KeyId": key, "Records": records })).0, 400, "{records}");
    }
    assert_eq!(refused(&kms, "EncryptBatch", json!({ "KeyId": "alias/none", "Records": [] })).0, 404);
}

#[test]
fn the_clock_is_ticked_and_the_keystore_tells_its_health() {
    let (kms, clock) = open();
    ok(&kms, "CreateKey", json!({ "EnableAutomaticRotation": true, "RotationInterval": "7d" }));
    clock.advance_seconds(8 * 86_400);
    let ticked = ok(&kms, "Tick", json!({}));
    assert_eq!((&ticked["Rotated"], &ticked["Destroyed"]), (&json!(1), &json!(0)));
    let health = ok(&kms, "Health", json!({}));
    assert_eq!((&health["Rotations"], &health["NoRotationThread"]), (&json!(1), &json!(true)));
    assert_eq!(ok(&kms, "Verify", json!({}))["TotalCount"], 0);
}

#[test]
fn root_slots_are_added_listed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db").to_str().unwrap().to_owned();
    let kms = Keystore::open(&path, &Options::new().root_key(&[7; 32]).create(true)).unwrap();
    let recovery = json!({ "RootPassphrase": STANDARD.encode("correct horse"), "Label": "recovery" });
    let added = ok(&kms, "AddRootSlot", recovery.clone())["RootSlotId"].clone();
    assert_eq!(refused(&kms, "AddRootSlot", recovery).1, "Keystore.RootSlotExists");
    let slots = ok(&kms, "ListRootSlots", json!({}))["RootSlots"]["RootSlot"].clone();
    assert_eq!((&slots[0]["Kind"], &slots[0]["OpenedThisHandle"]), (&json!("KEY"), &json!(true)));
    assert_eq!((&slots[1]["Kind"], &slots[1]["Label"]), (&json!("PASSPHRASE"), &json!("recovery")));
    assert_eq!(slots[1]["RootSlotId"], added);
    ok(&kms, "RemoveRootSlot", json!({ "RootSlotId": slots[0]["RootSlotId"] }));
    assert_eq!(
        refused(&kms, "RemoveRootSlot", json!({ "RootSlotId": slots[0]["RootSlotId"] })).1,
        "Keystore.RootSlotNotFound"
    );
    assert_eq!(refused(&kms, "RemoveRootSlot", json!({ "RootSlotId": added })).1, "Rejected.UnsupportedOperation");
    let opened = Keystore::open(&path, &Options::new().root_key(&[7; 32])).map(drop).map_err(|e| e.status());
    assert_eq!(opened, Err(Status::WrongRootKey));
}

#[test]
fn files_are_encrypted_moved_and_decrypted_by_their_paths() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("plain"), b"of any size").unwrap();
    let kms = Keystore::open("memory:", &Options::new().root_key(&[7; 32])).unwrap();
    let key = ok(&kms, "CreateKey", json!({}))["KeyMetadata"]["KeyId"].clone();
    let encrypt =
        json!({ "KeyId": key, "Source": path("plain"), "Target": path("sealed"), "EncryptionContext": { "a": "b" } });
    assert_eq!(ok(&kms, "EncryptFile", encrypt.clone())["PlaintextLength"], 11);
    assert_eq!(refused(&kms, "EncryptFile", encrypt).1, "File.Exists");
    ok(&kms, "CreateKeyVersion", json!({ "KeyId": key }));
    assert_eq!(ok(&kms, "InspectFile", json!({ "Path": path("sealed") }))["IsPrimary"], false);
    let moved = json!({ "Path": path("sealed"), "EncryptionContext": { "a": "b" } });
    assert_eq!(ok(&kms, "ReEncryptFile", moved)["Changed"], true);
    let info = ok(&kms, "InspectFile", json!({ "Path": path("sealed") }));
    assert_eq!((&info["IsPrimary"], &info["Sequence"], &info["KeyId"]), (&json!(true), &json!(2), &key));
    let decrypt = json!({ "Source": path("sealed"), "Target": path("plain"), "Replace": true, "Threads": 1, "EncryptionContext": { "a": "b" } });
    assert_eq!(ok(&kms, "DecryptFile", decrypt)["PlaintextLength"], 11);
    assert_eq!(std::fs::read(path("plain")).unwrap(), b"of any size");
    let wrong = json!({ "Source": path("sealed"), "Target": path("new"), "Threads": 257 });
    assert_eq!(refused(&kms, "DecryptFile", wrong), (400, "InvalidParameter".into()));
    assert_eq!(refused(&kms, "DecryptFile", json!({ "Source": path("sealed") })).1, "MissingParameter");
}

#[test]
fn a_backup_is_written_and_opened_by_the_changed_root() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let kms = Keystore::open(&path("keys.db"), &Options::new().root_key(&[7; 32]).create(true)).unwrap();
    let key = ok(&kms, "CreateKey", json!({}))["KeyMetadata"]["KeyId"].clone();
    let opens = |name: &str, options: Options| Keystore::open(&path(name), &options).map(drop).map_err(|e| e.status());

    ok(&kms, "ChangeRoot", json!({ "RootKey": STANDARD.encode([8; 32]) }));
    ok(&kms, "Backup", json!({ "Path": path("one.db") }));
    assert_eq!(opens("one.db", Options::new().root_key(&[8; 32])), Ok(()));
    assert_eq!(opens("one.db", Options::new().root_key(&[7; 32])), Err(Status::WrongRootKey));
    assert_eq!(refused(&kms, "Backup", json!({ "Path": path("one.db") })).0, 500, "never replaced");

    ok(&kms, "ChangeRoot", json!({ "RootKeyFile": path("root.key"), "CreateRootKeyFile": true }));
    assert_eq!(opens("keys.db", Options::new().root_key_file(path("root.key"))), Ok(()));
    ok(&kms, "ChangeRoot", json!({ "RootPassphrase": STANDARD.encode("correct horse") }));
    assert_eq!(opens("keys.db", Options::new().root_passphrase(b"correct horse")), Ok(()));
    assert_eq!(ok(&kms, "DescribeKey", json!({ "KeyId": key }))["KeyMetadata"]["KeyId"], key);

    assert_eq!(refused(&kms, "ChangeRoot", json!({})).1, "MissingParameter");
    let two = json!({ "RootKeyFile": path("x"), "RootPassphrase": "eHg=" });
    assert_eq!(refused(&kms, "ChangeRoot", two), (400, "InvalidParameter".into()));
    assert_eq!(refused(&kms, "ChangeRoot", json!({ "RootKey": "eHg=" })), (400, "InvalidParameter".into()));
    assert_eq!(refused(&kms, "ChangeRoot", json!({ "RootPassphrase": "" })), (400, "InvalidParameter".into()));
}

#[test]
fn faults_are_in_the_body_of_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db").to_str().unwrap().to_owned();
    let options = Options::new().root_key(&[7; 32]).create(true);
    let kms = Keystore::open(&path, &options).unwrap();
    let key = ok(&kms, "CreateKey", json!({ "Description": "a text to be found" }))["KeyMetadata"]["KeyId"].clone();
    drop(kms);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(18).position(|window| window == b"a text to be found").unwrap();
    bytes[at] = b'A';
    std::fs::write(&path, bytes).unwrap();
    let kms = Keystore::open(&path, &options).unwrap();
    let failed = kms.call("Verify", "").unwrap_err();
    assert_eq!(failed.error.status(), Status::KeystoreCorrupt);
    let body: Value = serde_json::from_str(&failed.body).unwrap();
    assert_eq!((&body["Code"], &body["TotalCount"]), (&json!("Keystore.Corrupt"), &json!(1)));
    let fault = &body["Faults"]["Fault"][0];
    assert!(fault["KeyId"] == key && fault["Code"] == "Keystore.Corrupt", "{body}");
}

#[test]
fn a_request_is_nested_sixteen_deep_at_most() {
    let (kms, _) = open();
    let filters = |depth: usize| format!(r#"{{"Filters":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let text = |depth| kms.call("ListKeys", &filters(depth)).unwrap_err().error.to_string();
    assert!(text(15).contains("Filters"), "{}", text(15));
    assert!(text(16).contains("JSON"), "{}", text(16));
    assert!(text(100_000).contains("JSON"));
    // Brackets in a text are no nesting, also behind an escaped quote.
    let text = r#"{"Description":"\"[[[[[[[[[[[[[[[[[[[[[[[["}"#;
    kms.call("CreateKey", text).unwrap();
}
