//! The actions that encrypt, decrypt, re-encrypt and inspect files by their paths, all of them libkms's own.

use super::keystore::path;
use super::request::{Request, invalid, missing};
use super::show::object;
use super::{Keystore, Response};
use crate::error::Result;
use crate::service::FileOptions;

fn needed_path(request: &mut Request, name: &str) -> Result<String> {
    path(request, name)?.ok_or_else(|| missing(name))
}

fn options(request: &mut Request) -> Result<FileOptions<'static>> {
    let threads = request.optional_integer("Threads")?.unwrap_or(0);
    let threads = usize::try_from(threads).ok().filter(|threads| *threads <= 256).ok_or_else(|| invalid("Threads"))?;
    Ok(FileOptions::new().threads(threads).replace(request.optional_flag("Replace")?.unwrap_or(false)))
}

pub fn encrypt_file(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let key = request.text("KeyId")?;
    let (source, target) = (needed_path(request, "Source")?, needed_path(request, "Target")?);
    let (context, options) = (request.context("EncryptionContext")?, options(request)?);
    request.finish()?;
    let len = kms.encrypt_file(key.as_str(), source, target, &context.entries(), &options)?;
    Ok(object([("PlaintextLength", len.into())]))
}

pub fn decrypt_file(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let (source, target) = (needed_path(request, "Source")?, needed_path(request, "Target")?);
    let (context, options) = (request.context("EncryptionContext")?, options(request)?);
    request.finish()?;
    let len = kms.decrypt_file(source, target, &context.entries(), &options)?;
    Ok(object([("PlaintextLength", len.into())]))
}

pub fn re_encrypt_file(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let (path, destination) = (needed_path(request, "Path")?, request.optional_text("DestinationKeyId")?);
    let context = request.context("EncryptionContext")?;
    request.finish()?;
    let changed = kms.reencrypt_file(path, &context.entries(), destination.as_deref().map(Into::into))?;
    Ok(object([("Changed", changed.into())]))
}

pub fn inspect_file(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let path = needed_path(request, "Path")?;
    request.finish()?;
    let info = kms.inspect_file(path)?;
    let id: String = info.file_id.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(object([
        ("KeyId", info.blob.key.to_string().into()),
        ("KeyVersionId", info.blob.version.to_string().into()),
        ("IsPrimary", info.blob.is_primary.into()),
        ("FileId", id.into()),
        ("Sequence", info.sequence.into()),
        ("PlaintextLength", info.plaintext_len.into()),
    ]))
}
