//! Opens a keystore, or creates one.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64};
use std::time::Instant;

use zeroize::Zeroizing;

use super::anchor::{Anchor, State};
use super::backend::{Backend, MetaRow, SlotRow, Transaction};
use super::connection::{Connection, Gated, connect, read_waiting, wait};
use super::create::{self, NewRoot};
use super::handle::{Store, check_epoch};
use super::history::History;
use super::log::Refusals;
use super::root::Root;
use super::sealing::{Meta, Sealing};
use super::settings::{Location, Settings};
use super::sqlite::{self, Sqlite};
use super::standing::Standing;
use super::tree::Nodes;
use super::versions::Versions;
use super::{announce, place, roots};
use crate::domain::id::SlotId;
use crate::error::{Result, Status};
use crate::sys::fork;
use crate::sys::secret::Arena;
use crate::sys::sync::Pool;
use crate::sys::word::Word;

impl Store {
    /// Opens (or creates) the store. Runs the root's callback or Argon2 with no lock held.
    pub fn open(settings: Settings, root: &Root, arena: &Arc<Arena>) -> Result<Self> {
        let location = settings.location.clone();
        let opened = Self::try_open(settings, root, arena);
        match (&opened, &location) {
            // Half a change that a crash cut off looks like damage.
            (Err(error), Location::File(path)) if error.status() == Status::KeystoreCorrupt => {
                fork::gate(|| sqlite::check_not_left(path)).and(opened)
            }
            _ => opened,
        }
    }

    fn try_open(mut settings: Settings, root: &Root, arena: &Arc<Arena>) -> Result<Self> {
        let epoch = fork::epoch();
        let new = NewRoot { root, created: settings.opened_ms };
        let (mut backend, root_key) = match &settings.location {
            Location::Memory => {
                let mut backend = Gated(Some(Box::new(fork::gate(Sqlite::in_memory)?)));
                let key = create::fill_rows(backend.get()?, &new, None)?;
                (backend, Some(key))
            }
            Location::File(path) => {
                if settings.create && !settings.read_only {
                    sqlite::check_no_leftover(path)?;
                }
                let made = if settings.create && !settings.read_only {
                    let _unless_created = match &settings.anchor {
                        Some(anchor) if !sqlite::exists(path)? => match anchor.prepare(path) {
                            // Another creator was faster.
                            Err(e) if e.status() == Status::KeystoreRolledBack && sqlite::exists(path)? => None,
                            done => done?,
                        },
                        _ => None,
                    };
                    create::create(path, &new, settings.patience)?
                } else {
                    create::check_pair(path, root)?;
                    None
                };
                // One name for all: the file beside the store must be the same for those who come by a symbolic link,
                // and a program may change its folder. What isn't there is reported by the connection.
                if let (Ok(found), Ok(given)) = (path.canonicalize(), std::path::absolute(path)) {
                    settings.given = Some(given).filter(|given| *given != found);
                    settings.location = Location::File(found);
                }
                if let Some(Anchor::File(path)) = &mut settings.anchor
                    && let Ok(found) = path.canonicalize()
                {
                    *path = found;
                }
                let mut must_spare = |found: &MetaRow, slots: &[SlotRow]| {
                    match roots::unlock(root, found, slots, &settings.location) {
                        Ok(_) => Ok(true),
                        // Where the root opens no slot either, this open fails in any case.
                        Err(e) if e.status() == Status::WrongRootKey => Ok(!roots::opens_a_slot(root, found, slots)?),
                        Err(e) => Err(e),
                    }
                };
                (connect(&settings, &mut must_spare)?, made)
            }
        };
        let (found, slots) = read_waiting(backend.get()?, settings.patience, |b| Ok((b.meta()?, b.slots()?)))?;
        let (mut root_key, opened_by) = match root_key {
            Some(key) => roots::id_of(&key, &found, slots.first()).map(|id| (key, id))?,
            None => roots::unlock(root, &found, &slots, &settings.location)?,
        };
        Self::assemble(settings, backend, found.uuid, &mut root_key, opened_by, arena, epoch)
    }

    /// The same store for a forked child: no slot, no callback.
    pub fn reopen_in_child(&self, arena: &Arc<Arena>) -> Result<Self> {
        if self.settings.location == Location::Memory {
            return Err(Status::Forked.error("a memory: keystore does not survive a fork; open a file in the child"));
        }
        let epoch = fork::epoch();
        let mut sealing = Sealing::new(self.root.expose(), self.uuid)?;
        let mut backend =
            connect(&self.settings, &mut |found, _| Ok(found.uuid != self.uuid || sealing.check_meta(found).is_ok()))?;
        let found = read_waiting(backend.get()?, self.settings.patience, |b| b.meta())?;
        self.check_same(&found, &mut sealing)?;
        let mut root_key = Zeroizing::new(*self.root.expose());
        Self::assemble(self.settings.clone(), backend, self.uuid, &mut root_key, self.opened_by, arena, epoch)
    }

    fn assemble(
        settings: Settings,
        mut backend: Gated,
        uuid: [u8; 16],
        root_key: &mut [u8; 32],
        opened_by: SlotId,
        arena: &Arc<Arena>,
        epoch: u64,
    ) -> Result<Self> {
        let mut sealing = Sealing::new(root_key, uuid)?;
        let root = arena.keep(root_key)?;
        let (found, slots) = read_waiting(backend.get()?, settings.patience, |b| Ok((b.meta()?, b.slots()?)))?;
        let meta = sealing.check_meta(&found)?;
        sealing.check_slots(&meta, &slots)?;
        let only_path = match &settings.location {
            Location::File(path) => {
                if meta.place.as_deref() != Some(path.as_os_str().as_bytes()) {
                    fork::gate(|| sqlite::check_not_left(path))?;
                }
                place::check(path, meta.place.as_deref())?
            }
            Location::Memory => true,
        };
        let word = map_word(&settings, backend.get()?, &meta)?;
        check_epoch(epoch)?;
        let mut history = History::default();
        history.see(State::of(&found), None);
        let store = Self {
            settings,
            uuid,
            root,
            opened_by,
            connection: Pool::new([Connection {
                backend,
                sealing,
                nodes: Nodes::default(),
                versions: Versions::default(),
                history,
            }]),
            word,
            seen: AtomicI64::new(meta.generation),
            only_path: AtomicBool::new(only_path),
            standing: AtomicU8::new(Standing::Here as u8),
            turns: AtomicU64::new(0),
            refusals: Refusals::default(),
            closing: AtomicBool::new(false),
            epoch,
        };
        store.check_anchor()?;
        Ok(store)
    }

    /// That the keystore is not behind its anchor, which is raised where it is behind the keystore.
    fn check_anchor(&self) -> Result<()> {
        if self.settings.anchor.is_none() {
            return Ok(());
        }
        // The anchor is read first: another process may change the keystore at any moment, and raise it then.
        let anchored = self.anchored()?;
        let state = self.read(|view| Ok(State::of(&view.rows.sealing.meta_row(view.meta.clone())?)))?;
        state.check(anchored)?;
        match anchored == Some(state) || self.settings.read_only {
            true => Ok(()),
            false => self.raise_anchor(&state),
        }
    }
}

/// The word that announces changes: shared through a file where that works, private otherwise.
fn map_word(settings: &Settings, backend: &mut dyn Backend, meta: &Meta) -> Result<Word> {
    let generation = meta.generation.cast_unsigned();
    let word = Word::private(generation)?;
    let Location::File(path) = &settings.location else { return Ok(word) };
    let map = || announce::map(&word, path, &meta.uuid, !settings.read_only);
    if map() || settings.read_only {
        return Ok(word);
    }
    // Made under the write lock; where there is no lock or no place for it, polling takes over.
    let deadline = Instant::now() + settings.patience;
    if wait(|| Instant::now() >= deadline, &mut || fork::gate(|| backend.begin(Transaction::Write))).is_err() {
        return Ok(word);
    }
    if !map() && announce::make(path, &meta.uuid, generation).is_ok() {
        map();
    }
    fork::gate(|| backend.rollback());
    Ok(word)
}
