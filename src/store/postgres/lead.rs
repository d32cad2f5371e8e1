//! To which server the connections of a handle lead: all of them to one, because another may lack the newest changes.
//!
//! There is no lock: a forked child has the same copy of it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The server of a handle's first connection.
#[derive(Debug, Default)]
pub struct Lead {
    /// Its place among those of the location.
    server: AtomicUsize,
    /// Counts the times that a connection was lost or made again: a name may lead to another machine since.
    turn: AtomicU64,
}

/// Where a connection leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerPlace {
    pub server: usize,
    pub turn: u64,
}

impl Lead {
    pub fn place(&self) -> ServerPlace {
        ServerPlace { server: self.server.load(Ordering::Relaxed), turn: self.turn.load(Ordering::Relaxed) }
    }

    /// A connection was lost: the others are made again before their next use.
    pub fn lose(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// All connections follow one to this server.
    pub fn take(&self, server: usize) {
        self.server.store(server, Ordering::Relaxed);
        self.lose();
    }
}
