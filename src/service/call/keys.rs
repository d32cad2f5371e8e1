//! The actions on keys, versions, imported material, aliases and tags.

use serde_json::{Value, json};

use super::request::{Request, invalid, missing};
use super::show::{base64, date, key_entry, metadata, object, version};
use super::{Keystore, Response};
use crate::domain::arn;
use crate::domain::deletion::DEFAULT_DAYS;
use crate::domain::id::KeyId;
use crate::domain::key::Origin;
use crate::domain::rotation::Interval;
use crate::domain::time::Time;
use crate::error::Result;
use crate::service::{Core, CreateKey, Wrapping};

/// EnableAutomaticRotation with its interval, which is needed when it is true and ignored when it is false.
fn policy(request: &mut Request, enable: bool) -> Result<Option<Interval>> {
    let interval = request.optional_text("RotationInterval")?;
    match (enable, interval) {
        (false, _) => Ok(None),
        (true, Some(text)) if text.ends_with(['d', 'h', 'm', 's']) => Interval::parse(&text).map(Some),
        (true, Some(_)) => Err(invalid("RotationInterval")),
        (true, None) => Err(missing("RotationInterval")),
    }
}

fn new_key(request: &mut Request) -> Result<CreateKey> {
    let description = request.optional_text("Description")?.unwrap_or_default();
    request.only("KeyUsage", &["ENCRYPT/DECRYPT"])?;
    request.only("KeySpec", &["Aliyun_AES_256"])?;
    request.only("ProtectionLevel", &["SOFTWARE"])?;
    let origin = match request.optional_text("Origin")?.as_deref() {
        None | Some("Aliyun_KMS") => Origin::Kms,
        Some("EXTERNAL") => Origin::External,
        Some(_) => return Err(invalid("Origin")),
    };
    let enable = request.optional_flag("EnableAutomaticRotation")?.unwrap_or(false);
    let rotate_every = policy(request, enable)?;
    request.finish()?;
    Ok(CreateKey { description, origin: Some(origin), rotate_every })
}

fn made(kms: &Keystore, id: KeyId) -> Result<Response> {
    Ok(object([("KeyMetadata", metadata(&kms.describe_key(&id.to_string())?, false))]))
}

pub fn create_key(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let id = kms.create_key(&new_key(request)?)?;
    made(kms, id)
}

pub fn create_keys(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let count = request.optional_integer("Count")?.and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or_else(|| invalid("Count"))?;
    let ids = kms.create_keys(&new_key(request)?, count)?;
    let keys: Vec<Value> = ids.iter().map(|id| key_entry(*id)).collect();
    Ok(object([("Keys", json!({ "Key": keys }))]))
}

pub fn create_service_key(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let name = request.text("ServiceName")?;
    request.finish()?;
    let id = kms.create_service_key(&name)?;
    made(kms, id)
}

pub fn describe_key(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let key = request.text("KeyId")?;
    request.finish()?;
    Ok(object([("KeyMetadata", metadata(&kms.describe_key(key.as_str())?, true))]))
}

/// An action that takes a key id and answers nothing.
fn on_key(request: &mut Request, act: impl FnOnce(&str) -> Result<()>) -> Result<Response> {
    let key = request.text("KeyId")?;
    request.finish()?;
    act(&key).map(|()| Response::new())
}

pub fn enable_key(kms: &Keystore, request: &mut Request) -> Result<Response> {
    on_key(request, |key| kms.enable_key(key))
}

pub fn disable_key(kms: &Keystore, request: &mut Request) -> Result<Response> {
    on_key(request, |key| kms.disable_key(key))
}

fn days(request: &mut Request) -> Result<i32> {
    let days = request.optional_integer("PendingWindowInDays")?.unwrap_or(i64::from(DEFAULT_DAYS));
    i32::try_from(days).map_err(|_| invalid("PendingWindowInDays"))
}

pub fn schedule_key_deletion(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let days = days(request)?;
    on_key(request, |key| kms.schedule_key_deletion(key, days))
}

pub fn cancel_key_deletion(kms: &Keystore, request: &mut Request) -> Result<Response> {
    on_key(request, |key| kms.cancel_key_deletion(key))
}

pub fn update_key_description(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let description = request.text("Description")?;
    on_key(request, |key| kms.update_key_description(key, &description))
}

pub fn set_deletion_protection(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let enable = request.flag("EnableDeletionProtection")?;
    let reason = request.optional_text("DeletionProtectionDescription")?.unwrap_or_default();
    let key = match (request.optional_text("KeyId")?, request.optional_text("ProtectedResourceArn")?) {
        (Some(key), None) => key,
        (None, Some(resource)) if arn::is_meant(&resource) => resource,
        (None, Some(_)) => return Err(invalid("ProtectedResourceArn")),
        (Some(_), Some(_)) => return Err(invalid("ProtectedResourceArn")),
        (None, None) => {
            return Err(missing("KeyId"));
        }
    };
    request.finish()?;
    kms.set_deletion_protection(key.as_str(), enable.then_some(reason.as_str()))?;
    Ok(Response::new())
}

pub fn update_rotation_policy(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let enable = request.flag("EnableAutomaticRotation")?;
    let rotate_every = policy(request, enable)?;
    on_key(request, |key| kms.update_rotation_policy(key, rotate_every))
}

pub fn create_key_version(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let key = request.text("KeyId")?;
    request.finish()?;
    let made = kms.rotate(key.as_str())?;
    let id = kms.describe_key(key.as_str())?.id;
    let made = kms.describe_key_version(&id.to_string(), &made.to_string())?;
    Ok(object([("KeyVersion", version(id, &made))]))
}

pub fn describe_key_version(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let (key, version_id) = (request.text("KeyId")?, request.text("KeyVersionId")?);
    request.finish()?;
    let found = kms.describe_key_version(key.as_str(), &version_id)?;
    let id = kms.describe_key(key.as_str())?.id;
    Ok(object([("KeyVersion", version(id, &found))]))
}

/// An action that takes a key id and a version id and answers nothing.
fn on_version(request: &mut Request, act: impl FnOnce(&str, &str) -> Result<()>) -> Result<Response> {
    let (key, version) = (request.text("KeyId")?, request.text("KeyVersionId")?);
    request.finish()?;
    act(&key, &version).map(|()| Response::new())
}

pub fn enable_key_version(kms: &Keystore, request: &mut Request) -> Result<Response> {
    on_version(request, |key, version| kms.enable_key_version(key, version))
}

pub fn disable_key_version(kms: &Keystore, request: &mut Request) -> Result<Response> {
    on_version(request, |key, version| kms.disable_key_version(key, version))
}

pub fn schedule_key_version_deletion(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let days = days(request)?;
    on_version(request, |key, version| kms.schedule_key_version_deletion(key, version, days))
}

pub fn cancel_key_version_deletion(kms: &Keystore, request: &mut Request) -> Result<Response> {
    on_version(request, |key, version| kms.cancel_key_version_deletion(key, version))
}

/// WrappingKeySpec and WrappingAlgorithm, both needed.
pub fn wrapping(request: &mut Request, allow_pkcs1: bool) -> Result<Wrapping> {
    let (spec, algorithm) = (request.text("WrappingKeySpec")?, request.text("WrappingAlgorithm")?);
    match (spec.as_str(), algorithm.as_str()) {
        ("RSA_2048", "RSAES_PKCS1_V1_5") if allow_pkcs1 => Ok(Wrapping::Pkcs1V15),
        ("RSA_2048", "RSAES_OAEP_SHA_1") => Ok(Wrapping::OaepSha1),
        ("RSA_2048", "RSAES_OAEP_SHA_256") => Ok(Wrapping::OaepSha256),
        ("RSA_2048", _) => Err(invalid("WrappingAlgorithm")),
        _ => Err(invalid("WrappingKeySpec")),
    }
}

pub fn get_parameters_for_import(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let key = request.text("KeyId")?;
    let wrapping = wrapping(request, true)?;
    request.finish()?;
    let parameters = kms.get_parameters_for_import(key.as_str(), wrapping)?;
    Ok(object([
        ("KeyId", Core::id_only(&key)?.to_string().into()),
        ("PublicKey", base64(&parameters.public_key)?),
        ("ImportToken", base64(&parameters.token)?),
        ("TokenExpireTime", date(parameters.expires)),
    ]))
}

fn expiry(request: &mut Request) -> Result<Option<Time>> {
    Ok(match request.optional_integer("KeyMaterialExpireUnix")? {
        None | Some(0) => None,
        Some(seconds) => Some(Time::from_millis(0).plus_seconds(seconds)),
    })
}

pub fn import_key_material(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let (wrapped, token) = (request.bytes("EncryptedKeyMaterial")?, request.bytes("ImportToken")?);
    let expires = expiry(request)?;
    on_key(request, |key| kms.import_key_material(key, &wrapped, &token, expires))
}

pub fn import_raw_key_material(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let material = request.bytes("KeyMaterial")?;
    let expires = expiry(request)?;
    on_key(request, |key| kms.import_raw_key_material(key, &material, expires))
}

pub fn delete_key_material(kms: &Keystore, request: &mut Request) -> Result<Response> {
    on_key(request, |key| kms.delete_key_material(key))
}

pub fn create_alias(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let alias = request.text("AliasName")?;
    on_key(request, |key| kms.create_alias(key, &alias))
}

pub fn update_alias(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let alias = request.text("AliasName")?;
    on_key(request, |key| kms.update_alias(key, &alias))
}

pub fn delete_alias(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let alias = request.text("AliasName")?;
    request.finish()?;
    kms.delete_alias(&alias).map(|()| Response::new())
}

pub fn tag_resource(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let Some(Value::Array(tags)) = request.json("Tags")? else { return Err(invalid("Tags")) };
    let field = |tag: &Value, name: &str| tag.get(name).and_then(Value::as_str).map(str::to_owned);
    let tags: Vec<(String, String)> = tags
        .iter()
        .map(|tag| Some((field(tag, "TagKey")?, field(tag, "TagValue").unwrap_or_default())))
        .collect::<Option<_>>()
        .ok_or_else(|| invalid("Tags"))?;
    let tags: Vec<(&str, &str)> = tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    on_key(request, |key| kms.tag_resource(key, &tags))
}

pub fn untag_resource(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let Some(Value::Array(names)) = request.json("TagKeys")? else { return Err(invalid("TagKeys")) };
    let names: Vec<&str> = names.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(|| invalid("TagKeys"))?;
    on_key(request, |key| kms.untag_resource(key, &names))
}
