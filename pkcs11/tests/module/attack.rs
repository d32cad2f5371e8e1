//! An encrypt-only caller of CKM_AES_GCM tries to open a blob of the same key. It succeeds if the mechanism uses the
//! version's key directly, as a build with the fault shows, and fails against the module.
//!
//! Two messages under one IV reveal H = AES(0). With H, an IV of 16 bytes makes GCM encrypt any block, and AES of two
//! blocks is all that XAES derives a message key from.

use kms::CreateKey;

use crate::harness::*;

/// The reduction polynomial of GHASH.
const R: u128 = 0xe1 << 120;

fn mul(mut a: u128, b: u128) -> u128 {
    let mut product = 0;
    for i in 0..128 {
        if b >> (127 - i) & 1 == 1 {
            product ^= a;
        }
        a = (a >> 1) ^ if a & 1 == 1 { R } else { 0 };
    }
    product
}

/// a to the power of 2^128 - 2.
fn inverse(a: u128) -> u128 {
    let (mut result, mut power): (Option<u128>, u128) = (None, a);
    for bit in 0..128 {
        if bit > 0 {
            result = Some(result.map_or(power, |known| mul(known, power)));
        }
        power = mul(power, power);
    }
    result.unwrap()
}

fn square_root(mut a: u128) -> u128 {
    for _ in 0..127 {
        a = mul(a, a);
    }
    a
}

/// What CMAC and XAES multiply by x.
fn double(l: u128) -> u128 {
    (l << 1) ^ (0x87 & (l >> 127).wrapping_neg())
}

struct Attacker {
    session: Session,
    key: CK_OBJECT_HANDLE,
    inverse_h: u128,
}

impl Attacker {
    fn encrypt(session: Session, key: CK_OBJECT_HANDLE, iv: &[u8], aad: &[u8], text: &[u8]) -> Vec<u8> {
        let (mut iv, mut aad) = (iv.to_vec(), aad.to_vec());
        let mut parameters = gcm(&mut iv, &mut aad, 128);
        session.encrypt(&mut mechanism_with(CKM_AES_GCM, &mut parameters), key, text).unwrap()
    }

    fn new(session: Session, key: CK_OBJECT_HANDLE) -> Self {
        let tag = |aad: u128| {
            let sealed = Self::encrypt(session, key, &[9; 12], &aad.to_be_bytes(), b"");
            u128::from_be_bytes(sealed.try_into().unwrap())
        };
        let (a, b) = (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210 << 64);
        // The tags differ by (a ^ b) * H^2.
        let h = square_root(mul(tag(a) ^ tag(b), inverse(a ^ b)));
        Self { session, key, inverse_h: inverse(h) }
    }

    /// AES of any block under the key of the mechanism: the IV whose first counter block is that one.
    fn aes(&self, block: u128) -> u128 {
        let low = (block as u32).wrapping_sub(1);
        let first = (block >> 32 << 32) | u128::from(low);
        let iv = mul(mul(first, self.inverse_h) ^ 128, self.inverse_h);
        let sealed = Self::encrypt(self.session, self.key, &iv.to_be_bytes(), b"", &[0; 16]);
        u128::from_be_bytes(sealed[..16].try_into().unwrap())
    }

    /// The message key of XAES for a nonce, if the mechanism's key were the version's.
    fn message_key(&self, prefix: &[u8]) -> Vec<u8> {
        let k1 = double(self.aes(0));
        let block = |counter: u8| {
            let message = [&[0, counter, b'X', 0], prefix].concat();
            self.aes(u128::from_be_bytes(message.try_into().unwrap()) ^ k1)
        };
        [block(1).to_be_bytes(), block(2).to_be_bytes()].concat()
    }
}

/// Whether the attack opens a blob of the library.
fn opens_a_blob(folder: &std::path::Path) -> bool {
    let keystore = keystore(folder);
    let key = keystore.create_key(&CreateKey::default()).unwrap();
    let blob = keystore.encrypt(key, b"top secret", &[]).unwrap();
    let module = Module::initialized();
    let session = module.session();
    let attacker = Attacker::new(session, session.key(key));
    let (header, nonce, sealed) = (&blob[..40], &blob[40..64], &blob[64..]);
    let message_key = session.create(&attacker.message_key(&nonce[..12]));
    // AAD: the header, the context's length as u64, zeros up to a multiple of 16.
    let mut aad = [header, &[0; 8]].concat();
    let mut iv = nonce[12..].to_vec();
    let mut parameters = gcm(&mut iv, &mut aad, 128);
    let opened = session.decrypt(&mut mechanism_with(CKM_AES_GCM, &mut parameters), message_key, sealed);
    opened.is_ok_and(|text| text == b"top secret")
}

module_test! {
    fn an_encrypt_only_caller_opens_no_blob(folder) {
        assert!(!opens_a_blob(folder), "CKM_AES_GCM opens blobs of the key");
    }
}

module_test! {
    fn the_attack_opens_a_blob_where_the_mechanism_uses_the_versions_own_key(folder, "KMS_FAULT_RAW_SUBKEY" = "1") {
        assert!(opens_a_blob(folder), "the attack no longer works, so its failure proves nothing");
    }
}
