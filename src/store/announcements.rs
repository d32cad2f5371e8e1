//! How changes that other hosts make are announced.

use crate::error::Result;

/// What other hosts announce: a hint to poll sooner. Any of it may be missed.
pub trait Announcements: Send + Sync {
    /// Calls `heard` when it listens, and then for what is announced, until that fails or is stopped.
    fn listen(&self, heard: &mut dyn FnMut()) -> Result<()>;
    /// Has [`Self::listen`] end, now and from now on.
    fn stop(&self);
}
