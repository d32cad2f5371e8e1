//! All operations by action names and JSON, for languages that can only pass strings; `table` has them all.
//!
//! Names, defaults and output conventions are those of Alibaba Cloud KMS (API 2016-01-20, "classic CMK"), which this
//! library calls the service. Two documented deviations: `Plaintext` is the Base64 of the bytes both ways, and a parameter
//! that the action doesn't know is refused, so that a misspelt one is not silently without effect.

mod action;
mod crypt;
mod files;
mod keys;
mod keystore;
mod lists;
mod request;
mod show;
mod table;

use std::io::Write;

use serde_json::{Map, Value};
use zeroize::Zeroize;

use super::Keystore;
use crate::error::{Error, Result, Status, shown};
use crate::sys::{memory, random};
use request::Request;

type Response = Map<String, Value>;
type Run = fn(&Keystore, &mut Request) -> Result<Response>;

/// The failure of [`Keystore::call`].
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct CallFailed {
    /// The error that the typed call would return.
    pub error: Error,
    /// `{"HttpStatus", "Code", "Message", "RequestId"}` as JSON.
    pub body: String,
}

impl Keystore {
    /// Carry out an action (`Encrypt`) whose parameters are a JSON object, and return the JSON response.
    /// `docs/actions.md` lists all actions. A response may hold a plaintext: wipe it.
    ///
    /// # Errors
    /// [`CallFailed`] with the error of the typed call, and the service's error body; `UnknownAction`;
    /// `InvalidArgument` or `MissingParameter` for a parameter.
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let response = keystore.call("CreateAlias", &format!(r#"{{"KeyId": "{key}", "AliasName": "alias/cards"}}"#));
    /// assert!(response.is_ok_and(|json| json.contains("RequestId")));
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn call(&self, action: &str, request: &str) -> std::result::Result<String, CallFailed> {
        let mut explanation = Response::new();
        let done = self.dispatch(action, request, &mut explanation);
        let id = request_id();
        let failed = |error: Error| {
            let mut body = explanation;
            body.insert("HttpStatus".into(), http(error.status()).into());
            body.extend(keystore::error(&error));
            body.insert("RequestId".into(), id.as_str().into());
            CallFailed { error, body: Value::Object(body).to_string() }
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

    fn dispatch(&self, name: &str, request: &str, explanation: &mut Response) -> Result<Response> {
        let action = table::find(name).ok_or_else(|| unknown_action(name))?;
        let mut request = Request::parse(request)?;
        let done = request.check(action).and_then(|()| (action.run)(self, &mut request));
        *explanation = request.explanation();
        done.map_err(|error| Request::described(error, action))
    }
}

fn unknown_action(name: &str) -> Error {
    Status::UnknownAction.error(format!("no action {}; ListActions returns them all", shown(name)))
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
    let mut text = memory::list(len.0 + 1)?;
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

/// A random UUID; nothing depends on it, so that a failing kernel leaves a visible nil.
fn request_id() -> String {
    let bytes = random::array().unwrap_or_default();
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests;
