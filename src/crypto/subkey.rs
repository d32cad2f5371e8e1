//! Subkeys of a key version: one for each family of mechanisms that PKCS#11 names.
//!
//! A version's key itself serves XAES alone. A caller of AES-GCM chooses the IV, and GCM under the version's key would
//! encrypt any block for them, which is all that XAES derives its message keys with: they could open every blob of that
//! version (`pkcs11/tests/attack.rs`). A subkey is CMAC output over inputs that XAES never has: those of XAES are one block
//! that begins with `00 01 58 00` or `00 02 58 00`, those of [`kdf`] begin with `00 00 00 01` or `00 00 00 02`.

use zeroize::Zeroizing;

use super::kdf;
use crate::domain::id::VersionId;
use crate::error::Result;
use crate::sys::fault;

/// Mechanisms that share a subkey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// AES-256-GCM with an IV of the caller's.
    Gcm,
    /// AES key wrap, RFC 3394 and RFC 5649.
    KeyWrap,
}

impl Family {
    /// The label of the derivation; it never changes.
    const fn label(self) -> &'static str {
        match self {
            Self::Gcm => "libkms pkcs11 gcm",
            Self::KeyWrap => "libkms pkcs11 kw",
        }
    }
}

/// The subkey of a version for one family.
pub fn derive(version_key: &[u8; 32], family: Family, version: &VersionId) -> Result<Zeroizing<[u8; 32]>> {
    if fault::wanted("KMS_FAULT_RAW_SUBKEY") {
        return Ok(Zeroizing::new(*version_key));
    }
    kdf::derive(version_key, family.label(), version.as_bytes())
}

#[cfg(test)]
mod tests;
