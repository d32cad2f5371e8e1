//! XAES-256-GCM for the rows of a keystore: one key, many small texts, a fresh nonce each.

use zeroize::Zeroizing;

use crate::crypto::openssl::{Block, Gcm, Start, TAG};
use crate::crypto::xaes::{self, NONCE};
use crate::error::{Result, Status};
use crate::sys::random;

/// Bytes that sealing adds: nonce and tag.
pub const OVERHEAD: usize = NONCE + TAG;

/// Kept contexts for one key. Freeing it wipes them.
pub struct RowCipher {
    block: Block,
    k1: Zeroizing<[u8; 16]>,
    gcm: Gcm,
}

impl RowCipher {
    pub fn new(key: &[u8; 32]) -> Result<Self> {
        let mut block = Block::new()?;
        block.set_key(key)?;
        let k1 = xaes::subkey(&mut block)?;
        Ok(Self { block, k1, gcm: Gcm::new()? })
    }

    /// Nonce, ciphertext and tag. A nonce is fresh randomness and is used once.
    pub fn seal(&mut self, aad: &[u8], plaintext: &[u8], nonce: [u8; NONCE]) -> Result<Vec<u8>> {
        let (key, nonce_of_key) = self.derive(&nonce)?;
        let mut out = Vec::with_capacity(plaintext.len() + OVERHEAD);
        out.extend_from_slice(&nonce);
        out.resize(plaintext.len() + OVERHEAD, 0);
        let (_, sealed) = out.split_at_mut(NONCE);
        self.gcm.seal(Start { key: Some(&key), nonce: nonce_of_key }, aad, plaintext, sealed)?;
        Ok(out)
    }

    /// The plaintext of what `seal` returned. Fails with `AuthenticationFailed`, also when `sealed` is too short.
    pub fn open(&mut self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE>()
            .filter(|(_, sealed)| sealed.len() >= TAG)
            .ok_or_else(|| Status::AuthenticationFailed.error(crate::crypto::openssl::AUTHENTICATION_FAILED))?;
        let (key, nonce) = self.derive(nonce)?;
        let mut out = Zeroizing::new(vec![0; sealed.len() - TAG]);
        self.gcm.open(Start { key: Some(&key), nonce }, aad, sealed, &mut out)?;
        Ok(out)
    }

    /// The key of the nonce's prefix, and the suffix, which is the nonce under that key.
    fn derive<'a>(&mut self, nonce: &'a [u8; NONCE]) -> Result<(Zeroizing<[u8; 32]>, &'a [u8; 12])> {
        let (prefix, suffix) = xaes::split(nonce);
        let mut derived = Zeroizing::new([0; 32]);
        xaes::derive_keyed(&mut self.block, &self.k1, prefix, &mut derived)?;
        Ok((derived, suffix))
    }
}

/// Seals one text under a fresh random nonce: nonce, ciphertext and tag.
pub fn seal_once(key: &[u8; 32], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    RowCipher::new(key)?.seal(aad, plaintext, random::array()?)
}

/// Opens what [`seal_once`] returned. Fails with `AuthenticationFailed`.
pub fn open_once(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    RowCipher::new(key)?.open(aad, sealed)
}

#[cfg(test)]
mod tests;
