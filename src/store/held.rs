//! A transaction that is held while other transactions run: it reads in steps, and no fork waits for more than one of them.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::backend::{MetaRow, Transaction};
use super::connection::{Connection, gated};
use super::handle::{Store, check_epoch};
use super::sealing::{Meta, Sealing};
use super::shard::Shard;
use super::tree::Rows;
use super::view::View;
use crate::error::{Result, Status};
use crate::sys::sync::Lent;
use crate::sys::{fork, memory};

/// A keystore in memory has one connection only.
enum HeldConnection<'a> {
    Own(Connection),
    Lent(Lent<'a, Connection>),
}

impl HeldConnection<'_> {
    fn get(&mut self) -> Result<&mut Connection> {
        match self {
            Self::Own(connection) => Ok(connection),
            Self::Lent(lent) => lent.get(),
        }
    }
}

pub(super) struct Held<'a> {
    connection: HeldConnection<'a>,
}

impl<'a> Held<'a> {
    /// Begins a transaction, on a new connection where the handle can have one. A write transaction locks all shards.
    pub fn begin(store: &'a Store, kind: Transaction) -> Result<Self> {
        let seen: Vec<i64> = store.seen.iter().map(|seen| seen.load(Ordering::Relaxed)).collect();
        let connection = match store.driver.is_private() {
            true => HeldConnection::Lent(store.begin(kind)?.0),
            false => HeldConnection::Own(connect(store, kind)?),
        };
        let mut held = Self { connection };
        let heads = held.read(|view| view.heads())?;
        if heads.iter().zip(seen).any(|(head, seen)| head.generation < seen) {
            return Err(Status::KeystoreReplaced
                .error("an older copy of the keystore is at this path now; close the handle and open it again"));
        }
        Ok(held)
    }

    /// A step. What it reads is not kept for the next one.
    pub fn read<R>(&mut self, body: impl FnOnce(&mut View<'_>) -> Result<R>) -> Result<R> {
        let Connection { backend, sealing, kept, .. } = self.connection.get()?;
        let mut see = |_: &MetaRow, _: Shard, meta: Meta| Ok((meta, 0));
        gated(backend.get()?, |backend| {
            backend.forget()?;
            let rows = Rows { backend: &mut *backend, sealing };
            View::new(rows, kept, &mut see).and_then(|mut view| body(&mut view))
        })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Ok(backend) = self.connection.get().and_then(|connection| connection.backend.get()) {
            gated(backend, |backend| backend.rollback());
        }
    }
}

fn connect(store: &Store, kind: Transaction) -> Result<Connection> {
    check_epoch(store.epoch)?;
    memory::headroom_of(memory::OPENING)?;
    let mut sealing = fork::gate(|| Sealing::new(store.root.expose(), store.uuid))?;
    let deadline = Instant::now() + store.settings.patience;
    let mut backend = store.wait(deadline, || store.reconnect(&mut sealing))?;
    store.wait(deadline, || gated(backend.get()?, |b| b.begin(kind, store.settings.patience)))?;
    Ok(Connection::new(backend, sealing))
}
