//! The one connection to a store's rows: made, given out with a transaction begun, dropped after an error of the file,
//! and made anew.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::backend::{Backend, MetaRow, SlotRow, Transaction};
use super::history::History;
use super::sealing::Sealing;
use super::sqlite::{self, Sqlite};
use super::tree::Nodes;
use super::versions::Versions;
use super::{Location, Settings, Store, check_epoch};
use crate::error::{Error, Result, Status};
use crate::sys::fault;
use crate::sys::fork;
use crate::sys::memory;
use crate::sys::sync::{self, Lent};
use crate::sys::waiting;

/// The one connection; `backend` is gone after an I/O error and made again on next use.
pub(super) struct Connection {
    pub backend: Gated,
    pub sealing: Sealing,
    pub nodes: Nodes,
    pub versions: Versions,
    pub history: History,
}

/// A backend that is closed inside the fork gate, wherever it is dropped; empty after [`Gated::let_go`].
pub(super) struct Gated(pub Option<Box<dyn Backend>>);

impl Gated {
    pub fn get(&mut self) -> Result<&mut dyn Backend> {
        match &mut self.0 {
            Some(backend) => Ok(&mut **backend),
            None => Err(Status::Internal.error("the keystore is not connected")),
        }
    }

    pub fn let_go(&mut self) {
        fork::gate(|| drop(self.0.take()));
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Closes the connection if a panic unwinds through a transaction, which would otherwise keep its lock.
pub(super) struct Unwinding<'a>(pub &'a mut Connection);

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        if sync::panicking() {
            self.0.backend.let_go();
        }
    }
}

impl Store {
    pub(super) fn wait<R>(&self, deadline: Instant, mut step: impl FnMut() -> Result<R>) -> Result<R> {
        wait(|| Instant::now() >= deadline || self.closing.load(Ordering::Relaxed), &mut step)
    }

    pub(super) fn commit(&self, connection: &mut Connection, deadline: Instant) -> Result<()> {
        let backend = connection.backend.get()?;
        let mut commit = || {
            fault::stall("KMS_FAULT_SLOW_COMMIT");
            backend.commit()
        };
        let done = self.wait(deadline, || fork::gate(&mut commit));
        if done.is_err() {
            fork::gate(|| backend.rollback());
        }
        done
    }

    /// The connection inside a new transaction, and until when its user may wait for other processes.
    ///
    /// Between two tries the connection goes back: a reader doesn't wait behind a writer that another process keeps
    /// waiting, and all waiting together ends at one deadline.
    pub(super) fn begin(&self, kind: Transaction) -> Result<(Lent<'_, Connection>, Instant)> {
        waiting::allowed()?;
        // A child that returns from a callback is still inside its parent's call.
        check_epoch(self.epoch)?;
        memory::headroom_of(memory::TRANSACTION)?;
        let deadline = Instant::now() + self.settings.patience;
        let mut displaced = false;
        let begun = self.check_given().and_then(|()| {
            self.wait(deadline, || {
                let left = deadline.saturating_duration_since(Instant::now());
                let mut lent = self.connection.lend(left)?.ok_or_else(busy)?;
                let connection = lent.get()?;
                let begun = self.try_begin(connection, kind);
                drop_broken(connection, &begun);
                displaced = connection.history.displaced;
                begun.map(|()| lent)
            })
        });
        if begun.as_ref().is_err_and(|e| displaced || e.status() == Status::KeystoreReplaced) {
            self.note_place(true);
        }
        Ok((begun?, deadline))
    }

    /// One try; makes the connection anew if it was dropped.
    fn try_begin(&self, connection: &mut Connection, kind: Transaction) -> Result<()> {
        let is_new = connection.backend.0.is_none();
        if is_new {
            connection.backend = self.reconnect(&mut connection.sealing)?;
        }
        let backend = connection.backend.get()?;
        match fork::gate(|| backend.begin(kind)) {
            // One that was opened while the disk could not be written stays read-only, and one whose file was replaced may
            // find the same keystore, or a newer one, at its path. One whose descriptors the host closed is of no more use;
            // nothing was begun, so a new one may.
            Err(e) if !is_new && (may_be_lost(&e) || e.status() == Status::KeystoreReplaced) => {
                connection.backend.let_go();
                connection.history.displaced |= e.status() == Status::KeystoreReplaced;
                self.try_begin(connection, kind)
            }
            done => done,
        }
    }

    /// A new connection to the very store that was open: same uuid, and not before the last commit of ours.
    pub(super) fn reconnect(&self, sealing: &mut Sealing) -> Result<Gated> {
        // The rotation thread may use libcrypto inside the gate only.
        let mut is_ours = |found: &MetaRow, _: &[SlotRow]| {
            found.uuid != self.uuid || fork::gate(|| sealing.check_meta(found)).is_ok()
        };
        let mut backend = connect_once(&self.settings, &mut is_ours).map_err(|e| match e.status() {
            Status::KeystoreNotFound | Status::NotAKeystore => Status::KeystoreReplaced
                .error("the keystore is no longer at its path; move it back, or close the handle"),
            _ => e,
        })?;
        let found = read_waiting(backend.get()?, Duration::ZERO, |b| b.meta())?;
        fork::gate(|| self.check_same(&found, sealing))?;
        Ok(backend)
    }

    /// After an I/O error of a commit: whether the change is in the store all the same. The caller is told the error
    /// either way, because the disk may not have it, but nobody may go on with what it replaced. Where another process has
    /// changed the store since, its change is there to be seen, and with it ours, if that stands.
    pub(super) fn stands(&self, connection: &mut Connection, committed: &MetaRow) -> bool {
        if connection.backend.0.is_some() {
            return false;
        }
        let Ok(mut backend) = self.reconnect(&mut connection.sealing) else { return false };
        let found = backend.get().and_then(|b| read_waiting(b, Duration::ZERO, |b| b.meta()));
        connection.backend = backend;
        found.is_ok_and(|found| found == *committed)
    }
}

/// After an error of the file itself nothing about the connection is trusted; it is dropped, and made anew later.
pub(super) fn drop_broken<R>(connection: &mut Connection, result: &Result<R>) {
    if let Err(e) = result
        && matches!(e.status(), Status::KeystoreIo | Status::KeystoreReplaced | Status::NotAKeystore)
        && !fault::wanted("KMS_FAULT_NOT_REOPENED")
    {
        connection.backend.let_go();
    }
}

fn may_be_lost(error: &Error) -> bool {
    match error.status() {
        Status::KeystoreReadOnly => true,
        Status::KeystoreIo => !fault::wanted("KMS_FAULT_NOT_REOPENED"),
        _ => false,
    }
}

fn busy() -> Error {
    Status::KeystoreBusy.error("the keystore is busy; try again or allow a longer wait")
}

/// A connection; waits for a writer that is just committing.
pub(super) fn connect(settings: &Settings, is_ours: &mut IsOurs<'_>) -> Result<Gated> {
    let deadline = Instant::now() + settings.patience;
    wait(|| Instant::now() >= deadline, &mut || connect_once(settings, is_ours))
}

/// Whether a description is authentic under the handle's root key, or another keystore's.
pub(super) type IsOurs<'a> = dyn FnMut(&MetaRow, &[SlotRow]) -> bool + 'a;

fn connect_once(settings: &Settings, is_ours: &mut IsOurs<'_>) -> Result<Gated> {
    let Location::File(path) = &settings.location else {
        return Err(Status::Internal.error("a keystore in memory has one connection only"));
    };
    // Before SQLite plays a journal of another file into this one.
    if let Some(doubt) = fork::gate(|| sqlite::Doubt::at(path))
        && is_ours(&doubt.meta, &doubt.slots)
    {
        fork::gate(|| doubt.refuse(path))?;
    }
    Ok(Gated(Some(Box::new(fork::gate(|| Sqlite::open(path, settings.read_only))?))))
}

/// Tries `step` until it is not BUSY or it is time to give up; sleeps outside of the fork gate.
pub(super) fn wait<R>(give_up: impl Fn() -> bool, step: &mut dyn FnMut() -> Result<R>) -> Result<R> {
    let mut pause = Duration::from_micros(200);
    loop {
        match step() {
            Err(e) if e.status() == Status::KeystoreBusy => {
                if give_up() {
                    return Err(busy());
                }
                sync::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(2));
            }
            done => return done,
        }
    }
}

pub(super) fn read_waiting<R>(
    backend: &mut dyn Backend,
    patience: Duration,
    read: impl FnOnce(&mut dyn Backend) -> Result<R>,
) -> Result<R> {
    let deadline = Instant::now() + patience;
    wait(|| Instant::now() >= deadline, &mut || fork::gate(|| backend.begin(Transaction::Read)))?;
    fork::gate(|| {
        let result = read(backend);
        backend.rollback();
        result
    })
}
