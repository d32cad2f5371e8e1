//! Reads the columns of the server's rows. A value of an impossible form becomes one that fits no MAC.

use tokio_postgres::Row;

use crate::error::{Error, Result, Status};
use crate::store::backend::{AliasRow, ChangeRow, KeyRow, MaterialRow, MetaRow, SlotRow, TagRow, VersionRow};
use crate::store::shard::{Shard, Shards};

pub const KEY: &str = "key_row, id, state, origin, creator, description, created, interval_s, primary_number, primary_id, \
     primary_created, future_noticed, delete_date, sighted_wall, sighted_boot, sighted_uptime, protection, import_digest, \
     import_present, import_expires, expiry_sighted_wall, expiry_sighted_boot, expiry_sighted_uptime, next_look, versions, \
     tags, revision, generation, mac, counted_wall, waiting, records";

pub fn damaged() -> Error {
    Status::KeystoreCorrupt.error("the keystore is damaged: unexpected data; restore it from a backup")
}

pub fn index(shard: Shard) -> i64 {
    i64::try_from(shard.index()).unwrap_or(0)
}

pub fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The shard that a row of `shard` describes.
pub fn shard(row: &Row, of: Shards) -> Result<Shard> {
    let found = number(row, 0)?;
    of.all().find(|known| index(*known) == found).ok_or_else(damaged)
}

pub fn number(row: &Row, at: usize) -> Result<i64> {
    row.try_get(at).map_err(|_| damaged())
}

pub fn optional(row: &Row, at: usize) -> Result<Option<i64>> {
    row.try_get(at).map_err(|_| damaged())
}

pub fn text(row: &Row, at: usize) -> Result<String> {
    row.try_get(at).map_err(|_| damaged())
}

pub fn optional_text(row: &Row, at: usize) -> Result<Option<String>> {
    row.try_get(at).map_err(|_| damaged())
}

pub fn blob(row: &Row, at: usize) -> Result<Vec<u8>> {
    row.try_get(at).map_err(|_| damaged())
}

pub fn optional_blob(row: &Row, at: usize) -> Result<Option<Vec<u8>>> {
    row.try_get(at).map_err(|_| damaged())
}

/// Bytes of a fixed length; others come out as zeros.
pub fn bytes<const N: usize>(row: &Row, at: usize) -> Result<[u8; N]> {
    Ok(optional_bytes(row, at)?.unwrap_or([0; N]))
}

pub fn optional_bytes<const N: usize>(row: &Row, at: usize) -> Result<Option<[u8; N]>> {
    let found: Option<&[u8]> = row.try_get(at).map_err(|_| damaged())?;
    Ok(found.map(|bytes| bytes.try_into().unwrap_or([0; N])))
}

/// From the columns of `shard` after `shard` itself.
pub fn meta(row: &Row) -> Result<MetaRow> {
    Ok(MetaRow {
        uuid: bytes(row, 1)?,
        generation: number(row, 2)?,
        destroyed: number(row, 3)?,
        renamed: number(row, 4)?,
        last_row: number(row, 5)?,
        keys: blob(row, 6)?,
        ids: blob(row, 7)?,
        aliases: blob(row, 8)?,
        slots: bytes(row, 9)?,
        mac: bytes(row, 10)?,
        recent: optional_blob(row, 11)?,
        place: optional_blob(row, 12)?,
        log: optional_blob(row, 13)?,
    })
}

pub fn slot(row: &Row) -> Result<SlotRow> {
    Ok(SlotRow {
        row: number(row, 0)?,
        kind: number(row, 1)?,
        parameters: blob(row, 2)?,
        wrapped: blob(row, 3)?,
        created: optional(row, 4)?,
        label: optional_text(row, 5)?,
    })
}

pub fn key(row: &Row) -> Result<KeyRow> {
    Ok(KeyRow {
        row: number(row, 0)?,
        id: bytes(row, 1)?,
        state: number(row, 2)?,
        origin: number(row, 3)?,
        creator: number(row, 4)?,
        description: text(row, 5)?,
        created: number(row, 6)?,
        interval_s: optional(row, 7)?,
        primary_number: optional(row, 8)?,
        primary_id: optional_bytes(row, 9)?,
        primary_created: optional(row, 10)?,
        future_noticed: optional(row, 11)?,
        delete_date: optional(row, 12)?,
        sighted_wall: optional(row, 13)?,
        sighted_boot: optional_bytes(row, 14)?,
        sighted_uptime: optional(row, 15)?,
        protection: optional_text(row, 16)?,
        import_digest: optional_bytes(row, 17)?,
        import_present: optional(row, 18)?,
        import_expires: optional(row, 19)?,
        expiry_sighted_wall: optional(row, 20)?,
        expiry_sighted_boot: optional_bytes(row, 21)?,
        expiry_sighted_uptime: optional(row, 22)?,
        next_look: optional(row, 23)?,
        versions: bytes(row, 24)?,
        tags: optional_bytes(row, 25)?,
        revision: number(row, 26)?,
        generation: number(row, 27)?,
        mac: bytes(row, 28)?,
        counted_wall: optional(row, 29)?,
        waiting: optional_bytes(row, 30)?,
        records: optional_bytes(row, 31)?,
    })
}

pub fn material(row: &Row) -> Result<MaterialRow> {
    Ok(MaterialRow {
        key_row: number(row, 0)?,
        number: number(row, 1)?,
        version: bytes(row, 2)?,
        algorithm: number(row, 3)?,
        created: number(row, 4)?,
        sealed: blob(row, 5)?,
    })
}

pub fn version(row: &Row) -> Result<VersionRow> {
    Ok(VersionRow {
        key_row: number(row, 0)?,
        number: number(row, 1)?,
        state: number(row, 2)?,
        version: optional_bytes(row, 3)?,
        created: optional(row, 4)?,
        delete_date: optional(row, 5)?,
        sighted_wall: optional(row, 6)?,
        sighted_boot: optional_bytes(row, 7)?,
        sighted_uptime: optional(row, 8)?,
        counted_wall: optional(row, 9)?,
        waiting: optional_bytes(row, 10)?,
        last_encrypt: optional(row, 11)?,
        last_decrypt: optional(row, 12)?,
        gcm_messages: optional(row, 13)?,
    })
}

pub fn alias(row: &Row) -> Result<AliasRow> {
    Ok(AliasRow {
        name: text(row, 0)?,
        key_row: number(row, 1)?,
        revision: number(row, 2)?,
        generation: number(row, 3)?,
        mac: bytes(row, 4)?,
    })
}

pub fn tag(row: &Row) -> Result<TagRow> {
    Ok(TagRow {
        key_row: number(row, 0)?,
        name: text(row, 1)?,
        value: text(row, 2)?,
        revision: number(row, 3)?,
        generation: number(row, 4)?,
        mac: bytes(row, 5)?,
    })
}

pub fn change(row: &Row) -> Result<ChangeRow> {
    Ok(ChangeRow {
        generation: number(row, 0)?,
        change_id: bytes(row, 1)?,
        at_ms: number(row, 2)?,
        boot_ms: number(row, 3)?,
        pid: number(row, 4)?,
        uid: number(row, 5)?,
        program: text(row, 6)?,
        label: optional_text(row, 7)?,
        action: text(row, 8)?,
        key: optional_bytes(row, 9)?,
        version: optional_bytes(row, 10)?,
        count: number(row, 11)?,
        status: number(row, 12)?,
        omitted: number(row, 13)?,
        waited_ms: optional(row, 14)?,
        mac: bytes(row, 15)?,
    })
}
