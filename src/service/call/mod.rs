//! All operations by the service's action names and JSON, for languages that can only pass strings.
//!
//! Names, defaults and output conventions are the service's (API 2016-01-20). Two documented deviations: `Plaintext`
//! is the Base64 of the bytes both ways, and a parameter that the action doesn't know is refused, so that a misspelt
//! one is not silently without effect.

mod crypt;
mod keys;
mod lists;
mod request;
mod show;

use serde_json::{Map, Value, json};

use super::Kms;
use crate::error::{Error, Result, Status};
use crate::sys::random;
use request::Request;

type Response = Map<String, Value>;
type Action = fn(&Kms, &mut Request) -> Result<Response>;

/// A refused call: why, and the service's error body.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct CallFailed {
    pub error: Error,
    /// `{"HttpStatus", "Code", "Message", "RequestId"}` as JSON.
    pub body: String,
}

impl Kms {
    /// Carries out `action` ("Encrypt") with the parameters in `request` (a JSON object) and gives the JSON response.
    pub fn call(&self, action: &str, request: &str) -> std::result::Result<String, CallFailed> {
        let done = self.dispatch(action, request);
        let id = request_id();
        match done {
            Ok(mut response) => {
                response.insert("RequestId".into(), id.into());
                Ok(Value::Object(response).to_string())
            }
            Err(error) => {
                let body = json!({
                    "HttpStatus": http(error.status()),
                    "Code": error.status().code(),
                    "Message": error.to_string(),
                    "RequestId": id,
                });
                Err(CallFailed { error, body: body.to_string() })
            }
        }
    }

    fn dispatch(&self, name: &str, request: &str) -> Result<Response> {
        let action = action(name).ok_or_else(|| Status::UnknownAction.error("there is no action of this name"))?;
        let mut request = Request::parse(request)?;
        action(self, &mut request)
    }
}

fn action(name: &str) -> Option<Action> {
    Some(match name {
        "CreateKey" => keys::create_key,
        "DescribeKey" => keys::describe_key,
        "ListKeys" => lists::list_keys,
        "EnableKey" => keys::enable_key,
        "DisableKey" => keys::disable_key,
        "ScheduleKeyDeletion" => keys::schedule_key_deletion,
        "CancelKeyDeletion" => keys::cancel_key_deletion,
        "UpdateKeyDescription" => keys::update_key_description,
        "SetDeletionProtection" => keys::set_deletion_protection,
        "UpdateRotationPolicy" => keys::update_rotation_policy,
        "CreateKeyVersion" => keys::create_key_version,
        "DescribeKeyVersion" => keys::describe_key_version,
        "ListKeyVersions" => lists::list_key_versions,
        "GetParametersForImport" => keys::get_parameters_for_import,
        "ImportKeyMaterial" => keys::import_key_material,
        "DeleteKeyMaterial" => keys::delete_key_material,
        "CreateAlias" => keys::create_alias,
        "UpdateAlias" => keys::update_alias,
        "DeleteAlias" => keys::delete_alias,
        "ListAliases" => lists::list_aliases,
        "ListAliasesByKeyId" => lists::list_aliases_by_key_id,
        "TagResource" => keys::tag_resource,
        "UntagResource" => keys::untag_resource,
        "ListResourceTags" => lists::list_resource_tags,
        "Encrypt" => crypt::encrypt,
        "Decrypt" => crypt::decrypt,
        "ReEncrypt" => crypt::re_encrypt,
        "GenerateDataKey" => crypt::generate_data_key,
        "GenerateDataKeyWithoutPlaintext" => crypt::generate_data_key_without_plaintext,
        "ExportDataKey" => crypt::export_data_key,
        "GenerateAndExportDataKey" => crypt::generate_and_export_data_key,
        _ => return None,
    })
}

/// The service's HTTP status for a failure.
fn http(status: Status) -> i32 {
    match status as i32 {
        203 => 400,
        200..=299 => 404,
        300..=303 | 306 => 409,
        100..=499 => 400,
        _ => 500,
    }
}

/// A random UUID; nothing depends on it, so that a failing kernel gives a visible nil.
fn request_id() -> String {
    let bytes = random::array().unwrap_or_default();
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests;
