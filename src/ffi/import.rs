//! Importing key material (BYOK).

use std::ffi::c_char;

use super::guard::guard;
use super::open::{handle, kms_t};
use super::out::Out;
use super::ptr;
use super::status::kms_status;
use super::types::{KMS_WRAPPING_OAEP_SHA_1, KMS_WRAPPING_OAEP_SHA_256, KMS_WRAPPING_PKCS1_V1_5};
use crate::domain::time::Time;
use crate::error::{Result, Status};
use crate::service::Wrapping;

/// A KMS_WRAPPING_... constant.
pub fn wrapping(number: i32) -> Result<Wrapping> {
    match number {
        KMS_WRAPPING_PKCS1_V1_5 => Ok(Wrapping::Pkcs1V15),
        KMS_WRAPPING_OAEP_SHA_1 => Ok(Wrapping::OaepSha1),
        KMS_WRAPPING_OAEP_SHA_256 => Ok(Wrapping::OaepSha256),
        _ => Err(Status::InvalidArgument.error(format!("wrapping must be a KMS_WRAPPING constant, not {number}"))),
    }
}

/// A date of C: Unix seconds, 0 for none.
fn expiry(unix_s: i64) -> Option<Time> {
    (unix_s != 0).then(|| Time::from_millis(0).plus_seconds(unix_s))
}

/// kms_get_parameters_for_import returns the parameters for an import into an EXTERNAL key: a public key that wraps the
/// material, and a token to pass with it. The public key is RSA-2048, a SubjectPublicKeyInfo in DER. Both are valid for
/// 24 hours, for this key only, and for several imports. `*expires_ms` receives the end of the 24 hours, unless
/// `expires_ms` is NULL.
///
/// Each output follows the rules of Output above. Both buffers must be large enough: 512 bytes for the public key and
/// 2048 for the token are. Works in every state of the key. Fails with KMS_UNSUPPORTED_ORIGIN.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_get_parameters_for_import(
    kms: *const kms_t,
    key_id: *const c_char,
    wrapping: i32,
    public_key: *mut u8,
    public_key_cap: usize,
    public_key_len: *mut usize,
    token: *mut u8,
    token_cap: usize,
    token_len: *mut usize,
    expires_ms: *mut i64,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let (mut public_key, mut token) = Out::pair(
            (public_key, public_key_cap, public_key_len, "public_key_len"),
            (token, token_cap, token_len, "token_len"),
        )?;
        let kms = handle(kms)?;
        let wrapping = self::wrapping(wrapping)?;
        let key_id = ptr::text(key_id, "key_id")?;
        let made = kms.get_parameters_for_import_to(key_id, wrapping, |public, sealed| {
            let wanted = public_key.room(public);
            token.room(sealed).and_then(|also| Ok(wanted? && also))
        })?;
        if let Some(made) = made {
            public_key.fill(&made.public_key);
            token.fill(&made.token);
            ptr::write_if(expires_ms, made.expires.millis());
        }
        Ok(())
    })
}

/// kms_import_key_material imports 32 bytes of material, wrapped with the public key and the `wrapping` of
/// kms_get_parameters_for_import. `expires_s` is when the material expires: calls then refuse it, and the library
/// erases it. It is in Unix seconds, not after the year 9999; 0 means never. A key that waits for material becomes
/// Enabled.
///
/// The key only ever accepts the identical material again, even after it was deleted or has expired. Fails with
/// KMS_INVALID_KEY_MATERIAL, KMS_INVALID_IMPORT_TOKEN, KMS_EXPIRED_IMPORT_TOKEN, KMS_UNSUPPORTED_ORIGIN,
/// KMS_STATE_MODIFIED_FAILED while the key's deletion is pending.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_import_key_material(
    kms: *const kms_t,
    key_id: *const c_char,
    wrapped: *const u8,
    wrapped_len: usize,
    token: *const u8,
    token_len: usize,
    expires_s: i64,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let key_id = ptr::text(key_id, "key_id")?;
        let wrapped = ptr::slice(wrapped, wrapped_len, "wrapped")?;
        let token = ptr::slice(token, token_len, "token")?;
        kms.import_key_material(key_id, wrapped, token, expiry(expires_s))
    })
}

/// kms_import_raw_key_material imports 32 bytes of unwrapped material. It otherwise behaves as kms_import_key_material.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_import_raw_key_material(
    kms: *const kms_t,
    key_id: *const c_char,
    material: *const u8,
    material_len: usize,
    expires_s: i64,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let key_id = ptr::text(key_id, "key_id")?;
        kms.import_raw_key_material(key_id, ptr::slice(material, material_len, "material")?, expiry(expires_s))
    })
}

/// kms_delete_key_material erases imported material at once: what it encrypted can't be decrypted until the identical
/// material is imported again. Works in every state of the key. Fails with KMS_UNSUPPORTED_ORIGIN.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_delete_key_material(kms: *const kms_t, key_id: *const c_char) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe { handle(kms)?.delete_key_material(ptr::text(key_id, "key_id")?) })
}
