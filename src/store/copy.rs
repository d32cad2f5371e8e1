//! Copies a keystore key by key into another one: with the same root key and the same root slots, and with rows that are sealed
//! again, because what authenticates a row covers its number and its generation.
//!
//! The copy has every key, version, alias, tag, state and date. It has no entry of the source's change log, which is a chain
//! over the source's generations; the copy's log begins with the copying.
//!
//! A file is copied to a file by its pages instead, and keeps its log.
//!
//! The keys of a source in use are copied and then compared, while other programs change it. Then its shards are locked
//! for a short time, and the changes of the meantime are copied and compared. A destination that has some of the keys
//! gets the others.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::backend::{MetaRow, SlotRow, Transaction};
use super::backup::{Copied, read_back};
use super::change::{Change, Commit};
#[cfg(feature = "postgres")]
use super::connection::read_waiting;
use super::connection::{Gated, gated};
use super::create;
use super::driver;
use super::handle::Store;
use super::held::Held;
use super::sealing::Sealing;
#[cfg(feature = "postgres")]
use super::settings::ServerUrl;
use super::settings::{Location, Settings};
use super::shard::{Shard, Shards};
use super::sqlite::Sqlite;
use super::tree::Tree;
use super::unfinished::Unfinished;
use super::view::{PAGE, View};
use super::whole_key::WholeKey;
use crate::domain::id::KeyId;
use crate::domain::log::ChangeAction;
use crate::domain::time::Now;
use crate::error::{Error, Result, Status};
use crate::sys::secret::Arena;
#[cfg(feature = "postgres")]
use crate::sys::sync::Lock;
use crate::sys::{fork, memory};

/// Keys that are copied in one transaction.
const KEYS: usize = 64;
/// The most rounds in which changes of the meantime are copied before the source is locked. A round with
/// fewer than `FEW` changes is the last.
const ROUNDS: usize = 8;
const FEW: usize = 16;
/// How often what changed under the lock of the source may still differ.
const TRIES: usize = 3;

/// What a copy has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CopyReport {
    /// Keys.
    pub keys: u64,
    /// Versions of keys, destroyed ones too.
    pub versions: u64,
    /// Aliases.
    pub aliases: u64,
}

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyStep {
    /// This many keys were copied.
    Copied(u64),
    /// This many keys were compared, and those that differed copied.
    Compared(u64),
    /// The source is locked: changes wait.
    Locked,
}

/// Where the rows of a source are read.
enum Source<'a, 'b> {
    /// In a short transaction each time.
    Live(&'a Store),
    Held(&'b mut Held<'a>),
}

impl Source<'_, '_> {
    fn read<R>(&mut self, body: impl FnOnce(&mut View<'_>) -> Result<R>) -> Result<R> {
        match self {
            Self::Live(store) => store.read(body),
            Self::Held(held) => held.read(body),
        }
    }
}

/// The state of a shard of the source.
struct Mark {
    shard: Shard,
    generation: i64,
    last_row: i64,
    destroyed: i64,
    renamed: i64,
}

impl Mark {
    /// The row that the shard allotted last.
    fn last(&self) -> Result<i64> {
        u32::try_from(self.last_row).map(|last| self.shard.row(last)).map_err(|_| unlike())
    }
}

fn marks(view: &mut View<'_>) -> Result<Vec<Mark>> {
    let heads = view.heads()?;
    let marked = heads.into_iter().map(|head| {
        let last_row = view.shard(head.shard)?.meta.last_row;
        let (shard, generation) = (head.shard, head.generation);
        Ok(Mark { shard, generation, last_row, destroyed: head.destroyed, renamed: head.renamed })
    });
    marked.collect()
}

pub(super) struct Copying<'a> {
    destination: &'a Store,
    now: &'a dyn Fn() -> Now,
    /// Called with no lock of the destination held.
    step: &'a dyn Fn(CopyStep),
    /// Checks that no other copier writes the destination. Called before each change of it.
    check: &'a dyn Fn() -> Result<()>,
    /// The keys that the destination has by now, and how many versions of each.
    known: HashMap<KeyId, u64>,
    aliases: u64,
}

impl<'a> Copying<'a> {
    fn new(destination: &'a Store, now: &'a dyn Fn() -> Now, step: &'a dyn Fn(CopyStep)) -> Self {
        Self { destination, now, step, check: &|| Ok(()), known: HashMap::new(), aliases: 0 }
    }

    fn report(&self) -> CopyReport {
        let versions = self.known.values().sum();
        CopyReport { keys: self.known.len() as u64, versions, aliases: self.aliases }
    }

    fn change(&self, body: impl FnOnce(&mut Change<'_>) -> Result<()>) -> Result<()> {
        (self.check)()?;
        let publish = |(): &(), _: Commit| false;
        self.destination.write(ChangeAction::CopyKeystore, || (self.now)(), |change, _| body(change), publish, |_| {})
    }

    /// Has the destination hold these keys; how many of them it did not hold.
    fn keys(&mut self, keys: &[WholeKey], is_empty: bool) -> Result<usize> {
        self.known.try_reserve(keys.len()).map_err(|_| memory::out_of_memory())?;
        for key in keys {
            self.known.insert(key.key.id, key.version_count());
        }
        let mut missing = memory::list(keys.len())?;
        match is_empty {
            true => missing.extend(keys),
            false => self.destination.read(|view| {
                view.expect_whole(keys.iter().map(|key| &key.key.id))?;
                for key in keys {
                    let is_there = match view.whole_key(&key.key.id)? {
                        Some(found) => found.is(key)?,
                        None => false,
                    };
                    if !is_there {
                        missing.push(key);
                    }
                }
                Ok(())
            })?,
        }
        if !missing.is_empty() {
            self.change(|change| {
                change.expect_whole(missing.iter().map(|key| &key.key.id))?;
                missing.iter().try_for_each(|key| change.put_whole(key))
            })?;
        }
        Ok(missing.len())
    }

    /// All keys that the source has at `marks`: later ones might come faster than they are copied. `is_empty`: the destination
    /// has none.
    fn all_keys(&mut self, source: &mut Source<'_, '_>, marks: &[Mark], is_empty: bool) -> Result<()> {
        let mut done = 0;
        self.known.clear();
        for mark in marks {
            done = self.rows(source, mark.shard.row(0), mark.last()?, is_empty, done)?;
        }
        Ok(())
    }

    /// The keys in the rows above `after`, up to `last`, of one shard.
    fn rows(
        &mut self,
        source: &mut Source<'_, '_>,
        mut after: i64,
        last: i64,
        is_empty: bool,
        mut done: u64,
    ) -> Result<u64> {
        loop {
            let (rows, keys) = source.read(|view| whole_page(view, Some(after), last))?;
            let Some(seen) = rows.last() else { return Ok(done) };
            after = *seen;
            self.keys(&keys, is_empty)?;
            done += keys.len() as u64;
            (self.step)(if is_empty { CopyStep::Copied(done) } else { CopyStep::Compared(done) });
        }
    }

    /// Removes the keys that the source doesn't have.
    fn prune(&mut self) -> Result<()> {
        let mut after: Option<KeyId> = None;
        loop {
            let names =
                self.destination.read(|view| view.names_after(Tree::Ids, after.as_ref().map(KeyId::as_bytes), PAGE))?;
            let ids: Vec<KeyId> =
                names.iter().filter_map(|(name, _)| name.first_chunk().copied()).map(KeyId::from_bytes).collect();
            let Some(last) = ids.last() else { return Ok(()) };
            after = Some(*last);
            let surplus: Vec<KeyId> = ids.into_iter().filter(|id| !self.known.contains_key(id)).collect();
            if !surplus.is_empty() {
                self.change(|change| surplus.iter().try_for_each(|id| change.remove_whole(id)))?;
            }
        }
    }

    /// Has the destination hold the aliases of the source, of those keys that it has.
    fn all_aliases(&mut self, source: &mut Source<'_, '_>) -> Result<()> {
        let mut after: Option<String> = None;
        self.aliases = 0;
        loop {
            let page = source.read(|view| view.aliases_after(None, after.as_deref(), PAGE))?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            self.aliases += page.len() as u64;
            let mut missing = memory::list(page.len())?;
            self.destination.read(|view| {
                view.expect_aliases(page.iter().map(|(name, _)| name))?;
                for (name, id) in page.iter().filter(|(_, id)| self.known.contains_key(id)) {
                    if view.alias(name)?.is_none_or(|stored| stored.key.id != *id) {
                        missing.push((name, id));
                    }
                }
                Ok(())
            })?;
            if missing.is_empty() {
                continue;
            }
            self.change(|change| {
                change.expect_whole(missing.iter().map(|(_, id)| *id))?;
                change.expect_aliases(missing.iter().map(|(name, _)| *name))?;
                for (name, id) in missing {
                    let stored = change.key(id)?.ok_or_else(unlike)?;
                    change.put_alias(name, &stored)?;
                }
                Ok(())
            })?;
        }
        after = None;
        loop {
            let page = self.destination.read(|view| view.aliases_after(None, after.as_deref(), PAGE))?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let surplus = source.read(|view| {
                let mut surplus = memory::list(page.len())?;
                view.expect_aliases(page.iter().map(|(name, _)| name))?;
                for (name, _) in page {
                    if view.alias(&name)?.is_none() {
                        surplus.push(name);
                    }
                }
                Ok(surplus)
            })?;
            if !surplus.is_empty() {
                self.change(|change| surplus.iter().try_for_each(|name| change.delete_alias(name)))?;
            }
        }
    }

    /// What changed in the source between two of its states; returns how many keys differed.
    fn news(&mut self, source: &mut Source<'_, '_>, from: &[Mark], to: &[Mark]) -> Result<usize> {
        let (mut differed, mut is_pruned, mut is_renamed) = (0, false, false);
        for (from, to) in from.iter().zip(to).filter(|(from, to)| from.generation != to.generation) {
            is_pruned |= from.destroyed != to.destroyed;
            is_renamed |= from.renamed != to.renamed;
            let ids = source.read(|view| view.changed_since(from.shard, from.generation, usize::MAX))?;
            for ids in ids.chunks(KEYS) {
                let keys = source.read(|view| {
                    let mut keys = memory::list(ids.len())?;
                    view.expect_whole(ids.iter())?;
                    for id in ids {
                        // One that was changed may be destroyed by now.
                        keys.extend(view.whole_key(id)?);
                    }
                    Ok(keys)
                })?;
                differed += self.keys(&keys, false)?;
            }
            let (mut after, last) = (from.last()?, to.last()?);
            while after < last {
                let (rows, keys) = source.read(|view| whole_page(view, Some(after), last))?;
                let Some(seen) = rows.last() else { break };
                after = *seen;
                differed += self.keys(&keys, false)?;
            }
        }
        if is_pruned {
            self.keep_only_listed(source)?;
            self.prune()?;
        }
        if is_pruned || is_renamed {
            self.all_aliases(source)?;
        }
        Ok(differed)
    }

    /// Forgets the keys that the source has no more.
    fn keep_only_listed(&mut self, source: &mut Source<'_, '_>) -> Result<()> {
        let (mut left, mut after) = (HashMap::new(), None);
        left.try_reserve(self.known.len()).map_err(|_| memory::out_of_memory())?;
        loop {
            let names = source.read(|view| view.names_after(Tree::Ids, after.as_ref(), PAGE))?;
            let Some(last) = names.last().and_then(|(name, _)| name.first_chunk().copied()) else { break };
            after = Some(last);
            let ids = names.iter().filter_map(|(name, _)| name.first_chunk().copied()).map(KeyId::from_bytes);
            left.extend(ids.filter_map(|id| self.known.get(&id).map(|versions| (id, *versions))));
        }
        self.known = left;
        Ok(())
    }

    fn slots(&self, held: &mut Held<'_>) -> Result<()> {
        let wanted = slots_of(|body| held.read(body))?;
        let found = slots_of(|body| self.destination.read(body))?;
        let same = |(a, b): (&SlotRow, &SlotRow)| SlotRow { row: 0, ..a.clone() } == SlotRow { row: 0, ..b.clone() };
        match wanted.len() == found.len() && wanted.iter().zip(&found).all(same) {
            true => Ok(()),
            false => self.change(|change| change.set_slots(&wanted)),
        }
    }

    /// Copies a source in use. `finish` runs while it is locked, when the destination has all of it.
    fn online(&mut self, source: &Store, is_empty: bool, finish: impl FnOnce() -> Result<()>) -> Result<CopyReport> {
        let live = &mut Source::Live(source);
        let mut before = source.read(marks)?;
        if is_empty {
            self.all_keys(live, &before, true)?;
        }
        self.all_keys(live, &before, false)?;
        self.prune()?;
        self.all_aliases(live)?;
        // What changed in a long time is copied in a shorter one.
        for _ in 0..ROUNDS {
            let now = source.read(marks)?;
            let differed = self.news(live, &before, &now)?;
            before = now;
            if differed < FEW {
                break;
            }
        }
        let mut held = Held::begin(source, Transaction::Write)?;
        (self.step)(CopyStep::Locked);
        let now = held.read(marks)?;
        let mut tries = 0;
        while self.news(&mut Source::Held(&mut held), &before, &now)? > 0 {
            tries += 1;
            if tries > TRIES {
                return Err(unlike());
            }
        }
        self.slots(&mut held)?;
        finish()?;
        Ok(self.report())
    }
}

fn slots_of(
    read: impl FnOnce(fn(&mut View<'_>) -> Result<Vec<SlotRow>>) -> Result<Vec<SlotRow>>,
) -> Result<Vec<SlotRow>> {
    read(|view| Ok(view.slots()?.into_iter().map(|(_, slot)| slot).collect()))
}

fn unlike() -> Error {
    Status::KeystoreIo.error("the copy reads back differently than it was written; use another disk or server")
}

impl Store {
    /// A store with the same root key in rows that are not shared.
    fn beside(&self, mut backend: Gated, location: Location, arena: &Arc<Arena>) -> Result<Self> {
        let slots = slots_of(|body| self.read(body))?;
        let mut sealing = fork::gate(|| Sealing::new(self.root.expose(), self.uuid))?;
        create::fill_empty(backend.get()?, &mut sealing, &slots, None, Duration::ZERO)?;
        self.assemble_beside((driver::private(), backend), location, arena)
    }

    fn assemble_beside(
        &self,
        connected: (Arc<dyn driver::Driver>, Gated),
        location: Location,
        arena: &Arc<Arena>,
    ) -> Result<Self> {
        let settings = Settings { location, create: false, read_only: false, anchor: None, ..self.settings.clone() };
        let mut root_key = Zeroizing::new(*self.root.expose());
        Self::assemble(settings, connected, &mut root_key, self.opened_by, arena, fork::epoch())
    }

    /// An empty keystore in the file of an unfinished backup.
    fn beside_in(&self, file: &Unfinished, arena: &Arc<Arena>) -> Result<Self> {
        let path = file.temporary();
        let backend = Gated::new(fork::gate(|| Sqlite::fill(path))?);
        self.beside(backend, Location::File(path.to_owned()), arena)
    }

    /// As [`Store::backup`], of a keystore whose rows are in no file: key by key, in one transaction of the source.
    pub(super) fn backup_by_key(&self, new: &Unfinished, now: &dyn Fn() -> Now) -> Result<Copied> {
        let arena = Arena::new();
        let destination = self.beside_in(new, &arena)?;
        let mut held = Held::begin(self, Transaction::Read)?;
        let mut copying = Copying::new(&destination, now, &|_| ());
        let marks = held.read(marks)?;
        copying.all_keys(&mut Source::Held(&mut held), &marks, true)?;
        copying.all_aliases(&mut Source::Held(&mut held))?;
        copying.slots(&mut held)?;
        drop(held);
        let meta = destination.close_beside()?;
        read_back(new.temporary(), &meta)
    }

    /// Ends the only connection to a complete copy; returns its description.
    fn close_beside(&self) -> Result<MetaRow> {
        let (mut lent, _) = self.begin(Transaction::Read)?;
        let connection = lent.get()?;
        let found = gated(connection.backend.get()?, |backend| {
            let found = backend.meta(Shard::FIRST);
            backend.rollback();
            found
        });
        connection.backend.let_go();
        found
    }

    /// Copies the keystore, while it is in use, to a location that has none; it has its name when it is complete.
    pub fn copy(&self, to: &Location, now: &dyn Fn() -> Now, step: &dyn Fn(CopyStep)) -> Result<CopyReport> {
        match to {
            Location::Memory => Err(Status::InvalidArgument
                .error("a memory: keystore ends with its handle and can't be copied to; pass another location")),
            Location::File(path) if self.shards == Shards::ONE && !self.driver.is_private() => {
                self.copy_pages(path, now, step)
            }
            Location::File(path) => self.copy_to_file(path, now, step),
            #[cfg(feature = "postgres")]
            Location::Server(url) => self.copy_to_server(url, now, step),
        }
    }

    fn copy_to_file(&self, path: &Path, now: &dyn Fn() -> Now, step: &dyn Fn(CopyStep)) -> Result<CopyReport> {
        let deadline = Instant::now() + self.settings.patience;
        let new = self.wait(deadline, || fork::gate(|| Unfinished::create(path)))?;
        let arena = Arena::new();
        let destination = self.beside_in(&new, &arena)?;
        Copying::new(&destination, now, step).online(self, true, || {
            destination.close_beside()?;
            new.sync()?;
            new.publish()
        })
    }

    #[cfg(feature = "postgres")]
    fn copy_to_server(&self, url: &ServerUrl, now: &dyn Fn() -> Now, step: &dyn Fn(CopyStep)) -> Result<CopyReport> {
        let driver::ServerCopy { driver, mut backend, claim, is_new } =
            driver::begin_server_copy(&url.0, self.settings.patience)?;
        let slots = slots_of(|body| self.read(body))?;
        let mut sealing = fork::gate(|| Sealing::new(self.root.expose(), self.uuid))?;
        let claim = match is_new {
            true => match create::fill_empty(backend.get()?, &mut sealing, &slots, None, self.settings.patience) {
                Ok(()) => claim()?,
                // Another copier may have been faster, which the claim then says.
                Err(error) => return Err(claim().err().unwrap_or(error)),
            },
            false => {
                let found = read_waiting(backend.get()?, self.settings.patience, |b| b.meta(Shard::FIRST))?;
                if found.uuid != self.uuid || sealing.check_meta(&found).is_err() {
                    return Err(Status::KeystoreIo.error(
                        "the location has an unfinished copy of another keystore; choose another name, or drop that copy",
                    ));
                }
                claim()?
            }
        };
        let claim = Lock::new(claim);
        let (location, arena) = (Location::Server(url.clone()), Arena::new());
        let destination = self.assemble_beside((driver, backend), location, &arena)?;
        let is_empty = destination.read(marks)?.iter().all(|mark| mark.last_row == 0);
        let check = || claim.lock()?.check();
        let copying = Copying::new(&destination, now, step);
        Copying { check: &check, ..copying }.online(self, is_empty, || claim.lock()?.publish())
    }

    /// Copies the file of a keystore with one shard, pages and change log included. The description authenticates all
    /// rows, and all of them were read, so the copy is complete while the source has the same description. A transaction
    /// that reads a file blocks every commit, and a source on a read-only file system can have no other.
    fn copy_pages(&self, path: &Path, now: &dyn Fn() -> Now, step: &dyn Fn(CopyStep)) -> Result<CopyReport> {
        for tries in 0..=TRIES {
            // Where changes don't end, the last copy is made while they wait.
            let held = (tries == TRIES).then(|| Held::begin(self, Transaction::Read)).transpose()?;
            let (new, _) = self.backup(path, now)?;
            let arena = Arena::new();
            let backend = Gated::new(fork::gate(|| Sqlite::open(new.temporary(), true))?);
            // What is wrong with a page of the copy is wrong with the source's, which errors name.
            let location = self.settings.location.clone();
            let copy = self.assemble_beside((driver::private(), backend), location, &arena)?;
            let report = read_all(&copy, step)?;
            let found = copy.close_beside()?;
            let mut held = match held {
                Some(held) => held,
                None => Held::begin(self, Transaction::Read)?,
            };
            step(CopyStep::Locked);
            if held.read(|view| Ok(view.shard(Shard::FIRST)?.mac))? == found.mac {
                new.publish()?;
                return Ok(report);
            }
        }
        Err(unlike())
    }
}

/// Reads all keys with their material, and counts them.
fn read_all(store: &Store, step: &dyn Fn(CopyStep)) -> Result<CopyReport> {
    let (mut report, mut after) = (CopyReport::default(), None);
    loop {
        let (rows, keys) = store.read(|view| whole_page(view, after, i64::MAX))?;
        let Some(last) = rows.last() else { break };
        after = Some(*last);
        report.keys += keys.len() as u64;
        report.versions += keys.iter().map(WholeKey::version_count).sum::<u64>();
        step(CopyStep::Compared(report.keys));
    }
    let mut after: Option<String> = None;
    loop {
        let page = store.read(|view| view.aliases_after(None, after.as_deref(), PAGE))?;
        let Some((last, _)) = page.last() else { return Ok(report) };
        after = Some(last.clone());
        report.aliases += page.len() as u64;
    }
}

/// The next rows up to `last`, and their keys.
fn whole_page(view: &mut View<'_>, after: Option<i64>, last: i64) -> Result<(Vec<i64>, Vec<WholeKey>)> {
    let mut rows = view.listed_rows(after, KEYS)?;
    rows.retain(|row| *row <= last);
    let keys = view.whole_keys(&rows)?;
    Ok((rows, keys))
}
