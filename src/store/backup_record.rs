//! Which backups were made: `KEYSTORE-backups`, a text file next to the keystore. A database has the text in a row.
//!
//! A line each, oldest first: when it was made and verified in Unix milliseconds, its generation, the beginnings of the ids
//! of each key's newest version, its path. Ids are random, so the list also holds after an older backup was restored. The
//! file is replaced as a whole, under its lock (flock). It protects nothing: who may write it could damage the keystore too.

use std::fmt::Write;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::backend::{Backend, Transaction};
use super::connection::gated;
use super::handle::Store;
use super::leftover;
use super::shard::Shard;
use super::versions::{IdPrefix, start};
use crate::domain::id::VersionId;
use crate::domain::time::Time;
use crate::error::{Result, Status, shown_path};
use crate::sys::file::{self, File, FileId};
use crate::sys::{fault, fork, memory};

/// The number of no record.
const NONE: i64 = i64::MIN;
const HEADER: &str = "libkms backups 1";
/// How many backups are recorded.
const MOST: usize = 16;
/// Above this many versions in all, only the two newest backups keep their lists; each holds what the older ones have.
const MOST_VERSIONS: usize = 1 << 16;
/// A larger file is not a record. It has room for the lists of two backups of 4 million keys.
const MOST_BYTES: u64 = 1 << 27;
/// Most bytes of the three numbers of a line, its spaces and its end.
const NUMBERS: usize = 3 * 20 + 5;

/// A recorded backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRecord {
    pub path: String,
    pub created: Time,
    pub verified: Option<Time>,
    pub generation: u64,
    /// Sorted.
    pub versions: Vec<IdPrefix>,
}

impl BackupRecord {
    pub fn has(&self, version: &VersionId) -> bool {
        self.versions.binary_search(&start(version.as_bytes())).is_ok()
    }

    /// Into room that the caller made, so that nothing is allocated.
    fn encode(&self, text: &mut String) {
        let verified = self.verified.map_or(0, Time::millis);
        let _ = write!(text, "{} {verified} {} ", self.created.millis(), self.generation);
        for version in &self.versions {
            // The bytes of the id, independent of the host's byte order.
            let _ = write!(text, "{:016x}", IdPrefix::from_be_bytes(version.to_ne_bytes()));
        }
        let _ = writeln!(text, " {}", self.path);
    }

    fn decode(line: &str) -> Option<Self> {
        let mut fields = line.splitn(5, ' ');
        let mut number = || fields.next()?.parse::<i64>().ok();
        let (created, verified) = (number()?, number()?);
        let generation = fields.next()?.parse().ok()?;
        let digits = fields.next()?.as_bytes().chunks(16);
        let mut versions = Vec::new();
        versions.try_reserve_exact(digits.len()).ok()?;
        for digits in digits {
            let id = IdPrefix::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            versions.push(IdPrefix::from_ne_bytes(id.to_be_bytes()));
        }
        versions.sort_unstable();
        let verified = (verified != 0).then(|| Time::from_millis(verified));
        let path = memory::text(fields.next()?).ok()?;
        Some(Self { path, created: Time::from_millis(created), verified, generation, versions })
    }
}

/// The newest versions that recorded backups have, as of the last read of the file.
#[derive(Debug, Clone, Default)]
pub struct BackedUp {
    /// Device, number, change time and length of the file; or the number of the row.
    stamp: Option<[i64; 4]>,
    /// Sorted.
    versions: Vec<IdPrefix>,
}

impl Store {
    /// The recorded backups, oldest first; none where the file is damaged or missing.
    pub fn backup_records(&self) -> Result<Vec<BackupRecord>> {
        if self.is_remote {
            let found = self.on_server(Transaction::Read, |backend| backend.backup_record(NONE))?;
            return Ok(found.map_or_else(Vec::new, |(_, record)| decode_text(&record)));
        }
        let Some(path) = self.driver.backup_records() else { return Ok(Vec::new()) };
        match fork::gate(|| File::open(&path)) {
            Ok(file) => fork::gate(|| decode(&path, &file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    /// Changes the record as a whole, while no other thread or process does.
    pub fn edit_backup_records(&self, mut edit: impl FnMut(&mut Vec<BackupRecord>)) -> Result<()> {
        if self.is_remote {
            self.check_writable()?;
            return self.on_server(Transaction::Write, |backend| {
                // Locks it against others who record a backup.
                backend.meta(Shard::FIRST)?;
                let (number, record) = backend.backup_record(NONE)?.unwrap_or_default();
                let mut records = decode_text(&record);
                edit(&mut records);
                backend.put_backup_record(number.saturating_add(1), encode_text(&mut records)?.as_bytes())
            });
        }
        let Some(path) = self.driver.backup_records() else { return Ok(()) };
        self.wait(Instant::now() + self.settings.patience, || fork::gate(|| rewrite(&path, &mut edit)))
    }

    /// Runs `body` in a separate transaction, on a machine that has the records next to the rows.
    fn on_server<R>(&self, kind: Transaction, body: impl FnOnce(&mut dyn Backend) -> Result<R>) -> Result<R> {
        self.transact(kind, |connection| {
            let value = gated(connection.backend.get()?, body)?;
            Ok((value, kind == Transaction::Write))
        })
    }

    /// What the records of a store on another machine say now, if there are others than `known`. No transaction may be open.
    pub fn read_backed_up(&self, known: &BackedUp) -> Result<Option<BackedUp>> {
        if !self.is_remote {
            return Ok(None);
        }
        let before = known.stamp.map_or(NONE, |[number, ..]| number);
        let found = self.on_server(Transaction::Read, |backend| backend.backup_record(before))?;
        let Some((number, record)) = found else { return Ok(None) };
        let mut versions: Vec<IdPrefix> = decode_text(&record).into_iter().flat_map(|record| record.versions).collect();
        versions.sort_unstable();
        Ok(Some(BackedUp { stamp: Some([number, 0, 0, 0]), versions }))
    }

    /// Whether a recorded backup has this version. A record that cannot be read has none.
    pub fn is_backed_up(&self, version: &VersionId, known: &mut BackedUp) -> bool {
        if self.is_remote {
            return known.versions.binary_search(&start(version.as_bytes())).is_ok();
        }
        let Some(path) = self.driver.backup_records() else { return false };
        let stamp = std::fs::metadata(&path).ok().and_then(|found| {
            let changed = found.ctime().checked_mul(1_000_000_000)?.checked_add(found.ctime_nsec())?;
            Some([found.dev().cast_signed(), found.ino().cast_signed(), changed, found.size().cast_signed()])
        });
        if stamp.is_none() || stamp != known.stamp {
            let records = self.backup_records().unwrap_or_default();
            let all = memory::list(records.iter().map(|record| record.versions.len()).sum());
            // Without memory it counts as not backed up, and the next check tries again.
            let Ok(mut all) = all else { return false };
            records.iter().for_each(|record| all.extend_from_slice(&record.versions));
            all.sort_unstable();
            (known.versions, known.stamp) = (all, stamp);
        }
        known.versions.binary_search(&start(version.as_bytes())).is_ok()
    }
}

pub fn path_of(store: &Path) -> PathBuf {
    file::beside(store, "-backups")
}

fn decode(path: &Path, file: &File) -> Result<Vec<BackupRecord>> {
    let len = file.facts().map_err(|e| failed(path, &e))?.len;
    if len > MOST_BYTES {
        return Ok(Vec::new());
    }
    let len = usize::try_from(len).unwrap_or_default();
    let mut bytes = memory::zeroed(len)?;
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, read as u64).map_err(|e| failed(path, &e))? {
            0 => break,
            more => read += more,
        }
    }
    Ok(decode_text(bytes.get(..read).unwrap_or_default()))
}

fn decode_text(text: &[u8]) -> Vec<BackupRecord> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let lines = text.strip_prefix(HEADER).unwrap_or_default();
    // The library writes no more lines than that.
    lines.lines().filter_map(BackupRecord::decode).take(MOST).collect()
}

/// The text of the records. The oldest are left out where there are too many.
fn encode_text(records: &mut Vec<BackupRecord>) -> Result<String> {
    let surplus = records.len().saturating_sub(MOST);
    records.drain(..surplus);
    if records.iter().map(|record| record.versions.len()).sum::<usize>() > MOST_VERSIONS {
        records.iter_mut().rev().skip(2).for_each(|record| record.versions.clear());
    }
    let room = records.iter().map(|record| 16 * record.versions.len() + record.path.len() + NUMBERS).sum::<usize>();
    let mut text = String::new();
    text.try_reserve_exact(HEADER.len() + 1 + room).map_err(|_| memory::out_of_memory())?;
    text.push_str(HEADER);
    text.push('\n');
    records.iter().for_each(|record| record.encode(&mut text));
    Ok(text)
}

/// KEYSTORE_BUSY while another does; the caller waits. Inside the fork gate, so that no child is born with the lock.
fn rewrite(path: &Path, edit: &mut impl FnMut(&mut Vec<BackupRecord>)) -> Result<()> {
    let failed = |error: &std::io::Error| failed(path, error);
    let store = path.to_string_lossy();
    // As the keystore: who may change that may record its backups.
    let mode =
        std::fs::metadata(store.strip_suffix("-backups").unwrap_or_default()).map_or(0o600, |found| found.mode());
    let file = match File::create_new(path, mode & 0o666) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => File::open_writable(path),
        made => made,
    };
    let file = file.map_err(|e| failed(&e))?;
    let is_current = || FileId::of(path).is_ok_and(|found| found == file.id());
    if !fault::wanted("KMS_FAULT_BACKUPS_UNLOCKED") && (!file.try_lock().map_err(|e| failed(&e))? || !is_current()) {
        return Err(Status::KeystoreBusy.error(format!("another process records a backup in {}", shown_path(path))));
    }
    let mut records = decode(path, &file)?;
    edit(&mut records);
    let text = encode_text(&mut records)?;
    // The name is fixed: leftovers of a crash are replaced, and only the holder of the lock gets here.
    let temporary = file::beside(path, leftover::SUFFIX);
    let _ = std::fs::remove_file(&temporary);
    let written = File::create_new(&temporary, mode & 0o666).and_then(|new| {
        new.write_all_at(text.as_bytes(), 0)?;
        let _ = new.set_mode(mode & 0o666);
        new.sync()?;
        std::fs::rename(&temporary, path)?;
        file::sync_folder_of(path)
    });
    written.map_err(|e| failed(&e))
}

fn failed(path: &Path, error: &std::io::Error) -> crate::error::Error {
    Status::KeystoreIo.error(format!("the record of backups {}: {}", shown_path(path), file::explain(error)))
}

#[cfg(test)]
mod tests;
