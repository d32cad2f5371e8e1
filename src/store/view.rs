//! What a transaction reads, in the domain's types; rows are authenticated as they are read.

use zeroize::Zeroizing;

use super::backend::{AliasRow, DueRow, KeyRow, MaterialRow, MetaRow, SlotRow, TagRow, Wanted};
use super::digest::{Digest, digest_of};
use super::kept::Remembered;
use super::sealing::{Meta, NO_VERSIONS, Stored, signed};
use super::shard::{Shard, Shards};
use super::state::{Head, State};
use super::tree::{Rows, Tree, TreeEntry};
use super::unchecked::unchecked;
use super::versions;
use crate::domain::id::{KeyId, SlotId, VersionId};
use crate::domain::time::{Now, Time};
use crate::domain::version::Version;
use crate::error::{Error, Result, Status, shown};

pub(super) type RawMaterial = Zeroizing<[u8; 32]>;

/// Rows that are read at a time.
pub(super) const PAGE: usize = 256;

/// A shard whose description this transaction has read.
pub(super) struct OpenShard {
    pub head: Head,
    pub meta: Meta,
    /// The MAC of `meta`.
    pub mac: [u8; 32],
    pub is_changed: bool,
    /// Entries that this transaction appended to the log before the last one.
    pub appended: i64,
}

impl OpenShard {
    /// The generation that a change of this transaction leads to.
    pub fn next_generation(&self) -> i64 {
        self.head.generation + self.appended + 1
    }
}

/// Records the description that a transaction finds of a shard. Returns the description to continue with, and how many
/// other histories of the keystore were read instead of the known one.
pub(super) type Seeing<'a> = dyn FnMut(&MetaRow, Shard, Meta) -> Result<(Meta, u64)> + 'a;

/// A consistent snapshot.
pub struct View<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) kept: &'a mut Remembered,
    pub(super) shards: Shards,
    /// By shard.
    pub(super) open: Vec<Option<OpenShard>>,
    see: &'a mut Seeing<'a>,
    pub(super) breaks: u64,
}

fn stale(id: &KeyId) -> Error {
    Status::KeystoreCorrupt
        .error(format!("the row of key {id} was replaced by an older copy; restore the keystore from a backup"))
}

fn returned(id: &KeyId) -> Error {
    Status::KeystoreCorrupt
        .error(format!("the row of key {id}, which was destroyed, was put back; restore the keystore from a backup"))
}

pub(super) fn gone(id: &KeyId) -> Error {
    Status::KeystoreCorrupt.error(format!("key {id} is gone from the keystore; restore it from a backup"))
}

/// What the tree of ids says of a key: the number of its row in its shard.
pub(super) fn row_digest(number: u32) -> Digest {
    u128::from(number).to_be_bytes()
}

impl<'a> View<'a> {
    /// Shows what the transaction that has begun sees. A store of one shard is read at once, so that every transaction checks
    /// its description.
    pub(super) fn new(rows: Rows<'a>, kept: &'a mut Remembered, see: &'a mut Seeing<'a>) -> Result<Self> {
        kept.nodes.begin();
        let shards = rows.backend.shards();
        let breaks = kept.breaks;
        let mut view = Self { rows, kept, shards, open: Vec::new(), see, breaks };
        if shards == Shards::ONE {
            view.shard(Shard::FIRST)?;
        }
        Ok(view)
    }

    /// A shard, whose description is read at its first use in a transaction.
    pub(super) fn shard(&mut self, shard: Shard) -> Result<&mut OpenShard> {
        let at = shard.index();
        if !self.open.get(at).is_some_and(Option::is_some) {
            let read = self.read_shard(shard)?;
            if self.open.len() <= at {
                self.open.resize_with(at + 1, || None);
            }
            self.open.get_mut(at).map(|place| place.insert(read));
        }
        self.open.get_mut(at).and_then(Option::as_mut).ok_or_else(impossible)
    }

    #[inline(never)]
    fn read_shard(&mut self, shard: Shard) -> Result<OpenShard> {
        let found = self.rows.backend.meta(shard)?;
        let meta = self.rows.sealing.check_meta(&found)?;
        // Every description is authentic; this one must not be another shard's.
        if self.shards.of_generation(meta.generation) != Some(shard) {
            return Err(Status::KeystoreCorrupt
                .error("the description of a shard is that of another one; restore the keystore from a backup"));
        }
        let (meta, breaks) = (self.see)(&found, shard, meta)?;
        (self.breaks, self.kept.breaks) = (breaks, breaks);
        self.kept.nodes.open(shard, &meta.roots);
        let Meta { generation, destroyed, renamed, .. } = meta;
        let head = Head { shard, generation, destroyed, renamed };
        self.kept.keep(State::of(&found), head);
        Ok(OpenShard { head, meta, mac: found.mac, is_changed: false, appended: 0 })
    }

    /// The head of a shard.
    pub(super) fn head(&mut self, shard: Shard) -> Result<Head> {
        self.shard(shard).map(|open| open.head)
    }

    /// The heads of all shards. Of a store on another machine, only those that moved since the last read are read.
    pub fn heads(&mut self) -> Result<Vec<Head>> {
        let news = self.rows.backend.news()?;
        let states = news.as_ref().map(|news| news.states.clone()).unwrap_or_default();
        self.kept.news = news;
        let known = |kept: &Remembered, shard: Shard| kept.head(shard, states.get(shard.index())?);
        let moved: Vec<Shard> = self.shards.all().filter(|shard| known(self.kept, *shard).is_none()).collect();
        if !moved.is_empty() {
            self.rows.backend.prefetch(Wanted::Shards(&moved))?;
        }
        let is_open = |view: &Self, shard: Shard| view.open.get(shard.index()).is_some_and(Option::is_some);
        self.shards
            .all()
            .map(|shard| match known(self.kept, shard) {
                Some(head) if !is_open(self, shard) => Ok(head),
                _ => self.head(shard),
            })
            .collect()
    }

    /// The head of a key's shard.
    pub fn head_of(&mut self, id: &KeyId) -> Result<Head> {
        self.head(self.shards.of_name(id.as_bytes()))
    }

    /// The head of an alias's shard.
    pub fn head_of_alias(&mut self, name: &str) -> Result<Head> {
        match self.shards {
            Shards::ONE => self.head(Shard::FIRST),
            shards => {
                let handle = self.rows.sealing.alias_handle(name)?;
                self.head(shards.of_name(&handle))
            }
        }
    }

    /// All root slots, authenticated, in the order in which they were added.
    pub(super) fn slots(&mut self) -> Result<Vec<(SlotId, SlotRow)>> {
        let slots = self.rows.backend.slots()?;
        let mac = self.shard(Shard::FIRST)?.meta.slots;
        self.rows.sealing.check_slots(&mac, &slots)?;
        slots.into_iter().map(|slot| Ok((self.rows.sealing.slot_id(&slot)?, slot))).collect()
    }

    /// What the tree of ids or of aliases has for a name.
    pub(super) fn find(&mut self, tree: Tree, name: &Digest) -> Result<Option<Digest>> {
        let shard = self.shards.of_name(name);
        self.shard(shard)?;
        self.kept.nodes.get(&mut self.rows, (shard, tree), name)
    }

    /// What the tree of keys has for a row.
    pub(super) fn find_row(&mut self, row: i64) -> Result<Option<Digest>> {
        let (shard, number) = self.shards.of_row(row)?;
        self.shard(shard)?;
        self.kept.nodes.get(&mut self.rows, (shard, Tree::Keys), &number.to_be_bytes())
    }

    /// The first names after `after`, or from the start, that a tree has in any shard.
    pub(super) fn names_after(&mut self, tree: Tree, after: Option<&Digest>, limit: usize) -> Result<Vec<TreeEntry>> {
        let first = after.map_or(Shard::FIRST, |after| self.shards.of_name(after));
        let mut found = Vec::new();
        for shard in self.shards.from(first) {
            self.shard(shard)?;
            let after = after.map(Digest::as_slice).filter(|_| shard == first);
            let more =
                self.kept.nodes.after(&mut self.rows, (shard, tree), after, limit.saturating_sub(found.len()))?;
            found.extend(more);
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// Checks that a tree leads to the node of this number, which must be as it was written.
    pub(super) fn check_node(&mut self, number: i64) -> Result<()> {
        if let Some((shard, _)) = self.shards.of_node(number) {
            self.shard(shard)?;
        }
        self.kept.nodes.check_row(&mut self.rows, number)
    }

    /// An authenticated key, which must also be the newest copy of its row.
    pub(super) fn newest(&mut self, row: &KeyRow) -> Result<Stored> {
        let mut stored = self.rows.sealing.check_key(row)?;
        match self.find_row(row.row)? {
            Some(digest) if digest == digest_of(&row.mac) => {}
            _ if unchecked() => {}
            Some(_) => return Err(stale(&stored.key.id)),
            None => return Err(returned(&stored.key.id)),
        }
        // Rows that a key without any doesn't cover are never read; `verify` reports them.
        if stored.records_mac.is_some() {
            stored.records = self.known_records(&stored)?;
        }
        Ok(stored)
    }

    /// Whether the keystore's format has records of versions.
    pub fn has_version_rows(&self) -> bool {
        self.rows.backend.has_version_rows()
    }

    /// Whether the rows are on another machine.
    pub fn is_remote(&self) -> bool {
        self.rows.backend.is_remote()
    }

    /// Changes when the keystore that is read may not continue the one that was read before: nothing that is known of that
    /// one holds of this.
    pub fn history(&self) -> u64 {
        self.breaks
    }

    /// The key of this id; that there is none is as certain as what it is.
    pub fn key(&mut self, id: &KeyId) -> Result<Option<Stored>> {
        self.rows.backend.prefetch(Wanted::Key(id.as_bytes()))?;
        let Some(number) = self.find(Tree::Ids, id.as_bytes())? else { return Ok(None) };
        match self.row_of(id, &number)?.filter(|row| row.id == *id.as_bytes()) {
            Some(row) => self.newest(&row).map(Some),
            None if unchecked() => Ok(None),
            None => Err(gone(id)),
        }
    }

    /// The row of a key, for which the tree of ids has `number`.
    pub(super) fn row_of(&mut self, id: &KeyId, number: &Digest) -> Result<Option<KeyRow>> {
        match u32::try_from(u128::from_be_bytes(*number)) {
            Ok(number) => self.rows.backend.key_by_row(self.shards.of_name(id.as_bytes()).row(number)),
            Err(_) => Ok(None),
        }
    }

    /// Announces that the keys in these rows are read next.
    pub fn expect_rows(&mut self, rows: &[i64]) -> Result<()> {
        self.rows.backend.prefetch(Wanted::Rows(rows))
    }

    pub fn key_in_row(&mut self, row: i64) -> Result<Option<Stored>> {
        self.expect_rows(&[row])?;
        match self.rows.backend.key_by_row(row)? {
            Some(row) => self.newest(&row).map(Some),
            None if unchecked() || self.find_row(row)?.is_none() => Ok(None),
            None => Err(Status::KeystoreCorrupt.error("a key is gone from the keystore; restore it from a backup")),
        }
    }

    /// Keys in the order of their ids, after `id` or from the start; a damaged or missing one is an error in its place.
    pub fn keys_after(&mut self, id: Option<&KeyId>, limit: usize) -> Result<Vec<(KeyId, Result<Stored>)>> {
        let mut found = Vec::new();
        for (name, _) in self.names_after(Tree::Ids, id.map(KeyId::as_bytes), limit)? {
            let id = KeyId::from_bytes(*name.first_chunk().ok_or_else(impossible)?);
            found.push((
                id,
                match self.key(&id) {
                    Ok(Some(stored)) => Ok(stored),
                    Ok(None) => Err(gone(&id)),
                    Err(error) if error.status() == Status::KeystoreCorrupt => Err(error),
                    Err(error) => return Err(error),
                },
            ));
        }
        Ok(found)
    }

    /// One version's material, if this key has such a version; all are checked before the answer is no.
    pub fn material(&mut self, key: &Stored, version: &VersionId) -> Result<Option<(Version, RawMaterial)>> {
        let read = match key.key.primary {
            Some(primary) if primary.id == *version => {
                self.rows.backend.material_at(key.row, signed(primary.number)?)?
            }
            _ => self.rows.backend.material(key.row, version.as_bytes())?,
        };
        let found = match read {
            Some(row) if row.version == *version.as_bytes() => Some(row),
            _ if self.kept.versions.lacks(&key.versions, version.as_bytes()) => None,
            _ => self.search(key, version)?,
        };
        found.map(|row| self.rows.sealing.open_material(&key.key, &row)).transpose()
    }

    /// Searches for a version without the index. The key's rows must be those that it had when it last changed, none
    /// missing and none added.
    fn search(&mut self, key: &Stored, version: &VersionId) -> Result<Option<MaterialRow>> {
        let (mut chain, mut number, mut found) = (NO_VERSIONS, 0, None);
        let mut starts = Vec::new();
        loop {
            let page = self.rows.backend.materials_after(key.row, number, PAGE)?;
            let full = page.len() == PAGE;
            for row in page {
                if row.number <= number {
                    return Err(versions_altered(&key.key.id));
                }
                chain = self.rows.sealing.extend(&chain, &row)?;
                number = row.number;
                starts.push(versions::start(&row.version));
                if row.version == *version.as_bytes() {
                    found = Some(row);
                }
            }
            if !full {
                break;
            }
        }
        if chain == key.versions {
            self.kept.versions.keep(chain, starts);
        } else if !unchecked() {
            return Err(versions_altered(&key.key.id));
        }
        Ok(found)
    }

    /// Versions newest first, destroyed ones too, below number `before` or from the newest.
    pub fn versions_before(&mut self, key: &Stored, before: Option<u64>, limit: usize) -> Result<Vec<Version>> {
        let number = before.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let rows = self.rows.backend.materials_before(key.row, number, limit)?;
        // Opening authenticates the columns.
        let opened = rows.iter().map(|row| self.rows.sealing.open_material(&key.key, row).map(|(version, _)| version));
        let page = opened.collect::<Result<Vec<_>>>()?;
        Ok(Self::with_tombstones(key, before, limit, page))
    }

    /// The key behind an alias.
    pub fn alias(&mut self, name: &str) -> Result<Option<Stored>> {
        Ok(self.alias_row(name)?.map(|(_, key)| key))
    }

    /// An alias's row and its key.
    pub(super) fn alias_row(&mut self, name: &str) -> Result<Option<(AliasRow, Stored)>> {
        let handle = self.rows.sealing.alias_handle(name)?;
        self.rows.backend.prefetch(Wanted::Alias { name, handle: &handle })?;
        let Some(row) = self.rows.backend.alias(name)? else {
            return match unchecked() || self.find(Tree::Aliases, &handle)?.is_none() {
                true => Ok(None),
                false => Err(Status::KeystoreCorrupt
                    .error(format!("{} is gone from the keystore; restore the keystore from a backup", shown(name)))),
            };
        };
        let row = self.newest_alias(row)?;
        let key = self.key_of_alias(&row)?;
        Ok(Some((row, key)))
    }

    /// Announces that these aliases are read next.
    pub(super) fn expect_aliases<'k>(&mut self, names: impl Iterator<Item = &'k String>) -> Result<()> {
        if self.shards == Shards::ONE {
            return Ok(());
        }
        let mut wanted = Vec::new();
        for name in names {
            wanted.push((name.clone(), self.rows.sealing.alias_handle(name)?));
        }
        self.rows.backend.prefetch(Wanted::Aliases(&wanted))
    }

    /// An authenticated alias, which must also be the newest copy of its row.
    pub(super) fn newest_alias(&mut self, row: AliasRow) -> Result<AliasRow> {
        let row = self.rows.sealing.check_alias(row)?;
        let handle = self.rows.sealing.alias_handle(&row.name)?;
        match self.find(Tree::Aliases, &handle)? {
            Some(digest) if digest == digest_of(&row.mac) => Ok(row),
            _ if unchecked() => Ok(row),
            _ => Err(Status::KeystoreCorrupt.error(format!(
                "{} was replaced by an older copy; restore the keystore from a backup",
                shown(&row.name)
            ))),
        }
    }

    fn key_of_alias(&mut self, row: &AliasRow) -> Result<Stored> {
        self.key_in_row(row.key_row)?.ok_or_else(|| {
            Status::KeystoreCorrupt
                .error(format!("{} names a key that is gone; restore the keystore from a backup", shown(&row.name)))
        })
    }

    /// Aliases and their keys in the order of names, after `name` or from the start; of one key or of all.
    pub fn aliases_after(
        &mut self,
        key: Option<&Stored>,
        name: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, KeyId)>> {
        let mut found = Vec::new();
        let mut before = name.unwrap_or_default().to_owned();
        let page = self.rows.backend.aliases_after(key.map(|key| key.row), name, limit)?;
        self.expect_aliases(page.iter().map(|row| &row.name))?;
        for row in page {
            let row = self.newest_alias(row)?;
            // A list that goes back might never end.
            if row.name <= before || key.is_some_and(|key| row.key_row != key.row) {
                return Err(misplaced_alias());
            }
            before.clone_from(&row.name);
            let id = match key {
                Some(key) => key.key.id,
                None => self.key_of_alias(&row)?.key.id,
            };
            found.push((row.name, id));
        }
        Ok(found)
    }

    /// A key's tags, in the order of names.
    pub fn tags(&mut self, key: &Stored) -> Result<Vec<(String, String)>> {
        Ok(self.tag_rows(key)?.into_iter().map(|row| (row.name, row.value)).collect())
    }

    /// A key's tags, which must be exactly those that were set.
    fn tag_rows(&mut self, key: &Stored) -> Result<Vec<TagRow>> {
        let rows = self.rows.backend.tags(key.row)?;
        for row in &rows {
            self.rows.sealing.check_tag(row)?;
        }
        if self.rows.sealing.tags_mac(key.row, &rows)? == key.tags || unchecked() {
            return Ok(rows);
        }
        Err(Status::KeystoreCorrupt
            .error(format!("tags of key {} were removed or put back; restore the keystore from a backup", key.key.id)))
    }

    /// Keys to be checked by `until`, after `after`: of one shard, until it has no more. Fewer than `limit` may not be all,
    /// except in a store of one shard.
    pub fn due(&mut self, until: Time, after: Option<DueRow>, limit: usize) -> Result<Vec<DueRow>> {
        let first = after.and_then(|after| self.shards.of_row(after.row).ok()).map_or(Shard::FIRST, |(shard, _)| shard);
        for shard in self.shards.from(first) {
            let after = after.filter(|_| shard == first);
            let found = self.rows.backend.due(shard, until.millis(), after, limit)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// Claims a shard with keys to be checked by `until`, and returns it with them, after the row that `after` has for the shard.
    pub fn claim_due(
        &mut self,
        until: Time,
        done: &[Shard],
        after: impl FnOnce(Shard) -> Option<DueRow>,
        limit: usize,
    ) -> Result<Option<(Shard, Vec<DueRow>)>> {
        let Some(shard) = self.rows.backend.claim_due(until.millis(), done)? else { return Ok(None) };
        Ok(Some((shard, self.rows.backend.due(shard, until.millis(), after(shard), limit)?)))
    }

    /// When the clock must next check a key, after `now`.
    pub fn next_look_after(&mut self, now: Time) -> Result<Option<Time>> {
        Ok(self.rows.backend.next_look_after(now.millis())?.map(Time::from_millis))
    }

    /// Rows whose stored dates contradict a clock that shows `now`.
    pub fn contradicted(&mut self, now: &Now, limit: usize) -> Result<Vec<i64>> {
        let wall = now.wall.millis();
        let mut rows = self.rows.backend.created_in_future(wall, limit)?;
        rows.extend(self.rows.backend.confirmed_too_early(wall, limit)?);
        // The next check of these was set by a clock that was ahead of this one.
        for row in self.rows.backend.counted_in_future(wall, limit)? {
            match self.key_in_row(row) {
                Ok(Some(stored)) if stored.key.deletion.is_some_and(|deletion| deletion.counts(now)) => rows.push(row),
                Ok(_) => {}
                // Reported when it is due.
                Err(error) if error.status() == Status::KeystoreCorrupt => {}
                Err(error) => return Err(error),
            }
        }
        rows.extend(self.contradicted_versions(now, limit)?);
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    /// Ids of keys of a shard changed after `generation`, at most `limit`. A process at `generation` can't know a key
    /// that was made after it and not changed since.
    pub fn changed_since(&mut self, shard: Shard, generation: i64, limit: usize) -> Result<Vec<KeyId>> {
        Ok(self.rows.backend.changed_since(shard, generation, limit)?.into_iter().map(KeyId::from_bytes).collect())
    }
}

pub(super) fn unreadable() -> Error {
    Status::KeystoreCorrupt.error("new key material could not be read back, and nothing was changed; check the disk")
}

fn misplaced_alias() -> Error {
    Status::KeystoreCorrupt.error("an index of aliases is out of order; restore the keystore from a backup")
}

fn impossible() -> Error {
    Status::Internal.error("a tree holds a name of an impossible length")
}

pub(super) fn versions_altered(id: &KeyId) -> Error {
    Status::KeystoreCorrupt
        .error(format!("versions of key {id} are gone from the keystore or were put back; restore it from a backup"))
}
