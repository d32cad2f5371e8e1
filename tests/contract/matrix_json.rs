//! The matrix of `matrix.rs` once more, by the service's action names and JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kms::{Keystore, Status};
use serde_json::{Value, json};

use super::imported::*;
use super::matrix::{Driver, Operation, Subject, each_row_holds, kind_is_checked_before_state};

/// Calls through [`Keystore::call`].
struct Json;

fn call(kms: &Keystore, action: &str, request: Value) -> Result<Value, Status> {
    match kms.call(action, &request.to_string()) {
        Ok(response) => Ok(serde_json::from_str(&response).unwrap()),
        Err(failed) => {
            let body: Value = serde_json::from_str(&failed.body).unwrap();
            assert_eq!(body["Code"], failed.error.status().code(), "the body says what the error says");
            Err(failed.error.status())
        }
    }
}

/// The import of a client: parameters, wrapping, and then the import itself, whose status it is.
fn import(kms: &Keystore, id: &str) -> Result<Value, Status> {
    let wanted = json!({"KeyId": id, "WrappingKeySpec": "RSA_2048", "WrappingAlgorithm": "RSAES_OAEP_SHA_256"});
    let parameters = call(kms, "GetParametersForImport", wanted)?;
    let public_key = STANDARD.decode(parameters["PublicKey"].as_str().unwrap()).unwrap();
    let wrapped = STANDARD.encode(wrap(&public_key, kms::Wrapping::OaepSha256, &MATERIAL));
    let import = json!({
        "KeyId": id, "EncryptedKeyMaterial": wrapped, "ImportToken": parameters["ImportToken"],
        "KeyMaterialExpireUnix": 0,
    });
    call(kms, "ImportKeyMaterial", import)
}

impl Driver for Json {
    fn perform(&self, kms: &Keystore, operation: Operation, s: &Subject) -> Result<(), Status> {
        let id = s.id.as_str();
        let key = json!({"KeyId": id});
        let (blob, other_blob) = (STANDARD.encode(&s.blob), STANDARD.encode(&s.other_blob));
        let (action, request) = match operation {
            Operation::CreateKey => ("CreateKey", json!({})),
            Operation::ListKeys => ("ListKeys", json!({"PageNumber": 1, "PageSize": 100})),
            Operation::DescribeKey => ("DescribeKey", key),
            Operation::Encrypt => ("Encrypt", json!({"KeyId": id, "Plaintext": "eA=="})),
            Operation::Decrypt => ("Decrypt", json!({"CiphertextBlob": blob})),
            Operation::GenerateDataKey => ("GenerateDataKey", json!({"KeyId": id, "KeySpec": "AES_256"})),
            Operation::GenerateDataKeyWithoutPlaintext => {
                ("GenerateDataKeyWithoutPlaintext", json!({"KeyId": id, "NumberOfBytes": 32}))
            }
            Operation::CreateKeyVersion => ("CreateKeyVersion", key),
            Operation::UpdateRotationPolicyOn => {
                let on = json!({"KeyId": id, "EnableAutomaticRotation": true, "RotationInterval": "1d"});
                ("UpdateRotationPolicy", on)
            }
            Operation::UpdateRotationPolicyOff => {
                ("UpdateRotationPolicy", json!({"KeyId": id, "EnableAutomaticRotation": false}))
            }
            Operation::DescribeKeyVersion => {
                ("DescribeKeyVersion", json!({"KeyId": id, "KeyVersionId": s.version.to_string()}))
            }
            Operation::ListKeyVersions => ("ListKeyVersions", key),
            Operation::UpdateKeyDescription => ("UpdateKeyDescription", json!({"KeyId": id, "Description": "new"})),
            Operation::TagResource => {
                ("TagResource", json!({"KeyId": id, "Tags": [{"TagKey": "team", "TagValue": "orders"}]}))
            }
            Operation::UntagResource => ("UntagResource", json!({"KeyId": id, "TagKeys": ["team"]})),
            Operation::ListResourceTags => ("ListResourceTags", key),
            Operation::EnableKey => ("EnableKey", key),
            Operation::DisableKey => ("DisableKey", key),
            Operation::ScheduleKeyDeletion => ("ScheduleKeyDeletion", json!({"KeyId": id, "PendingWindowInDays": 7})),
            Operation::CancelKeyDeletion => ("CancelKeyDeletion", key),
            Operation::CreateAlias => ("CreateAlias", json!({"KeyId": id, "AliasName": format!("{}/second", s.alias)})),
            Operation::DeleteAlias => ("DeleteAlias", json!({"AliasName": s.alias})),
            Operation::ListAliases => ("ListAliases", json!({})),
            Operation::UpdateAlias => ("UpdateAlias", json!({"KeyId": id, "AliasName": s.other_alias})),
            Operation::GetParametersForImport => {
                let wanted = json!({
                    "KeyId": id, "WrappingKeySpec": "RSA_2048", "WrappingAlgorithm": "RSAES_PKCS1_V1_5",
                });
                ("GetParametersForImport", wanted)
            }
            Operation::ImportKeyMaterial => return import(kms, id).map(drop),
            Operation::DeleteKeyMaterial => ("DeleteKeyMaterial", key),
            Operation::ReEncryptSource => ("ReEncrypt", json!({"CiphertextBlob": blob, "DestinationKeyId": s.other})),
            Operation::ReEncryptDestination => {
                ("ReEncrypt", json!({"CiphertextBlob": other_blob, "DestinationKeyId": id}))
            }
            Operation::SetDeletionProtection => {
                let on = json!({
                    "KeyId": id, "EnableDeletionProtection": true, "DeletionProtectionDescription": "why",
                });
                ("SetDeletionProtection", on)
            }
            Operation::ListAliasesByKeyId => ("ListAliasesByKeyId", key),
        };
        let response = call(kms, action, request)?;
        assert!(response["RequestId"].is_string(), "{action} answers {response}");
        Ok(())
    }
}

#[test]
fn every_action_is_allowed_in_exactly_the_states_of_its_row() {
    each_row_holds(&Json);
}

#[test]
fn origin_is_told_before_state_in_json_too() {
    kind_is_checked_before_state(&Json);
}
