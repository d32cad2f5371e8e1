//! The mechanisms that the module offers, and their parameters.

use cryptoki_sys::*;
use kms::internal::{AES_BLOCK, AesMode, GcmParts};

use crate::fail::{Fail, Result};

/// CKM_KMS_BLOB: the ciphertext of libkms, which names its key and version. Vendor defined, "KMS" and 1.
pub const CKM_KMS_BLOB: CK_MECHANISM_TYPE = CKM_VENDOR_DEFINED | 0x4B4D_5301;
/// AES key wrap with padding, RFC 5649, as PKCS#11 3.0 numbers it.
const CKM_KEY_WRAP_KWP: CK_MECHANISM_TYPE = CKM_AES_KEY_WRAP_KWP;

const CIPHER: CK_FLAGS = CKF_ENCRYPT | CKF_DECRYPT | CKF_WRAP | CKF_UNWRAP;

/// Each mechanism, with the lengths of its keys in bytes and what it does.
const OFFERED: &[(CK_MECHANISM_TYPE, CK_ULONG, CK_ULONG, CK_FLAGS)] = &[
    (CKM_KMS_BLOB, 32, 32, CIPHER),
    (CKM_AES_GCM, 16, 32, CIPHER),
    (CKM_AES_KEY_WRAP, 16, 32, CIPHER),
    (CKM_AES_KEY_WRAP_PAD, 16, 32, CIPHER),
    (CKM_KEY_WRAP_KWP, 16, 32, CIPHER),
    (CKM_AES_KEY_GEN, 16, 32, CKF_GENERATE),
    (CKM_GENERIC_SECRET_KEY_GEN, 1, 4096, CKF_GENERATE),
    (CKM_AES_ECB, 16, 32, CIPHER),
    (CKM_AES_CBC, 16, 32, CIPHER),
    (CKM_AES_CBC_PAD, 16, 32, CIPHER),
    (CKM_AES_CTR, 16, 32, CIPHER),
    (CKM_SHA_1, 0, 0, CKF_DIGEST),
    (CKM_SHA224, 0, 0, CKF_DIGEST),
    (CKM_SHA256, 0, 0, CKF_DIGEST),
    (CKM_SHA384, 0, 0, CKF_DIGEST),
    (CKM_SHA512, 0, 0, CKF_DIGEST),
];

pub fn list() -> Vec<CK_MECHANISM_TYPE> {
    OFFERED.iter().map(|(kind, ..)| *kind).collect()
}

pub fn info(kind: CK_MECHANISM_TYPE) -> Result<CK_MECHANISM_INFO> {
    let found = OFFERED.iter().find(|(known, ..)| *known == kind);
    let (_, least, most, flags) = found.ok_or(Fail(CKR_MECHANISM_INVALID))?;
    Ok(CK_MECHANISM_INFO { ulMinKeySize: *least, ulMaxKeySize: *most, flags: *flags })
}

/// Whether `kind` is offered for a purpose, a CKF flag.
pub fn offers(kind: CK_MECHANISM_TYPE, purpose: CK_FLAGS) -> bool {
    OFFERED.iter().any(|(known, _, _, flags)| *known == kind && flags & purpose != 0)
}

/// A mechanism of encryption with its parameters.
pub enum Mechanism {
    Blob { aad: Vec<u8> },
    Gcm(Gcm),
    KeyWrap { padded: bool },
    Stream { mode: AesMode, iv: Vec<u8> },
}

/// The parameters of CKM_AES_GCM.
pub struct Gcm {
    pub iv: Vec<u8>,
    pub aad: Vec<u8>,
    pub tag_len: usize,
}

impl Gcm {
    /// `tag_bits` is a whole number of bytes, from 4 to 16.
    pub fn new(iv: &[u8], aad: &[u8], tag_bits: CK_ULONG) -> Result<Self> {
        let valid = (32..=128).contains(&tag_bits) && tag_bits.is_multiple_of(8);
        if !valid || !(1..=128).contains(&iv.len()) {
            return Err(Fail(CKR_MECHANISM_PARAM_INVALID));
        }
        Ok(Self { iv: iv.to_vec(), aad: aad.to_vec(), tag_len: (tag_bits / 8) as usize })
    }

    /// What a customer master key takes: short tags and odd IVs weaken GCM for all of its messages.
    pub fn check_for_token(&self) -> Result<()> {
        match (12..=16).contains(&self.iv.len()) && self.tag_len >= 12 {
            true => Ok(()),
            false => Err(Fail(CKR_MECHANISM_PARAM_INVALID)),
        }
    }

    pub fn parts(&self) -> GcmParts<'_> {
        GcmParts { iv: &self.iv, aad: &self.aad, tag_len: self.tag_len }
    }
}

impl Mechanism {
    /// A mode of AES without authentication, with the IV that is its parameter.
    pub fn stream(mode: AesMode, iv: &[u8]) -> Result<Self> {
        let wanted = if mode == AesMode::Ecb { 0 } else { AES_BLOCK };
        match iv.len() == wanted {
            true => Ok(Self::Stream { mode, iv: iv.to_vec() }),
            false => Err(Fail(CKR_MECHANISM_PARAM_INVALID)),
        }
    }
}
