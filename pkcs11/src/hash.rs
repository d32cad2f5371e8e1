//! Hashes, for the clients that insist on them.

use cryptoki_sys::*;
use sha1::Sha1;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

use crate::fail::{Fail, Result};

/// A hash in progress.
#[derive(Clone)]
pub enum Digest {
    Sha1(Sha1),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Digest {
    pub fn new(kind: CK_MECHANISM_TYPE) -> Result<Self> {
        Ok(match kind {
            CKM_SHA_1 => Self::Sha1(Sha1::new()),
            CKM_SHA224 => Self::Sha224(Sha224::new()),
            CKM_SHA256 => Self::Sha256(Sha256::new()),
            CKM_SHA384 => Self::Sha384(Sha384::new()),
            CKM_SHA512 => Self::Sha512(Sha512::new()),
            _ => return Err(Fail(CKR_MECHANISM_INVALID)),
        })
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Sha1(_) => 20,
            Self::Sha224(_) => 28,
            Self::Sha256(_) => 32,
            Self::Sha384(_) => 48,
            Self::Sha512(_) => 64,
        }
    }

    pub fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha1(hash) => hash.update(data),
            Self::Sha224(hash) => hash.update(data),
            Self::Sha256(hash) => hash.update(data),
            Self::Sha384(hash) => hash.update(data),
            Self::Sha512(hash) => hash.update(data),
        }
    }

    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(hash) => hash.finalize().to_vec(),
            Self::Sha224(hash) => hash.finalize().to_vec(),
            Self::Sha256(hash) => hash.finalize().to_vec(),
            Self::Sha384(hash) => hash.finalize().to_vec(),
            Self::Sha512(hash) => hash.finalize().to_vec(),
        }
    }
}
