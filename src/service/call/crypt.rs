//! The actions that encrypt, decrypt, inspect and make data keys.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::keys::wrapping;
use super::keystore::error;
use super::request::{ContextMap, Request, invalid};
use super::show::{base64, object};
use super::{Keystore, Response};
use crate::crypto::plaintext::Plaintext;
use crate::error::Result;
use crate::service::KeyRef;
use crate::service::{Core, Record, ReencryptItem};

/// KeyId and KeyVersionId of the ciphertext, then the other fields.
fn with_ids<const N: usize>(kms: &Keystore, blob: &[u8], fields: [(&str, Value); N]) -> Result<Response> {
    let info = kms.inspect(blob)?;
    let mut response =
        object([("KeyId", info.key.to_string().into()), ("KeyVersionId", info.version.to_string().into())]);
    response.extend(object(fields));
    Ok(response)
}

pub fn encrypt(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let (key, plaintext) = (request.text("KeyId")?, request.bytes("Plaintext")?);
    let context = request.context("EncryptionContext")?;
    request.finish()?;
    let blob = kms.encrypt(key.as_str(), &plaintext, &context.entries())?;
    with_ids(kms, &blob, [("CiphertextBlob", base64(&blob)?)])
}

pub fn decrypt(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let blob = request.bytes("CiphertextBlob")?;
    let context = request.context("EncryptionContext")?;
    request.finish()?;
    let plaintext = kms.decrypt(&blob, &context.entries())?;
    with_ids(kms, &blob, [("Plaintext", base64(&plaintext)?)])
}

/// The ids in the response are those of the source, as the service documents it.
pub fn re_encrypt(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let (blob, destination) = (request.bytes("CiphertextBlob")?, request.text("DestinationKeyId")?);
    let source_context = request.context("SourceEncryptionContext")?;
    let destination_context = request.context("DestinationEncryptionContext")?;
    request.finish()?;
    // As the service; the typed calls take an alias, too.
    Core::check_no_alias(&destination)?;
    let moved = kms.reencrypt(
        &blob,
        &source_context.entries(),
        Some(destination.as_str().into()),
        &destination_context.entries(),
    )?;
    with_ids(kms, &blob, [("CiphertextBlob", base64(&moved)?)])
}

/// What each record became, in their order. The call succeeds also where records failed: an error body would be logged,
/// and plaintexts with it.
fn outcomes<T: AsRef<[u8]>>(field: &str, done: Vec<Result<T>>) -> Response {
    let outcome = |done: Result<T>| match done.and_then(|bytes| base64(bytes.as_ref())) {
        Ok(encoded) => Value::Object(object([(field, encoded)])),
        Err(failed) => Value::Object(error(&failed)),
    };
    let records: Vec<Value> = done.into_iter().map(outcome).collect();
    object([("Records", json!({ "Record": records }))])
}

/// The bytes and contexts of each record; one that is malformed refuses the whole call.
struct Records<const N: usize>(Vec<(Zeroizing<Vec<u8>>, [ContextMap; N])>);

impl<const N: usize> Records<N> {
    fn of(request: &mut Request, data: &str, contexts: [&str; N]) -> Result<Self> {
        let read = |mut record: Request| {
            let bytes = record.bytes(data)?;
            let mut maps = [const { ContextMap::new() }; N];
            for (map, name) in maps.iter_mut().zip(contexts) {
                *map = record.context(name)?;
            }
            record.finish()?;
            Ok((bytes, maps))
        };
        request.records("Records")?.into_iter().map(read).collect::<Result<_>>().map(Self)
    }

    fn contexts(&self) -> Vec<[Vec<(&str, &str)>; N]> {
        self.0.iter().map(|(_, maps)| maps.each_ref().map(ContextMap::entries)).collect()
    }
}

impl Records<1> {
    /// Runs `call` with all of them.
    fn run<R>(&self, call: impl FnOnce(&[Record<'_>]) -> R) -> R {
        let contexts = self.contexts();
        let records = self.0.iter().zip(&contexts).map(|((data, _), [context])| Record { data, context });
        call(&records.collect::<Vec<_>>())
    }
}

pub fn encrypt_batch(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let key = request.text("KeyId")?;
    let records = Records::of(request, "Plaintext", ["EncryptionContext"])?;
    request.finish()?;
    Ok(outcomes("CiphertextBlob", records.run(|records| kms.encrypt_batch(key.as_str(), records))?))
}

pub fn decrypt_batch(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let records = Records::of(request, "CiphertextBlob", ["EncryptionContext"])?;
    request.finish()?;
    Ok(outcomes("Plaintext", records.run(|records| kms.decrypt_batch(records))?))
}

pub fn re_encrypt_batch(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let destination = request.optional_text("DestinationKeyId")?;
    let contexts = ["SourceEncryptionContext", "DestinationEncryptionContext"];
    let records = Records::of(request, "CiphertextBlob", contexts)?;
    request.finish()?;
    let contexts = records.contexts();
    let moved: Vec<ReencryptItem<'_>> = records
        .0
        .iter()
        .zip(&contexts)
        .map(|((blob, _), [from, to])| ReencryptItem { blob, source_context: from, destination_context: to })
        .collect();
    Ok(outcomes("CiphertextBlob", kms.reencrypt_batch(destination.as_deref().map(KeyRef::from), &moved)?))
}

pub fn inspect(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let blob = request.bytes("CiphertextBlob")?;
    request.finish()?;
    let info = kms.inspect(&blob)?;
    Ok(object([
        ("KeyId", info.key.to_string().into()),
        ("KeyVersionId", info.version.to_string().into()),
        ("Algorithm", "XAES-256-GCM".into()),
        ("HasEncryptionContext", (info.context_type != 0).into()),
        ("IsPrimary", info.is_primary.into()),
    ]))
}

/// NumberOfBytes, otherwise KeySpec, otherwise 32.
fn number_of_bytes(request: &mut Request) -> Result<usize> {
    let of_spec = match request.optional_text("KeySpec")?.as_deref() {
        None | Some("AES_256") => 32,
        Some("AES_128") => 16,
        Some(_) => return Err(invalid("KeySpec")),
    };
    match request.optional_integer("NumberOfBytes")? {
        None => Ok(of_spec),
        Some(number) => usize::try_from(number).map_err(|_| invalid("NumberOfBytes")),
    }
}

fn data_key(kms: &Keystore, request: &mut Request) -> Result<(Plaintext, Vec<u8>)> {
    let key = request.text("KeyId")?;
    let number = number_of_bytes(request)?;
    let context = request.context("EncryptionContext")?;
    request.finish()?;
    kms.generate_data_key(key.as_str(), number, &context.entries())
}

pub fn generate_data_key(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let (plaintext, blob) = data_key(kms, request)?;
    with_ids(kms, &blob, [("Plaintext", base64(&plaintext)?), ("CiphertextBlob", base64(&blob)?)])
}

pub fn generate_data_key_without_plaintext(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let (_, blob) = data_key(kms, request)?;
    with_ids(kms, &blob, [("CiphertextBlob", base64(&blob)?)])
}

pub fn export_data_key(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let (blob, public_key) = (request.bytes("CiphertextBlob")?, request.bytes("PublicKeyBlob")?);
    let context = request.context("EncryptionContext")?;
    let wrapping = wrapping(request, false)?;
    request.finish()?;
    let exported = kms.export_data_key(&blob, &context.entries(), &public_key, wrapping)?;
    with_ids(kms, &blob, [("ExportedDataKey", base64(&exported)?)])
}

pub fn generate_and_export_data_key(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let (key, public_key) = (request.text("KeyId")?, request.bytes("PublicKeyBlob")?);
    let number = number_of_bytes(request)?;
    let context = request.context("EncryptionContext")?;
    let wrapping = wrapping(request, false)?;
    request.finish()?;
    let (blob, exported) =
        kms.generate_and_export_data_key(key.as_str(), number, &context.entries(), &public_key, wrapping)?;
    with_ids(kms, &blob, [("CiphertextBlob", base64(&blob)?), ("ExportedDataKey", base64(&exported)?)])
}
