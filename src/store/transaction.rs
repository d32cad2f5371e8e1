//! Runs transactions: lends the connection with one begun, and announces what was committed.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::announce;
use super::backend::{Backend, MetaRow, SlotRow, Transaction};
use super::change::{Change, Commit, SealedChange};
use super::connection::{Connection, Gated, Unwinding, busy, drop_broken, gated, read_waiting, wait};
use super::entry::LogEntry;
use super::handle::{Store, check_epoch};
use super::sealing::{Meta, Sealing};
use super::shard::{Shard, Shards};
use super::state::State;
use super::tree::Rows;
use super::view::View;
use crate::domain::log::ChangeAction;
use crate::domain::time::Now;
use crate::error::{Error, Result, Status};
use crate::sys::sync::{self, Lent};
use crate::sys::{fault, fork, memory, waiting};

impl Store {
    /// Runs `body` on a consistent snapshot.
    pub fn read<R>(&self, body: impl FnOnce(&mut View<'_>) -> Result<R>) -> Result<R> {
        let (mut lent, _) = self.begin(Transaction::Read).map_err(|error| self.named(error))?;
        let guard = Unwinding(lent.get()?);
        let connection = &mut *guard.0;
        let result = {
            let Connection { backend, sealing, kept, history, begun } = &mut *connection;
            let mut see = |found: &MetaRow, shard: Shard, meta: Meta| {
                let breaks = self.see((history, begun), shard, found)?;
                self.keep_word_linked(meta.generation, false);
                Ok((meta, breaks))
            };
            backend.get().and_then(|backend| {
                gated(backend, |backend| {
                    let rows = Rows { backend: &mut *backend, sealing };
                    let result = View::new(rows, kept, &mut see).and_then(|mut view| body(&mut view));
                    // The transaction ends after any failure: its lock would keep all others out.
                    backend.rollback();
                    result
                })
            })
        };
        let result = result.and_then(|value| self.take_news(&mut *connection).map(|()| value));
        drop_broken(connection, &result);
        result.map_err(|error| self.named(error))
    }

    /// Runs `body` in a write transaction: all of it is durable when this returns Ok, none of it otherwise.
    ///
    /// A body that changes nothing commits nothing. `publish` runs after the commit and before any other process is notified,
    /// for the caller's own caches; it must be quick. If it says that they hold all that is committed, `announced` receives
    /// the word before ours.
    ///
    /// The change log gets an entry of `action`, with the time that `now` returns under the write lock.
    pub fn write<R>(
        &self,
        action: ChangeAction,
        now: impl FnOnce() -> Now,
        body: impl FnOnce(&mut Change<'_>, &Now) -> Result<R>,
        publish: impl FnOnce(&R, Commit) -> bool,
        announced: impl FnOnce(u64),
    ) -> Result<R> {
        self.write_within(self.settings.patience, action, now, body, publish, announced)
    }

    /// As [`Self::write`], but waits no longer than `patience` for other processes.
    pub(super) fn write_within<R>(
        &self,
        patience: Duration,
        action: ChangeAction,
        now: impl FnOnce() -> Now,
        body: impl FnOnce(&mut Change<'_>, &Now) -> Result<R>,
        publish: impl FnOnce(&R, Commit) -> bool,
        announced: impl FnOnce(u64),
    ) -> Result<R> {
        self.check_writable()?;
        // The anchor may be waited for, too.
        waiting::allowed()?;
        self.check_fresh()?;
        let is_whole = self.shards == Shards::ONE;
        let anchored = if is_whole || self.is_strict() { self.anchored()? } else { None };
        let begun = self.begin_within(Transaction::Write, patience);
        let (mut lent, deadline) = begun.map_err(|error| self.named(error))?;
        let guard = Unwinding(lent.get()?);
        let connection = &mut *guard.0;
        let omitted = self.refusals.claim();
        let entry = || LogEntry::new(action, now(), self.settings.actor.now(), omitted.count());
        let result = self.change(connection, anchored, entry, body).and_then(|(value, sealed)| {
            let Some(SealedChange { commit, metas, certified }) = sealed else { return Ok((value, None)) };
            announce::tell_early(&self.word);
            let committed = self.commit(connection, deadline);
            drop_broken(connection, &committed);
            // What is anchored is the only shard; of several, the checkpoint.
            let state = metas.first().filter(|_| is_whole).map(|(_, meta)| State::of(meta)).or(certified);
            // A database that went away was asked already, or cannot be.
            let is_away = committed.as_ref().is_err_and(|e| e.status() == Status::KeystoreUnavailable);
            if committed.is_ok() || !is_away && self.stands(connection, &metas) {
                omitted.counted();
                let noted = metas.iter().try_for_each(|(shard, meta)| self.note_committed(connection, *shard, meta));
                if !announce::tell(&self.word, || publish(&value, commit), announced) && self.map_word_again() {
                    self.word.count();
                }
                noted?;
                certified.map_or(Ok(()), |made| self.note_certified(made))?;
            }
            committed.map(|()| (value, state))
        });
        if result.is_err() {
            connection.kept.forget_failed();
        }
        drop_broken(connection, &result);
        drop(guard);
        drop(lent);
        let (value, state) = result.map_err(|error| self.named(error))?;
        if let Some(state) = state {
            self.raise_anchor(&state).map_err(|e| {
                Status::AnchorUnavailable.error(format!("the change was made, but could not be anchored: {e}"))
            })?;
            self.freshness.anchored.fetch_max(state.generation(), Ordering::Relaxed);
        }
        Ok(value)
    }

    fn change<R>(
        &self,
        connection: &mut Connection,
        anchored: Option<State>,
        entry: impl FnOnce() -> LogEntry,
        body: impl FnOnce(&mut Change<'_>, &Now) -> Result<R>,
    ) -> Result<(R, Option<SealedChange>)> {
        let Connection { backend, sealing, kept, history, begun } = connection;
        let mut see = |found: &MetaRow, shard: Shard, meta: Meta| {
            if self.shards == Shards::ONE {
                State::of(found).check(anchored)?;
            }
            let breaks = self.see((history, begun), shard, found)?;
            self.check_fresh()?;
            self.keep_word_linked(meta.generation, true);
            Ok((self.take_place(meta)?, breaks))
        };
        gated(backend.get()?, |backend| {
            let rows = Rows { backend: &mut *backend, sealing };
            let result = View::new(rows, kept, &mut see).and_then(|view| {
                let mut change = Change::new(view, entry());
                let now = change.now();
                let value = body(&mut change, &now)?;
                let mut sealed = change.seal_meta()?;
                if let Some(sealed) = sealed.as_mut().filter(|_| self.is_strict()) {
                    let moved = change.moves(sealed);
                    sealed.certified = Some(self.certify(&mut change.view.rows, &moved, anchored)?);
                }
                Ok((value, sealed))
            });
            if !matches!(result, Ok((_, Some(_)))) {
                backend.rollback();
            }
            result
        })
    }

    /// Finds the generation file again if its mapped one was removed or truncated; `make`: the write lock is held, so a missing one
    /// may be made.
    fn keep_word_linked(&self, generation: i64, make: bool) {
        if self.driver.is_mapped(&self.word) {
            return;
        }
        if !self.map_word_again() && make && self.driver.make_word(&self.uuid, generation.cast_unsigned()).is_ok() {
            self.map_word_again();
        }
    }

    fn map_word_again(&self) -> bool {
        self.driver.map(&self.word, &self.uuid, !self.settings.read_only)
    }

    pub(super) fn wait<R>(&self, deadline: Instant, mut step: impl FnMut() -> Result<R>) -> Result<R> {
        wait(|| Instant::now() >= deadline || self.closing.load(Ordering::Relaxed), &mut step)
    }

    pub(super) fn commit(&self, connection: &mut Connection, deadline: Instant) -> Result<()> {
        let backend = connection.backend.get()?;
        let commit = |backend: &mut dyn Backend| {
            sync::stall("KMS_FAULT_SLOW_COMMIT");
            backend.commit()
        };
        // The transaction of a remote backend has ended by then: a second try would find nothing to commit, and succeed.
        let done = match backend.is_remote() && !fault::wanted("KMS_FAULT_COMMIT_REPEATED") {
            true => commit(backend),
            false => self.wait(deadline, || gated(backend, commit)),
        };
        if done.is_err() {
            gated(backend, |backend| backend.rollback());
        }
        done
    }

    /// Runs `body` in a separate transaction that is no change of the keystore. `body` returns whether to commit it.
    pub(super) fn transact<R>(
        &self,
        kind: Transaction,
        body: impl FnOnce(&mut Connection) -> Result<(R, bool)>,
    ) -> Result<R> {
        let (mut lent, deadline) = self.begin(kind)?;
        let guard = Unwinding(lent.get()?);
        let connection = &mut *guard.0;
        let done = match body(connection) {
            Ok((value, true)) => self.commit(connection, deadline).map(|()| value),
            done => {
                if let Ok(backend) = connection.backend.get() {
                    gated(backend, |backend| backend.rollback());
                }
                done.map(|(value, _)| value)
            }
        };
        drop_broken(connection, &done);
        done
    }

    /// A connection inside a new transaction, and until when its user may wait for other processes.
    ///
    /// Between two tries the connection goes back: a reader doesn't wait behind a writer that another process keeps
    /// waiting, and all waiting together ends at one deadline.
    pub(super) fn begin(&self, kind: Transaction) -> Result<(Lent<'_, Connection>, Instant)> {
        self.begin_within(kind, self.settings.patience)
    }

    fn begin_within(&self, kind: Transaction, patience: Duration) -> Result<(Lent<'_, Connection>, Instant)> {
        waiting::allowed()?;
        // A child that returns from a callback is still inside its parent's call.
        check_epoch(self.epoch)?;
        memory::headroom_of(memory::TRANSACTION)?;
        let deadline = Instant::now() + patience;
        let mut displaced = false;
        let begun = self.driver.check_given().and_then(|()| {
            self.wait(deadline, || {
                let left = deadline.saturating_duration_since(Instant::now());
                let mut lent = self.lend(kind, left)?.ok_or_else(busy)?;
                let connection = lent.get()?;
                let begun = self.try_begin(connection, kind, left);
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

    /// One try; connects again if the connection was dropped.
    fn try_begin(&self, connection: &mut Connection, kind: Transaction, patience: Duration) -> Result<()> {
        let is_new = !connection.backend.is_connected();
        if is_new {
            connection.backend = self.reconnect(&mut connection.sealing)?;
            connection.backend.get()?.lead();
        }
        if self.is_remote {
            connection.begun = self.beginning()?;
            connection.kept.before = Some(connection.begun.heads.clone());
            connection.kept.breaks = connection.begun.breaks;
        }
        let backend = connection.backend.get()?;
        match gated(backend, |backend| backend.begin(kind, patience)) {
            // One that was opened while the disk could not be written stays read-only, and one whose file was replaced may
            // find the same keystore, or a newer one, at its path. One whose descriptors the host closed is of no more use;
            // nothing was begun, so a new one may.
            Err(e) if !is_new && (may_be_lost(&e) || e.status() == Status::KeystoreReplaced) => {
                connection.backend.let_go();
                connection.history.displaced |= e.status() == Status::KeystoreReplaced;
                self.try_begin(connection, kind, patience)
            }
            done => done,
        }
    }

    /// A new connection to the very store that was open: same uuid, and not before this handle's last commit.
    pub(super) fn reconnect(&self, sealing: &mut Sealing) -> Result<Gated> {
        // The rotation thread may use libcrypto inside the gate only.
        let mut must_spare = |found: &MetaRow, _: &[SlotRow]| {
            Ok(found.uuid != self.uuid || fork::gate(|| sealing.check_meta(found)).is_ok())
        };
        let mut backend = self.driver.connect(&mut must_spare).map_err(|e| match e.status() {
            Status::KeystoreNotFound | Status::NotAKeystore => Status::KeystoreReplaced
                .error("the keystore is no longer at its path; move it back, or close the handle"),
            _ => e,
        })?;
        let found = read_waiting(backend.get()?, Duration::ZERO, |b| b.meta(Shard::FIRST))?;
        fork::gate(|| self.check_same(&found, sealing))?;
        Ok(backend)
    }

    /// After an I/O error of a commit: whether the change is in the store nevertheless. The caller gets the error
    /// either way, because the disk may not have it, but no process may continue with what it replaced. Where another process has
    /// changed the store since, its change is visible, and so is ours, if it was committed.
    fn stands(&self, connection: &mut Connection, committed: &[(Shard, MetaRow)]) -> bool {
        if connection.backend.is_connected() {
            return false;
        }
        let Ok(mut backend) = self.reconnect(&mut connection.sealing) else { return false };
        let is_there = |b: &mut dyn Backend| {
            for (shard, meta) in committed {
                if b.meta(*shard)? != *meta {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let stands = backend.get().and_then(|b| read_waiting(b, Duration::ZERO, is_there));
        connection.backend = backend;
        stands.unwrap_or(false)
    }
}

fn may_be_lost(error: &Error) -> bool {
    match error.status() {
        Status::KeystoreReadOnly => true,
        Status::KeystoreIo => !fault::wanted("KMS_FAULT_NOT_REOPENED"),
        _ => false,
    }
}
