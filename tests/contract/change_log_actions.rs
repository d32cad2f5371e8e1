//! Which actions of docs/actions.md leave an entry in the change log: one for a change, one for a refusal, none for a
//! read.

use kms::{
    KeyId, Keystore, ManualClock, Options, Status, VersionId,
    change_log::{ListChanges, LoggedChange},
};
use serde_json::{Value, json};

const T0: i64 = 1_700_000_000_000;
const NO_ID: &str = "00000000-0000-4000-8000-000000000000";

/// A keystore with something for each action.
struct Scene {
    kms: Keystore,
    key: Value,
    old: Value,
    disabled: Value,
    pending: Value,
    external: Value,
    imported: Value,
    slot: Value,
    public_key: Value,
    token: Value,
    wrapped: Value,
    blob: Value,
    folder: tempfile::TempDir,
}

fn call(kms: &Keystore, action: &str, request: &Value) -> Result<Value, Status> {
    match kms.call(action, &request.to_string()) {
        Ok(response) => Ok(serde_json::from_str(&response).unwrap()),
        Err(failed) => Err(failed.error.status()),
    }
}

impl Scene {
    fn new(needs_rsa: bool) -> Self {
        let options = Options::new().root_key(&[7; 32]).clock(ManualClock::at(T0)).actor("the tests");
        let kms = Keystore::open("memory:", &options).unwrap();
        let done =
            |action: &str, request: Value| call(&kms, action, &request).unwrap_or_else(|e| panic!("{action}: {e:?}"));
        let made = || done("CreateKey", json!({}))["KeyMetadata"]["KeyId"].clone();
        let (key, disabled, pending) = (made(), made(), made());
        let old = done("DescribeKey", json!({ "KeyId": key }))["KeyMetadata"]["PrimaryKeyVersion"].clone();
        done("CreateKeyVersion", json!({ "KeyId": key }));
        done("DisableKey", json!({ "KeyId": disabled }));
        done("ScheduleKeyDeletion", json!({ "KeyId": pending }));
        let external = || done("CreateKey", json!({ "Origin": "EXTERNAL" }))["KeyMetadata"]["KeyId"].clone();
        let (external, imported) = (external(), external());
        let [public_key, token, wrapped] = if needs_rsa { rsa(&kms, &key, &external) } else { Default::default() };
        let material = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        done("ImportRawKeyMaterial", json!({ "KeyId": imported, "KeyMaterial": material }));
        done("CreateAlias", json!({ "KeyId": key, "AliasName": "alias/one" }));
        done("TagResource", json!({ "KeyId": key, "Tags": [{ "TagKey": "tag", "TagValue": "value" }] }));
        let slot = done("AddRootSlot", json!({ "RootKey": root(9) }))["RootSlotId"].clone();
        let blob = done("Encrypt", json!({ "KeyId": key, "Plaintext": "AAAA" }))["CiphertextBlob"].clone();
        // The dates of the first uses.
        done("Tick", json!({}));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plain"), [7; 100_000]).unwrap();
        let (source, target) = (folder.path().join("plain"), folder.path().join("sealed"));
        done("EncryptFile", json!({ "KeyId": key, "Source": source, "Target": target }));
        Self { kms, key, old, disabled, pending, external, imported, slot, public_key, token, wrapped, blob, folder }
    }

    /// What the call returns, and the entries that it leaves.
    fn left(&self, action: &str, request: &Value) -> (Result<Value, Status>, Vec<LoggedChange>) {
        let after = Some(self.kms.health().unwrap().generation);
        let done = call(&self.kms, action, request);
        let which = ListChanges { after, ..Default::default() };
        (done, self.kms.changes(which).collect::<Result<_, _>>().unwrap())
    }
}

/// A public key and a token for an import, and material that is wrapped for it.
fn rsa(kms: &Keystore, key: &Value, external: &Value) -> [Value; 3] {
    let done = |action: &str, request: Value| call(kms, action, &with_fields(request, &wrapping())).unwrap();
    let parameters = done("GetParametersForImport", json!({ "KeyId": external }));
    let public_key = parameters["PublicKey"].clone();
    let exported = done("GenerateAndExportDataKey", json!({ "KeyId": key, "PublicKeyBlob": public_key }));
    [public_key, parameters["ImportToken"].clone(), exported["ExportedDataKey"].clone()]
}

fn wrapping() -> Value {
    json!({ "WrappingKeySpec": "RSA_2048", "WrappingAlgorithm": "RSAES_OAEP_SHA_256" })
}

/// A root key, in Base64.
fn root(byte: u8) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode([byte; 32])
}

enum Leaves {
    Nothing,
    /// One entry about this key.
    Key(Value),
    /// One entry about this key and version.
    Version(Value, Value),
    /// One entry about this key, and a version that the call made.
    NewVersion(Value),
    /// One entry about the key that the call made.
    NewKey,
    /// One entry about this number of keys or entries.
    Count(u64),
}

/// An action with a request that succeeds and the entries that it leaves. A change also has a refused request and its
/// status.
type Case = (&'static str, Value, Leaves, Option<(Value, Status)>);

#[allow(clippy::too_many_lines, reason = "a table")]
fn cases(s: &Scene) -> Vec<Case> {
    use Leaves::*;
    let of = |key: &Value| json!({ "KeyId": key });
    let no_key = || Some((json!({ "KeyId": NO_ID }), Status::KeyNotFound));
    let with = |fields: Value| with_fields(json!({ "KeyId": s.key }), &fields);
    let without_key = |fields: Value| {
        let mut request = with(fields);
        request["KeyId"] = NO_ID.into();
        Some((request, Status::KeyNotFound))
    };
    let export = |mut request: Value| {
        request["PublicKeyBlob"] = s.public_key.clone();
        with_fields(request, &wrapping())
    };
    let of_version = |version: &Value| json!({ "KeyId": s.key, "KeyVersionId": version });
    let no_version = || Some((of_version(&NO_ID.into()), Status::KeyVersionNotFound));
    let material = json!({ "KeyId": s.external, "EncryptedKeyMaterial": s.wrapped, "ImportToken": s.token });
    let raw = |key: &Value| json!({ "KeyId": key, "KeyMaterial": root(8) });
    let mut no_token = material.clone();
    no_token["ImportToken"] = "AAAA".into();
    let records = |fields: Value| json!({ "KeyId": s.key, "Records": [fields] });
    let path = |name: &str| s.folder.path().join(name);
    let blobs = json!({ "Records": [{ "CiphertextBlob": s.blob }] });
    let external_with_rotation =
        json!({ "Origin": "EXTERNAL", "EnableAutomaticRotation": true, "RotationInterval": "1d" });
    vec![
        ("CreateKey", json!({}), NewKey, Some((external_with_rotation.clone(), Status::UnsupportedOperation))),
        ("CreateKeys", json!({ "Count": 3 }), Count(3), Some((json!({ "Count": 1001 }), Status::InvalidArgument))),
        (
            "CreateServiceKey",
            json!({ "ServiceName": "one" }),
            NewKey,
            Some((json!({ "ServiceName": "a b" }), Status::InvalidArgument)),
        ),
        ("DescribeKey", of(&s.key), Nothing, None),
        ("ListKeys", json!({}), Nothing, None),
        ("EnableKey", of(&s.disabled), Key(s.disabled.clone()), no_key()),
        ("DisableKey", of(&s.key), Key(s.key.clone()), no_key()),
        ("ScheduleKeyDeletion", of(&s.key), Key(s.key.clone()), no_key()),
        ("CancelKeyDeletion", of(&s.pending), Key(s.pending.clone()), Some((of(&s.key), Status::StateModifiedFailed))),
        (
            "UpdateKeyDescription",
            with(json!({ "Description": "x" })),
            Key(s.key.clone()),
            without_key(json!({ "Description": "x" })),
        ),
        (
            "SetDeletionProtection",
            with(json!({ "EnableDeletionProtection": true })),
            Key(s.key.clone()),
            without_key(json!({ "EnableDeletionProtection": true })),
        ),
        ("CreateKeyVersion", of(&s.key), NewVersion(s.key.clone()), Some((of(&s.disabled), Status::RejectedDisabled))),
        (
            "UpdateRotationPolicy",
            with(json!({ "EnableAutomaticRotation": true, "RotationInterval": "1d" })),
            Key(s.key.clone()),
            without_key(json!({ "EnableAutomaticRotation": false })),
        ),
        ("DescribeKeyVersion", of_version(&s.old), Nothing, None),
        ("ListKeyVersions", of(&s.key), Nothing, None),
        ("DisableKeyVersion", of_version(&s.old), Version(s.key.clone(), s.old.clone()), no_version()),
        ("EnableKeyVersion", of_version(&s.old), Version(s.key.clone(), s.old.clone()), no_version()),
        ("ScheduleKeyVersionDeletion", of_version(&s.old), Version(s.key.clone(), s.old.clone()), no_version()),
        ("CancelKeyVersionDeletion", of_version(&s.old), Version(s.key.clone(), s.old.clone()), no_version()),
        ("Tick", json!({}), Nothing, None),
        ("Encrypt", with(json!({ "Plaintext": "AAAA" })), Nothing, None),
        ("Decrypt", json!({ "CiphertextBlob": s.blob }), Nothing, None),
        ("ReEncrypt", json!({ "CiphertextBlob": s.blob, "DestinationKeyId": s.key }), Nothing, None),
        ("EncryptBatch", records(json!({ "Plaintext": "AAAA" })), Nothing, None),
        ("DecryptBatch", blobs.clone(), Nothing, None),
        ("ReEncryptBatch", blobs, Nothing, None),
        ("Inspect", json!({ "CiphertextBlob": s.blob }), Nothing, None),
        ("GenerateDataKey", of(&s.key), Nothing, None),
        ("GenerateDataKeyWithoutPlaintext", of(&s.key), Nothing, None),
        ("ExportDataKey", export(json!({ "CiphertextBlob": s.blob })), Nothing, None),
        ("GenerateAndExportDataKey", export(of(&s.key)), Nothing, None),
        ("EncryptFile", with(json!({ "Source": path("plain"), "Target": path("new") })), Nothing, None),
        ("DecryptFile", json!({ "Source": path("sealed"), "Target": path("new") }), Nothing, None),
        ("ReEncryptFile", json!({ "Path": path("sealed"), "DestinationKeyId": s.key }), Nothing, None),
        ("InspectFile", json!({ "Path": path("sealed") }), Nothing, None),
        ("GetParametersForImport", with_fields(of(&s.external), &wrapping()), Nothing, None),
        ("ImportKeyMaterial", material, Key(s.external.clone()), Some((no_token, Status::InvalidImportToken))),
        (
            "ImportRawKeyMaterial",
            raw(&s.external),
            Key(s.external.clone()),
            Some((raw(&s.key), Status::UnsupportedOrigin)),
        ),
        ("DeleteKeyMaterial", of(&s.imported), Key(s.imported.clone()), Some((of(&s.key), Status::UnsupportedOrigin))),
        (
            "CreateAlias",
            with(json!({ "AliasName": "alias/two" })),
            Key(s.key.clone()),
            Some((with(json!({ "AliasName": "alias/one" })), Status::AliasAlreadyExists)),
        ),
        (
            "UpdateAlias",
            json!({ "KeyId": s.disabled, "AliasName": "alias/one" }),
            Key(s.disabled.clone()),
            Some((with(json!({ "AliasName": "alias/none" })), Status::AliasNotFound)),
        ),
        (
            "DeleteAlias",
            json!({ "AliasName": "alias/one" }),
            Key(s.key.clone()),
            Some((json!({ "AliasName": "alias/none" }), Status::AliasNotFound)),
        ),
        ("ListAliases", json!({}), Nothing, None),
        ("ListAliasesByKeyId", of(&s.key), Nothing, None),
        (
            "TagResource",
            with(json!({ "Tags": [{ "TagKey": "a", "TagValue": "b" }] })),
            Key(s.key.clone()),
            without_key(json!({ "Tags": [{ "TagKey": "a", "TagValue": "b" }] })),
        ),
        (
            "UntagResource",
            with(json!({ "TagKeys": ["tag"] })),
            Key(s.key.clone()),
            without_key(json!({ "TagKeys": ["tag"] })),
        ),
        ("ListResourceTags", of(&s.key), Nothing, None),
        ("Health", json!({}), Nothing, None),
        ("Verify", json!({}), Nothing, None),
        ("Backup", json!({ "Path": path("copy.db") }), Nothing, None),
        (
            "ChangeRoot",
            json!({ "RootKey": root(3) }),
            Count(0),
            Some((json!({ "RootKey": root(7) }), Status::RootSlotExists)),
        ),
        (
            "AddRootSlot",
            json!({ "RootKey": root(3) }),
            Count(0),
            Some((json!({ "RootKey": root(7) }), Status::RootSlotExists)),
        ),
        (
            "RemoveRootSlot",
            json!({ "RootSlotId": s.slot }),
            Count(0),
            Some((json!({ "RootSlotId": NO_ID }), Status::RootSlotNotFound)),
        ),
        ("ListRootSlots", json!({}), Nothing, None),
        ("ListChanges", json!({}), Nothing, None),
        ("CutChanges", json!({ "EndTime": T0 + 1 }), Count(s.kms.changes(ListChanges::default()).count() as u64), None),
        ("ListActions", json!({}), Nothing, None),
    ]
}

fn with_fields(mut request: Value, fields: &Value) -> Value {
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    request
}

/// What must be done before an action of versions.
fn prepare(s: &Scene, action: &str) {
    let steps: &[&str] = match action {
        "EnableKeyVersion" | "ScheduleKeyVersionDeletion" => &["DisableKeyVersion"],
        "CancelKeyVersionDeletion" => &["DisableKeyVersion", "ScheduleKeyVersionDeletion"],
        _ => &[],
    };
    for step in steps {
        call(&s.kms, step, &json!({ "KeyId": s.key, "KeyVersionId": s.old })).unwrap();
    }
}

#[test]
fn each_action_is_in_the_table() {
    let s = Scene::new(false);
    let known = call(&s.kms, "ListActions", &json!({})).unwrap();
    let mut known: Vec<&str> =
        known["Actions"]["Action"].as_array().unwrap().iter().map(|action| action["Name"].as_str().unwrap()).collect();
    let cases = cases(&s);
    let mut tried: Vec<&str> = cases.iter().map(|case| case.0).collect();
    known.sort_unstable();
    tried.sort_unstable();
    assert_eq!(tried, known);
}

#[test]
fn each_change_leaves_one_entry_and_a_read_none() {
    let without_rsa = Scene::new(false);
    for at in 0..cases(&without_rsa).len() {
        let name = cases(&without_rsa)[at].0;
        let s = Scene::new(["ExportDataKey", "GenerateAndExportDataKey", "ImportKeyMaterial"].contains(&name));
        let (action, request, leaves, _) = cases(&s).swap_remove(at);
        prepare(&s, action);
        let (done, entries) = s.left(action, &request);
        let response = done.unwrap_or_else(|status| panic!("{action} fails with {status:?}"));
        if let Leaves::Nothing = leaves {
            assert_eq!(entries, [], "{action} changes nothing, and leaves an entry");
            continue;
        }
        let [entry] = &entries[..] else { panic!("{action} leaves {} entries: {entries:?}", entries.len()) };
        assert_eq!((entry.action.as_str(), entry.status), (action, 0));
        assert_eq!(entry.actor.label.as_deref(), Some("the tests"), "{action}");
        let key = |id: &Value| Some(KeyId::parse(id.as_str().unwrap()).unwrap());
        let version = |id: &Value| Some(VersionId::parse(id.as_str().unwrap()).unwrap());
        let made = || &response["KeyMetadata"]["KeyId"];
        let newest = |id: &Value| {
            let found = call(&s.kms, "DescribeKey", &json!({ "KeyId": id })).unwrap();
            found["KeyMetadata"]["PrimaryKeyVersion"].clone()
        };
        let said = (entry.key, entry.version, entry.count);
        match leaves {
            Leaves::Nothing => {}
            Leaves::Key(id) => assert_eq!(said, (key(&id), None, 1), "{action}"),
            Leaves::NewKey => assert_eq!(said, (key(made()), None, 1), "{action}"),
            Leaves::Version(id, one) => assert_eq!(said, (key(&id), version(&one), 1), "{action}"),
            Leaves::NewVersion(id) => assert_eq!(said, (key(&id), version(&newest(&id)), 1), "{action}"),
            Leaves::Count(count) => assert_eq!(said, (None, None, count), "{action}"),
        }
    }
}

#[test]
fn each_refused_change_leaves_one_entry_with_its_status() {
    let without_rsa = Scene::new(false);
    for at in 0..cases(&without_rsa).len() {
        let name = cases(&without_rsa)[at].0;
        let s = Scene::new(["ExportDataKey", "GenerateAndExportDataKey", "ImportKeyMaterial"].contains(&name));
        let (action, _, leaves, refused) = cases(&s).swap_remove(at);
        let Some((request, status)) = refused else {
            assert!(matches!(leaves, Leaves::Nothing) || action == "CutChanges", "{action} is not refused here");
            continue;
        };
        let (done, entries) = s.left(action, &request);
        assert_eq!(done.unwrap_err(), status, "{action}");
        let [entry] = &entries[..] else { panic!("a refused {action} leaves {} entries: {entries:?}", entries.len()) };
        assert_eq!((entry.action.as_str(), entry.status), (action, status as i32));
        let named = request.get("KeyId").and_then(Value::as_str).and_then(KeyId::parse);
        assert_eq!(entry.key, named, "{action}");
        s.kms.verify(|fault| panic!("{action}: {fault:?}")).unwrap();
    }
}

#[test]
fn a_refused_read_leaves_no_entry() {
    let s = Scene::new(false);
    for (action, request) in [
        ("DescribeKey", json!({ "KeyId": NO_ID })),
        ("ListKeyVersions", json!({ "KeyId": NO_ID })),
        ("Encrypt", json!({ "KeyId": s.disabled, "Plaintext": "AAAA" })),
        ("Decrypt", json!({ "CiphertextBlob": "AAAA" })),
        ("GenerateDataKey", json!({ "KeyId": NO_ID })),
        ("ListChanges", json!({ "MaxResults": 0 })),
    ] {
        let (done, entries) = s.left(action, &request);
        assert!(done.is_err(), "{action}");
        assert_eq!(entries, [], "{action}");
    }
}
