//! Which of a handle's connections a transaction gets.
//!
//! A local store has one. A store on another machine begins with one and opens a further one when a transaction finds none
//! free. The last of them is for reads: a change may wait for a lock that another process holds, and a read never
//! does.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::backend::Transaction;
use super::connection::Connection;
use super::handle::Store;
use crate::error::Result;
use crate::sys::clocks;
use crate::sys::sync::Lent;

/// For so long a transaction waits for an open connection before it opens another: most transactions are shorter.
const GRACE: Duration = Duration::from_millis(50);
/// How long opening one may take. Meanwhile another may become free.
const OPENING: Duration = Duration::from_secs(5);
/// For so long no other is opened after a failure, as where the server has none left.
const PAUSE_MS: i64 = 1000;

impl Store {
    /// Lends a connection; `None` if none becomes free within `patience`. The first may have to connect again.
    pub(super) fn lend(&self, kind: Transaction, patience: Duration) -> Result<Option<Lent<'_, Connection>>> {
        if self.connections.count() == 1 {
            return self.connections.lend(patience);
        }
        let most = match kind {
            Transaction::Read => self.connections.count(),
            Transaction::Write => self.connections.count() - 1,
        };
        let deadline = Instant::now() + patience;
        let is_open = |at: usize, connection: &Connection| at == 0 || at < most && connection.backend.is_usable();
        let left = || deadline.saturating_duration_since(Instant::now());
        if self.may_open() {
            if let Some(lent) = self.connections.lend_where(patience.min(GRACE), is_open)? {
                return self.as_usable(lent).map(Some);
            }
            // The others are all lent, or closed.
            if let Some(mut lent) = self.connections.lend_where(Duration::ZERO, |at, _| at < most)?
                && (lent.number() == 0 || self.open_beside(lent.get()?, left().min(OPENING)))
            {
                return self.as_usable(lent).map(Some);
            }
        }
        self.connections.lend_where(left(), is_open)?.map(|lent| self.as_usable(lent)).transpose()
    }

    /// The first connection is made again where it may lead to another server than the others.
    fn as_usable<'a>(&self, mut lent: Lent<'a, Connection>) -> Result<Lent<'a, Connection>> {
        let backend = &mut lent.get()?.backend;
        if !backend.is_usable() {
            backend.let_go();
        }
        Ok(lent)
    }

    fn may_open(&self) -> bool {
        clocks::coarse_ms() >= self.next_opening.load(Ordering::Relaxed)
    }

    /// Whether a further connection is open now. Where the server has none left, transactions wait for those that there are.
    fn open_beside(&self, connection: &mut Connection, time: Duration) -> bool {
        if connection.backend.is_usable() {
            return true;
        }
        connection.backend.let_go();
        if time.is_zero() {
            return false;
        }
        match self.driver.connect_beside(time) {
            Ok(backend) => {
                connection.backend = backend;
                true
            }
            Err(_) => {
                self.next_opening.store(clocks::coarse_ms() + PAUSE_MS, Ordering::Relaxed);
                false
            }
        }
    }
}
