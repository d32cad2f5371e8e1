//! Checks every row of a keystore, in steps of a few milliseconds, each in its own read transaction.
//!
//! Each step checks one snapshot, and the trees of that snapshot say what belongs in it, so a keystore may change
//! between the steps. Rows that are made behind the present place of a walk are not seen.

mod index;
mod log;

use std::collections::HashSet;

use super::backend::{KeyIndex, KeyRow, Owned, VersionEntry};
use super::digest::Digest;
use super::sealing::{Chain, NO_VERSIONS, Stored};
use super::shard::Shard;
use super::tree::{Tree, TreeEntry};
use super::view::{View, gone, row_digest, versions_altered};
use crate::domain::id::KeyId;
use crate::error::{Error, Result, Status, shown};

/// Keys, and rows of other tables, in one step.
const KEYS: usize = 64;
const ROWS: usize = 512;
/// How often the walk over the aliases starts again because some were made or moved meanwhile.
const TRIES: usize = 8;

/// A damage of the keystore, which [`Keystore::verify`](crate::Keystore::verify) found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The damaged key; `None` where the damage concerns no single key.
    pub key: Option<KeyId>,
    /// The damage.
    pub error: Error,
}

impl Fault {
    fn of(key: KeyId, error: Error) -> Self {
        Self { key: Some(key), error }
    }

    fn general(error: Error) -> Self {
        Self { key: None, error }
    }
}

/// How far a verification has come.
#[derive(Default)]
pub struct Verifier {
    stage: Stage,
    /// Faults found in this step.
    faults: Vec<Fault>,
    /// Whether the tree that the stage walks was reported as damaged.
    tree_told: bool,
}

#[derive(Default)]
enum Stage {
    #[default]
    Everything,
    Slots,
    /// The log of a shard.
    Log(Shard, Option<log::LogWalk>),
    /// Keys above this row; the versions of one that has many, and how far they were seen.
    Keys(i64, Option<VersionWalk>),
    /// Ids after this.
    Ids(Option<KeyId>),
    /// Rows of missing keys, above this key row.
    Orphans(Owned, i64),
    RecordIndexes,
    Aliases(Aliases),
    /// Entries of an index after this one.
    Index(KeyIndex, (i64, i64)),
    AliasIndex((i64, String)),
    VersionIndex(VersionEntry),
    /// Nodes of the trees above this row.
    Nodes(i64),
    Done,
}

#[derive(Clone, Copy)]
struct VersionWalk {
    row: i64,
    number: i64,
    chain: Chain,
}

#[derive(Default)]
struct Aliases {
    tries: usize,
    renamed: Option<i64>,
    after: String,
    seen: HashSet<Digest>,
}

impl Verifier {
    /// One step; what it found to be wrong, `None` at the end. Fails only where the keystore can't be read for now.
    pub fn step(&mut self, view: &mut View<'_>) -> Result<Option<Vec<Fault>>> {
        // SQLite checks a page's cells once, when it reads the page; and what is in memory says nothing of the file.
        view.rows.backend.forget()?;
        view.kept.nodes.forget();
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        let next = stage.next();
        let done = match stage {
            Stage::Done => return Ok(None),
            Stage::Everything => view.rows.backend.check_nothing_else().map(|()| None),
            Stage::Slots => self.slots(view).map(|()| None),
            Stage::Log(shard, walked) => self.log(view, shard, walked),
            Stage::Keys(after, versions) => self.keys(view, after, versions),
            Stage::Ids(after) => self.ids(view, after.as_ref()),
            Stage::Orphans(of, after) => self.orphans(view, of, after),
            Stage::RecordIndexes => self.record_indexes(view).map(|()| None),
            Stage::Aliases(aliases) => self.aliases(view, aliases),
            Stage::Index(index, after) => self.index(view, index, after),
            Stage::AliasIndex(after) => self.alias_index(view, after),
            Stage::VersionIndex(after) => self.version_index(view, after),
            Stage::Nodes(after) => self.nodes(view, after),
        };
        let again = match done {
            Ok(again) => again,
            // A table that can't be walked any further; the next may be whole.
            Err(error) if error.status() == Status::KeystoreCorrupt => {
                self.faults.push(Fault::general(error));
                None
            }
            Err(error) => return Err(error),
        };
        self.stage = again.unwrap_or_else(|| {
            self.tree_told = false;
            next
        });
        Ok(Some(std::mem::take(&mut self.faults)))
    }

    fn slots(&mut self, view: &mut View<'_>) -> Result<()> {
        view.slots().map(drop)
    }

    /// The names after `after`; none, and a fault once, where the tree is damaged.
    fn names(&mut self, view: &mut View<'_>, tree: Tree, after: Option<&Digest>) -> Result<Vec<TreeEntry>> {
        match view.names_after(tree, after, KEYS) {
            Err(error) if error.status() == Status::KeystoreCorrupt => {
                if !std::mem::replace(&mut self.tree_told, true) {
                    self.faults.push(Fault::general(error));
                }
                Ok(Vec::new())
            }
            done => done,
        }
    }

    /// Notes what is wrong with `key`; passes on what is wrong with the disk.
    fn note<R>(&mut self, key: KeyId, result: Result<R>) -> Result<Option<R>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.status() == Status::KeystoreCorrupt => {
                self.faults.push(Fault::of(key, error));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A key's row; none, and a fault, if it can't be read.
    fn row(&mut self, view: &mut View<'_>, row: i64) -> Result<Option<KeyRow>> {
        match view.rows.backend.key_by_row(row) {
            Err(error) if error.status() == Status::KeystoreCorrupt => {
                self.faults.push(Fault::general(error));
                Ok(None)
            }
            done => done,
        }
    }

    fn keys(&mut self, view: &mut View<'_>, after: i64, versions: Option<VersionWalk>) -> Result<Option<Stage>> {
        if let Some(versions) = versions
            && let Some(left) = self.more_versions(view, versions)?
        {
            return Ok(Some(Stage::Keys(after, Some(left))));
        }
        let rows = view.rows.backend.rows_after(after, KEYS)?;
        let mut budget = ROWS;
        let Some(last) = rows.last().copied() else { return Ok(None) };
        let mut before = after;
        for row in rows {
            in_order(before < row)?;
            before = row;
            let Some(found) = self.row(view, row)? else { continue };
            let left = self.key(view, &found, &mut budget)?;
            if left.is_some() || budget == 0 {
                return Ok(Some(Stage::Keys(row, left)));
            }
        }
        Ok(Some(Stage::Keys(last, None)))
    }

    /// One key with all that belongs to it. Returns where its versions are to be gone on with.
    fn key(&mut self, view: &mut View<'_>, row: &KeyRow, budget: &mut usize) -> Result<Option<VersionWalk>> {
        let id = KeyId::from_bytes(row.id);
        let newest = view.newest(row);
        let Some(stored) = self.note(id, newest)? else { return Ok(None) };
        match view.find(Tree::Ids, &row.id) {
            Ok(Some(digest)) if view.shards.of_row(row.row).is_ok_and(|(_, number)| digest == row_digest(number)) => {}
            Ok(_) => self.faults.push(Fault::of(id, unindexed(&id))),
            Err(error) => {
                self.note::<()>(id, Err(error))?;
            }
        }
        let indexed = view.rows.backend.is_indexed(row);
        if self.note(id, indexed)? == Some(false) {
            self.faults.push(Fault::of(id, unindexed(&id)));
        }
        let tags = view.tags(&stored);
        self.note(id, tags)?;
        let records = view.records(&stored);
        self.note(id, records)?;
        // Versions count from 1.
        let before = view.rows.backend.materials_before(row.row, Some(1), 1);
        if self.note(id, before)?.is_some_and(|before| !before.is_empty()) {
            self.faults.push(Fault::of(id, versions_altered(&id)));
        }
        self.versions(view, &stored, VersionWalk { row: row.row, number: 0, chain: NO_VERSIONS }, budget)
    }

    fn more_versions(&mut self, view: &mut View<'_>, versions: VersionWalk) -> Result<Option<VersionWalk>> {
        let Some(row) = self.row(view, versions.row)? else { return Ok(None) };
        let newest = view.newest(&row);
        match self.note(KeyId::from_bytes(row.id), newest)? {
            Some(stored) => self.versions(view, &stored, versions, &mut { ROWS }),
            None => Ok(None),
        }
    }

    /// Opens the material of a key's versions, oldest first.
    fn versions(
        &mut self,
        view: &mut View<'_>,
        stored: &Stored,
        mut seen: VersionWalk,
        budget: &mut usize,
    ) -> Result<Option<VersionWalk>> {
        let id = stored.key.id;
        // A single version is seen to be the only one in one step: imported material may be taken away, and brought back
        // under the same number, before the next.
        let wanted = (*budget).max(2);
        let read = view.rows.backend.materials_after(stored.row, seen.number, wanted);
        let Some(rows) = self.note(id, read)? else { return Ok(None) };
        *budget = budget.saturating_sub(rows.len());
        let full = rows.len() == wanted;
        for row in rows {
            if self.note(id, in_order(seen.number < row.number))?.is_none() {
                return Ok(None);
            }
            let opened = view.rows.sealing.open_material(&stored.key, &row);
            let Some((version, _)) = self.note(id, opened)? else { return Ok(None) };
            let read = view.rows.backend.material(stored.row, version.id.as_bytes());
            match self.note(id, read)? {
                Some(Some(found)) if found == row => {}
                Some(_) => self.faults.push(Fault::of(id, unindexed(&id))),
                None => return Ok(None),
            }
            seen.chain = view.rows.sealing.extend(&seen.chain, &row)?;
            seen.number = row.number;
        }
        if full {
            return Ok(Some(seen));
        }
        if seen.chain != stored.versions {
            self.faults.push(Fault::of(id, versions_altered(&id)));
        }
        Ok(None)
    }

    /// Keys that no longer exist, or cannot be found by their ids.
    fn ids(&mut self, view: &mut View<'_>, after: Option<&KeyId>) -> Result<Option<Stage>> {
        let mut last = None;
        for (name, number) in self.names(view, Tree::Ids, after.map(KeyId::as_bytes))? {
            let Some(bytes) = name.first_chunk() else { continue };
            let id = KeyId::from_bytes(*bytes);
            let found = view.row_of(&id, &number);
            match self.note(id, found)? {
                Some(Some(row)) if row.id == *bytes => {}
                Some(_) => self.faults.push(Fault::of(id, gone(&id))),
                None => {}
            }
            last = Some(id);
        }
        Ok(last.map(|last| Stage::Ids(Some(last))))
    }

    fn orphans(&mut self, view: &mut View<'_>, of: Owned, mut after: i64) -> Result<Option<Stage>> {
        for _ in 0..ROWS {
            let Some(row) = view.rows.backend.next_owner(of, after)? else { return Ok(None) };
            in_order(after < row)?;
            let owner = match view.shards.of_row(row) {
                Ok(_) => view.find_row(row),
                // No key ever had such a row.
                Err(_) => Ok(None),
            };
            let orphaned = match owner {
                Ok(owner) => owner.is_none(),
                // The tree's damage was reported when the keys were checked.
                Err(error) if error.status() == Status::KeystoreCorrupt => false,
                Err(error) => return Err(error),
            };
            if orphaned {
                let what = match of {
                    Owned::Material => "key material of no key stands in the keystore; restore it from a backup",
                    Owned::Tag => "a tag of no key stands in the keystore; restore it from a backup",
                    Owned::Version => "a version of no key stands in the keystore; restore it from a backup",
                };
                self.faults.push(Fault::general(Status::KeystoreCorrupt.error(what)));
            }
            after = row;
        }
        Ok(Some(Stage::Orphans(of, after)))
    }

    /// Nodes that no tree leads to.
    fn nodes(&mut self, view: &mut View<'_>, after: i64) -> Result<Option<Stage>> {
        let numbers = view.rows.backend.nodes_after(after, ROWS)?;
        let mut last = after;
        for number in numbers {
            in_order(last < number)?;
            last = number;
            match view.check_node(number) {
                Err(error) if error.status() == Status::KeystoreCorrupt => self.faults.push(Fault::general(error)),
                done => done?,
            }
        }
        Ok((last != after).then_some(Stage::Nodes(last)))
    }

    fn aliases(&mut self, view: &mut View<'_>, mut walk: Aliases) -> Result<Option<Stage>> {
        let renamed = view.heads()?.iter().map(|head| head.renamed).sum();
        if walk.renamed != Some(renamed) {
            walk = Aliases { tries: walk.tries + 1, renamed: Some(renamed), ..Aliases::default() };
        }
        // Where they never stay as they are, one long step sees them all.
        let limit = if walk.tries > TRIES { usize::MAX } else { ROWS };
        let names = view.rows.backend.alias_names_after(&walk.after, limit)?;
        let full = names.len() == limit;
        if full && names.iter().all(Option::is_none) {
            // No position to continue from.
            return Err(altered_name());
        }
        for name in names {
            let Some(name) = name else {
                self.faults.push(Fault::general(altered_name()));
                continue;
            };
            in_order(walk.after < name)?;
            walk.after.clone_from(&name);
            walk.seen.insert(view.rows.sealing.alias_handle(&name)?);
            let mut key = None;
            match self::alias(view, &name, &mut key) {
                Err(error) if error.status() == Status::KeystoreCorrupt => self.faults.push(Fault { key, error }),
                done => done?,
            }
        }
        if full {
            return Ok(Some(Stage::Aliases(walk)));
        }
        let mut after: Option<Digest> = None;
        loop {
            let names = self.names(view, Tree::Aliases, after.as_ref())?;
            for (name, _) in &names {
                if !name.first_chunk().is_some_and(|handle| walk.seen.contains(handle)) {
                    self.faults.push(Fault::general(
                        Status::KeystoreCorrupt.error("an alias is gone from the keystore; restore it from a backup"),
                    ));
                }
            }
            match names.last().and_then(|(last, _)| last.first_chunk()) {
                Some(last) => after = Some(*last),
                None => return Ok(None),
            }
        }
    }
}

impl Stage {
    /// What comes when this one is through.
    fn next(&self) -> Self {
        match self {
            Self::Everything => Self::Slots,
            Self::Slots => Self::Log(Shard::FIRST, None),
            Self::Log(..) => Self::Keys(i64::MIN, None),
            Self::Keys(..) => Self::Ids(None),
            Self::Ids(_) => Self::Orphans(Owned::Material, i64::MIN),
            Self::Orphans(Owned::Material, _) => Self::Orphans(Owned::Tag, i64::MIN),
            Self::Orphans(Owned::Tag, _) => Self::Orphans(Owned::Version, i64::MIN),
            Self::Orphans(Owned::Version, _) => Self::RecordIndexes,
            Self::RecordIndexes => Self::Aliases(Aliases::default()),
            Self::Aliases(_) => Self::index_of(KeyIndex::ALL.first()),
            Self::Index(index, _) => Self::index_of(KeyIndex::ALL.iter().skip_while(|at| *at != index).nth(1)),
            Self::AliasIndex(_) => {
                Self::VersionIndex(VersionEntry { key_row: i64::MIN, version: [0; 16], number: i64::MIN })
            }
            Self::VersionIndex(_) => Self::Nodes(i64::MIN),
            Self::Nodes(_) | Self::Done => Self::Done,
        }
    }

    fn index_of(index: Option<&KeyIndex>) -> Self {
        match index {
            Some(index) => Self::Index(*index, (i64::MIN, i64::MIN)),
            None => Self::AliasIndex((i64::MIN, String::new())),
        }
    }
}

fn altered_name() -> Error {
    Status::KeystoreCorrupt.error("the name of an alias was altered; restore the keystore from a backup")
}

/// One alias; `key` becomes the key that it names.
fn alias(view: &mut View<'_>, name: &str, key: &mut Option<KeyId>) -> Result<()> {
    let unfound = || {
        Status::KeystoreCorrupt.error(format!(
            "{} is not found by its name or by its key, or names no key; restore the keystore from a backup",
            shown(name)
        ))
    };
    let row = view.rows.backend.alias(name)?.ok_or_else(unfound)?;
    let lost = match view.key_in_row(row.key_row) {
        Ok(owner) => {
            *key = owner.map(|stored| stored.key.id);
            key.is_none()
        }
        // A damaged key was reported already.
        Err(error) if error.status() == Status::KeystoreCorrupt => false,
        Err(error) => return Err(error),
    };
    let row = view.newest_alias(row)?;
    match !lost && view.rows.backend.is_alias_indexed(&row)? {
        true => Ok(()),
        false => Err(unfound()),
    }
}

/// What SQLite returns in order, except where a page was damaged: then a walk might never end.
fn in_order(is: bool) -> Result<()> {
    match is {
        true => Ok(()),
        false => Err(Status::KeystoreCorrupt.error("rows of the keystore are out of order; restore it from a backup")),
    }
}

fn unindexed(id: &KeyId) -> Error {
    Status::KeystoreCorrupt
        .error(format!("key {id} is not to be found in each of the keystore's indexes; restore it from a backup"))
}
