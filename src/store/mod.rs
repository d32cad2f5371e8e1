//! The keystore: typed rows in transactions, durable, authenticated, announced to other processes.
//!
//! * `root`: what opens a store. `slot`: how it wraps the root key. `roots`: the slots of an open store. `create`: how a store comes to be.
//! * `sealing`: rows to domain types and back, with their secrets. `transaction`: what a transaction can do.
//! * `verify`: checks every row.
//! * `digest`: how the trees name their rows and nodes.
//! * `tree`: which rows are there, and which copy of each is the newest.
//! * `unchecked`: switches the trees off, for tests.
//! * `place`: whether a keystore is used through one path.
//! * `history`: whether what is read goes on from what was read before.
//! * `versions`: which versions keys don't have.
//! * `anchor`: what shows that the whole keystore is an older copy.
//! * `backend`: the rows themselves; `sqlite` holds them. `connection`: the one connection to them.
//! * `announce`: the generation other processes look at.

mod anchor;
mod announce;
mod verify;
mod backend;
mod backup;
mod connection;
mod create;
mod digest;
mod history;
mod place;
mod root;
mod roots;
mod sealing;
mod slot;
mod sqlite;
mod transaction;
mod tree;
mod unchecked;
mod versions;

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::crypto::kdf;
use crate::domain::id::SlotId;
use crate::error::{Error, Result, Status, shown_path};
use crate::sys::fork;
use crate::sys::secret::{Arena, Secret};
use crate::sys::sync::Pool;
use crate::sys::waiting;
use crate::sys::word::Word;
use anchor::State;
use backend::{Backend, MetaRow, SlotRow, Transaction};
use connection::{Connection, Gated, Unwinding, connect, drop_broken, read_waiting, wait};
use create::NewRoot;
use history::{History, Step};
use sealing::{Meta, Sealing};
use sqlite::Sqlite;
use tree::{Nodes, Rows};
use versions::Versions;

pub use anchor::{Anchor, AnchorStore};
#[cfg(all(test, kms_model))]
pub use announce::tell;
pub use backend::DueRow;
#[cfg(feature = "capi")]
pub use backend::WRAPPED_MAX;
pub use root::{ALL_ZEROS, Root, RootWrapper};
pub use roots::{NewSlot, RootSlot};
pub use sealing::Stored;
pub use slot::RootKind;
pub use transaction::{Change, View};
pub use verify::{Fault, Verifier};

/// Where the rows are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    Memory,
    File(PathBuf),
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.write_str("the keystore in memory"),
            Self::File(path) => write!(f, "the keystore {}", shown_path(path)),
        }
    }
}

impl Location {
    /// `memory:`, `sqlite:PATH` or a bare path.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |text: &'static str| Status::InvalidArgument.error(text);
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        let path = text.strip_prefix("sqlite:");
        if path.is_none() && (text.starts_with("memory:") || text.contains("://")) {
            return Err(invalid("the location names an unknown kind of keystore; pass a path, sqlite:PATH or memory:"));
        }
        match path.unwrap_or(text) {
            "" => Err(invalid("the location is empty; pass a path, sqlite:PATH or memory:")),
            path if path.contains('\0') => Err(invalid("the location contains NUL; pass a path without")),
            path => Ok(Self::File(PathBuf::from(path))),
        }
    }
}

/// How a store is to be opened.
#[derive(Debug, Clone)]
pub struct Settings {
    pub location: Location,
    pub create: bool,
    pub read_only: bool,
    pub patience: Duration,
    pub anchor: Option<Anchor>,
    /// The wall time of the open, for a keystore that is made.
    pub opened_ms: i64,
    /// The path as the caller gave it, where it leads to `location` through a symbolic link.
    pub given: Option<PathBuf>,
}

/// An open keystore. Shared by all threads; one transaction runs at a time.
pub struct Store {
    settings: Settings,
    uuid: [u8; 16],
    root: Secret,
    /// The slot that opened it.
    opened_by: SlotId,
    connection: Pool<Connection>,
    word: Word,
    /// The newest generation that was seen; a reopened store may not lie before it.
    seen: AtomicI64,
    /// What stands at the keystore's path.
    standing: AtomicU8,
    /// Whether it is certain that the keystore has no other path.
    only_path: AtomicBool,
    /// Counts the times that another history of the keystore was found there.
    turns: AtomicU64,
    /// Set when the handle closes: nothing waits for other processes any more.
    closing: AtomicBool,
    /// The process that opened it.
    epoch: u64,
}

/// What stands at a keystore's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// The keystore that is open.
    Here,
    /// Nothing: it was moved away or removed.
    Nothing,
    /// Another file, or an older copy.
    Another,
}

/// What a committed change says about generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// As [`View::history`].
    pub history: u64,
    pub before: i64,
    pub after: i64,
    pub destroyed: i64,
    pub renamed: i64,
}

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
                let mut is_ours =
                    |found: &MetaRow, slots: &[SlotRow]| roots::unlock(root, found, slots, &settings.location).is_ok();
                (connect(&settings, &mut is_ours)?, made)
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
            connect(&self.settings, &mut |found, _| found.uuid != self.uuid || sealing.check_meta(found).is_ok())?;
        let found = read_waiting(backend.get()?, self.settings.patience, |b| b.meta())?;
        self.check_same(&found, &mut sealing)?;
        let mut root_key = Zeroizing::new(*self.root.expose());
        Self::assemble(self.settings.clone(), backend, self.uuid, &mut root_key, self.opened_by, arena, epoch)
    }

    /// That a store found at our path is the very one that was open: same uuid, and not before what was seen of it.
    fn check_same(&self, found: &MetaRow, sealing: &mut Sealing) -> Result<()> {
        if found.uuid != self.uuid {
            return Err(Status::KeystoreReplaced
                .error("another keystore is at this path now; close the handle and open it again"));
        }
        self.check_newer(sealing.check_meta(found)?.generation)
    }

    /// That what was read is not older than what was seen before. Also the very file that is open may have been written
    /// over with an older copy.
    fn check_newer(&self, generation: i64) -> Result<()> {
        if self.seen.fetch_max(generation, Ordering::Relaxed) > generation {
            return Err(Status::KeystoreReplaced
                .error("an older copy of the keystore is at this path now; close the handle and open it again"));
        }
        Ok(())
    }

    /// Takes note of the description that a transaction finds.
    fn see(&self, history: &mut History, found: &MetaRow) -> Result<()> {
        let newer = self.check_newer(found.generation);
        self.note_place(newer.is_err());
        newer?;
        let displaced = history.displaced;
        match history.see(State::of(found), found.recent.as_deref()) {
            Step::Other => {}
            // Of another file that may go on from the one before or not, the handle's user should know.
            Step::Unknown if displaced => {}
            _ => return Ok(()),
        }
        self.turns.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps whether the keystore was found at its path.
    fn note_place(&self, replaced: bool) {
        let standing = match (replaced, &self.settings.location) {
            (true, Location::File(path)) => match sqlite::exists(path) {
                Ok(true) => Standing::Another,
                _ => Standing::Nothing,
            },
            _ => Standing::Here,
        };
        self.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// That the path the caller gave still leads to the open keystore: a link in it may have been changed, as by a deploy.
    fn check_given(&self) -> Result<()> {
        let (Some(given), Location::File(open)) = (&self.settings.given, &self.settings.location) else {
            return Ok(());
        };
        let found = given.canonicalize().ok();
        if found.as_ref() == Some(open) {
            return Ok(());
        }
        let leads = found.map_or("nowhere".to_owned(), |found| format!("to {}", found.display()));
        Err(Status::KeystoreReplaced.error(format!(
            "{} led to the keystore {} and now leads {leads}; close the handle and open it again",
            given.display(),
            open.display()
        )))
    }

    /// The description of a keystore that is about to be changed: by our path, unless that is seen to be a second one.
    fn take_place(&self, meta: Meta) -> Result<Meta> {
        let Location::File(path) = &self.settings.location else { return Ok(meta) };
        let ours = path.as_os_str().as_bytes();
        if meta.place.as_deref() == Some(ours) {
            return Ok(meta);
        }
        place::check(path, meta.place.as_deref())?;
        // From now on this is the path that others are compared with.
        self.only_path.store(place::check(path, Some(ours))?, Ordering::Relaxed);
        Ok(Meta { place: Some(ours.to_vec()), ..meta })
    }

    /// Whether it is certain that the keystore has no other path.
    pub fn is_only_path(&self) -> bool {
        self.only_path.load(Ordering::Relaxed)
    }

    /// What stood at the keystore's path when it was last asked.
    pub fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            here if here == Standing::Here as u8 => Standing::Here,
            nothing if nothing == Standing::Nothing as u8 => Standing::Nothing,
            _ => Standing::Another,
        }
    }

    /// How often another history of the keystore was found in its place, and taken for it.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
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
            closing: AtomicBool::new(false),
            epoch,
        };
        store.meet_anchor()?;
        Ok(store)
    }

    /// That the keystore is not behind its anchor, which is raised where it is behind the keystore.
    fn meet_anchor(&self) -> Result<()> {
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

    /// What the anchor says, where there is one. May run a callback: no lock may be held.
    fn anchored(&self) -> Result<Option<State>> {
        match &self.settings.anchor {
            Some(anchor) => anchor.read(self.root.expose(), self.uuid),
            None => Ok(None),
        }
    }

    fn raise_anchor(&self, state: &State) -> Result<()> {
        let Some(anchor) = &self.settings.anchor else { return Ok(()) };
        self.wait(Instant::now() + self.settings.patience, || anchor.raise(self.root.expose(), self.uuid, state))
    }

    /// A key for one purpose, derived from the root key.
    pub fn subkey(&self, label: &str) -> Result<Zeroizing<[u8; 32]>> {
        kdf::derive(self.root.expose(), label, &self.uuid)
    }

    pub fn is_read_only(&self) -> bool {
        self.settings.read_only
    }

    /// The announced generation: changes whenever any process on this host has committed a change.
    #[inline]
    pub fn word(&self) -> u64 {
        self.word.load()
    }

    /// Whether other processes' changes are seen at once; otherwise the store must be polled.
    pub fn is_mapped(&self) -> bool {
        self.settings.location == Location::Memory || self.word.is_shared()
    }

    /// Runs `body` on a consistent snapshot.
    pub fn read<R>(&self, body: impl FnOnce(&mut View<'_>) -> Result<R>) -> Result<R> {
        let (mut lent, _) = self.begin(Transaction::Read).map_err(|error| self.named(error))?;
        let guard = Unwinding(lent.get()?);
        let connection = &mut *guard.0;
        let result = fork::gate(|| {
            let Connection { backend, sealing, nodes, versions, history } = &mut *connection;
            let backend = backend.get()?;
            // Whatever fails, the transaction ends: its lock would keep everybody else out.
            let result = backend.meta().and_then(|found| {
                let meta = sealing.check_meta(&found)?;
                self.see(history, &found)?;
                self.keep_word_linked(meta.generation, false);
                let rows = Rows { backend: &mut *backend, sealing };
                body(&mut View::new(rows, (nodes, versions), meta, found.mac, history.breaks))
            });
            backend.rollback();
            result
        });
        drop_broken(connection, &result);
        result.map_err(|error| self.named(error))
    }

    /// Names the keystore in an error about it.
    #[cold]
    fn named(&self, error: Error) -> Error {
        match &self.settings.location {
            Location::File(path) => error.of_keystore(path),
            Location::Memory => error,
        }
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

    /// Runs `body` in a write transaction: all of it is durable when this returns Ok, none of it otherwise.
    ///
    /// A body that changes nothing commits nothing. `publish` runs after the commit and before anybody else is told,
    /// for the caller's own caches; it must be quick. If it says that they hold all that is committed, `announced` is told
    /// the word before ours.
    pub fn write<R>(
        &self,
        body: impl FnOnce(&mut Change<'_>) -> Result<R>,
        publish: impl FnOnce(&R, Commit) -> bool,
        announced: impl FnOnce(u64),
    ) -> Result<R> {
        self.check_writable()?;
        // The anchor may be waited for, too.
        waiting::allowed()?;
        let anchored = self.anchored()?;
        let (mut lent, deadline) = self.begin(Transaction::Write).map_err(|error| self.named(error))?;
        let guard = Unwinding(lent.get()?);
        let connection = &mut *guard.0;
        let result = self.change(connection, anchored, body).and_then(|(value, sealed)| {
            let Some((commit, meta)) = sealed else { return Ok((value, None)) };
            announce::tell_early(&self.word);
            let committed = self.commit(connection, deadline);
            drop_broken(connection, &committed);
            if committed.is_ok() || self.stands(connection, &meta) {
                connection.history.committed(State::of(&meta));
                self.seen.fetch_max(commit.after, Ordering::Relaxed);
                if !announce::tell(&self.word, || publish(&value, commit), announced) && self.map_word_again() {
                    self.word.count();
                }
            }
            committed.map(|()| (value, Some(State::of(&meta))))
        });
        drop_broken(connection, &result);
        drop(guard);
        drop(lent);
        let (value, state) = result.map_err(|error| self.named(error))?;
        if let Some(state) = state {
            self.raise_anchor(&state).map_err(|e| {
                Status::AnchorUnavailable.error(format!("the change was made, but could not be anchored: {e}"))
            })?;
        }
        Ok(value)
    }

    fn change<R>(
        &self,
        connection: &mut Connection,
        anchored: Option<State>,
        body: impl FnOnce(&mut Change<'_>) -> Result<R>,
    ) -> Result<(R, Option<(Commit, MetaRow)>)> {
        fork::gate(|| {
            let Connection { backend, sealing, nodes, versions, history } = connection;
            let backend = backend.get()?;
            let result = backend.meta().and_then(|found| {
                let meta = sealing.check_meta(&found)?;
                State::of(&found).check(anchored)?;
                self.see(history, &found)?;
                self.keep_word_linked(meta.generation, true);
                let meta = self.take_place(meta)?;
                let rows = Rows { backend: &mut *backend, sealing };
                let view = View::new(rows, (nodes, versions), meta, found.mac, history.breaks);
                let mut change = Change::new(view);
                let value = body(&mut change)?;
                Ok((value, change.seal_meta()?))
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
        let Location::File(path) = &self.settings.location else { return };
        if announce::is_mapped(&self.word, path) {
            return;
        }
        if !self.map_word_again() && make && announce::make(path, &self.uuid, generation.cast_unsigned()).is_ok() {
            self.map_word_again();
        }
    }

    fn map_word_again(&self) -> bool {
        let Location::File(path) = &self.settings.location else { return false };
        announce::map(&self.word, path, &self.uuid, !self.settings.read_only)
    }

    /// Lets no call wait any longer, because the handle closes.
    pub fn hurry(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

fn check_epoch(epoch: u64) -> Result<()> {
    if epoch == fork::epoch() {
        return Ok(());
    }
    Err(Status::Forked.error("this call started in the parent process; make a new call on the handle in the child"))
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

/// How often a store must be looked at for changes that were not announced.
pub fn poll_interval_ms(mapped: bool) -> i64 {
    if mapped { 1000 } else { 100 }
}
