//! The key of a passphrase slot: Argon2id version 1.3 (RFC 9106).

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Result, Status};
use crate::sys::memory;

/// How much a guess costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Params {
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
}

/// Length of encoded parameters in bytes: three big-endian `u32`.
pub const ENCODED: usize = 12;
/// Length of a salt in bytes.
pub const SALT: usize = 16;

/// The least that a slot may cost, OWASP's minimum for Argon2id: 19 MiB, 2 passes, 1 lane.
const MIN_MEMORY_KIB: u32 = 19 << 10;
const MIN_PASSES: u32 = 2;
/// Most memory that a keystore may ask for: 1 GiB.
const MAX_MEMORY_KIB: u32 = 1 << 20;
const MAX_LANES: u32 = 64;
/// Most memory times passes, of all slots together: 4 GiB, about six seconds on one core (0.7 GiB/s measured).
pub const MAX_WORK_KIB: u64 = 4 << 20;

impl Argon2Params {
    /// RFC 9106 §4, the second recommended option: 64 MiB, 3 passes, 4 lanes.
    pub const DEFAULT: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 4 };

    /// Refuses what the RFC doesn't define and what a hostile file would ask for: less than 19 MiB or 2 passes, more than
    /// 1 GiB, more than 4 GiB in all passes, more than 64 lanes. Fails with `KeystoreCorrupt`.
    pub fn check(&self) -> Result<()> {
        let defined = self.lanes >= 1 && self.memory_kib / 8 >= self.lanes;
        let cheap = self.memory_kib < MIN_MEMORY_KIB || self.passes < MIN_PASSES;
        let work = self.work_kib();
        if !defined || cheap || self.memory_kib > MAX_MEMORY_KIB || self.lanes > MAX_LANES || work > MAX_WORK_KIB {
            return Err(Status::KeystoreCorrupt
                .error("a passphrase slot has an invalid Argon2 cost; restore the keystore from a backup"));
        }
        Ok(())
    }

    /// Memory times passes.
    pub fn work_kib(&self) -> u64 {
        u64::from(self.memory_kib) * u64::from(self.passes)
    }

    pub fn encode(&self) -> [u8; ENCODED] {
        let mut bytes = [0; ENCODED];
        let (words, _) = bytes.as_chunks_mut();
        for (word, value) in words.iter_mut().zip([self.memory_kib, self.passes, self.lanes]) {
            *word = value.to_be_bytes();
        }
        bytes
    }

    /// Decodes and checks. Fails with `KeystoreCorrupt`.
    pub fn decode(bytes: &[u8; ENCODED]) -> Result<Self> {
        let (words, _) = bytes.as_chunks::<4>();
        let [memory, passes, lanes] = words else {
            return Err(Status::KeystoreCorrupt
                .error("a passphrase slot has no Argon2 cost; restore the keystore from a backup"));
        };
        let params = Self {
            memory_kib: u32::from_be_bytes(*memory),
            passes: u32::from_be_bytes(*passes),
            lanes: u32::from_be_bytes(*lanes),
        };
        params.check()?;
        Ok(params)
    }
}

/// The key encryption key of a passphrase: slow on purpose, and wipes the memory it worked in.
///
/// Fails with `KeystoreCorrupt` for parameters out of bounds, `InvalidArgument` for a passphrase above 4 GiB, `OutOfMemory`
/// when the memory can't be had.
pub fn derive(passphrase: &[u8], salt: &[u8; SALT], params: &Argon2Params) -> Result<Zeroizing<[u8; 32]>> {
    params.check()?;
    stretch(passphrase, salt, params)
}

fn stretch(passphrase: &[u8], salt: &[u8; SALT], params: &Argon2Params) -> Result<Zeroizing<[u8; 32]>> {
    let failed = |error: argon2::Error| Status::Internal.error(format!("Argon2 failed: {error}"));
    if passphrase.len() > argon2::MAX_PWD_LEN {
        return Err(Status::InvalidArgument.error("the passphrase is too long; use at most 1 MiB"));
    }
    let argon_params = Params::new(params.memory_kib, params.passes, params.lanes, Some(32)).map_err(failed)?;
    let mut memory: Vec<Block> = Vec::new();
    if memory.try_reserve_exact(argon_params.block_count()).is_err() {
        return Err(memory::out_of_memory());
    }
    memory.resize(argon_params.block_count(), Block::new());
    let mut key = Zeroizing::new([0; 32]);
    let done = Argon2::new(Algorithm::Argon2id, Version::V0x13, argon_params).hash_password_into_with_memory(
        passphrase,
        salt,
        &mut *key,
        &mut memory,
    );
    memory.iter_mut().for_each(Zeroize::zeroize);
    done.map_err(failed)?;
    Ok(key)
}

#[cfg(test)]
mod tests;
