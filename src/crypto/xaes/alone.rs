//! A sealer and an opener of one key with their own cipher, for tests.

use super::prefix::Prefix;
use super::{Cipher, Input, KeySource, NONCE, Shared, wrong_length};
use crate::error::Result;

pub struct Sealer(Cipher, Prefix);

impl Sealer {
    pub fn new() -> Result<Self> {
        Ok(Self(Cipher::new()?, Prefix::default()))
    }

    pub fn seal(
        &mut self,
        shared: &mut Shared,
        key: &dyn KeySource,
        aad: &[u8],
        input: Input<'_>,
        out: &mut [u8],
    ) -> Result<()> {
        let (nonce, sealed) = out.split_first_chunk_mut().ok_or_else(wrong_length)?;
        let drawn = shared.draw();
        self.0.seal(shared, &mut self.1, key, aad, input, drawn, nonce, sealed)
    }
}

pub struct Opener(Cipher, Prefix);

impl Opener {
    pub fn new() -> Result<Self> {
        Ok(Self(Cipher::new()?, Prefix::default()))
    }

    pub fn open(
        &mut self,
        shared: &mut Shared,
        key: &dyn KeySource,
        nonce: &[u8; NONCE],
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        self.0.open(shared, &mut self.1, key, nonce, aad, sealed, out)
    }
}
