//! What reads the whole file, on a separate connection so that the handle's other calls don't wait: a backup, and the
//! check of the file's pages.

use std::path::Path;
use std::time::{Duration, Instant};

use super::backend::{Backend, MetaRow, Transaction};
use super::connection::{Gated, gated, read_waiting};
use super::handle::{Store, check_epoch};
use super::sealing::Sealing;
use super::shard::{Shard, Shards};
use super::sqlite::Sqlite;
use super::unfinished::Unfinished;
use super::versions::{IdPrefix, start};
use crate::domain::time::Now;
use crate::error::{Result, Status, shown_path};
use crate::sys::{fork, memory};

/// Rows that are read at a time.
const PAGE: usize = 1024;

/// What a copy holds.
#[derive(Debug, Default)]
pub struct Copied {
    pub generation: u64,
    /// The beginnings of the ids of each key's newest version, sorted.
    pub versions: Vec<IdPrefix>,
}

impl Store {
    /// Writes a snapshot of the keystore to a new file that becomes `path` when it is published.
    pub fn backup(&self, path: &Path, now: &dyn Fn() -> Now) -> Result<(Unfinished, Copied)> {
        let deadline = Instant::now() + self.settings.patience;
        let new = self.wait(deadline, || fork::gate(|| Unfinished::create(path)))?;
        let copied = match self.driver.is_private() {
            _ if self.shards != Shards::ONE => self.backup_by_key(&new, now),
            true => {
                let (mut lent, _) = self.begin(Transaction::Read)?;
                copy(lent.get()?.backend.get()?, new.temporary())
            }
            false => self.apart(|backend| copy(backend, new.temporary())),
        }?;
        new.sync()?;
        Ok((new, copied))
    }

    /// Checks that each page of the file belongs to one table or index, or is free.
    pub fn check_pages_owned(&self) -> Result<()> {
        match self.driver.is_private() {
            // No file can have been damaged.
            true => Ok(()),
            false => self.apart(|backend| backend.check_pages_owned()).map_err(|error| self.named(error)),
        }
    }

    /// Runs `body`, outside of the fork gate, in a read transaction on a new connection.
    fn apart<R>(&self, body: impl FnOnce(&mut dyn Backend) -> Result<R>) -> Result<R> {
        check_epoch(self.epoch)?;
        memory::headroom_of(memory::OPENING)?;
        let mut sealing = fork::gate(|| Sealing::new(self.root.expose(), self.uuid))?;
        let deadline = Instant::now() + self.settings.patience;
        let mut connection = self.wait(deadline, || self.reconnect(&mut sealing))?;
        let backend = connection.get()?;
        self.wait(deadline, || gated(backend, |b| b.begin(Transaction::Read, self.settings.patience)))?;
        gated(backend, |b| b.meta(Shard::FIRST).and_then(|found| self.check_same(&found, &mut sealing)))?;
        body(backend)
    }
}

/// Copies what the transaction that has begun sees, and reads the copy as a restore would. Ends the transaction.
fn copy(backend: &mut dyn Backend, path: &Path) -> Result<Copied> {
    let found = gated(backend, |backend| backend.meta(Shard::FIRST));
    let copied = found.and_then(|found| backend.copy_to(path).map(|()| found));
    gated(backend, |backend| backend.rollback());
    read_back(path, &copied?)
}

/// Reads a copy as a restore would. It must have this description.
pub(super) fn read_back(path: &Path, found: &MetaRow) -> Result<Copied> {
    // The copying has taken memory too.
    memory::headroom_of(memory::OPENING)?;
    let mut copy = Gated::new(fork::gate(|| Sqlite::open(path, true))?);
    if read_waiting(copy.get()?, Duration::ZERO, |b| b.meta(Shard::FIRST))? != *found {
        return Err(Status::KeystoreIo.error(format!(
            "the backup {} reads back differently than it was written; use another disk",
            shown_path(path)
        )));
    }
    copy.get()?.check_pages_owned()?;
    let mut copied = Copied { generation: found.generation.cast_unsigned(), versions: Vec::new() };
    let mut last = 0;
    loop {
        let page = read_waiting(copy.get()?, Duration::ZERO, |b| b.newest_after(last, PAGE))?;
        let Some((row, _)) = page.last() else { break };
        last = *row;
        copied
            .versions
            .try_reserve(page.len())
            .map_err(|_| Status::OutOfMemory.error("no memory for a list of versions"))?;
        copied.versions.extend(page.iter().map(|(_, version)| start(version)));
    }
    copied.versions.sort_unstable();
    Ok(copied)
}
