//! EXTERNAL keys with material, for the files that need them.

use kms::Wrapping;
use rsa::pkcs8::DecodePublicKey;
use rsa::sha2::Sha256;
use sha1::Sha1;

use super::support::*;

/// Material that tests import.
pub const MATERIAL: [u8; 32] = *b"imported material, 32 bytes long";

pub const WRAPPINGS: [Wrapping; 3] = [Wrapping::Pkcs1V15, Wrapping::OaepSha1, Wrapping::OaepSha256];

impl TestKeystore {
    /// An EXTERNAL key that has its material and is Enabled.
    pub fn imported_key(&self) -> String {
        let id = self.external_key();
        self.import_raw_key_material(&id, &MATERIAL, None).unwrap();
        id
    }
}

/// Wraps `material` as a client of the service does, with an RSA that isn't the library's.
pub fn wrap(public_key: &[u8], wrapping: Wrapping, material: &[u8]) -> Vec<u8> {
    let public_key = rsa::PublicKey::from_public_key_der(public_key).unwrap();
    match wrapping {
        Wrapping::Pkcs1V15 => public_key.pkcs1v15_encrypt(material),
        Wrapping::OaepSha1 => public_key.oaep_encrypt::<Sha1>(material),
        Wrapping::OaepSha256 => public_key.oaep_encrypt::<Sha256>(material),
        _ => panic!("{wrapping:?} is new"),
    }
    .unwrap()
}
