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

use std::io::Write;

use serde_json::{Map, Value, json};
use zeroize::Zeroize;

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
    /// Carries out `action` ("Encrypt") with the parameters in `request` (a JSON object) and gives the JSON response, which
    /// is the only copy of a plaintext that is left: wipe it.
    pub fn call(&self, action: &str, request: &str) -> std::result::Result<String, CallFailed> {
        let done = self.dispatch(action, request);
        let id = request_id();
        let failed = |error: Error| {
            let body = json!({
                "HttpStatus": http(error.status()),
                "Code": error.status().code(),
                "Message": error.to_string(),
                "RequestId": id,
            });
            CallFailed { error, body: body.to_string() }
        };
        match done {
            Ok(mut response) => {
                response.insert("RequestId".into(), id.as_str().into());
                let mut response = Value::Object(response);
                let text = text(&response);
                wipe(&mut response);
                text.map_err(failed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn dispatch(&self, name: &str, request: &str) -> Result<Response> {
        let action = action(name).ok_or_else(|| Status::UnknownAction.error("there is no action of this name"))?;
        let mut request = Request::parse(request)?;
        action(self, &mut request)
    }
}

/// The JSON of a response, written once and into its final place: growing would leave copies of a plaintext behind.
fn text(response: &Value) -> Result<String> {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let failed = |_| Status::Internal.error("a response could not be written as JSON");
    let mut len = Count(0);
    serde_json::to_writer(&mut len, response).map_err(failed)?;
    // One more for the NUL of C.
    let mut text = Vec::with_capacity(len.0 + 1);
    serde_json::to_writer(&mut text, response).map_err(failed)?;
    String::from_utf8(text).map_err(|_| Status::Internal.error("a response is not UTF-8"))
}

/// Wipes every text in a value.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
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
