//! The rows as SQL; what is written goes out together.

use std::time::Duration;

use tokio_postgres::Row;

use super::connection::Statement;
use super::read::{self, count, index, number};
use super::value::{Cell, Value};
use super::{Known, Postgres, tables};
use crate::error::{Result, Status};
use crate::store::backend::{
    AliasRow, Backend, ChangeRow, ChangeRows, DueRow, KeyIndex, KeyRow, MaterialRow, MetaRow, News, Owned, SLOTS,
    SlotRow, TagRow, Transaction, VersionEntry, VersionRow, VersionRows, Wanted,
};
use crate::store::server_clock::ClockReading;
use crate::store::shard::{Shard, Shards};
use crate::store::state::State;
use crate::sys::{clocks, fault};

const CHANGES: &str = "SELECT generation, change_id, at_ms, boot_ms, pid, uid, program, label, action, key, version, count, status, omitted, waited_ms, mac FROM change \
     WHERE store = $1 AND generation BETWEEN $2 AND $3 ORDER BY generation LIMIT $4";

impl Postgres {
    pub(super) fn owned(&self, sql: String, values: Vec<Value>) -> Statement {
        let mut all = vec![Value::from(self.store)];
        all.extend(values);
        Statement::new(sql, all)
    }

    fn key_values(key: &KeyRow) -> Vec<Cell> {
        vec![
            key.row.into(),
            key.id.into(),
            key.state.into(),
            key.origin.into(),
            key.creator.into(),
            key.description.as_str().into(),
            key.created.into(),
            key.interval_s.into(),
            key.primary_number.into(),
            key.primary_id.into(),
            key.primary_created.into(),
            key.future_noticed.into(),
            key.delete_date.into(),
            key.sighted_wall.into(),
            key.sighted_boot.into(),
            key.sighted_uptime.into(),
            Cell::Text(key.protection.clone()),
            key.import_digest.into(),
            key.import_present.into(),
            key.import_expires.into(),
            key.expiry_sighted_wall.into(),
            key.expiry_sighted_boot.into(),
            key.expiry_sighted_uptime.into(),
            key.next_look.into(),
            key.versions.into(),
            key.tags.into(),
            key.revision.into(),
            key.generation.into(),
            key.mac.into(),
            key.counted_wall.into(),
            key.waiting.into(),
            key.records.into(),
        ]
    }

    fn first_number(row: &Row) -> Result<i64> {
        number(row, 0)
    }

    fn pair(row: &Row) -> Result<(i64, i64)> {
        Ok((number(row, 0)?, number(row, 1)?))
    }
}

/// Server-side tables need no check of their indexes: PostgreSQL maintains them.
fn column(of: KeyIndex) -> (&'static str, &'static str) {
    match of {
        KeyIndex::NextLook => ("next_look", "next_look IS NOT NULL"),
        KeyIndex::Generation => ("generation", "revision > 1"),
        KeyIndex::Newest => ("primary_created", "state = 1 AND interval_s IS NOT NULL AND future_noticed IS NULL"),
        KeyIndex::Confirmed => ("delete_date", "sighted_wall IS NOT NULL"),
        KeyIndex::ExpiryConfirmed => ("import_expires", "expiry_sighted_wall IS NOT NULL"),
        KeyIndex::Counted => ("counted_wall", "counted_wall IS NOT NULL"),
    }
}

impl ChangeRows for Postgres {
    fn insert_change(&mut self, c: &ChangeRow) -> Result<()> {
        let shard = self.shards.of_generation(c.generation).ok_or_else(read::damaged)?;
        self.proof = Some((shard, c.change_id));
        self.put(
            &tables::NEW_CHANGE,
            vec![
                c.generation.into(),
                c.change_id.into(),
                c.at_ms.into(),
                c.boot_ms.into(),
                c.pid.into(),
                c.uid.into(),
                c.program.as_str().into(),
                Cell::Text(c.label.clone()),
                c.action.as_str().into(),
                c.key.into(),
                c.version.into(),
                c.count.into(),
                c.status.into(),
                c.omitted.into(),
                c.waited_ms.into(),
                c.mac.into(),
            ],
        );
        Ok(())
    }

    fn changes_from(&mut self, shard: Shard, generation: i64, limit: usize) -> Result<Vec<ChangeRow>> {
        if let Some(found) = self.known.changes.remove(&(shard, generation, limit)) {
            return Ok(found);
        }
        let statement = self.reading_changes(shard, generation, limit);
        self.ask(vec![statement])?.pop().unwrap_or_default().iter().map(read::change).collect()
    }

    fn delete_changes(&mut self, shard: Shard, generation: i64) -> Result<usize> {
        let (first, _) = self.shards.generations(shard);
        let sql = "DELETE FROM change WHERE store = $1 AND generation BETWEEN $2 AND $3 RETURNING generation";
        self.delete_now(sql, vec![first.into(), generation.into()]).map(|rows| rows.len())
    }
}

impl Postgres {
    fn reading_changes(&self, shard: Shard, generation: i64, limit: usize) -> Statement {
        let (first, last) = self.shards.generations(shard);
        self.statement(CHANGES, vec![generation.max(first).into(), last.into(), count(limit).into()])
    }

    fn expect_changes(&mut self, wanted: &[(Shard, i64, usize)]) -> Result<()> {
        // A write transaction may add to them.
        if wanted.is_empty() || self.kind == Transaction::Write {
            return Ok(());
        }
        let all = wanted.iter().map(|(shard, generation, limit)| self.reading_changes(*shard, *generation, *limit));
        let found = self.ask(all.collect())?;
        for (of, rows) in wanted.iter().zip(found) {
            self.known.changes.insert(*of, rows.iter().map(read::change).collect::<Result<_>>()?);
        }
        Ok(())
    }
}

impl VersionRows for Postgres {
    fn has_version_rows(&self) -> bool {
        true
    }

    fn version_rows(&mut self, key_row: i64) -> Result<Vec<VersionRow>> {
        if let Some(known) = self.known.versions.get(&key_row) {
            return Ok(known.clone());
        }
        let sql = "SELECT key_row, number, state, version, created, delete_date, sighted_wall, sighted_boot, sighted_uptime, counted_wall, waiting, last_encrypt, last_decrypt, gcm_messages FROM version \
                   WHERE store = $1 AND key_row = $2 ORDER BY number";
        self.all(sql, vec![key_row.into()], read::version)
    }

    fn put_version_row(&mut self, v: &VersionRow) -> Result<()> {
        self.known.versions.remove(&v.key_row);
        self.put(
            &tables::VERSION,
            vec![
                v.key_row.into(),
                v.number.into(),
                v.state.into(),
                v.version.into(),
                v.created.into(),
                v.delete_date.into(),
                v.sighted_wall.into(),
                v.sighted_boot.into(),
                v.sighted_uptime.into(),
                v.counted_wall.into(),
                v.waiting.into(),
                v.last_encrypt.into(),
                v.last_decrypt.into(),
                v.gcm_messages.into(),
            ],
        );
        Ok(())
    }

    fn delete_version_rows(&mut self, key_row: i64) -> Result<()> {
        self.known.versions.remove(&key_row);
        self.put(&tables::VERSIONS_OF_KEY_DELETION, vec![key_row.into()]);
        Ok(())
    }

    fn next_version_owner(&mut self, key_row: i64) -> Result<Option<i64>> {
        let sql = "SELECT key_row FROM version WHERE store = $1 AND key_row > $2 ORDER BY key_row LIMIT 1";
        Ok(self.all(sql, vec![key_row.into()], Self::first_number)?.pop())
    }

    fn versions_confirmed_too_early(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        let sql = "SELECT DISTINCT key_row FROM version WHERE store = $1 AND sighted_wall IS NOT NULL \
                   AND delete_date > $2 LIMIT $3";
        self.all(sql, vec![now.into(), count(limit).into()], Self::first_number)
    }

    fn versions_counted_in_future(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        let sql = "SELECT DISTINCT key_row FROM version WHERE store = $1 AND counted_wall > $2 LIMIT $3";
        self.all(sql, vec![now.into(), count(limit).into()], Self::first_number)
    }

    fn are_version_rows_indexed(&mut self) -> Result<bool> {
        Ok(true)
    }

    fn delete_material(&mut self, key_row: i64, number: i64) -> Result<()> {
        self.known.materials.insert((key_row, number), None);
        self.known.all_materials.remove(&key_row);
        self.put(&tables::MATERIAL_DELETION, vec![key_row.into(), number.into()]);
        Ok(())
    }
}

impl Backend for Postgres {
    fn shards(&self) -> Shards {
        self.shards
    }

    fn is_outdated(&self) -> bool {
        self.place != self.lead.place()
    }

    fn lead(&mut self) {
        self.take_lead();
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn begin(&mut self, kind: Transaction, patience: Duration) -> Result<()> {
        self.start(kind, patience);
        Ok(())
    }

    fn prefetch(&mut self, wanted: Wanted<'_>) -> Result<()> {
        match wanted {
            Wanted::Shards(shards) => {
                let unknown = self.unknown(shards.to_vec());
                if unknown.is_empty() {
                    return Ok(());
                }
                let statement = self.reading(&unknown);
                let found = self.ask(vec![statement])?;
                self.learn_shards(found.first().map_or(&[], Vec::as_slice))
            }
            Wanted::Materials(wanted) => self.expect_materials(wanted),
            Wanted::Changes(wanted) => self.expect_changes(wanted),
            Wanted::Key(id) => self.expect_key(id),
            Wanted::Rows(rows) => self.expect_rows(rows),
            Wanted::WholeKeys(ids) => self.expect_whole_keys(ids),
            Wanted::WholeRows(rows) => self.expect_whole_rows(rows),
            Wanted::Aliases(wanted) => self.expect_aliases(wanted),
            Wanted::Alias { name, handle } => self.expect_alias(name, handle),
        }
    }

    fn news(&mut self) -> Result<Option<News>> {
        let sql = "SELECT shard, generation, mac, (extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM shard \
                   WHERE store = $1 ORDER BY shard";
        let (asked, mut asked_ms) = (clocks::boottime_ms(), clocks::realtime_ms());
        if fault::wanted("KMS_FAULT_HOST_CLOCK_AHEAD") {
            asked_ms += 10_000;
        }
        let statements = vec![
            self.statement(sql, Vec::new()),
            self.statement("SELECT record FROM checkpoint WHERE store = $1", Vec::new()),
        ];
        let mut found = self.ask(statements)?;
        let checkpoint = found.pop().unwrap_or_default().first().map(|row| read::blob(row, 0)).transpose()?;
        let rows = found.pop().unwrap_or_default();
        let took = clocks::boottime_ms().saturating_sub(asked);
        // A shard that is missing is found missing when its description is read.
        let state = |shard: Shard| {
            let row = rows.iter().find(|row| number(row, 0).is_ok_and(|found| found == index(shard)));
            row.map_or(Ok(State::new(i64::MIN, [0; 32])), |row| Ok(State::new(number(row, 1)?, read::bytes(row, 2)?)))
        };
        let states = self.shards.all().map(state).collect::<Result<Vec<State>>>()?;
        let clock = rows.first().map(|row| number(row, 3)).transpose()?.map(|theirs_ms| ClockReading {
            theirs_ms,
            ours_ms: asked_ms.saturating_add(took / 2),
            since_boot_ms: asked.saturating_add(took / 2),
            uncertain_ms: took / 2 + 1,
        });
        Ok(Some(News { states, clock, checkpoint }))
    }

    fn backup_record(&mut self, known: i64) -> Result<Option<(i64, Vec<u8>)>> {
        let sql = "SELECT number, record FROM backup WHERE store = $1 AND number <> $2";
        let rows = self.rows(sql, vec![known.into()])?;
        rows.first().map(|row| Ok((number(row, 0)?, read::blob(row, 1)?))).transpose()
    }

    fn put_backup_record(&mut self, number: i64, record: &[u8]) -> Result<()> {
        self.put(&tables::BACKUP_RECORD, vec![number.into(), record.into()]);
        Ok(())
    }

    fn lock_checkpoint(&mut self) -> Result<Option<Vec<u8>>> {
        let rows = self.rows("SELECT record FROM checkpoint WHERE store = $1 FOR UPDATE", Vec::new())?;
        rows.first().map(|row| read::blob(row, 0)).transpose()
    }

    fn put_checkpoint(&mut self, number: i64, record: &[u8]) -> Result<()> {
        let sql = "INSERT INTO checkpoint(store, number, record) VALUES($1, $2, $3) ON CONFLICT(store) DO UPDATE SET \
                   number = excluded.number, record = excluded.record WHERE checkpoint.number < excluded.number";
        self.change("checkpoint", sql, vec![number.into(), record.into()]);
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.finish()
    }

    fn rollback(&mut self) {
        self.end();
    }

    fn forget(&mut self) -> Result<()> {
        // The shards are locked, or of one snapshot, for as long as the transaction lasts.
        let Known { shards, locked, .. } = std::mem::take(&mut self.known);
        self.known = Known { shards, locked, ..Known::default() };
        Ok(())
    }

    fn check_pages_owned(&mut self) -> Result<()> {
        Ok(())
    }

    fn check_nothing_else(&mut self) -> Result<()> {
        Ok(())
    }

    fn meta(&mut self, shard: Shard) -> Result<MetaRow> {
        if !self.known.shards.contains_key(&shard) {
            let unknown = self.unknown(vec![shard]);
            let statement = self.reading(&unknown);
            let found = self.ask(vec![statement])?;
            self.learn_shards(found.first().map_or(&[], Vec::as_slice))?;
        }
        self.known.shards.get(&shard).cloned().ok_or_else(|| {
            Status::KeystoreCorrupt.error("the keystore is damaged: a shard is gone; restore it from a backup")
        })
    }

    fn put_meta(&mut self, shard: Shard, m: &MetaRow) -> Result<()> {
        self.known.shards.insert(shard, m.clone());
        let optional = |bytes: &Option<Vec<u8>>| Cell::Bytes(bytes.clone());
        let kind = if self.making.is_some() { &tables::NEW_SHARD } else { &tables::SHARD_UPDATE };
        self.put(
            kind,
            vec![
                index(shard).into(),
                m.uuid.into(),
                m.generation.into(),
                m.destroyed.into(),
                m.renamed.into(),
                m.last_row.into(),
                m.keys.as_slice().into(),
                m.ids.as_slice().into(),
                m.aliases.as_slice().into(),
                m.slots.into(),
                m.mac.into(),
                optional(&m.recent),
                optional(&m.place),
                optional(&m.log),
            ],
        );
        Ok(())
    }

    fn slots(&mut self) -> Result<Vec<SlotRow>> {
        let sql =
            "SELECT id, kind, parameters, wrapped, created, label FROM slot WHERE store = $1 ORDER BY id LIMIT $2";
        self.all(sql, vec![count(SLOTS + 1).into()], read::slot)
    }

    fn insert_slot(&mut self, s: &SlotRow) -> Result<()> {
        // The first shard is locked, so no other slot gets this number.
        let sql = "INSERT INTO slot(store, id, kind, parameters, wrapped, created, label) \
                   SELECT $1, coalesce(max(id), 0) + 1, $2, $3, $4, $5, $6 FROM slot WHERE store = $1";
        let values = vec![
            s.kind.into(),
            s.parameters.as_slice().into(),
            s.wrapped.as_slice().into(),
            s.created.into(),
            Cell::Text(s.label.clone()).into(),
        ];
        self.change("slot", sql, values);
        Ok(())
    }

    fn delete_slot(&mut self, row: i64) -> Result<()> {
        self.put(&tables::SLOT_DELETION, vec![row.into()]);
        Ok(())
    }

    fn delete_slots(&mut self) -> Result<()> {
        self.put(&tables::SLOTS_DELETION, Vec::new());
        Ok(())
    }

    fn node(&mut self, number: i64) -> Result<Option<Vec<u8>>> {
        if let Some(known) = self.known.nodes.get(&number) {
            return Ok(known.clone());
        }
        let sql = "SELECT content FROM node WHERE store = $1 AND number = $2";
        Ok(self.all(sql, vec![number.into()], |row| read::blob(row, 0))?.pop())
    }

    fn nodes_after(&mut self, number: i64, limit: usize) -> Result<Vec<i64>> {
        let sql = "SELECT number FROM node WHERE store = $1 AND number > $2 ORDER BY number LIMIT $3";
        self.all(sql, vec![number.into(), count(limit).into()], Self::first_number)
    }

    fn put_node(&mut self, number: i64, content: &[u8]) -> Result<()> {
        self.known.nodes.insert(number, Some(content.to_vec()));
        self.put(&tables::NODE, vec![number.into(), content.into()]);
        Ok(())
    }

    fn delete_node(&mut self, number: i64) -> Result<()> {
        self.known.nodes.insert(number, None);
        self.put(&tables::NODE_DELETION, vec![number.into()]);
        Ok(())
    }

    fn key_by_row(&mut self, row: i64) -> Result<Option<KeyRow>> {
        if !self.known.keys.contains_key(&row) {
            self.expect_rows(&[row])?;
        }
        Ok(self.known.keys.get(&row).cloned().flatten())
    }

    fn rows_after(&mut self, row: i64, limit: usize) -> Result<Vec<i64>> {
        let sql = "SELECT key_row FROM key WHERE store = $1 AND key_row > $2 ORDER BY key_row LIMIT $3";
        self.all(sql, vec![row.into(), count(limit).into()], Self::first_number)
    }

    fn newest_after(&mut self, row: i64, limit: usize) -> Result<Vec<(i64, [u8; 16])>> {
        let sql = "SELECT key_row, primary_id FROM key WHERE store = $1 AND key_row > $2 AND primary_id IS NOT NULL \
                   ORDER BY key_row LIMIT $3";
        self.all(sql, vec![row.into(), count(limit).into()], |row| Ok((number(row, 0)?, read::bytes(row, 1)?)))
    }

    fn is_indexed(&mut self, _: &KeyRow) -> Result<bool> {
        Ok(true)
    }

    fn index_after(&mut self, of: KeyIndex, after: (i64, i64), limit: usize) -> Result<Vec<(i64, i64)>> {
        let (column, condition) = column(of);
        let sql = format!(
            "SELECT {column}, key_row FROM key WHERE store = $1 AND {condition} AND ({column}, key_row) > ($2, $3) \
             ORDER BY {column}, key_row LIMIT $4"
        );
        let statement = self.owned(sql, vec![after.0.into(), after.1.into(), count(limit).into()]);
        self.ask(vec![statement])?.iter().flatten().map(Self::pair).collect()
    }

    fn insert_key(&mut self, key: &KeyRow) -> Result<()> {
        self.known.absent.remove(&key.id);
        self.known.keys.insert(key.row, Some(key.clone()));
        self.put(&tables::NEW_KEY, Self::key_values(key));
        Ok(())
    }

    fn update_key(&mut self, key: &KeyRow) -> Result<()> {
        self.known.keys.insert(key.row, Some(key.clone()));
        self.put(&tables::KEY_UPDATE, Self::key_values(key));
        Ok(())
    }

    fn delete_key(&mut self, row: i64) -> Result<()> {
        self.known.keys.insert(row, None);
        self.put(&tables::KEY_DELETION, vec![row.into()]);
        Ok(())
    }

    fn due(&mut self, shard: Shard, until: i64, after: Option<DueRow>, limit: usize) -> Result<Vec<DueRow>> {
        let after = after.unwrap_or(DueRow { next_look: i64::MIN, row: i64::MIN });
        let sql = "SELECT next_look, key_row FROM key WHERE store = $1 AND next_look <= $2 \
                   AND (next_look, key_row) > ($3, $4) AND key_row >> 32 = $5 ORDER BY next_look, key_row LIMIT $6";
        let values =
            vec![until.into(), after.next_look.into(), after.row.into(), index(shard).into(), count(limit).into()];
        self.all(sql, values, |row| Ok(DueRow { next_look: number(row, 0)?, row: number(row, 1)? }))
    }

    fn claim_due(&mut self, until: i64, done: &[Shard]) -> Result<Option<Shard>> {
        let sql = "SELECT s.shard FROM shard s WHERE s.store = $1 AND s.shard <> ALL($3) AND EXISTS(SELECT 1 FROM key k \
                   WHERE k.store = $1 AND k.key_row >> 32 = s.shard AND k.next_look <= $2) \
                   LIMIT 1 FOR UPDATE SKIP LOCKED";
        let done = Value::numbers(done.iter().map(|shard| index(*shard)));
        let claimed = self.all(sql, vec![until.into(), done], Self::first_number)?.pop();
        Ok(claimed.and_then(|claimed| self.shards.all().find(|shard| index(*shard) == claimed)))
    }

    fn next_look_after(&mut self, now: i64) -> Result<Option<i64>> {
        let sql = "SELECT next_look FROM key WHERE store = $1 AND next_look > $2 ORDER BY next_look LIMIT 1";
        Ok(self.all(sql, vec![now.into()], Self::first_number)?.pop())
    }

    fn created_in_future(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        let sql = "SELECT key_row FROM key WHERE store = $1 AND state = 1 AND interval_s IS NOT NULL \
                   AND future_noticed IS NULL AND primary_created > $2 LIMIT $3";
        self.all(sql, vec![now.into(), count(limit).into()], Self::first_number)
    }

    fn confirmed_too_early(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        let sql = "SELECT key_row FROM key WHERE store = $1 AND sighted_wall IS NOT NULL AND delete_date > $2 \
                   UNION ALL SELECT key_row FROM key WHERE store = $1 AND expiry_sighted_wall IS NOT NULL \
                   AND import_expires > $2 LIMIT $3";
        self.all(sql, vec![now.into(), count(limit).into()], Self::first_number)
    }

    fn counted_in_future(&mut self, now: i64, limit: usize) -> Result<Vec<i64>> {
        let sql = "SELECT key_row FROM key WHERE store = $1 AND counted_wall > $2 ORDER BY counted_wall LIMIT $3";
        self.all(sql, vec![now.into(), count(limit).into()], Self::first_number)
    }

    fn changed_since(&mut self, shard: Shard, generation: i64, limit: usize) -> Result<Vec<[u8; 16]>> {
        let (_, last) = self.shards.generations(shard);
        let sql =
            "SELECT id FROM key WHERE store = $1 AND revision > 1 AND generation > $2 AND generation <= $3 LIMIT $4";
        self.all(sql, vec![generation.into(), last.into(), count(limit).into()], |row| read::bytes(row, 0))
    }

    fn insert_material(&mut self, m: &MaterialRow) -> Result<()> {
        // What is promoted is read back from the server.
        self.known.materials.remove(&(m.key_row, m.number));
        self.known.all_materials.remove(&m.key_row);
        let values = vec![
            m.key_row.into(),
            m.number.into(),
            m.version.into(),
            m.algorithm.into(),
            m.created.into(),
            m.sealed.as_slice().into(),
        ];
        self.put(&tables::NEW_MATERIAL, values);
        Ok(())
    }

    fn material(&mut self, key_row: i64, version: &[u8; 16]) -> Result<Option<MaterialRow>> {
        let sql = "SELECT key_row, number, version, algorithm, created, sealed FROM material \
                   WHERE store = $1 AND key_row = $2 AND version = $3";
        Ok(self.all(sql, vec![key_row.into(), (*version).into()], read::material)?.pop())
    }

    fn material_at(&mut self, key_row: i64, number: i64) -> Result<Option<MaterialRow>> {
        if let Some(known) = self.known.materials.get(&(key_row, number)) {
            return Ok(known.clone());
        }
        let sql = "SELECT key_row, number, version, algorithm, created, sealed FROM material \
                   WHERE store = $1 AND key_row = $2 AND number = $3";
        Ok(self.all(sql, vec![key_row.into(), number.into()], read::material)?.pop())
    }

    fn version_index_after(&mut self, _: &VersionEntry, _: usize) -> Result<Vec<VersionEntry>> {
        Ok(Vec::new())
    }

    fn materials_after(&mut self, key_row: i64, number: i64, limit: usize) -> Result<Vec<MaterialRow>> {
        if let Some(known) = self.known.all_materials.get(&key_row) {
            return Ok(known.iter().filter(|row| row.number > number).take(limit).cloned().collect());
        }
        let sql = "SELECT key_row, number, version, algorithm, created, sealed FROM material \
                   WHERE store = $1 AND key_row = $2 AND number > $3 ORDER BY number LIMIT $4";
        self.all(sql, vec![key_row.into(), number.into(), count(limit).into()], read::material)
    }

    fn materials_before(&mut self, key_row: i64, number: Option<i64>, limit: usize) -> Result<Vec<MaterialRow>> {
        let sql = "SELECT key_row, number, version, algorithm, created, sealed FROM material \
                   WHERE store = $1 AND key_row = $2 AND number < $3 ORDER BY number DESC LIMIT $4";
        let before = number.unwrap_or(i64::MAX);
        self.all(sql, vec![key_row.into(), before.into(), count(limit).into()], read::material)
    }

    fn delete_materials(&mut self, key_row: i64) -> Result<Vec<i64>> {
        self.known.materials.retain(|(row, _), _| *row != key_row);
        self.known.all_materials.remove(&key_row);
        let sql = "DELETE FROM material WHERE store = $1 AND key_row = $2 RETURNING number";
        self.delete_now(sql, vec![key_row.into()])?.iter().map(Self::first_number).collect()
    }

    fn next_owner(&mut self, of: Owned, key_row: i64) -> Result<Option<i64>> {
        let sql = match of {
            Owned::Version => return self.next_version_owner(key_row),
            Owned::Material => {
                "SELECT key_row FROM material WHERE store = $1 AND key_row > $2 ORDER BY key_row LIMIT 1"
            }
            Owned::Tag => "SELECT key_row FROM tag WHERE store = $1 AND key_row > $2 ORDER BY key_row LIMIT 1",
        };
        Ok(self.all(sql, vec![key_row.into()], Self::first_number)?.pop())
    }

    fn alias(&mut self, name: &str) -> Result<Option<AliasRow>> {
        if let Some(known) = self.known.aliases.get(name) {
            return Ok(known.clone());
        }
        let sql = "SELECT name, key_row, revision, generation, mac FROM alias WHERE store = $1 AND name = $2";
        Ok(self.all(sql, vec![name.into()], read::alias)?.pop())
    }

    fn aliases_after(&mut self, key_row: Option<i64>, name: Option<&str>, limit: usize) -> Result<Vec<AliasRow>> {
        let sql = "SELECT name, key_row, revision, generation, mac FROM alias \
                   WHERE store = $1 AND ($2::bigint IS NULL OR key_row = $2) AND name > $3 ORDER BY name LIMIT $4";
        self.all(sql, vec![key_row.into(), name.unwrap_or_default().into(), count(limit).into()], read::alias)
    }

    fn alias_names_after(&mut self, name: &str, limit: usize) -> Result<Vec<Option<String>>> {
        let sql = "SELECT name FROM alias WHERE store = $1 AND name > $2 ORDER BY name LIMIT $3";
        self.all(sql, vec![name.into(), count(limit).into()], |row| read::text(row, 0).map(Some))
    }

    fn is_alias_indexed(&mut self, _: &AliasRow) -> Result<bool> {
        Ok(true)
    }

    fn alias_index_after(&mut self, _: &(i64, String), _: usize) -> Result<Vec<(i64, String)>> {
        Ok(Vec::new())
    }

    fn put_alias(&mut self, a: &AliasRow) -> Result<()> {
        self.known.aliases.insert(a.name.clone(), Some(a.clone()));
        let values =
            vec![a.name.as_str().into(), a.key_row.into(), a.revision.into(), a.generation.into(), a.mac.into()];
        self.put(&tables::ALIAS, values);
        Ok(())
    }

    fn delete_alias(&mut self, name: &str) -> Result<()> {
        self.known.aliases.insert(name.to_owned(), None);
        self.put(&tables::ALIAS_DELETION, vec![name.into()]);
        Ok(())
    }

    fn tags(&mut self, key_row: i64) -> Result<Vec<TagRow>> {
        if let Some(known) = self.known.tags.get(&key_row) {
            return Ok(known.clone());
        }
        let sql = "SELECT key_row, name, value, revision, generation, mac FROM tag \
                   WHERE store = $1 AND key_row = $2 ORDER BY name";
        self.all(sql, vec![key_row.into()], read::tag)
    }

    fn put_tag(&mut self, t: &TagRow) -> Result<()> {
        self.known.tags.remove(&t.key_row);
        let values = vec![
            t.key_row.into(),
            t.name.as_str().into(),
            t.value.as_str().into(),
            t.revision.into(),
            t.generation.into(),
            t.mac.into(),
        ];
        self.put(&tables::TAG, values);
        Ok(())
    }

    fn delete_tag(&mut self, key_row: i64, name: &str) -> Result<()> {
        self.known.tags.remove(&key_row);
        self.put(&tables::TAG_DELETION, vec![key_row.into(), name.into()]);
        Ok(())
    }

    fn delete_tags_of(&mut self, key_row: i64) -> Result<()> {
        self.known.tags.remove(&key_row);
        self.put(&tables::TAGS_OF_KEY_DELETION, vec![key_row.into()]);
        Ok(())
    }
}
