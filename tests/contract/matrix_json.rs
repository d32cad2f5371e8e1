//! The matrix once more, by action name and JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kms::{Kms, Status};
use serde_json::{Value, json};

use super::imported::MATERIAL;
use super::matrix::{Driver, Operation, Subject, each_row_holds, kind_is_checked_before_state};

/// Calls as `kms_call` does, and holds the error body to the error.
struct Json;

fn call(kms: &Kms, action: &str, request: &Value) -> Result<(), Status> {
    match kms.call(action, &request.to_string()) {
        Ok(response) => {
            let response: Value = serde_json::from_str(&response).unwrap();
            assert_eq!(response["RequestId"].as_str().unwrap().len(), 36);
            Ok(())
        }
        Err(failed) => {
            let body: Value = serde_json::from_str(&failed.body).unwrap();
            assert_eq!(body["Code"], failed.error.status().code(), "{action}");
            Err(failed.error.status())
        }
    }
}

impl Driver for Json {
    fn perform(&self, kms: &Kms, operation: Operation, s: &Subject) -> Result<(), Status> {
        let (id, version) = (s.id.as_str(), s.version.to_string());
        let (blob, other_blob) = (STANDARD.encode(&s.blob), STANDARD.encode(&s.other_blob));
        let key = json!({ "KeyId": id });
        let with = |fields: Value| {
            let mut request = key.clone();
            request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            request
        };
        let wrapping = json!({ "WrappingKeySpec": "RSA_2048", "WrappingAlgorithm": "RSAES_OAEP_SHA_256" });
        let (action, request) = match operation {
            Operation::CreateKey => ("CreateKey", json!({})),
            Operation::ListKeys => ("ListKeys", json!({})),
            Operation::DescribeKey => ("DescribeKey", key),
            Operation::Encrypt => ("Encrypt", with(json!({ "Plaintext": "eA==" }))),
            Operation::Decrypt => ("Decrypt", json!({ "CiphertextBlob": blob })),
            Operation::GenerateDataKey => ("GenerateDataKey", key),
            Operation::GenerateDataKeyWithoutPlaintext => ("GenerateDataKeyWithoutPlaintext", key),
            Operation::CreateKeyVersion => ("CreateKeyVersion", key),
            Operation::UpdateRotationPolicyOn => {
                let on = json!({ "EnableAutomaticRotation": true, "RotationInterval": "1d" });
                ("UpdateRotationPolicy", with(on))
            }
            Operation::UpdateRotationPolicyOff => {
                ("UpdateRotationPolicy", with(json!({ "EnableAutomaticRotation": false })))
            }
            Operation::DescribeKeyVersion => ("DescribeKeyVersion", with(json!({ "KeyVersionId": version }))),
            Operation::ListKeyVersions => ("ListKeyVersions", key),
            Operation::UpdateKeyDescription => ("UpdateKeyDescription", with(json!({ "Description": "new" }))),
            Operation::TagResource => {
                ("TagResource", with(json!({ "Tags": [{ "TagKey": "team", "TagValue": "orders" }] })))
            }
            Operation::UntagResource => ("UntagResource", with(json!({ "TagKeys": "[\"team\"]" }))),
            Operation::ListResourceTags => ("ListResourceTags", key),
            Operation::EnableKey => ("EnableKey", key),
            Operation::DisableKey => ("DisableKey", key),
            Operation::ScheduleKeyDeletion => ("ScheduleKeyDeletion", with(json!({ "PendingWindowInDays": 7 }))),
            Operation::CancelKeyDeletion => ("CancelKeyDeletion", key),
            Operation::CreateAlias => ("CreateAlias", with(json!({ "AliasName": format!("{}/second", s.alias) }))),
            Operation::DeleteAlias => ("DeleteAlias", json!({ "AliasName": s.alias })),
            Operation::ListAliases => ("ListAliases", json!({})),
            Operation::UpdateAlias => ("UpdateAlias", with(json!({ "AliasName": s.other_alias }))),
            Operation::GetParametersForImport => ("GetParametersForImport", with(wrapping)),
            // What the service calls ImportKeyMaterial takes wrapped material; crypto's own tests wrap some.
            Operation::ImportKeyMaterial => {
                return kms.import_raw_key_material(id, &MATERIAL, None).map_err(|error| error.status());
            }
            Operation::DeleteKeyMaterial => ("DeleteKeyMaterial", key),
            Operation::ReEncryptSource => ("ReEncrypt", json!({ "CiphertextBlob": blob, "DestinationKeyId": s.other })),
            Operation::ReEncryptDestination => {
                ("ReEncrypt", json!({ "CiphertextBlob": other_blob, "DestinationKeyId": id }))
            }
            Operation::SetDeletionProtection => {
                ("SetDeletionProtection", with(json!({ "EnableDeletionProtection": true })))
            }
            Operation::ListAliasesByKeyId => ("ListAliasesByKeyId", key),
        };
        call(kms, action, &request)
    }
}

#[test]
fn every_action_is_allowed_in_exactly_the_states_of_its_row() {
    each_row_holds(&Json);
}

#[test]
fn an_action_tells_the_origin_before_the_state() {
    kind_is_checked_before_state(&Json);
}
