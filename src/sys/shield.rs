//! What a call has around it while it may wait, allocate or enter the kernel. Calls that only encrypt with what the thread
//! has ready do none of these, and go without.

use super::cancel::Uncancelled;
use super::fork::{self, Reopened};

/// No cancellation, and the fork gate open, until it is dropped.
pub struct Shield {
    // Dropped in this order.
    _reopened: Reopened,
    _uncancelled: Uncancelled,
}

impl Shield {
    pub fn raise() -> Self {
        let uncancelled = Uncancelled::begin();
        Self { _reopened: fork::reopen(), _uncancelled: uncancelled }
    }
}
