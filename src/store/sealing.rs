//! Seals material rows and authenticates metadata rows, and turns both into the domain's types and back.
//!
//! What it does with libcrypto it does inside the fork gate, which the transaction of a remote backend is not in.
//!
//! Every subkey comes from the store root key and the store's uuid, so a row of one keystore means nothing in another.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::backend::{AliasRow, KeyRow, MaterialRow, MetaRow, SLOTS, SlotRow, TagRow};
use super::digest::{Digest, Roots, digest_of};
use super::entry::LogState;
use crate::crypto::kdf;
use crate::crypto::openssl::{self, Hmac};
use crate::crypto::row::RowCipher;
use crate::domain::deadline::Deadline;
use crate::domain::deletion::{Deletion, Waiting};
use crate::domain::id::{KeyId, SlotId, VersionId};
use crate::domain::key::{Creator, Key, Origin};
use crate::domain::material::Imported;
use crate::domain::rotation::Interval;
use crate::domain::state::KeyState;
use crate::domain::time::{Now, Time};
use crate::domain::version::{Version, VersionRecords};
use crate::error::{Error, Result, Status, shown};
use crate::sys::{fork, random};

/// XAES-256-GCM, the algorithm that a version's material is for.
const ALGORITHM: i64 = 1;

/// A key as it stands in its row.
#[derive(Debug, Clone)]
pub struct Stored {
    pub row: i64,
    pub revision: i64,
    pub generation: i64,
    /// A chain of MACs over the material rows, oldest first.
    pub versions: Chain,
    /// A MAC of all tags, if there are any.
    pub tags: Option<[u8; 32]>,
    /// A MAC over the records of the versions, if there are any.
    pub records_mac: Option<[u8; 32]>,
    pub records: Arc<VersionRecords>,
    pub key: Key,
}

impl Stored {
    /// When the clock must next check this key or one of its versions.
    pub fn next_look(&self) -> Option<Time> {
        self.key.next_look().into_iter().chain(self.records.next_look()).min()
    }
}

/// What a key's row records of its material rows.
pub type Chain = [u8; 32];
/// The chain of a key without material rows.
pub const NO_VERSIONS: Chain = [0; 32];

/// The keystore's description, authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub uuid: [u8; 16],
    pub generation: i64,
    pub destroyed: i64,
    pub renamed: i64,
    pub last_row: i64,
    pub roots: Roots,
    pub slots: [u8; 32],
    pub recent: Option<Vec<u8>>,
    pub place: Option<Vec<u8>>,
    pub log: Option<Vec<u8>>,
}

/// The keys of one keystore's rows.
pub struct Sealing {
    uuid: [u8; 16],
    rows: Hmac,
    material: RowCipher,
}

impl Sealing {
    /// Authenticates the record of a checkpoint.
    pub fn checkpoint_mac(&mut self, body: &[u8]) -> Result<[u8; 32]> {
        let mut columns = Columns(Vec::with_capacity(body.len() + HEAD));
        columns.bytes(body);
        self.mac(b"checkpoint", &columns)
    }

    pub fn new(root: &[u8; 32], uuid: [u8; 16]) -> Result<Self> {
        Ok(Self {
            uuid,
            rows: Hmac::new(&*kdf::derive(root, "libkms rows", &uuid)?)?,
            material: RowCipher::new(&*kdf::derive(root, "libkms material", &uuid)?)?,
        })
    }

    /// The description of a keystore that holds nothing yet.
    pub fn first_meta(&mut self, generation: i64, slots: &[SlotRow], place: Option<Vec<u8>>) -> Result<MetaRow> {
        let slots = self.slots_mac(slots)?;
        let (uuid, roots) = (self.uuid, Roots::default());
        let (destroyed, renamed, last_row, recent) = (0, 0, 0, None);
        let log = Some(LogState::new(generation).to_bytes());
        self.meta_row(Meta { uuid, generation, destroyed, renamed, last_row, roots, slots, recent, place, log })
    }

    pub fn meta_row(&mut self, meta: Meta) -> Result<MetaRow> {
        let Meta { uuid, generation, destroyed, renamed, last_row, roots: [keys, ids, aliases], slots, .. } = meta;
        let (recent, place, log, mac) = (meta.recent, meta.place, meta.log, [0; 32]);
        let mut row = MetaRow {
            uuid,
            generation,
            destroyed,
            renamed,
            last_row,
            keys,
            ids,
            aliases,
            slots,
            mac,
            recent,
            place,
            log,
        };
        row.mac = self.meta_mac(&row)?;
        Ok(row)
    }

    pub fn check_meta(&mut self, row: &MetaRow) -> Result<Meta> {
        let mac = self.meta_mac(row)?;
        if row.uuid != self.uuid || !openssl::equal(&mac, &row.mac) {
            return Err(Status::KeystoreCorrupt
                .error("the keystore's description row was altered; restore the keystore from a backup"));
        }
        let MetaRow {
            uuid,
            generation,
            destroyed,
            renamed,
            last_row,
            keys,
            ids,
            aliases,
            slots,
            recent,
            place,
            log,
            ..
        } = row.clone();
        let roots = [keys, ids, aliases];
        Ok(Meta { uuid, generation, destroyed, renamed, last_row, roots, slots, recent, place, log })
    }

    fn meta_mac(&mut self, row: &MetaRow) -> Result<[u8; 32]> {
        let mut columns = Columns::default();
        columns.number(row.generation).number(row.destroyed).number(row.renamed).number(row.last_row);
        columns.bytes(&row.keys).bytes(&row.ids).bytes(&row.aliases).bytes(&row.slots);
        let added = [&row.recent, &row.place, &row.log];
        columns.added(&added.map(|value| value.as_ref().map_or(Column::Null, |bytes| Column::Bytes(bytes))));
        self.mac(b"meta", &columns)
    }

    /// A MAC of all slots, so that an old one that is put back shows.
    pub fn slots_mac(&mut self, slots: &[SlotRow]) -> Result<[u8; 32]> {
        let mut columns = Columns::default();
        slots.iter().for_each(|slot| columns.slot(slot));
        self.mac(b"slots", &columns)
    }

    /// The slot's name: half of a MAC over its content.
    pub fn slot_id(&mut self, slot: &SlotRow) -> Result<SlotId> {
        let mut columns = Columns::default();
        columns.slot(slot);
        Ok(SlotId::from_random(digest_of(&self.mac(b"slot", &columns)?)))
    }

    pub fn check_slots(&mut self, mac: &[u8; 32], slots: &[SlotRow]) -> Result<()> {
        if slots.len() <= SLOTS && openssl::equal(&self.slots_mac(slots)?, mac) {
            return Ok(());
        }
        Err(Status::KeystoreCorrupt
            .error("a root slot was added, altered or removed; restore the keystore from a backup"))
    }

    /// The digest of a tree's node.
    pub fn node_digest(&mut self, number: i64, content: &[u8]) -> Result<Digest> {
        let mut columns = Columns(Vec::with_capacity(2 * HEAD + content.len()));
        columns.number(number).bytes(content);
        Ok(digest_of(&self.mac(b"node", &columns)?))
    }

    /// What represents an alias's name in its tree.
    pub fn alias_handle(&mut self, name: &str) -> Result<Digest> {
        let mut columns = Columns::default();
        columns.bytes(name.as_bytes());
        Ok(digest_of(&self.mac(b"alias name", &columns)?))
    }

    /// The chain over a key's material rows, one row further.
    pub fn extend(&mut self, chain: &Chain, row: &MaterialRow) -> Result<Chain> {
        let mut columns = Columns::default();
        columns.bytes(chain).number(row.key_row).number(row.number).bytes(&row.version);
        columns.number(row.algorithm).number(row.created).bytes(&row.sealed);
        self.mac(b"versions", &columns)
    }

    /// A MAC of all tags of a key, in the order of names.
    pub fn tags_mac(&mut self, key_row: i64, tags: &[TagRow]) -> Result<Option<[u8; 32]>> {
        if tags.is_empty() {
            return Ok(None);
        }
        let mut columns = Columns::default();
        columns.number(key_row);
        for tag in tags {
            columns.bytes(&tag.mac);
        }
        self.mac(b"tags", &columns).map(Some)
    }

    pub(super) fn mac(&mut self, table: &[u8], columns: &Columns) -> Result<[u8; 32]> {
        let mut head = Columns(Vec::with_capacity(2 * HEAD + self.uuid.len() + table.len()));
        head.bytes(&self.uuid).bytes(table);
        fork::gate(|| self.rows.mac(&[&head.0, &columns.0]))
    }

    pub fn alias_row(&mut self, name: &str, key_row: i64, revision: i64, generation: i64) -> Result<AliasRow> {
        let mut row = AliasRow { name: name.to_owned(), key_row, revision, generation, mac: [0; 32] };
        row.mac = self.alias_mac(&row)?;
        Ok(row)
    }

    pub fn check_alias(&mut self, row: AliasRow) -> Result<AliasRow> {
        let mac = self.alias_mac(&row)?;
        if openssl::equal(&mac, &row.mac) {
            return Ok(row);
        }
        Err(Status::KeystoreCorrupt
            .error(format!("{} was altered or damaged; restore the keystore from a backup", shown(&row.name))))
    }

    fn alias_mac(&mut self, row: &AliasRow) -> Result<[u8; 32]> {
        let mut columns = Columns::default();
        columns.bytes(row.name.as_bytes()).number(row.key_row).number(row.revision).number(row.generation);
        self.mac(b"alias", &columns)
    }

    pub fn tag_row(&mut self, key_row: i64, name: &str, value: &str, generation: i64) -> Result<TagRow> {
        let (name, value) = (name.to_owned(), value.to_owned());
        let mut row = TagRow { key_row, name, value, revision: generation, generation, mac: [0; 32] };
        row.mac = self.tag_mac(&row)?;
        Ok(row)
    }

    pub fn check_tag(&mut self, row: &TagRow) -> Result<()> {
        let mac = self.tag_mac(row)?;
        if openssl::equal(&mac, &row.mac) {
            return Ok(());
        }
        Err(Status::KeystoreCorrupt.error(format!(
            "the tag \"{}\" was altered or damaged; restore the keystore from a backup",
            shown(&row.name)
        )))
    }

    fn tag_mac(&mut self, row: &TagRow) -> Result<[u8; 32]> {
        let mut columns = Columns::default();
        columns.number(row.key_row).bytes(row.name.as_bytes()).bytes(row.value.as_bytes());
        columns.number(row.revision).number(row.generation);
        self.mac(b"tag", &columns)
    }

    pub fn key_row(&mut self, stored: &Stored) -> Result<KeyRow> {
        let mut row = to_row(stored)?;
        row.mac = self.key_mac(&row)?;
        Ok(row)
    }

    pub fn check_key(&mut self, row: &KeyRow) -> Result<Stored> {
        let mac = self.key_mac(row)?;
        if !openssl::equal(&mac, &row.mac) {
            return Err(altered("metadata", &row.id));
        }
        from_row(row).ok_or_else(|| altered("metadata", &row.id))
    }

    fn key_mac(&mut self, row: &KeyRow) -> Result<[u8; 32]> {
        let mut columns = Columns::default();
        columns.number(row.row).bytes(&row.id).number(row.state).number(row.origin).number(row.creator);
        columns.bytes(row.description.as_bytes()).number(row.created).optional(row.interval_s);
        columns
            .optional(row.primary_number)
            .optional_bytes(row.primary_id.as_ref().map(|id| id.as_slice()))
            .optional(row.primary_created);
        columns.optional(row.future_noticed).optional(row.delete_date).optional(row.sighted_wall);
        columns.optional_bytes(row.sighted_boot.as_ref().map(|b| b.as_slice())).optional(row.sighted_uptime);
        columns.optional_bytes(row.protection.as_ref().map(String::as_bytes));
        columns.optional_bytes(row.import_digest.as_ref().map(|d| d.as_slice())).optional(row.import_present);
        columns.optional(row.import_expires).optional(row.expiry_sighted_wall);
        columns.optional_bytes(row.expiry_sighted_boot.as_ref().map(|b| b.as_slice()));
        columns.optional(row.expiry_sighted_uptime).optional(row.next_look);
        columns.bytes(&row.versions).optional_bytes(row.tags.as_ref().map(|t| t.as_slice()));
        columns.number(row.revision).number(row.generation);
        columns.added(&[
            row.counted_wall.map_or(Column::Null, Column::Number),
            row.waiting.as_ref().map_or(Column::Null, |w| Column::Bytes(w)),
            row.records.as_ref().map_or(Column::Null, |r| Column::Bytes(r)),
        ]);
        self.mac(b"key", &columns)
    }

    /// A row for `version` of the key in `key_row`; `material` is sealed under a fresh random nonce.
    pub fn material_row(&mut self, key: &Stored, version: &Version, material: &[u8; 32]) -> Result<MaterialRow> {
        let mut row = MaterialRow {
            key_row: key.row,
            number: signed(version.number)?,
            version: *version.id.as_bytes(),
            algorithm: ALGORITHM,
            created: version.created.millis(),
            sealed: Vec::new(),
        };
        let aad = self.material_aad(&key.key.id, &row);
        let nonce = random::array()?;
        row.sealed = fork::gate(|| self.material.seal(&aad, material, nonce))?;
        Ok(row)
    }

    pub fn open_material(&mut self, key: &Key, row: &MaterialRow) -> Result<(Version, Zeroizing<[u8; 32]>)> {
        let damaged = || altered("material", key.id.as_bytes());
        let aad = self.material_aad(&key.id, row);
        let opened = fork::gate(|| self.material.open(&aad, &row.sealed)).map_err(|e| match e.status() {
            Status::AuthenticationFailed | Status::MalformedCiphertext => damaged(),
            _ => e,
        })?;
        let mut material = Zeroizing::new([0; 32]);
        if opened.len() != material.len() || row.algorithm != ALGORITHM {
            return Err(damaged());
        }
        material.copy_from_slice(&opened);
        Ok((version(row).ok_or_else(damaged)?, material))
    }

    fn material_aad(&self, key: &KeyId, row: &MaterialRow) -> Vec<u8> {
        let mut columns = Columns::default();
        columns.bytes(&self.uuid).bytes(b"material").bytes(key.as_bytes()).number(row.key_row).number(row.number);
        columns.bytes(&row.version).number(row.algorithm).number(row.created);
        columns.0
    }
}

pub(super) fn altered(what: &str, id: &[u8; 16]) -> Error {
    let id = KeyId::from_bytes(*id);
    Status::KeystoreCorrupt.error(format!("the {what} of key {id} was altered or damaged; restore it from a backup"))
}

/// An injective encoding of a row's columns: each value carries its kind and, where it varies, its length.
pub(super) struct Columns(Vec<u8>);

/// The value of a column that a later format added.
enum Column<'a> {
    Null,
    Number(i64),
    Bytes(&'a [u8]),
}

/// Bytes of kind and length before a value.
const HEAD: usize = 9;

impl Default for Columns {
    /// With room for the columns of most rows.
    fn default() -> Self {
        Self(Vec::with_capacity(512))
    }
}

impl Columns {
    pub(super) fn number(&mut self, value: i64) -> &mut Self {
        self.0.push(b'i');
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.0.push(b'b');
        self.0.extend((value.len() as u64).to_be_bytes());
        self.0.extend(value);
        self
    }

    pub(super) fn optional(&mut self, value: Option<i64>) -> &mut Self {
        match value {
            Some(value) => self.number(value),
            None => self.null(),
        }
    }

    pub(super) fn optional_bytes(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            Some(value) => self.bytes(value),
            None => self.null(),
        }
    }

    /// The columns that later formats added to a table, in the order of the schema. Those at the end that are NULL are
    /// left out, so that the MAC of a row that has none of them is what it was in format 1.
    fn added(&mut self, values: &[Column<'_>]) -> &mut Self {
        let used = values.iter().rposition(|value| !matches!(value, Column::Null)).map_or(0, |last| last + 1);
        for value in values.iter().take(used) {
            match value {
                Column::Null => self.null(),
                Column::Number(number) => self.number(*number),
                Column::Bytes(bytes) => self.bytes(bytes),
            };
        }
        self
    }

    fn slot(&mut self, slot: &SlotRow) {
        self.number(slot.kind).bytes(&slot.parameters).bytes(&slot.wrapped).added(&[
            slot.created.map_or(Column::Null, Column::Number),
            slot.label.as_ref().map_or(Column::Null, |label| Column::Bytes(label.as_bytes())),
        ]);
    }

    fn null(&mut self) -> &mut Self {
        self.0.push(b'n');
        self
    }
}

pub fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Status::Internal.error("a version number is out of range"))
}

fn version(row: &MaterialRow) -> Option<Version> {
    Some(Version {
        id: VersionId::from_bytes(row.version),
        number: u64::try_from(row.number).ok()?,
        created: Time::from_millis(row.created),
    })
}

fn to_row(stored: &Stored) -> Result<KeyRow> {
    let key = &stored.key;
    let confirmation = key.deletion.and_then(|d| d.confirmation);
    let waiting = key.deletion.and_then(|d| d.waiting);
    let expiry = key.imported.and_then(|i| i.expiry);
    let expiry_confirmation = expiry.and_then(|e| e.confirmation);
    Ok(KeyRow {
        row: stored.row,
        id: *key.id.as_bytes(),
        state: key.state as i64,
        origin: key.origin as i64,
        creator: key.creator as i64,
        description: key.description.clone(),
        created: key.created.millis(),
        interval_s: key.policy.map(Interval::seconds),
        primary_number: key.primary.map(|p| signed(p.number)).transpose()?,
        primary_id: key.primary.map(|p| *p.id.as_bytes()),
        primary_created: key.primary.map(|p| p.created.millis()),
        future_noticed: key.future_noticed.map(Time::millis),
        delete_date: key.deletion.map(|d| d.date.millis()),
        sighted_wall: confirmation.map(|s| s.wall.millis()),
        sighted_boot: confirmation.map(|s| s.boot),
        sighted_uptime: confirmation.map(|s| s.since_boot_ms),
        protection: key.protection.clone(),
        import_digest: key.imported.map(|i| i.digest),
        import_present: key.imported.map(|i| i64::from(i.present)),
        import_expires: expiry.map(|e| e.date.millis()),
        expiry_sighted_wall: expiry_confirmation.map(|s| s.wall.millis()),
        expiry_sighted_boot: expiry_confirmation.map(|s| s.boot),
        expiry_sighted_uptime: expiry_confirmation.map(|s| s.since_boot_ms),
        next_look: stored.next_look().map(Time::millis),
        versions: stored.versions,
        tags: stored.tags,
        revision: stored.revision,
        generation: stored.generation,
        mac: [0; 32],
        counted_wall: waiting.map(|w| w.seen.wall.millis()),
        waiting: waiting.map(|w| waiting_column(&w)),
        records: stored.records_mac,
    })
}

/// The key of an authentic row, without the records of its versions; `None` for values that no version of this library writes.
fn from_row(row: &KeyRow) -> Option<Stored> {
    let number = |value: i64| i32::try_from(value).ok();
    let time = |value: Option<i64>| value.map(Time::from_millis);
    let primary = match (row.primary_number, row.primary_id, row.primary_created) {
        (Some(number), Some(id), Some(created)) => Some(Version {
            id: VersionId::from_bytes(id),
            number: u64::try_from(number).ok()?,
            created: Time::from_millis(created),
        }),
        (None, None, None) => None,
        _ => return None,
    };
    let deletion = deadline(row.delete_date, row.sighted_wall, row.sighted_boot, row.sighted_uptime)?;
    let waiting = match (row.counted_wall, row.waiting) {
        (Some(wall), Some(column)) => Some(waiting_of(Time::from_millis(wall), &column)?),
        (None, None) => None,
        _ => return None,
    };
    let deletion = match (deletion, waiting) {
        (Some(Deadline { date, confirmation }), waiting) => Some(Deletion { date, confirmation, waiting }),
        (None, None) => None,
        (None, Some(_)) => return None,
    };
    let expiry =
        deadline(row.import_expires, row.expiry_sighted_wall, row.expiry_sighted_boot, row.expiry_sighted_uptime)?;
    let imported = match (row.import_digest, row.import_present) {
        (Some(digest), Some(present)) => Some(Imported { digest, present: present != 0, expiry }),
        (None, None) => None,
        _ => return None,
    };
    let key = Key {
        id: KeyId::from_bytes(row.id),
        state: KeyState::from_number(number(row.state)?)?,
        origin: Origin::from_number(number(row.origin)?)?,
        creator: Creator::from_number(number(row.creator)?)?,
        description: row.description.clone(),
        created: Time::from_millis(row.created),
        policy: row.interval_s.map(Interval::from_seconds).transpose().ok()?,
        primary,
        future_noticed: time(row.future_noticed),
        deletion,
        protection: row.protection.clone(),
        imported,
    };
    Some(Stored {
        row: row.row,
        revision: row.revision,
        generation: row.generation,
        versions: row.versions,
        tags: row.tags,
        records_mac: row.records,
        records: Arc::default(),
        key,
    })
}

/// Period and count in milliseconds, boot, boot clock in milliseconds, latest wall time.
pub(super) fn waiting_column(waiting: &Waiting) -> [u8; 48] {
    let Waiting { period_ms, counted_ms, seen, latest } = waiting;
    let parts = [
        &period_ms.to_be_bytes(),
        &counted_ms.to_be_bytes(),
        &seen.boot[..],
        &seen.since_boot_ms.to_be_bytes(),
        &latest.millis().to_be_bytes(),
    ];
    let mut column = [0; 48];
    column.iter_mut().zip(parts.concat()).for_each(|(to, from)| *to = from);
    column
}

pub(super) fn waiting_of(wall: Time, column: &[u8; 48]) -> Option<Waiting> {
    let (period, rest) = column.split_first_chunk::<8>()?;
    let (counted, rest) = rest.split_first_chunk::<8>()?;
    let (boot, rest) = rest.split_first_chunk::<16>()?;
    let (since_boot, rest) = rest.split_first_chunk::<8>()?;
    let since_boot_ms = i64::from_be_bytes(*since_boot);
    Some(Waiting {
        period_ms: i64::from_be_bytes(*period),
        counted_ms: i64::from_be_bytes(*counted),
        seen: Now { wall, boot: *boot, since_boot_ms },
        latest: Time::from_millis(i64::from_be_bytes(*rest.first_chunk::<8>()?)),
    })
}

/// A deadline's columns; the outer `None` for a combination that is never written.
pub(super) fn deadline(
    date: Option<i64>,
    wall: Option<i64>,
    boot: Option<[u8; 16]>,
    uptime: Option<i64>,
) -> Option<Option<Deadline>> {
    let confirmation = match (wall, boot, uptime) {
        (Some(wall), Some(boot), Some(since_boot_ms)) => {
            Some(Now { wall: Time::from_millis(wall), boot, since_boot_ms })
        }
        (None, None, None) => None,
        _ => return None,
    };
    match date {
        Some(date) => Some(Some(Deadline { date: Time::from_millis(date), confirmation })),
        None if confirmation.is_none() => Some(None),
        None => None,
    }
}
