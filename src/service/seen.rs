//! The days on which a version in memory was seen in use.

use std::sync::atomic::{AtomicI64, AtomicU64};

use crate::domain::version::VersionUse;

/// The days on which a version in memory was seen in use.
#[derive(Debug, Default)]
pub(super) struct SeenUses {
    encrypt: AtomicI64,
    decrypt: AtomicI64,
    /// Messages that this handle encrypted under the version's GCM subkey.
    pub messages: AtomicU64,
}

impl SeenUses {
    pub fn day(&self, how: VersionUse) -> &AtomicI64 {
        match how {
            VersionUse::Encrypt => &self.encrypt,
            VersionUse::Decrypt => &self.decrypt,
        }
    }
}
