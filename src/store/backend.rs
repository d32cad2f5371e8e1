//! What a place that holds keystore rows must be able to do; it sees sealed and authenticated rows only.
//!
//! A row type here is one table's columns. `sealing.rs` fills and checks their secrets; a backend stores them as they
//! are. Every call but `begin` runs inside the transaction that `begin` opened.

use std::path::Path;
use std::time::Duration;

use super::digest::Digest;
use super::server_clock::ClockReading;
use super::shard::{Shard, Shards};
use super::state::State;
use crate::error::{Result, Status, shown_path};

/// The row that describes a shard, and so the keystore where that has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaRow {
    pub uuid: [u8; 16],
    /// Grows by one in every write transaction, from a random start below 2^62.
    pub generation: i64,
    /// Grows by one when a key is destroyed, or its imported material erased.
    pub destroyed: i64,
    /// Grows by one when an alias is made, moved or deleted.
    pub renamed: i64,
    /// The greatest number that a key's row ever had in the shard; 0 before the first.
    pub last_row: i64,
    /// The contents of the trees' roots; empty for an empty tree.
    pub keys: Vec<u8>,
    pub ids: Vec<u8>,
    pub aliases: Vec<u8>,
    /// A MAC of all slots, in the first shard.
    pub slots: [u8; 32],
    pub mac: [u8; 32],
    /// Added by format 2: what names the descriptions before this one, newest first (`history.rs`).
    pub recent: Option<Vec<u8>>,
    /// Added by format 2: the path by which the keystore was last changed.
    pub place: Option<Vec<u8>>,
    /// Added by format 2: where the change log begins and ends (`log.rs`).
    pub log: Option<Vec<u8>>,
}

impl State {
    pub fn of(meta: &MetaRow) -> Self {
        Self::new(meta.generation, meta.mac)
    }
}

/// Most root slots of a keystore.
pub const SLOTS: usize = 8;
/// Most bytes of a slot's parameters, of its wrapped key (enough for any HSM's token), and of its label.
pub const PARAMETERS_MAX: usize = 64;
pub const WRAPPED_MAX: usize = 16 * 1024;
pub const LABEL_BYTES: usize = 255;

/// One way to unwrap the store root key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRow {
    /// Chosen by the backend, in the order in which slots are added.
    pub row: i64,
    pub kind: i64,
    pub parameters: Vec<u8>,
    pub wrapped: Vec<u8>,
    /// Added by format 2: Unix milliseconds.
    pub created: Option<i64>,
    /// Added by format 2: what the program calls it.
    pub label: Option<String>,
}

/// A key's metadata; no secrets. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    pub row: i64,
    pub id: [u8; 16],
    pub state: i64,
    pub origin: i64,
    pub creator: i64,
    pub description: String,
    pub created: i64,
    pub interval_s: Option<i64>,
    pub primary_number: Option<i64>,
    pub primary_id: Option<[u8; 16]>,
    pub primary_created: Option<i64>,
    pub future_noticed: Option<i64>,
    pub delete_date: Option<i64>,
    pub sighted_wall: Option<i64>,
    pub sighted_boot: Option<[u8; 16]>,
    pub sighted_uptime: Option<i64>,
    pub protection: Option<String>,
    pub import_digest: Option<[u8; 32]>,
    pub import_present: Option<i64>,
    pub import_expires: Option<i64>,
    pub expiry_sighted_wall: Option<i64>,
    pub expiry_sighted_boot: Option<[u8; 16]>,
    pub expiry_sighted_uptime: Option<i64>,
    /// When the clock must next check the key; the index of due keys.
    pub next_look: Option<i64>,
    /// A chain of MACs over the material rows, oldest first; zeros where there are none.
    pub versions: [u8; 32],
    /// A MAC of all tags; none where there are none.
    pub tags: Option<[u8; 32]>,
    /// Counts the changes of this row, from 1.
    pub revision: i64,
    /// The store's generation when the row last changed.
    pub generation: i64,
    pub mac: [u8; 32],
    /// Added by format 2: the wall time at which the waiting period of a deletion was last counted.
    pub counted_wall: Option<i64>,
    /// Added by format 2: that period, what was counted of it, and boot and boot clock then.
    pub waiting: Option<[u8; 48]>,
    /// Added by format 2: a MAC of the records of all versions; none where there are none.
    pub records: Option<[u8; 32]>,
}

/// What differs from a version that was only created; see `domain/version.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRow {
    pub key_row: i64,
    pub number: i64,
    pub state: i64,
    /// With `created`, of a destroyed version: its material's row is gone.
    pub version: Option<[u8; 16]>,
    pub created: Option<i64>,
    pub delete_date: Option<i64>,
    pub sighted_wall: Option<i64>,
    pub sighted_boot: Option<[u8; 16]>,
    pub sighted_uptime: Option<i64>,
    /// With `waiting`, as in the key's row.
    pub counted_wall: Option<i64>,
    pub waiting: Option<[u8; 48]>,
    pub last_encrypt: Option<i64>,
    pub last_decrypt: Option<i64>,
    /// None instead of 0.
    pub gcm_messages: Option<i64>,
}

/// Another name of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasRow {
    pub name: String,
    pub key_row: i64,
    pub revision: i64,
    pub generation: i64,
    pub mac: [u8; 32],
}

/// A label of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRow {
    pub key_row: i64,
    pub name: String,
    pub value: String,
    pub revision: i64,
    pub generation: i64,
    pub mac: [u8; 32],
}

/// One version's sealed material; inserted and deleted, never updated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaterialRow {
    pub key_row: i64,
    pub number: i64,
    pub version: [u8; 16],
    pub algorithm: i64,
    pub created: i64,
    pub sealed: Vec<u8>,
}

/// An entry of the change log; inserted and deleted, never updated. Format 2 adds the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRow {
    pub generation: i64,
    pub change_id: [u8; 16],
    pub at_ms: i64,
    pub boot_ms: i64,
    pub pid: i64,
    pub uid: i64,
    pub program: String,
    pub label: Option<String>,
    pub action: String,
    pub key: Option<[u8; 16]>,
    pub version: Option<[u8; 16]>,
    pub count: i64,
    pub status: i64,
    pub omitted: i64,
    pub waited_ms: Option<i64>,
    /// Over the `mac` of the entry before and all other columns.
    pub mac: [u8; 32],
}

/// The rows of the change log, which an older format doesn't have.
pub trait ChangeRows {
    fn insert_change(&mut self, change: &ChangeRow) -> Result<()>;
    /// Of one shard in the order of generations, from `generation`.
    fn changes_from(&mut self, shard: Shard, generation: i64, limit: usize) -> Result<Vec<ChangeRow>>;
    /// Those of a shard up to and including `generation`; how many there were.
    fn delete_changes(&mut self, shard: Shard, generation: i64) -> Result<usize>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    Read,
    /// Takes the write lock at once, so that two readers never wait for each other's upgrade.
    Write,
}

/// A due key: when it was to be checked, and its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueRow {
    pub next_look: i64,
    pub row: i64,
}

/// An index over some of the keys, by a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyIndex {
    NextLook,
    Generation,
    Newest,
    Confirmed,
    ExpiryConfirmed,
    Counted,
}

impl KeyIndex {
    pub const ALL: [Self; 6] =
        [Self::NextLook, Self::Generation, Self::Newest, Self::Confirmed, Self::ExpiryConfirmed, Self::Counted];

    /// What the index holds of a key; none if the key is not in it.
    pub fn value(self, key: &KeyRow) -> Option<i64> {
        match self {
            Self::NextLook => key.next_look,
            Self::Generation => (key.revision > 1).then_some(key.generation),
            Self::Newest if key.state != 1 || key.interval_s.is_none() || key.future_noticed.is_some() => None,
            Self::Newest => key.primary_created,
            Self::Confirmed => key.sighted_wall.and(key.delete_date),
            Self::ExpiryConfirmed => key.expiry_sighted_wall.and(key.import_expires),
            Self::Counted => key.counted_wall,
        }
    }
}

/// What the index of later versions holds of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionEntry {
    pub key_row: i64,
    pub version: [u8; 16],
    pub number: i64,
}

/// Rows that belong to a key's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owned {
    Material,
    Tag,
    Version,
}

/// The records of versions, and what their destruction needs.
pub trait VersionRows {
    /// Whether the keystore's format has such rows.
    fn has_version_rows(&self) -> bool;
    /// Oldest first.
    fn version_rows(&mut self, key_row: i64) -> Result<Vec<VersionRow>>;
    /// Inserts the row, or replaces it.
    fn put_version_row(&mut self, row: &VersionRow) -> Result<()>;
    fn delete_version_rows(&mut self, key_row: i64) -> Result<()>;
    /// The first key row above `key_row` that such a row is of.
    fn next_version_owner(&mut self, key_row: i64) -> Result<Option<i64>>;
    /// Keys with a version whose deletion has a stored confirmation and a date after `now`.
    fn versions_confirmed_too_early(&mut self, now: i64, limit: usize) -> Result<Vec<i64>>;
    /// Keys with a version whose waiting period was last counted after `now`.
    fn versions_counted_in_future(&mut self, now: i64, limit: usize) -> Result<Vec<i64>>;
    /// Whether the indexes over these rows hold exactly what they should.
    fn are_version_rows_indexed(&mut self) -> Result<bool>;
    fn delete_material(&mut self, key_row: i64, number: i64) -> Result<()>;
}

/// What a transaction is about to read. A backend behind a network reads all of it at once, and the calls that follow find it.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(any(kms_faults, feature = "postgres")),
    expect(dead_code, reason = "SQLite is beside its callers and needs no announcement")
)]
pub enum Wanted<'a> {
    /// The descriptions of these shards.
    Shards(&'a [Shard]),
    /// The key with this id: its row, the records of its versions, and the material of the primary version; its shard's
    /// description, and the nodes of both trees that lead to it ([`path`](super::tree::path)).
    Key(&'a [u8; 16]),
    /// Versions' material, by rows of keys and numbers.
    Materials(&'a [(i64, i64)]),
    /// Entries of the change log, as `changes_from` takes them: shards, generations, limits.
    Changes(&'a [(Shard, i64, usize)]),
    /// The keys in these rows, with what leads from there.
    Rows(&'a [i64]),
    /// The keys with these ids, with all of their material and tags. A write transaction may insert those that are missing.
    WholeKeys(&'a [[u8; 16]]),
    /// The keys in these rows, with all of their material and tags.
    WholeRows(&'a [i64]),
    /// The aliases with these names and handles. A read transaction may also read the keys that they name.
    Aliases(&'a [(String, Digest)]),
    /// The alias with this name and handle, with the node path of its tree, and the key that it names.
    Alias { name: &'a str, handle: &'a Digest },
}

/// What a poll of another machine finds.
#[cfg_attr(
    not(any(kms_faults, feature = "postgres")),
    allow(dead_code, reason = "SQLite is beside its callers and is not polled")
)]
pub struct News {
    pub states: Vec<State>,
    pub clock: Option<ClockReading>,
    /// The record of the newest checkpoint.
    pub checkpoint: Option<Vec<u8>>,
}

/// One connection to a store's rows.
///
/// A local backend's calls run inside the fork gate, so that no fork finds one half done. A remote one's run outside of it,
/// because a fork must not wait for the network.
pub trait Backend: ChangeRows + VersionRows + Send {
    /// How many shards the store has. It never changes.
    fn shards(&self) -> Shards {
        Shards::ONE
    }
    /// Whether calls may wait for another machine.
    fn is_remote(&self) -> bool {
        false
    }

    /// Whether another connection of the handle was lost or made again since this one was made, and may lead to another server.
    fn is_outdated(&self) -> bool {
        false
    }
    /// Has the handle's other connections lead to the server of this one.
    fn lead(&mut self) {}

    /// Begins a transaction. One that waits for locks by itself does so for `patience` at most; any other fails with
    /// KEYSTORE_BUSY at once when another holds the lock, and the caller tries again.
    ///
    /// A write transaction of a store with several shards locks each shard when its description is read.
    fn begin(&mut self, kind: Transaction, patience: Duration) -> Result<()>;
    /// Announces what is read next. Changes nothing but the time that it takes.
    fn prefetch(&mut self, wanted: Wanted<'_>) -> Result<()> {
        let _ = wanted;
        Ok(())
    }
    /// The states of all shards, in their order; `None` where reading a description is as quick. They are not checked:
    /// they say which descriptions to read.
    fn news(&mut self) -> Result<Option<News>> {
        Ok(None)
    }
    /// The record of the checkpoint, which no other transaction replaces before this one ends. The last thing that it
    /// locks.
    fn lock_checkpoint(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
    /// Replaces the record of the checkpoint, unless the present one has a greater number.
    fn put_checkpoint(&mut self, number: i64, record: &[u8]) -> Result<()> {
        let _ = (number, record);
        Ok(())
    }
    /// The record of the keystore's backups and its number, unless that is `known`. Of a store on another machine, which has no
    /// file for it.
    fn backup_record(&mut self, known: i64) -> Result<Option<(i64, Vec<u8>)>> {
        let _ = known;
        Ok(None)
    }
    /// Replaces that record. The first shard is locked.
    fn put_backup_record(&mut self, number: i64, record: &[u8]) -> Result<()> {
        let _ = (number, record);
        Ok(())
    }
    /// Makes the transaction durable. On KEYSTORE_BUSY a local backend's is still open and may be tried again; a remote one's has
    /// ended without a change. After any other error it may be committed nevertheless; a backend that can find out
    /// does.
    fn commit(&mut self) -> Result<()>;
    fn rollback(&mut self);
    /// Writes all rows, as they are in this transaction, into a new keystore file at `path`. Called outside of the fork gate,
    /// which it passes for each of its steps. A store of several shards is copied key by key instead (`copy.rs`).
    fn copy_to(&mut self, path: &Path) -> Result<()> {
        let path = shown_path(path);
        Err(Status::Internal.error(format!("the keystore has no pages to copy to {path}")))
    }
    /// Forgets what it read of the file, so that all of it is read and checked again.
    fn forget(&mut self) -> Result<()>;

    /// Checks that each page of the file belongs to one table or index, or is free. Takes seconds for a million keys;
    /// called outside of the fork gate, which it leaves now and then.
    fn check_pages_owned(&mut self) -> Result<()>;
    /// Checks that the rows contain nothing that no other call reads.
    fn check_nothing_else(&mut self) -> Result<()>;

    fn meta(&mut self, shard: Shard) -> Result<MetaRow>;
    fn put_meta(&mut self, shard: Shard, meta: &MetaRow) -> Result<()>;
    /// In the order of their rows; one more than the limit means that there are too many.
    fn slots(&mut self) -> Result<Vec<SlotRow>>;
    /// Inserts the slot as a new row, after all others.
    fn insert_slot(&mut self, slot: &SlotRow) -> Result<()>;
    fn delete_slot(&mut self, row: i64) -> Result<()>;
    fn delete_slots(&mut self) -> Result<()>;

    /// A node of a tree.
    fn node(&mut self, number: i64) -> Result<Option<Vec<u8>>>;
    /// Numbers of nodes in order, above `number`.
    fn nodes_after(&mut self, number: i64, limit: usize) -> Result<Vec<i64>>;
    fn put_node(&mut self, number: i64, content: &[u8]) -> Result<()>;
    fn delete_node(&mut self, number: i64) -> Result<()>;

    fn key_by_row(&mut self, row: i64) -> Result<Option<KeyRow>>;
    /// Row numbers in order, above `row`.
    fn rows_after(&mut self, row: i64, limit: usize) -> Result<Vec<i64>>;
    /// The newest versions of keys that have one, with their rows in order, above `row`.
    fn newest_after(&mut self, row: i64, limit: usize) -> Result<Vec<(i64, [u8; 16])>>;
    /// Whether each index finds this row.
    fn is_indexed(&mut self, key: &KeyRow) -> Result<bool>;
    /// An index's entries in its order, after one: the value, and the row of the key.
    fn index_after(&mut self, index: KeyIndex, after: (i64, i64), limit: usize) -> Result<Vec<(i64, i64)>>;
    fn insert_key(&mut self, key: &KeyRow) -> Result<()>;
    fn update_key(&mut self, key: &KeyRow) -> Result<()>;
    fn delete_key(&mut self, row: i64) -> Result<()>;

    /// Keys of a shard to be checked by `until`, after `after`, in the order of the index.
    fn due(&mut self, shard: Shard, until: i64, after: Option<DueRow>, limit: usize) -> Result<Vec<DueRow>>;
    /// Locks a shard with keys to be checked by `until`, none of `done` and none that another has locked. A write transaction that
    /// has read nothing yet.
    fn claim_due(&mut self, until: i64, done: &[Shard]) -> Result<Option<Shard>> {
        for shard in self.shards().all().filter(|shard| !done.contains(shard)) {
            if !self.due(shard, until, None, 1)?.is_empty() {
                return Ok(Some(shard));
            }
        }
        Ok(None)
    }
    /// The earliest due check after `now`.
    fn next_look_after(&mut self, now: i64) -> Result<Option<i64>>;
    /// Rotating keys whose newest version was created after `now` and that are not noted yet.
    fn created_in_future(&mut self, now: i64, limit: usize) -> Result<Vec<i64>>;
    /// Keys with a stored confirmation, of a deletion or an expiry, whose date is after `now`.
    fn confirmed_too_early(&mut self, now: i64, limit: usize) -> Result<Vec<i64>>;
    /// Keys whose waiting period was last counted after `now`.
    fn counted_in_future(&mut self, now: i64, limit: usize) -> Result<Vec<i64>>;
    /// Ids of a shard's keys changed after `generation`, without those made then and not changed since.
    fn changed_since(&mut self, shard: Shard, generation: i64, limit: usize) -> Result<Vec<[u8; 16]>>;

    fn insert_material(&mut self, material: &MaterialRow) -> Result<()>;
    fn material(&mut self, key_row: i64, version: &[u8; 16]) -> Result<Option<MaterialRow>>;
    /// The version of this number.
    fn material_at(&mut self, key_row: i64, number: i64) -> Result<Option<MaterialRow>>;
    /// The entries of the index of later versions in its order, after one.
    fn version_index_after(&mut self, after: &VersionEntry, limit: usize) -> Result<Vec<VersionEntry>>;
    /// Oldest first, above `number`.
    fn materials_after(&mut self, key_row: i64, number: i64, limit: usize) -> Result<Vec<MaterialRow>>;
    /// Newest first, below `number` or from the newest.
    fn materials_before(&mut self, key_row: i64, number: Option<i64>, limit: usize) -> Result<Vec<MaterialRow>>;
    /// The numbers of those that were deleted.
    fn delete_materials(&mut self, key_row: i64) -> Result<Vec<i64>>;
    /// The first key row above `key_row` that material, a tag, or the record of a version is of.
    fn next_owner(&mut self, of: Owned, key_row: i64) -> Result<Option<i64>>;

    fn alias(&mut self, name: &str) -> Result<Option<AliasRow>>;
    /// In the order of names, after `name` or from the start; of one key or of all.
    fn aliases_after(&mut self, key_row: Option<i64>, name: Option<&str>, limit: usize) -> Result<Vec<AliasRow>>;
    /// Names of aliases in their order, after one; none in the place of what is no name.
    fn alias_names_after(&mut self, name: &str, limit: usize) -> Result<Vec<Option<String>>>;
    /// Whether the index of a key's aliases finds this one.
    fn is_alias_indexed(&mut self, alias: &AliasRow) -> Result<bool>;
    /// The entries of that index in its order, after one: the row of the key, and the alias's name.
    fn alias_index_after(&mut self, after: &(i64, String), limit: usize) -> Result<Vec<(i64, String)>>;
    fn put_alias(&mut self, alias: &AliasRow) -> Result<()>;
    fn delete_alias(&mut self, name: &str) -> Result<()>;

    fn tags(&mut self, key_row: i64) -> Result<Vec<TagRow>>;
    fn put_tag(&mut self, tag: &TagRow) -> Result<()>;
    fn delete_tag(&mut self, key_row: i64, name: &str) -> Result<()>;
    fn delete_tags_of(&mut self, key_row: i64) -> Result<()>;
}
