//! Opens a keystore, or creates one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use zeroize::Zeroizing;

use super::anchor::Anchor;
use super::backend::{Backend, MetaRow, SlotRow, Transaction};
use super::connection::{Connection, Gated, gated, read_waiting, wait};
use super::driver::{self, Driver, FoundLocation, Standing};
use super::entry::Refusals;
use super::freshness::Freshness;
use super::handle::{Store, check_epoch};
use super::root::Root;
use super::roots;
use super::sealing::{Meta, Sealing};
use super::settings::Settings;
use super::shard::Shard;
use super::shared_history::SharedHistory;
use super::state::State;
use crate::domain::id::SlotId;
use crate::error::{Result, Status};
use crate::sys::fork;
use crate::sys::secret::Arena;
use crate::sys::sync::{Lock, Pool};
use crate::sys::word::Word;

impl Store {
    /// Opens (or creates) the store. Runs the root's callback or Argon2 with no lock held.
    pub fn open(settings: Settings, root: &Root, arena: &Arc<Arena>) -> Result<Self> {
        let location = settings.location.clone();
        let opened = Self::try_open(settings, root, arena);
        match &opened {
            Err(error) if error.status() == Status::KeystoreCorrupt => driver::explain_damage(&location).and(opened),
            _ => opened,
        }
    }

    fn try_open(mut settings: Settings, root: &Root, arena: &Arc<Arena>) -> Result<Self> {
        let epoch = fork::epoch();
        let FoundLocation { driver, mut backend, root_key } = driver::find(&mut settings, root)?;
        if let Some(Anchor::File(path)) = &mut settings.anchor
            && let Ok(found) = path.canonicalize()
        {
            *path = found;
        }
        let (found, slots) =
            read_waiting(backend.get()?, settings.patience, |b| Ok((b.meta(Shard::FIRST)?, b.slots()?)))?;
        let (mut root_key, opened_by) = match root_key {
            Some(key) => roots::id_of(&key, &found, slots.first()).map(|id| (key, id))?,
            None => roots::unlock(root, &found, &slots, &settings.location).map(|(key, id)| (Box::new(key), id))?,
        };
        Self::assemble(settings, (driver, backend), &mut root_key, opened_by, arena, epoch)
    }

    /// The same store for a forked child: no slot, no callback.
    pub fn reopen_in_child(&self, arena: &Arc<Arena>) -> Result<Self> {
        if self.driver.is_private() {
            return Err(Status::Forked.error("a memory: keystore does not survive a fork; open a file in the child"));
        }
        let epoch = fork::epoch();
        let mut sealing = Sealing::new(self.root.expose(), self.uuid)?;
        let mut must_spare =
            |found: &MetaRow, _: &[SlotRow]| Ok(found.uuid != self.uuid || sealing.check_meta(found).is_ok());
        let deadline = Instant::now() + self.settings.patience;
        let mut backend = wait(|| Instant::now() >= deadline, &mut || self.driver.connect(&mut must_spare))?;
        let found = read_waiting(backend.get()?, self.settings.patience, |b| b.meta(Shard::FIRST))?;
        self.check_same(&found, &mut sealing)?;
        let mut root_key = Zeroizing::new(*self.root.expose());
        let connected = (Arc::clone(&self.driver), backend);
        let settings = Settings { accepts_rollback: false, ..self.settings.clone() };
        let child = Self::assemble(settings, connected, &mut root_key, self.opened_by, arena, epoch)?;
        child.inherit(self);
        Ok(child)
    }

    pub(super) fn assemble(
        settings: Settings,
        (driver, mut backend): (Arc<dyn Driver>, Gated),
        root_key: &mut [u8; 32],
        opened_by: SlotId,
        arena: &Arc<Arena>,
        epoch: u64,
    ) -> Result<Self> {
        let (found, slots) =
            read_waiting(backend.get()?, settings.patience, |b| Ok((b.meta(Shard::FIRST)?, b.slots()?)))?;
        let uuid = found.uuid;
        let mut sealing = Sealing::new(root_key, uuid)?;
        let root = arena.keep(root_key)?;
        let meta = sealing.check_meta(&found)?;
        sealing.check_slots(&meta.slots, &slots)?;
        if meta.place.as_deref() != driver.place() {
            driver.explain_damage()?;
        }
        let only_path = driver.check_place(meta.place.as_deref())?;
        let word = map_word(&settings, &*driver, backend.get()?, &meta)?;
        check_epoch(epoch)?;
        let shards = backend.get()?.shards();
        let is_remote = backend.get()?.is_remote() && !driver.is_private();
        let seen: Vec<AtomicI64> = shards.all().map(|_| AtomicI64::new(i64::MIN)).collect();
        seen.first().inspect(|first| first.store(meta.generation, Ordering::Relaxed));
        // Further connections go where it leads.
        backend.get()?.lead();
        let mut first = Connection::new(backend, sealing);
        first.history.see(Shard::FIRST, State::of(&found), None);
        let mut connections = vec![first];
        // The others have no backend until they are needed.
        let count = if is_remote { driver.connections() } else { 1 };
        while connections.len() < count {
            connections.push(Connection::new(Gated::none(), Sealing::new(root.expose(), uuid)?));
        }
        let store = Self {
            settings,
            driver,
            uuid,
            root,
            opened_by,
            connections: Pool::new(connections),
            next_opening: AtomicI64::new(i64::MIN),
            shared_history: Lock::new(SharedHistory::default()),
            word,
            seen,
            shards,
            is_remote,
            server_clock: Arc::default(),
            freshness: Freshness::default(),
            only_path: AtomicBool::new(only_path),
            standing: AtomicU8::new(Standing::Here as u8),
            turns: AtomicU64::new(0),
            refusals: Refusals::default(),
            closing: AtomicBool::new(false),
            epoch,
        };
        match store.is_remote {
            true => store.check_checkpoint()?,
            false => store.check_anchor()?,
        }
        Ok(store)
    }

    /// Checks that the keystore is not behind its anchor. Raises an anchor that is behind the keystore.
    fn check_anchor(&self) -> Result<()> {
        if self.settings.anchor.is_none() {
            return Ok(());
        }
        // The anchor is read first: another process may change the keystore at any moment, and raise it then.
        let anchored = self.anchored()?;
        let state = self.read(|view| {
            let meta = view.shard(Shard::FIRST)?.meta.clone();
            Ok(State::of(&view.rows.sealing.meta_row(meta)?))
        })?;
        state.check(anchored)?;
        match anchored == Some(state) || self.settings.read_only {
            true => Ok(()),
            false => self.raise_anchor(&state),
        }
    }
}

/// The word that announces changes: shared through a file where that works, private otherwise.
fn map_word(settings: &Settings, driver: &dyn Driver, backend: &mut dyn Backend, meta: &Meta) -> Result<Word> {
    let generation = meta.generation.cast_unsigned();
    let word = Word::private(generation)?;
    let map = || driver.map(&word, &meta.uuid, !settings.read_only);
    if driver.is_private() || map() || settings.read_only {
        return Ok(word);
    }
    // Made under the write lock; where there is no lock or no place for it, polling takes over.
    let deadline = Instant::now() + settings.patience;
    if wait(|| Instant::now() >= deadline, &mut || gated(backend, |b| b.begin(Transaction::Write, settings.patience)))
        .is_err()
    {
        return Ok(word);
    }
    if !map() && driver.make_word(&meta.uuid, generation).is_ok() {
        map();
    }
    gated(backend, |backend| backend.rollback());
    Ok(word)
}
