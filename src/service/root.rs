//! Another root key for a keystore that is there.

use super::{Kms, Options};
use crate::error::Result;
use crate::sys::stack;

impl Kms {
    /// From now on the root of `new` alone opens the keystore; handles that are open go on. Of the options, the root
    /// counts, and `create` for a root key file that isn't there. Copies made before are still opened by the old root.
    pub fn change_root(&self, new: &Options) -> Result<()> {
        let core = self.core()?;
        stack::swept(|| {
            core.store.change_root(
                new.root()?,
                new.creates(),
                |commit| core.cache.publish(commit, &[], &[], &[]),
                |before| core.cache.announced(before),
            )
        })
    }
}
