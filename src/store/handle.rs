//! The open keystore, as all its threads share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use zeroize::Zeroizing;

use super::announce::poll_interval_ms;
use super::announcements::Announcements;
use super::backend::DueRow;
use super::connection::Connection;
use super::driver::Driver;
use super::entry::Refusals;
use super::freshness::Freshness;
use super::server_clock::ServerClock;
use super::settings::Settings;
use super::shard::Shards;
use super::shared_history::SharedHistory;
use super::state::State;
use crate::crypto::kdf;
use crate::domain::id::SlotId;
use crate::error::{Error, Result, Status};
use crate::sys::fork;
use crate::sys::secret::Secret;
use crate::sys::sync::{Lock, Pool};
use crate::sys::word::Word;

/// An open keystore. Shared by all threads; each connection runs one transaction at a time.
pub struct Store {
    pub(super) settings: Settings,
    pub(super) driver: Arc<dyn Driver>,
    pub(super) uuid: [u8; 16],
    pub(super) root: Secret,
    /// The slot that opened it.
    pub(super) opened_by: SlotId,
    /// One, or several where the rows are on another machine.
    pub(super) connections: Pool<Connection>,
    /// Coarse time before which no further connection is opened, because one could not be.
    pub(super) next_opening: AtomicI64,
    /// What is known of a store on another machine.
    pub(super) shared_history: Lock<SharedHistory>,
    pub(super) word: Word,
    /// The newest generation that was seen of each shard; a reopened store may not lie before it.
    pub(super) seen: Vec<AtomicI64>,
    pub(super) shards: Shards,
    /// Whether the rows are on another machine, which is asked for changes.
    pub(super) is_remote: bool,
    /// That machine's clock.
    pub(super) server_clock: Arc<ServerClock>,
    pub(super) freshness: Freshness,
    /// What is at the keystore's path.
    pub(super) standing: AtomicU8,
    /// Whether it is certain that the keystore has no other path.
    pub(super) only_path: AtomicBool,
    /// Counts the times that another history of the keystore was found there.
    pub(super) turns: AtomicU64,
    /// The refused calls that the change log doesn't have.
    pub(super) refusals: Refusals,
    /// Set when the handle closes: nothing waits for other processes any more.
    pub(super) closing: AtomicBool,
    /// The process that opened it.
    pub(super) epoch: u64,
}

impl Store {
    /// What the anchor says, where there is one. May run a callback: no lock may be held.
    pub(super) fn anchored(&self) -> Result<Option<State>> {
        match &self.settings.anchor {
            Some(anchor) => anchor.read(self.root.expose(), self.uuid),
            None => Ok(None),
        }
    }

    pub(super) fn raise_anchor(&self, state: &State) -> Result<()> {
        let Some(anchor) = &self.settings.anchor else { return Ok(()) };
        self.wait(Instant::now() + self.settings.patience, || anchor.raise(self.root.expose(), self.uuid, state))
    }

    /// A key for one purpose, derived from the root key.
    pub fn subkey(&self, label: &str) -> Result<Zeroizing<[u8; 32]>> {
        kdf::derive(self.root.expose(), label, &self.uuid)
    }

    pub fn shards(&self) -> Shards {
        self.shards
    }

    /// Whether a pass over due keys that came to `after` may find `found` next.
    pub fn follows(&self, after: &DueRow, found: &DueRow) -> bool {
        let shard = |due: &DueRow| self.shards.of_row(due.row).map(|(shard, _)| shard).ok();
        match (shard(after), shard(found)) {
            (Some(before), Some(shard)) if before != shard => before < shard,
            _ => after < found,
        }
    }

    pub fn is_read_only(&self) -> bool {
        self.settings.read_only
    }

    /// The announced generation: changes whenever any process on this host has committed a change.
    #[inline]
    pub fn word(&self) -> u64 {
        self.word.load()
    }

    /// Whether the rows are on another machine, which announces nothing.
    pub fn is_remote(&self) -> bool {
        self.is_remote
    }

    /// The clock of that machine, as it was found by the last poll.
    pub fn server_clock(&self) -> &Arc<ServerClock> {
        &self.server_clock
    }

    /// Where other hosts announce their changes.
    pub fn announcements(&self) -> Option<Arc<dyn Announcements>> {
        self.driver.announcements()
    }

    /// How often the store must be asked for changes that were not announced.
    pub fn poll_interval_ms(&self) -> i64 {
        match self.is_remote {
            true => i64::try_from(self.settings.poll.as_millis()).unwrap_or(i64::MAX),
            false => poll_interval_ms(self.is_mapped()),
        }
    }

    /// Whether other processes' changes are seen at once; otherwise the store must be polled.
    pub fn is_mapped(&self) -> bool {
        self.driver.is_private() || self.word.is_shared()
    }

    /// Names the keystore in an error about it.
    #[cold]
    pub(super) fn named(&self, error: Error) -> Error {
        self.settings.location.named(error)
    }

    pub fn check_writable(&self) -> Result<()> {
        match self.settings.read_only {
            true => {
                Err(self
                    .named(Status::KeystoreReadOnly.error("the keystore was opened read-only; open it for writing")))
            }
            false => Ok(()),
        }
    }

    /// Lets no call wait any longer, because the handle closes.
    pub fn cancel_waits(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

pub(super) fn check_epoch(epoch: u64) -> Result<()> {
    if epoch == fork::epoch() {
        return Ok(());
    }
    Err(Status::Forked.error("this call started in the parent process; make a new call on the handle in the child"))
}
