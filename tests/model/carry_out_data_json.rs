//! Carries out one operation on material or data by the service's JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::answers::{Answer, Named};
use super::carry_out::{Both, Expected, expiry, fits, import, sealed_answer};
use super::carry_out_json::{Response, decoded};
use super::keystore::{Parameters, TestKeystore};
use super::operations::Operation;
use super::reference::Sealed;
use super::rules::Refusal;
use super::values;
use super::wrapping::{self, PADDINGS};
use crate::reference::bare;

impl TestKeystore {
    /// `None`: JSON has no such operation. `Some(None)`: it is not to be carried out.
    pub fn data_by_json(&mut self, operation: &Operation) -> Option<Both> {
        let now = self.now();
        match operation {
            Operation::DeleteKeyMaterial { key } => {
                let name = self.named(*key);
                let expected = self.model.delete_key_material(&name).map(|()| Answer::Done);
                Some(Some((expected, self.call("DeleteKeyMaterial", json!({"KeyId": name})).map(Answer::Json))))
            }
            Operation::GetParametersForImport { key, wrapping: padding } => {
                let name = self.named(*key);
                let expected = self.model.get_parameters_for_import(&name, now);
                if expected.is_ok() {
                    let Some(left) = self.rsa_keys_left.checked_sub(1) else { return Some(None) };
                    self.rsa_keys_left = left;
                }
                let algorithm = PADDINGS[usize::from(*padding)].0;
                let request = json!({"KeyId": name, "WrappingKeySpec": "RSA_2048", "WrappingAlgorithm": algorithm});
                let mut given = self.call("GetParametersForImport", request);
                if let (Ok((meaning, _)), Ok(shown)) = (&expected, &mut given) {
                    let (token, public_key) = (decoded(&shown["ImportToken"]), decoded(&shown["PublicKey"]));
                    self.parameters.push(Parameters { token, public_key, padding: *padding, meaning: meaning.clone() });
                    let fields = shown.as_object_mut().unwrap();
                    assert_eq!(
                        fields.remove("KeyId"),
                        Some(json!(bare(&name).to_ascii_lowercase())),
                        "whose parameters"
                    );
                    fields.retain(|field, _| field == "TokenExpireTime");
                }
                let expected = expected.map(|(_, expires)| Answer::Parameters { expires });
                Some(Some((expected, given.map(Answer::Json))))
            }
            Operation::ImportKeyMaterial { key, token, token_damaged, wrapped, material, expires } => {
                let (name, what) = (self.named(*key), import(self, *token, *token_damaged, *wrapped, *material));
                let expires = expiry(*expires, now);
                let at = expires.map(|at| at * 1000);
                let expected = self.model.import_key_material(&name, what.unwrapped.as_deref(), &what.meaning, at, now);
                let request = json!({
                    "KeyId": name, "ImportToken": STANDARD.encode(&what.token),
                    "EncryptedKeyMaterial": STANDARD.encode(&what.wrapped), "KeyMaterialExpireUnix": expires.unwrap_or(0),
                });
                let given = self.call("ImportKeyMaterial", request).map(Answer::Json);
                Some(Some((expected.map(|()| Answer::Done), given)))
            }
            Operation::Encrypt { key, plaintext, context } => {
                let (name, context) = (self.named(*key), values::context(*context));
                let expected = self.model.encrypt(&name, plaintext, &context, now);
                let request = json!({"KeyId": name, "Plaintext": STANDARD.encode(plaintext)});
                let given = self.call_with_context("Encrypt", request, &[("EncryptionContext", &context)]);
                Some(Some(self.sealed(expected, given)))
            }
            Operation::Decrypt { ciphertext } => {
                let (bytes, blob, context) = self.ciphertext(*ciphertext);
                let expected = self.model.decrypt(&blob, &context, now);
                let request = json!({"CiphertextBlob": STANDARD.encode(&bytes)});
                let mut given = self.call_with_context("Decrypt", request, &[("EncryptionContext", &context)]);
                if let Ok(shown) = &mut given {
                    shown["Plaintext"] = json!(decoded(&shown["Plaintext"]));
                }
                let expected = expected.map(|sealed| Answer::Opened {
                    key: sealed.key,
                    version: Named::Number(sealed.version),
                    plaintext: sealed.plaintext,
                });
                Some(Some((expected, given.map(Answer::Json))))
            }
            Operation::ReEncrypt { ciphertext, key, context } => {
                let (bytes, blob, from) = self.ciphertext(*ciphertext);
                let (name, to) = (self.named(*key), values::context(*context));
                let expected = self.model.re_encrypt(&blob, &from, (&name, false), &to, now);
                let request = json!({"CiphertextBlob": STANDARD.encode(&bytes), "DestinationKeyId": name});
                let contexts = [("SourceEncryptionContext", &from), ("DestinationEncryptionContext", &to)];
                let mut given = self.call_with_context("ReEncrypt", request, &contexts);
                let bytes = given.as_mut().map(|shown| Self::take_blob(shown, "CiphertextBlob"));
                if let (Ok((_, sealed)), Ok(blob)) = (&expected, bytes) {
                    self.keep(&blob, sealed);
                }
                let expected = expected.map(|(from, to)| Answer::Moved {
                    length: to.plaintext.len() + 80,
                    from: from.key,
                    from_version: Named::Number(from.version),
                    to: to.key,
                    to_version: Named::Number(to.version),
                });
                Some(Some((expected, given.map(Answer::Json))))
            }
            Operation::GenerateDataKey { key, bytes, context } => {
                let (name, size, context) =
                    (self.named(*key), values::data_key_bytes(*bytes), values::context(*context));
                let expected = self.model.generate_data_key(&name, size as i64, &context, now);
                let mut request = json!({"KeyId": name, "NumberOfBytes": size});
                match size {
                    // 256 bits are the default, and KeySpec has a name for both.
                    32 if !context.is_empty() => drop(request.as_object_mut().unwrap().remove("NumberOfBytes")),
                    16 | 32 => request = json!({"KeyId": name, "KeySpec": format!("AES_{}", size * 8)}),
                    _ => {}
                }
                let mut given = self.call_with_context("GenerateDataKey", request, &[("EncryptionContext", &context)]);
                let plaintext = given.as_mut().ok().map(|shown| {
                    let plaintext = shown.as_object_mut().unwrap().remove("Plaintext").unwrap_or_default();
                    decoded(&plaintext)
                });
                Some(Some(self.data_key(expected, given, plaintext)))
            }
            Operation::GenerateDataKeyWithoutPlaintext { key, bytes, context } => {
                let (name, size, context) =
                    (self.named(*key), values::data_key_bytes(*bytes), values::context(*context));
                let expected = self.model.generate_data_key(&name, size as i64, &context, now);
                let request = json!({"KeyId": name, "NumberOfBytes": size});
                let contexts = [("EncryptionContext", &context)];
                let given = self.call_with_context("GenerateDataKeyWithoutPlaintext", request, &contexts);
                let plaintext = given.as_ref().ok().and_then(|shown| {
                    let context: Vec<_> = context.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                    let plaintext = self.kms().decrypt(&decoded(&shown["CiphertextBlob"]), &context);
                    plaintext.ok().map(|plaintext| plaintext.to_vec()).filter(|plaintext| plaintext.len() == size)
                });
                Some(Some(self.data_key(expected, given, plaintext)))
            }
            Operation::GenerateAndExportDataKey { key, bytes, context, public_key, wrapping: padding } => {
                // The service exports by OAEP alone.
                let padding = padding % 2;
                let (name, size, context) =
                    (self.named(*key), values::data_key_bytes(*bytes), values::context(*context));
                let fits = fits(*public_key, padding);
                let expected = self.model.generate_and_export_data_key(&name, size as i64, &context, fits, now);
                let mut request = exported(*public_key, padding);
                request["KeyId"] = json!(name);
                request["NumberOfBytes"] = json!(size);
                let contexts = [("EncryptionContext", &context)];
                let mut given = self.call_with_context("GenerateAndExportDataKey", request, &contexts);
                let plaintext = given.as_mut().ok().and_then(|shown| {
                    let exported = shown.as_object_mut().unwrap().remove("ExportedDataKey").unwrap_or_default();
                    wrapping::unwrap(&decoded(&exported), padding)
                });
                Some(Some(self.data_key(expected, given, plaintext)))
            }
            Operation::ExportDataKey { ciphertext, public_key, wrapping: padding } => {
                let padding = padding % 2;
                let (bytes, blob, context) = self.ciphertext(*ciphertext);
                let expected = self.model.export_data_key(
                    &blob,
                    bytes.len().saturating_sub(80),
                    &context,
                    fits(*public_key, padding),
                    now,
                );
                let mut request = exported(*public_key, padding);
                request["CiphertextBlob"] = json!(STANDARD.encode(&bytes));
                let mut given = self.call_with_context("ExportDataKey", request, &[("EncryptionContext", &context)]);
                if let (Ok(sealed), Ok(shown)) = (&expected, &mut given) {
                    let plaintext = wrapping::unwrap(&Self::take_blob(shown, "ExportedDataKey"), padding);
                    assert_eq!(plaintext.as_ref(), Some(&sealed.plaintext), "the exported key is another");
                }
                let expected = expected.map(|sealed| Answer::Exported {
                    key: sealed.key,
                    version: Named::Number(sealed.version),
                    length: 256,
                });
                Some(Some((expected, given.map(Answer::Json))))
            }
            _ => None,
        }
    }

    fn sealed(&mut self, expected: Result<Sealed, Refusal>, mut given: Response) -> (Expected, Result<Answer, i32>) {
        let bytes = given.as_mut().map(|shown| Self::take_blob(shown, "CiphertextBlob"));
        if let (Ok(sealed), Ok(blob)) = (&expected, bytes) {
            self.keep(&blob, sealed);
        }
        (expected.map(|sealed| sealed_answer(&sealed)), given.map(Answer::Json))
    }

    fn data_key(
        &mut self,
        expected: Result<Sealed, Refusal>,
        given: Response,
        plaintext: Option<Vec<u8>>,
    ) -> (Expected, Result<Answer, i32>) {
        let expected = expected.map(|sealed| Sealed { plaintext: plaintext.unwrap_or_default(), ..sealed });
        self.sealed(expected, given)
    }
}

/// The parameters of an export.
fn exported(public_key: u8, padding: u8) -> Value {
    json!({
        "PublicKeyBlob": STANDARD.encode(wrapping::public_key(public_key)), "WrappingKeySpec": "RSA_2048",
        "WrappingAlgorithm": PADDINGS[usize::from(padding)].0,
    })
}
