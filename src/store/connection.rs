//! A connection to a store's rows.

use std::time::{Duration, Instant};

use super::backend::{Backend, Transaction};
use super::history::History;
use super::kept::Remembered;
use super::sealing::Sealing;
use super::shared_history::Beginning;
use crate::error::{Error, Result, Status};
use crate::sys::fault;
use crate::sys::fork;
use crate::sys::sync;

/// A connection; `backend` is gone after an I/O error and made again on next use.
pub(super) struct Connection {
    pub backend: Gated,
    pub sealing: Sealing,
    pub kept: Remembered,
    /// What was read of a local store, which has this connection alone.
    pub history: History,
    /// Of a store on another machine: what was known of it before the transaction began.
    pub begun: Beginning,
}

impl Connection {
    pub fn new(backend: Gated, sealing: Sealing) -> Self {
        let (kept, history, begun) = Default::default();
        Self { backend, sealing, kept, history, begun }
    }
}

/// A backend that is closed inside the fork gate, wherever it is dropped; empty after [`Gated::let_go`].
pub(super) struct Gated(Option<Box<dyn Backend>>);

impl Gated {
    pub fn new(backend: impl Backend + 'static) -> Self {
        Self(Some(Box::new(backend)))
    }

    /// None yet.
    pub fn none() -> Self {
        Self(None)
    }

    pub fn is_connected(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it may be used as it is: it is connected, and the server is still the one that the handle uses.
    pub fn is_usable(&self) -> bool {
        self.0.as_ref().is_some_and(|backend| !backend.is_outdated())
    }

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
            self.0.kept.forget_failed();
            self.0.backend.let_go();
        }
    }
}

/// After an error of the file itself nothing about the connection is trusted; it is dropped, and made again later.
pub(super) fn drop_broken<R>(connection: &mut Connection, result: &Result<R>) {
    if let Err(e) = result
        && matches!(
            e.status(),
            Status::KeystoreIo | Status::KeystoreUnavailable | Status::KeystoreReplaced | Status::NotAKeystore
        )
        && !fault::wanted("KMS_FAULT_NOT_REOPENED")
    {
        connection.backend.let_go();
    }
}

pub(super) fn busy() -> Error {
    Status::KeystoreBusy.error("the keystore is busy; try again, or raise the busy timeout")
}

/// Tries `step` until it is not BUSY or the time is up; sleeps outside of the fork gate.
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

/// Runs `body` where this backend's calls belong: a local one's inside the fork gate. A remote one's wait for the network, which
/// no fork may do.
pub(super) fn gated<R>(backend: &mut dyn Backend, body: impl FnOnce(&mut dyn Backend) -> R) -> R {
    match backend.is_remote() {
        true => body(backend),
        false => fork::gate(|| body(backend)),
    }
}

pub(super) fn read_waiting<R>(
    backend: &mut dyn Backend,
    patience: Duration,
    read: impl FnOnce(&mut dyn Backend) -> Result<R>,
) -> Result<R> {
    let deadline = Instant::now() + patience;
    wait(|| Instant::now() >= deadline, &mut || gated(backend, |backend| backend.begin(Transaction::Read, patience)))?;
    gated(backend, |backend| {
        let result = read(backend);
        backend.rollback();
        result
    })
}
