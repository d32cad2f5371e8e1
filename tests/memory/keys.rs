//! The keys that the library used, obtained without its help. The test chose them, derived them with another
//! implementation of XAES-256-GCM, or found them by trial on the ciphertexts.

use xaes_256_gcm::Xaes256Gcm;
use xaes_256_gcm::aead::{Aead, KeyInit, Payload};
use xaes_256_gcm::aes::Aes256;
use xaes_256_gcm::aes::cipher::BlockCipherEncrypt;

use crate::scan::{Memory, Pattern};

const HEADER: usize = 40;
const NONCE: usize = 24;

/// Keys with their names in this test.
#[derive(Default)]
pub struct Known {
    keys: Vec<(String, [u8; 32])>,
    /// Ciphertexts under versions that the library made, of which only it has the keys.
    own: Vec<Vec<u8>>,
}

impl Known {
    /// The number of ciphertexts of `own` from a user.
    pub const OWN_BLOBS: usize = 6;

    pub fn add(&mut self, name: &str, key: [u8; 32]) {
        self.keys.push((name.to_owned(), key));
    }

    /// A ciphertext under a key that is known.
    pub fn add_blob(&mut self, name: &str, key: &[u8; 32], blob: &[u8]) {
        assert!(open(key, blob).is_some(), "{name} isn't what encrypted");
        self.add(&format!("message key of {name}"), message_key(key, blob));
    }

    /// A ciphertext under a key that never left the library.
    pub fn add_own_blob(&mut self, blob: Vec<u8>) {
        self.own.push(blob);
    }

    /// Learns the keys of those ciphertexts: each is somewhere in locked memory, and decrypts. How many were found.
    pub fn add_own(&mut self, memory: &Memory) -> usize {
        let locked = memory.0.iter().filter(|range| range.locked || range.is_secret());
        let places = locked.flat_map(|range| range.bytes.as_chunks::<32>().0).filter(|bytes| is_random(bytes));
        let candidates: std::collections::HashSet<[u8; 32]> = places.copied().collect();
        let mut found = 0;
        for (number, blob) in std::mem::take(&mut self.own).iter().enumerate() {
            if let Some(key) = candidates.iter().find(|key| open(key, blob).is_some()) {
                self.add(&format!("own version {number}"), *key);
                self.add_blob(&format!("own version {number}"), key, blob);
                if let Some(data_key) = open(key, blob).and_then(|text| <[u8; 32]>::try_from(text).ok()) {
                    self.add(&format!("data key {number}"), data_key);
                }
                found += 1;
            }
        }
        found
    }

    pub fn patterns(&self) -> Vec<Pattern> {
        let halves = |(name, key): &(String, [u8; 32])| {
            let (first, second) = key.split_at(16);
            [first, second].map(|half| (name.clone(), half.try_into().unwrap()))
        };
        self.keys.iter().flat_map(halves).collect()
    }

    /// Those that an open handle holds.
    pub fn in_use(&self) -> Vec<&str> {
        let names = self.keys.iter().map(|(name, _)| name.as_str());
        names.filter(|name| name.contains("imported")).collect()
    }

    pub fn message_key(&self) -> &str {
        self.in_use().into_iter().find(|name| name.starts_with("message key")).unwrap()
    }
}

fn is_random(bytes: &[u8; 32]) -> bool {
    let mut seen = *bytes;
    seen.sort_unstable();
    seen.windows(2).filter(|pair| pair[0] != pair[1]).count() > 16
}

/// The plaintext of a ciphertext without a context.
fn open(key: &[u8; 32], blob: &[u8]) -> Option<Vec<u8>> {
    let (header, rest) = blob.split_at(HEADER);
    let (nonce, msg) = rest.split_at(NONCE);
    let aad = [header, &[0; 8]].concat();
    let nonce = <[u8; NONCE]>::try_from(nonce).unwrap();
    Xaes256Gcm::new(&(*key).into()).decrypt(&nonce.into(), Payload { msg, aad: &aad }).ok()
}

/// The message key of a blob's prefix (C2SP XAES-256-GCM).
fn message_key(key: &[u8; 32], blob: &[u8]) -> [u8; 32] {
    let cipher = Aes256::new(&(*key).into());
    let encrypt = |block: u128| {
        let mut block = block.to_be_bytes().into();
        cipher.encrypt_block(&mut block);
        u128::from_be_bytes(block.into())
    };
    let l = encrypt(0);
    let k1 = (l << 1) ^ (0x87 * (l >> 127));
    let prefix = blob[HEADER..HEADER + 12].iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
    let half = |counter: u128| encrypt(((counter << 16 | u128::from(b'X') << 8) << 96 | prefix) ^ k1).to_be_bytes();
    [half(1), half(2)].concat().try_into().unwrap()
}
