//! Subkeys of the store's root key and of key versions: NIST SP 800-108r1 §4.1, counter mode, with AES-256-CMAC.
//!
//! K(i) = CMAC(root, i as u32 ‖ label ‖ 00 ‖ context ‖ 256 as u32), i = 1, 2, big-endian.

use zeroize::{Zeroize, Zeroizing};

use crate::crypto::openssl::cmac;
use crate::error::{Result, Status};

/// The subkey for one purpose. `label` names the purpose and has no NUL (`Internal`): that byte separates it from
/// `context`.
pub fn derive(root: &[u8; 32], label: &str, context: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    if label.contains('\0') {
        return Err(Status::Internal.error("the label of a subkey has a NUL"));
    }
    let mut key = Zeroizing::new([0; 32]);
    let (halves, _) = key.as_chunks_mut::<16>();
    for (counter, half) in (1u32..).zip(halves) {
        let mut mac = cmac(root, &[&counter.to_be_bytes(), label.as_bytes(), &[0], context, &256u32.to_be_bytes()])?;
        half.copy_from_slice(&mac);
        mac.zeroize();
    }
    Ok(key)
}

#[cfg(test)]
mod tests;
