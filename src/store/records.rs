//! The records of key versions: rows that change, under one MAC in the row of their key; versions that are destroyed.
//!
//! A version has a row only once something differs from a version that was only created, so keys that never change cost
//! nothing. The key's row holds a MAC over all columns of all its versions' rows: one that was edited, replaced by an older
//! copy, removed or doubled is an error when the key is read.

use std::sync::Arc;

use super::backend::{MaterialRow, VersionRow};
use super::change::Change;
use super::sealing::{Columns, NO_VERSIONS, Sealing, Stored, altered, deadline, signed, waiting_column, waiting_of};
use super::unchecked::unchecked;
use super::view::{PAGE, View, versions_altered};
use crate::domain::deadline::Deadline;
use crate::domain::deletion::Deletion;
use crate::domain::id::{KeyId, VersionId};
use crate::domain::time::{Now, Time};
use crate::domain::version::{Version, VersionRecord, VersionRecords, VersionState};
use crate::error::{Error, Result, Status};
use crate::sys::memory;

impl Sealing {
    /// A MAC over the rows of a key's versions; none where there are none.
    fn records_mac(
        &mut self,
        key_row: i64,
        rows: impl Iterator<Item = Result<VersionRow>>,
    ) -> Result<Option<[u8; 32]>> {
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            return Ok(None);
        }
        let mut columns = Columns::default();
        columns.number(key_row);
        for row in rows {
            let row = row?;
            columns.number(row.number).number(row.state);
            columns.optional_bytes(row.version.as_ref().map(|id| id.as_slice())).optional(row.created);
            columns.optional(row.delete_date).optional(row.sighted_wall);
            columns.optional_bytes(row.sighted_boot.as_ref().map(|boot| boot.as_slice())).optional(row.sighted_uptime);
            columns.optional(row.counted_wall).optional_bytes(row.waiting.as_ref().map(|w| w.as_slice()));
            columns.optional(row.last_encrypt).optional(row.last_decrypt).optional(row.gcm_messages);
        }
        self.mac(b"version", &columns).map(Some)
    }
}

impl View<'_> {
    /// The records of a key's versions, read once for each state of them: a MAC that is known covers what is known by it.
    pub(super) fn known_records(&mut self, key: &Stored) -> Result<Arc<VersionRecords>> {
        let Some(mac) = key.records_mac else { return Ok(Arc::default()) };
        if let Some(known) = self.kept.versions.records(&mac) {
            return Ok(known);
        }
        let read = Arc::new(self.records(key)?);
        self.kept.versions.keep_records(mac, &read);
        Ok(read)
    }

    /// The records of a key's versions, which must be exactly those that the key's row covers.
    pub(super) fn records(&mut self, key: &Stored) -> Result<VersionRecords> {
        let rows = self.rows.backend.version_rows(key.row)?;
        let mac = self.rows.sealing.records_mac(key.row, rows.iter().map(|row| Ok(*row)))?;
        if mac != key.records_mac && !unchecked() {
            return Err(records_altered(&key.key.id));
        }
        let records = rows.iter().map(from_row).collect::<Option<Vec<_>>>().and_then(VersionRecords::in_order);
        records.ok_or_else(|| altered("record of a version", key.key.id.as_bytes()))
    }

    /// The version of this number, which has material.
    pub fn version_at(&mut self, key: &Stored, number: u64) -> Result<Version> {
        match self.rows.backend.material_at(key.row, signed(number)?)? {
            Some(row) => self.rows.sealing.open_material(&key.key, &row).map(|(version, _)| version),
            None => Err(versions_altered(&key.key.id)),
        }
    }

    /// Keys with a version whose stored dates contradict a clock that shows `now`.
    pub(super) fn contradicted_versions(&mut self, now: &Now, limit: usize) -> Result<Vec<i64>> {
        let wall = now.wall.millis();
        let mut rows = self.rows.backend.versions_confirmed_too_early(wall, limit)?;
        for row in self.rows.backend.versions_counted_in_future(wall, limit)? {
            match self.key_in_row(row) {
                Ok(Some(stored)) => {
                    let mut deletions = stored.records.all().iter().filter_map(|record| record.deletion);
                    if deletions.any(|deletion| deletion.counts(now)) {
                        rows.push(row);
                    }
                }
                Ok(None) => {}
                // Reported when it is due.
                Err(error) if error.status() == Status::KeystoreCorrupt => {}
                Err(error) => return Err(error),
            }
        }
        Ok(rows)
    }

    /// Adds the destroyed versions to a page of those that have material, newest first.
    pub(super) fn with_tombstones(
        key: &Stored,
        before: Option<u64>,
        limit: usize,
        mut page: Vec<Version>,
    ) -> Vec<Version> {
        let above = if page.len() < limit { 0 } else { page.last().map_or(0, |last| last.number) };
        let is_meant = |v: &Version| v.number > above && before.is_none_or(|before| v.number < before);
        page.extend(key.records.tombstones().rev().filter(is_meant).take(limit));
        page.sort_unstable_by_key(|version| std::cmp::Reverse(version.number));
        page.truncate(limit);
        page
    }
}

impl Change<'_> {
    /// Stores records of a key's versions. [`Change::update`] must follow, which stores the MAC over them.
    pub fn put_records(&mut self, stored: &mut Stored, records: &[VersionRecord]) -> Result<()> {
        self.touch(self.shard_of(stored))?;
        let row = stored.row;
        let all = Arc::make_mut(&mut stored.records);
        for record in records {
            all.put(*record);
            self.rows.backend.put_version_row(&to_row(row, record)?)?;
        }
        stored.records_mac =
            self.view.rows.sealing.records_mac(row, all.all().iter().map(|record| to_row(row, record)))?;
        if let Some(mac) = stored.records_mac {
            self.view.kept.versions.keep_records(mac, &stored.records);
        }
        Ok(())
    }

    /// Removes the material of versions, none of which is the primary, and puts tombstones in their place; SQLite overwrites
    /// the freed bytes (secure_delete). [`Change::update`] must follow. `numbers` are in order.
    ///
    /// The chain over the key's material rows is made again without them, once all rows were seen to be those of the old one.
    pub fn destroy_versions(&mut self, stored: &mut Stored, numbers: &[u64]) -> Result<Vec<Version>> {
        let (mut old, mut new, mut last) = (NO_VERSIONS, NO_VERSIONS, 0);
        let mut gone = memory::list(numbers.len())?;
        let mut records = memory::list(numbers.len())?;
        loop {
            let page = self.rows.backend.materials_after(stored.row, last, PAGE)?;
            let is_full = page.len() == PAGE;
            for row in page {
                if row.number <= last {
                    return Err(versions_altered(&stored.key.id));
                }
                last = row.number;
                old = self.rows.sealing.extend(&old, &row)?;
                match u64::try_from(row.number).is_ok_and(|number| numbers.binary_search(&number).is_ok()) {
                    true => {
                        let version = self.delete_version(stored, &row)?;
                        records.push(stored.records.of(version.number).destroyed(version));
                        gone.push(version);
                    }
                    false => new = self.rows.sealing.extend(&new, &row)?,
                }
            }
            if !is_full {
                break;
            }
        }
        if (old != stored.versions || gone.len() != numbers.len()) && !unchecked() {
            return Err(versions_altered(&stored.key.id));
        }
        stored.versions = new;
        self.put_records(stored, &records)?;
        self.note_destruction(stored)?;
        Ok(gone)
    }

    fn delete_version(&mut self, stored: &Stored, row: &MaterialRow) -> Result<Version> {
        // Opening authenticates the columns that the tombstone keeps.
        let (version, _) = self.rows.sealing.open_material(&stored.key, row)?;
        if stored.key.primary.is_some_and(|primary| primary.id == version.id) {
            return Err(Status::Internal.error("the primary version of a key was to be destroyed"));
        }
        self.rows.backend.delete_material(stored.row, row.number)?;
        Ok(version)
    }
}

fn to_row(key_row: i64, record: &VersionRecord) -> Result<VersionRow> {
    let confirmation = record.deletion.and_then(|deletion| deletion.confirmation);
    let waiting = record.deletion.and_then(|deletion| deletion.waiting);
    Ok(VersionRow {
        key_row,
        number: signed(record.number)?,
        state: record.state as i64,
        version: record.tombstone.map(|version| *version.id.as_bytes()),
        created: record.tombstone.map(|version| version.created.millis()),
        delete_date: record.deletion.map(|deletion| deletion.date.millis()),
        sighted_wall: confirmation.map(|first| first.wall.millis()),
        sighted_boot: confirmation.map(|first| first.boot),
        sighted_uptime: confirmation.map(|first| first.since_boot_ms),
        counted_wall: waiting.map(|waiting| waiting.seen.wall.millis()),
        waiting: waiting.map(|waiting| waiting_column(&waiting)),
        last_encrypt: record.last_encrypt.map(Time::millis),
        last_decrypt: record.last_decrypt.map(Time::millis),
        gcm_messages: (record.gcm_messages > 0).then(|| signed(record.gcm_messages)).transpose()?,
    })
}

/// None for a combination that is never written.
fn from_row(row: &VersionRow) -> Option<VersionRecord> {
    let number = u64::try_from(row.number).ok()?;
    let waiting = match (row.counted_wall, row.waiting) {
        (Some(wall), Some(column)) => Some(waiting_of(Time::from_millis(wall), &column)?),
        (None, None) => None,
        _ => return None,
    };
    let deadline = deadline(row.delete_date, row.sighted_wall, row.sighted_boot, row.sighted_uptime)?;
    let deletion = match (deadline, waiting) {
        (Some(Deadline { date, confirmation }), Some(_)) => Some(Deletion { date, confirmation, waiting }),
        (None, None) => None,
        _ => return None,
    };
    let tombstone = match (row.version, row.created) {
        (Some(id), Some(created)) => {
            Some(Version { id: VersionId::from_bytes(id), number, created: Time::from_millis(created) })
        }
        (None, None) => None,
        _ => return None,
    };
    let record = VersionRecord {
        number,
        state: VersionState::from_number(i32::try_from(row.state).ok()?)?,
        deletion,
        tombstone,
        last_encrypt: row.last_encrypt.map(Time::from_millis),
        last_decrypt: row.last_decrypt.map(Time::from_millis),
        gcm_messages: row.gcm_messages.map_or(Some(0), |count| u64::try_from(count).ok())?,
    };
    record.is_sound().then_some(record)
}

pub(super) fn records_altered(id: &KeyId) -> Error {
    Status::KeystoreCorrupt.error(format!(
        "the records of versions of key {id} were altered, removed or put back; restore the keystore from a backup"
    ))
}
