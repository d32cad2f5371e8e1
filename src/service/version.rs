//! Key versions: list them, newest first.

use super::Kms;
use crate::domain::version::Version;
use crate::error::Result;

/// Versions read in one transaction.
const PAGE: usize = 256;

impl Kms {
    /// Shows at most `limit` versions of a key, newest first, below version number `before` or from the newest, until
    /// `visit` returns false. No lock is held while it runs. `key` is a key id or `alias/NAME`.
    pub fn list_key_versions(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
        mut visit: impl FnMut(&Version, bool) -> bool,
    ) -> Result<()> {
        let core = self.core()?;
        let id = core.resolve(key)?;
        let (mut before, mut left) = (before, limit);
        loop {
            let (primary, page) = core.store.read(|view| {
                let stored = view.key(&id)?.ok_or_else(super::not_found)?;
                let page = view.versions_before(&stored, before, left.min(PAGE))?;
                Ok((stored.key.primary, page))
            })?;
            for version in &page {
                if !visit(version, primary.is_some_and(|p| p.id == version.id)) {
                    return Ok(());
                }
            }
            left -= page.len();
            match page.last() {
                Some(last) if left > 0 && page.len() == PAGE => before = Some(last.number),
                _ => return Ok(()),
            }
        }
    }
}
