//! The actions that encrypt, decrypt and make data keys.

use zeroize::Zeroizing;

use super::keys::wrapping;
use super::request::{Request, invalid};
use super::show::{base64, object};
use super::{Kms, Response};
use crate::error::Result;
use crate::service::Core;

/// KeyId and KeyVersionId of the ciphertext, then the other fields.
fn with_ids<const N: usize>(kms: &Kms, blob: &[u8], fields: [(&str, serde_json::Value); N]) -> Result<Response> {
    let info = kms.inspect(blob)?;
    let mut response =
        object([("KeyId", info.key.to_string().into()), ("KeyVersionId", info.version.to_string().into())]);
    response.extend(object(fields));
    Ok(response)
}

pub fn encrypt(kms: &Kms, request: &mut Request) -> Result<Response> {
    let (key, plaintext) = (request.text("KeyId")?, request.bytes("Plaintext")?);
    let context = request.context("EncryptionContext")?;
    request.finish()?;
    let blob = kms.encrypt(&key, &plaintext, &context.entries())?;
    with_ids(kms, &blob, [("CiphertextBlob", base64(&blob))])
}

pub fn decrypt(kms: &Kms, request: &mut Request) -> Result<Response> {
    let blob = request.bytes("CiphertextBlob")?;
    let context = request.context("EncryptionContext")?;
    request.finish()?;
    let plaintext = kms.decrypt(&blob, &context.entries())?;
    with_ids(kms, &blob, [("Plaintext", base64(&plaintext))])
}

/// The ids in the response are those of the source, as the service documents it.
pub fn re_encrypt(kms: &Kms, request: &mut Request) -> Result<Response> {
    let (blob, destination) = (request.bytes("CiphertextBlob")?, request.text("DestinationKeyId")?);
    let source_context = request.context("SourceEncryptionContext")?;
    let destination_context = request.context("DestinationEncryptionContext")?;
    request.finish()?;
    // As the service; the typed calls take an alias, too.
    Core::check_no_alias(&destination)?;
    let moved = kms.reencrypt(&blob, &source_context.entries(), Some(&destination), &destination_context.entries())?;
    with_ids(kms, &blob, [("CiphertextBlob", base64(&moved))])
}

/// NumberOfBytes, else KeySpec, else 32.
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

fn data_key(kms: &Kms, request: &mut Request) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>)> {
    let key = request.text("KeyId")?;
    let number = number_of_bytes(request)?;
    let context = request.context("EncryptionContext")?;
    request.finish()?;
    kms.generate_data_key(&key, number, &context.entries())
}

pub fn generate_data_key(kms: &Kms, request: &mut Request) -> Result<Response> {
    let (plaintext, blob) = data_key(kms, request)?;
    with_ids(kms, &blob, [("Plaintext", base64(&plaintext)), ("CiphertextBlob", base64(&blob))])
}

pub fn generate_data_key_without_plaintext(kms: &Kms, request: &mut Request) -> Result<Response> {
    let (_, blob) = data_key(kms, request)?;
    with_ids(kms, &blob, [("CiphertextBlob", base64(&blob))])
}

pub fn export_data_key(kms: &Kms, request: &mut Request) -> Result<Response> {
    let (blob, public_key) = (request.bytes("CiphertextBlob")?, request.bytes("PublicKeyBlob")?);
    let context = request.context("EncryptionContext")?;
    let wrapping = wrapping(request, false)?;
    request.finish()?;
    let exported = kms.export_data_key(&blob, &context.entries(), &public_key, wrapping)?;
    with_ids(kms, &blob, [("ExportedDataKey", base64(&exported))])
}

pub fn generate_and_export_data_key(kms: &Kms, request: &mut Request) -> Result<Response> {
    let (key, public_key) = (request.text("KeyId")?, request.bytes("PublicKeyBlob")?);
    let number = number_of_bytes(request)?;
    let context = request.context("EncryptionContext")?;
    let wrapping = wrapping(request, false)?;
    request.finish()?;
    let (blob, exported) = kms.generate_and_export_data_key(&key, number, &context.entries(), &public_key, wrapping)?;
    with_ids(kms, &blob, [("CiphertextBlob", base64(&blob)), ("ExportedDataKey", base64(&exported))])
}
