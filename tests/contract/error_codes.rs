//! The service's error codes: each that can occur inside a process is produced once, with its code and its text.

use kms::{KeyId, ManualClock, Options, Result, Status};

use super::imported::*;
use super::support::*;

type Row = (Status, &'static str, &'static str, fn(&TestKeystore) -> Result<()>);

fn unknown() -> String {
    KeyId::from_random([5; 16]).to_string()
}

fn disabled(kms: &TestKeystore) -> String {
    let id = kms.plain_key();
    kms.disable_key(&id).unwrap();
    id
}

fn pending(kms: &TestKeystore) -> String {
    let id = kms.plain_key();
    kms.schedule_key_deletion(&id, 7).unwrap();
    id
}

/// Status, the service's code, how it is produced, and doing so. Codes of accounts, regions and transport, and
/// throttling and quotas, don't occur.
const PRODUCED: &[Row] = &[
    (Status::InvalidArgument, "InvalidParameter", "a waiting period of 6 days", |kms| {
        kms.schedule_key_deletion(&kms.plain_key(), 6)
    }),
    (Status::MissingParameter, "MissingParameter", "Encrypt without KeyId, in JSON", |kms| json(kms, "Encrypt", "{}")),
    (Status::UnknownAction, "UnsupportedOperation.UnknownAction", "an unknown action, in JSON", |kms| {
        json(kms, "Encipher", "{}")
    }),
    (Status::UnsupportedAlias, "Unsupported.Alias", "an alias where an id is wanted", |kms| {
        kms.disable_key("alias/orders")
    }),
    (Status::LimitExceeded, "Rejected.LimitExceeded", "a description of 8193 characters", |kms| {
        kms.update_key_description(&kms.plain_key(), &"d".repeat(8193))
    }),
    (Status::KeyNotFound, "Forbidden.KeyNotFound", "an unknown id", |kms| kms.describe_key(&unknown()).map(drop)),
    (Status::KeyVersionNotFound, "Forbidden.KeyVersionNotFound", "an unknown version of a key", |kms| {
        kms.describe_key_version(&kms.plain_key(), &unknown()).map(drop)
    }),
    (Status::KeyVersionDisabled, "Rejected.KeyVersionDisabled", "decrypting under a Disabled version", |kms| {
        let (id, old, blob) = rotated(kms);
        kms.disable_key_version(&id, &old)?;
        kms.decrypt(&blob, &[]).map(drop)
    }),
    (Status::KeyVersionDestroyed, "Rejected.KeyVersionDestroyed", "decrypting under a destroyed version", |kms| {
        let (id, old, blob) = rotated(kms);
        destroy_version(kms, &id, &old);
        kms.decrypt(&blob, &[]).map(drop)
    }),
    (Status::AliasNotFound, "Forbidden.AliasNotFound", "an unknown alias", |kms| kms.delete_alias("alias/orders")),
    (Status::AliasAlreadyExists, "AliasAlreadyExists", "an alias made twice", |kms| {
        let id = kms.plain_key();
        kms.create_alias(&id, "alias/twice")?;
        kms.create_alias(&id, "alias/twice")
    }),
    (Status::RejectedDisabled, "Rejected.Disabled", "encrypting under a Disabled key", |kms| {
        kms.encrypt(&disabled(kms), b"x", &[]).map(drop)
    }),
    (Status::RejectedPendingDeletion, "Rejected.PendingDeletion", "encrypting under a key to be deleted", |kms| {
        kms.encrypt(&pending(kms), b"x", &[]).map(drop)
    }),
    (Status::RejectedPendingImport, "Rejected.PendingImport", "encrypting under a key without material", |kms| {
        kms.encrypt(&kms.external_key(), b"x", &[]).map(drop)
    }),
    (Status::StateModifiedFailed, "Rejected.StateModifiedFailed", "enabling a key to be deleted", |kms| {
        kms.enable_key(&pending(kms))
    }),
    (Status::UnsupportedOperation, "Rejected.UnsupportedOperation", "rotating an EXTERNAL key", |kms| {
        kms.rotate(&kms.imported_key()).map(drop)
    }),
    (Status::UnsupportedOrigin, "Unsupported.Origin", "importing into a key made by the library", |kms| {
        kms.import_raw_key_material(&kms.plain_key(), &MATERIAL, None)
    }),
    (Status::DeletionProtected, "Rejected.DeletionProtected", "deleting a protected key", |kms| {
        let id = kms.plain_key();
        kms.set_deletion_protection(&id, Some(""))?;
        kms.schedule_key_deletion(&id, 7)
    }),
    (Status::MalformedCiphertext, "InvalidParameter", "a ciphertext that is none", |kms| {
        kms.decrypt(b"no ciphertext", &[]).map(drop)
    }),
    (Status::AuthenticationFailed, "InvalidParameter", "another context", |kms| {
        let blob = kms.encrypt(&kms.plain_key(), b"x", &[])?;
        kms.decrypt(&blob, &[("a", "1")]).map(drop)
    }),
    (Status::InvalidKeyMaterial, "InvalidKeyMaterial", "material of 31 bytes", |kms| {
        kms.import_raw_key_material(&kms.external_key(), &MATERIAL[..31], None)
    }),
    (Status::InvalidImportToken, "InvalidImportToken", "a token that is none", |kms| {
        kms.import_key_material(&kms.external_key(), &[1; 256], b"token", None)
    }),
    (Status::ExpiredImportToken, "ExpiredImportToken", "a token of the day before", |kms| {
        let id = kms.external_key();
        let parameters = kms.get_parameters_for_import(&id, WRAPPINGS[2])?;
        kms.at(2 * DAY_MS);
        let wrapped = wrap(&parameters.public_key, WRAPPINGS[2], &MATERIAL);
        kms.import_key_material(&id, &wrapped, &parameters.token, None)
    }),
    (Status::KeystoreNotFound, "Keystore.NotFound", "opening what isn't there", |_| {
        let (_folder, path) = place();
        try_open(&path, &ManualClock::at(T0), |o| o.create(false)).map(drop)
    }),
    (Status::WrongRootKey, "Keystore.WrongRootKey", "opening with another root key", |_| {
        let (_folder, path) = place();
        drop(open(&path, &ManualClock::at(T0), |o| o));
        kms::Keystore::open(&path, &Options::new().root_key(&[8; 32])).map(drop)
    }),
    (Status::NotAKeystore, "Keystore.NotAKeystore", "opening a file that is no keystore", |_| {
        let (_folder, path) = place();
        std::fs::write(&path, "a text of somebody else's, long enough to be a page of something".repeat(100)).unwrap();
        try_open(&path, &ManualClock::at(T0), |o| o).map(drop)
    }),
    (Status::KeystoreReadOnly, "Keystore.ReadOnly", "making a key in a keystore opened read-only", |_| {
        let (_folder, path) = place();
        let clock = ManualClock::at(T0);
        drop(open(&path, &clock, |o| o));
        let kms = try_open(&path, &clock, |o| o.create(false).read_only(true)).unwrap();
        kms.create_key(&kms::CreateKey::default()).map(drop)
    }),
];

fn json(kms: &TestKeystore, action: &str, request: &str) -> Result<()> {
    kms.call(action, request).map(drop).map_err(|failed| failed.error)
}

#[test]
fn each_error_is_produced_with_the_services_code() {
    for (status, code, how, produce) in PRODUCED {
        let error = produce(&memory()).err().unwrap_or_else(|| panic!("{how} succeeded"));
        assert_eq!((error.status(), error.status().code()), (*status, *code), "{how}");
        assert!(!error.to_string().is_empty(), "{how}");
    }
}

#[test]
fn every_status_of_arguments_existence_state_and_cryptography_is_produced() {
    let produced: Vec<Status> = PRODUCED.iter().map(|row| row.0).collect();
    for status in Status::ALL.iter().filter(|status| (**status as i32) < 500) {
        // A caller's buffers and records are a matter of the C ABI.
        let of_c = matches!(status, Status::BufferTooSmall | Status::BatchPartial);
        assert!(produced.contains(status) || of_c, "{status:?}");
    }
}

#[test]
fn a_failed_json_call_answers_the_services_error_body() {
    let kms = memory();
    let id = disabled(&kms);
    let cases = [
        ("DescribeKey", format!(r#"{{"KeyId":"{}"}}"#, unknown()), 404, "Forbidden.KeyNotFound"),
        ("DescribeKey", r#"{"KeyId":"alias/none"}"#.into(), 404, "Forbidden.AliasNotFound"),
        (
            "DescribeKeyVersion",
            format!(r#"{{"KeyId":"{id}","KeyVersionId":"{}"}}"#, unknown()),
            404,
            "Forbidden.KeyVersionNotFound",
        ),
        ("EnableKey", r#"{"KeyId":"alias/none"}"#.into(), 400, "Unsupported.Alias"),
        ("EnableKey", "{}".into(), 400, "MissingParameter"),
        ("EnableKey", r#"{"KeyId":7}"#.into(), 400, "InvalidParameter"),
        ("CreateKeyVersion", format!(r#"{{"KeyId":"{id}"}}"#), 409, "Rejected.Disabled"),
        ("CreateKeyVersion", format!(r#"{{"KeyId":"{}"}}"#, pending(&kms)), 409, "Rejected.PendingDeletion"),
        ("CreateKeyVersion", format!(r#"{{"KeyId":"{}"}}"#, kms.external_key()), 400, "Rejected.UnsupportedOperation"),
        ("CancelKeyDeletion", format!(r#"{{"KeyId":"{id}"}}"#), 409, "Rejected.StateModifiedFailed"),
        ("DeleteKeyMaterial", format!(r#"{{"KeyId":"{id}"}}"#), 400, "Unsupported.Origin"),
        (
            "Encrypt",
            format!(r#"{{"KeyId":"{}","Plaintext":"eA=="}}"#, kms.external_key()),
            409,
            "Rejected.PendingImport",
        ),
        ("Decrypt", r#"{"CiphertextBlob":"bm8="}"#.into(), 400, "InvalidParameter"),
    ];
    for (action, request, http, code) in cases {
        let body = kms.call(action, &request).unwrap_err().body;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["HttpStatus"], &body["Code"]), (&http.into(), &code.into()), "{action} {request}");
        assert!(!body["Message"].as_str().unwrap().is_empty());
        assert!(KeyId::parse(body["RequestId"].as_str().unwrap()).is_some(), "a UUID");
        assert_eq!(body.as_object().unwrap().len(), 4, "no result with an error: {body}");
    }
}

#[test]
fn an_encryption_context_that_names_a_key_twice_is_refused_in_json_too() {
    let kms = memory();
    let id = kms.plain_key();
    for context in [r#"{"a":"1","a":"2"}"#, r#"{"a":"1","a":"1"}"#] {
        let request = format!(r#"{{"KeyId":"{id}","Plaintext":"eA==","EncryptionContext":{context}}}"#);
        assert_eq!(json(&kms, "Encrypt", &request).map_err(|e| e.status()), Err(Status::InvalidArgument), "{context}");
    }
}
