//! The ciphers of other Rust crates, each with a kept key.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};

use crate::cipher::{AAD, Cipher, KEY, Nonce, TAG};

/// RustCrypto's aes-gcm.
pub struct RustCrypto(aes_gcm::Aes256Gcm, Nonce);

impl RustCrypto {
    pub fn new() -> Self {
        Self(aes_gcm::Aes256Gcm::new(&KEY.into()), Nonce::default())
    }
}

impl Cipher for RustCrypto {
    #[inline]
    fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) {
        let (text, rest) = out.split_at_mut(plaintext.len());
        let buffer = InOutBuf::new(plaintext, text).expect("equal lengths");
        let tag = self.0.encrypt_inout_detached(self.1.next().into(), &AAD, buffer).expect("aes-gcm");
        rest[..TAG].copy_from_slice(&tag);
    }

    #[inline]
    fn open(&mut self, sealed: &[u8], out: &mut [u8]) {
        let (text, tag) = sealed.split_at(sealed.len() - TAG);
        let buffer = InOutBuf::new(text, &mut out[..text.len()]).expect("equal lengths");
        let tag = aes_gcm::Tag::try_from(tag).expect("16 bytes");
        self.0.decrypt_inout_detached(self.1.last().into(), &AAD, buffer, &tag).expect("aes-gcm");
    }
}

/// RustCrypto's xaes-256-gcm: derives a key for each message.
pub struct Xaes(xaes_256_gcm::Xaes256Gcm, Nonce);

impl Xaes {
    pub fn new() -> Self {
        Self(xaes_256_gcm::Xaes256Gcm::new(&KEY.into()), Nonce::default())
    }

    fn nonce(nonce: &[u8; 12]) -> xaes_256_gcm::Nonce {
        let mut long = [0; 24];
        long[12..].copy_from_slice(nonce);
        long.into()
    }
}

impl Cipher for Xaes {
    #[inline]
    fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) {
        let (text, rest) = out.split_at_mut(plaintext.len());
        let buffer = InOutBuf::new(plaintext, text).expect("equal lengths");
        let nonce = Self::nonce(self.1.next());
        let tag = self.0.encrypt_inout_detached(&nonce, &AAD, buffer).expect("xaes-256-gcm");
        rest[..TAG].copy_from_slice(&tag);
    }

    #[inline]
    fn open(&mut self, sealed: &[u8], out: &mut [u8]) {
        let (text, tag) = sealed.split_at(sealed.len() - TAG);
        let buffer = InOutBuf::new(text, &mut out[..text.len()]).expect("equal lengths");
        let tag = aes_gcm::Tag::try_from(tag).expect("16 bytes");
        self.0.decrypt_inout_detached(&Self::nonce(self.1.last()), &AAD, buffer, &tag).expect("xaes-256-gcm");
    }
}

/// ring and aws-lc-rs have one interface; both work in place, so the message is copied to where it is wanted first.
macro_rules! in_place {
    ($(#[$doc:meta])* $name:ident, $library:ident) => {
        $(#[$doc])*
        pub struct $name($library::aead::LessSafeKey, Nonce);

        impl $name {
            pub fn new() -> Self {
                Self::with_key(&KEY)
            }

            pub fn with_key(key: &[u8; 32]) -> Self {
                let key = $library::aead::UnboundKey::new(&$library::aead::AES_256_GCM, key).expect("a key of 32 bytes");
                Self($library::aead::LessSafeKey::new(key), Nonce::default())
            }
        }

        impl Cipher for $name {
            #[inline]
            fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) {
                let (text, rest) = out.split_at_mut(plaintext.len());
                text.copy_from_slice(plaintext);
                let nonce = $library::aead::Nonce::assume_unique_for_key(*self.1.next());
                let aad = $library::aead::Aad::from(&AAD);
                let tag = self.0.seal_in_place_separate_tag(nonce, aad, text).expect(stringify!($library));
                rest[..TAG].copy_from_slice(tag.as_ref());
            }

            #[inline]
            fn open(&mut self, sealed: &[u8], out: &mut [u8]) {
                let text = &mut out[..sealed.len()];
                text.copy_from_slice(sealed);
                let nonce = $library::aead::Nonce::assume_unique_for_key(*self.1.last());
                self.0.open_in_place(nonce, $library::aead::Aad::from(&AAD), text).expect(stringify!($library));
            }
        }
    };
}

in_place!(
    /// ring.
    Ring,
    ring
);
in_place!(
    /// AWS-LC.
    AwsLc,
    aws_lc_rs
);
