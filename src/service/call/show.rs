//! Keys, versions and dates as the service's JSON shows them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

use super::Response;
use crate::domain::arn;
use crate::domain::id::KeyId;
use crate::domain::key::{Key, Origin};
use crate::domain::rotation::Rotation;
use crate::domain::state::KeyState;
use crate::domain::time::Time;
use crate::domain::version::VersionState;
use crate::error::{Result, Status};
use crate::service::KeyVersion;
use crate::sys::memory;

/// An object from name and value.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Response {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub fn base64(bytes: &[u8]) -> Result<Value> {
    let len = base64::encoded_len(bytes.len(), true).ok_or_else(memory::out_of_memory)?;
    let mut text = memory::zeroed(len)?;
    // Exactly as long as asked, and ASCII.
    let done = STANDARD.encode_slice(bytes, &mut text).ok().and_then(|_| String::from_utf8(text).ok());
    done.map(Value::String).ok_or_else(|| Status::Internal.error("bytes could not be written as Base64"))
}

/// ISO 8601, UTC, whole seconds; one beyond the years 1 to 9999, by a clock that is absurd, is the nearest in them.
pub fn date(time: Time) -> Value {
    const MIN_DATE: i64 = -62_135_596_800_000;
    let shown = time.millis().clamp(MIN_DATE, Time::MAX_DATE.millis());
    let date = DateTime::from_timestamp_millis(shown).unwrap_or_default();
    date.to_rfc3339_opts(SecondsFormat::Secs, true).into()
}

/// A date, or an empty text where there is none.
fn date_or_empty(time: Option<Time>) -> Value {
    time.map_or_else(|| "".into(), date)
}

pub fn state(state: KeyState) -> &'static str {
    match state {
        KeyState::Enabled => "Enabled",
        KeyState::Disabled => "Disabled",
        KeyState::PendingDeletion => "PendingDeletion",
        KeyState::PendingImport => "PendingImport",
    }
}

/// A key in a list.
pub fn key_entry(id: KeyId) -> Value {
    json!({ "KeyId": id.to_string(), "KeyArn": arn::of_key(id) })
}

/// KeyMetadata of CreateKey and, with the protection, of DescribeKey.
pub fn metadata(key: &Key, with_protection: bool) -> Value {
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("KeyId", key.id.to_string().into());
    put("Arn", arn::of_key(key.id).into());
    put("Creator", "libkms".into());
    put("CreationDate", date(key.created));
    put("Description", key.description.clone().into());
    put("KeySpec", "Aliyun_AES_256".into());
    put("KeyUsage", "ENCRYPT/DECRYPT".into());
    put("KeyState", state(key.state).into());
    put("Origin", if key.origin == Origin::Kms { "Aliyun_KMS" } else { "EXTERNAL" }.into());
    put("ProtectionLevel", "SOFTWARE".into());
    if let Some(primary) = key.primary {
        put("PrimaryKeyVersion", primary.id.to_string().into());
        put("LastRotationDate", date(primary.created));
    }
    let rotation = key.automatic_rotation();
    let rotation_name = match rotation {
        Rotation::Disabled => "Disabled",
        Rotation::Enabled => "Enabled",
        Rotation::Suspended => "Suspended",
    };
    put("AutomaticRotation", rotation_name.into());
    if let (Some(interval), Some(next)) = (key.policy, key.next_rotation()) {
        put("RotationInterval", interval.to_string().into());
        put("NextRotationDate", date(next));
    }
    put("DeleteDate", date_or_empty(key.delete_date()));
    let expiry = key.imported.and_then(|imported| imported.expiry);
    put("MaterialExpireTime", date_or_empty(expiry.map(|expiry| expiry.date)));
    if with_protection {
        put("DeletionProtection", if key.protection.is_some() { "Enabled" } else { "Disabled" }.into());
        if let Some(reason) = key.protection.as_ref().filter(|reason| !reason.is_empty()) {
            put("DeletionProtectionDescription", reason.clone().into());
        }
    }
    Value::Object(shown)
}

fn version_state(state: VersionState) -> &'static str {
    match state {
        VersionState::Enabled => "Enabled",
        VersionState::Disabled => "Disabled",
        VersionState::PendingDeletion => "PendingDeletion",
        VersionState::Destroyed => "Destroyed",
    }
}

pub fn version(key: KeyId, version: &KeyVersion) -> Value {
    json!({
        "KeyId": key.to_string(),
        "KeyVersionId": version.id.to_string(),
        "CreationDate": date(version.created),
        "KeyVersionState": version_state(version.state),
        "DeleteDate": date_or_empty(version.delete_date),
        "LastEncryptDate": date_or_empty(version.last_encrypt_date),
        "LastDecryptDate": date_or_empty(version.last_decrypt_date),
    })
}
