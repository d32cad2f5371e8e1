//! Imported key material (BYOK): one version for life, which may be taken away and brought back.
//!
//! Only the very same material may come back, so a keyed digest of it stays for the life of the key. Material that has
//! expired is refused at once; it is erased when its date was seen to be reached twice, as a deletion is.

use super::deadline::Deadline;
use super::time::Time;

/// What is known of the material of an EXTERNAL key that was imported once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Keyed, so that it says nothing about the material.
    pub digest: [u8; 32],
    /// Whether the material is in the keystore.
    pub present: bool,
    pub expiry: Option<Deadline>,
}

impl Imported {
    /// Whether the material may be used at `now`.
    pub fn usable(&self, now: Time) -> bool {
        self.present && self.expiry.is_none_or(|expiry| now < expiry.date)
    }

    /// Takes the material away; the digest stays.
    pub fn erase(&mut self) {
        self.present = false;
        self.expiry = None;
    }
}

#[cfg(test)]
mod tests;
