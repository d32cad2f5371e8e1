//! Carries out one operation that encrypts or decrypts by the model and by the Rust calls.

use super::answers::{Answer, Named};
use super::carry_out::{Both, Expected, Given, fits, number, pairs, sealed_answer, sealed_given};
use super::keystore::TestKeystore;
use super::operations::Operation;
use super::reference::{Context, Sealed};
use super::rules::Refusal;
use super::values;
use super::wrapping;

impl TestKeystore {
    /// The operations that encrypt and decrypt.
    pub fn data_by_rust(&mut self, operation: &Operation) -> Both {
        let now = self.now();
        match operation {
            Operation::Encrypt { key, plaintext, context } => {
                let (name, context) = (self.named(*key), values::context(*context));
                let expected = self.model.encrypt(&name, plaintext, &context, now);
                let given = self.kms().encrypt(&name, plaintext, &pairs(&context));
                if let (Ok(sealed), Ok(blob)) = (&expected, &given) {
                    self.keep(blob, sealed);
                }
                let given = given.map(|blob| sealed_given(&blob)).map_err(|error| number(&error));
                Some((expected.as_ref().map(sealed_answer).map_err(Clone::clone), given))
            }
            Operation::Decrypt { ciphertext } => {
                let (bytes, blob, context) = self.ciphertext(*ciphertext);
                let expected = self.model.decrypt(&blob, &context, now);
                let given = self.kms().decrypt(&bytes, &pairs(&context)).map_err(|error| number(&error));
                // The Rust call answers with the plaintext alone.
                let answer = |plaintext: Vec<u8>| Answer::Opened {
                    key: String::new(),
                    version: Named::Id(String::new()),
                    plaintext,
                };
                let expected = expected.map(|sealed| answer(sealed.plaintext));
                Some((expected, given.map(|plaintext| answer(plaintext.to_vec()))))
            }
            Operation::Inspect { ciphertext } => {
                let (bytes, blob, _) = self.ciphertext(*ciphertext);
                let expected = self.model.inspect(&blob).map(|(key, version, primary)| Answer::Version {
                    key,
                    version: Named::Number(version),
                    primary: Some(primary),
                });
                let given = self.kms().inspect(&bytes).map(|info| Answer::Version {
                    key: info.key.to_string(),
                    version: Named::Id(info.version.to_string()),
                    primary: Some(info.is_primary),
                });
                Some((expected, given.map_err(|error| number(&error))))
            }
            Operation::ReEncrypt { ciphertext, key, context } => {
                let (bytes, blob, from) = self.ciphertext(*ciphertext);
                let (name, to) = (self.named(*key), values::context(*context));
                let expected = self.model.re_encrypt(&blob, &from, (&name, true), &to, now);
                let given = self.kms().reencrypt(&bytes, &pairs(&from), Some((&name).into()), &pairs(&to));
                if let (Ok((_, sealed)), Ok(blob)) = (&expected, &given) {
                    self.keep(blob, sealed);
                }
                let given = given.map(|blob| sealed_given(&blob)).map_err(|error| number(&error));
                Some((expected.map(|(_, sealed)| sealed_answer(&sealed)), given))
            }
            Operation::GenerateDataKey { key, bytes, context } => {
                let (name, bytes, context) =
                    (self.named(*key), values::data_key_bytes(*bytes), values::context(*context));
                let expected = self.model.generate_data_key(&name, bytes as i64, &context, now);
                let given = self.kms().generate_data_key(&name, bytes, &pairs(&context));
                let given = given.map_err(|error| number(&error));
                Some(match (expected, given) {
                    (Ok(sealed), Ok((plaintext, blob))) => {
                        (self.keep_data_key(&blob, sealed, &plaintext), Ok(sealed_given(&blob)))
                    }
                    (expected, given) => {
                        (expected.map(|sealed| sealed_answer(&sealed)), given.map(|(_, blob)| sealed_given(&blob)))
                    }
                })
            }
            Operation::GenerateDataKeyWithoutPlaintext { key, bytes, context } => {
                let (name, bytes, context) =
                    (self.named(*key), values::data_key_bytes(*bytes), values::context(*context));
                let expected = self.model.generate_data_key(&name, bytes as i64, &context, now);
                let given = self.kms().generate_data_key_without_plaintext(&name, bytes, &pairs(&context));
                Some(self.hidden_data_key(expected, given, bytes, &context))
            }
            Operation::GenerateAndExportDataKey { key, bytes, context, public_key, wrapping: padding } => {
                let (name, bytes, context) =
                    (self.named(*key), values::data_key_bytes(*bytes), values::context(*context));
                let fits = fits(*public_key, *padding);
                let expected = self.model.generate_and_export_data_key(&name, bytes as i64, &context, fits, now);
                let (public_key, typed) = (wrapping::public_key(*public_key), wrapping::typed(*padding));
                let given = self.kms().generate_and_export_data_key(&name, bytes, &pairs(&context), &public_key, typed);
                let given = given.map_err(|error| number(&error));
                Some(match (expected, given) {
                    (Ok(sealed), Ok((blob, exported))) => {
                        let plaintext = wrapping::unwrap(&exported, *padding).unwrap_or_default();
                        (self.keep_data_key(&blob, sealed, &plaintext), Ok(sealed_given(&blob)))
                    }
                    (expected, given) => {
                        (expected.map(|sealed| sealed_answer(&sealed)), given.map(|(blob, _)| sealed_given(&blob)))
                    }
                })
            }
            Operation::ExportDataKey { ciphertext, public_key, wrapping: padding } => {
                let (bytes, blob, context) = self.ciphertext(*ciphertext);
                let fits = fits(*public_key, *padding);
                let expected = self.model.export_data_key(&blob, bytes.len().saturating_sub(80), &context, fits, now);
                let (public_key, typed) = (wrapping::public_key(*public_key), wrapping::typed(*padding));
                let given = self.kms().export_data_key(&bytes, &pairs(&context), &public_key, typed);
                // The exported key, unwrapped by its receiver.
                let answer = |plaintext: Vec<u8>| Answer::Opened {
                    key: String::new(),
                    version: Named::Id(String::new()),
                    plaintext,
                };
                let given = given.map(|exported| answer(wrapping::unwrap(&exported, *padding).unwrap_or_default()));
                let expected = expected.map(|sealed| answer(sealed.plaintext));
                Some((expected, given.map_err(|error| number(&error))))
            }
            _ => None,
        }
    }

    /// The bytes of a data key that isn't shown are read by decrypting it.
    fn hidden_data_key(
        &mut self,
        expected: Result<Sealed, Refusal>,
        given: kms::Result<Vec<u8>>,
        bytes: usize,
        context: &Context,
    ) -> (Expected, Given) {
        match (expected, given) {
            (Ok(sealed), Ok(blob)) => {
                let plaintext = self.kms().decrypt(&blob, &pairs(context)).map(|plaintext| plaintext.to_vec());
                let plaintext = plaintext.ok().filter(|plaintext| plaintext.len() == bytes).unwrap_or_default();
                (self.keep_data_key(&blob, sealed, &plaintext), Ok(sealed_given(&blob)))
            }
            (expected, given) => (
                expected.map(|sealed| sealed_answer(&sealed)),
                given.map(|blob| sealed_given(&blob)).map_err(|error| number(&error)),
            ),
        }
    }
}
