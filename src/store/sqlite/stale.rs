//! Whether the pages that SQLite keeps in memory are those of the file.
//!
//! SQLite keeps them from one transaction to the next while 16 bytes of the file's header stand still: a count of changes
//! and the sizes of the file and its free list (<https://www.sqlite.org/fileformat2.html> §1.3). A copy of the keystore that
//! was changed elsewhere as often, and was then written over the open file, has the same 16 bytes. So the description's
//! MAC, which covers all rows, is searched in its page as the file has it.

use rusqlite::{Connection, OptionalExtension};

use super::error::storage;
use super::rows::bytes;
use super::{Sqlite, journal};
use crate::error::{Result, Status};
use crate::sys::{fault, memory};

/// The page size of a keystore that the library made.
const PAGE: usize = 4096;

/// Up to this many bytes of the trees' roots, the row fits into one page. A keystore has more from 1.5 billion keys on.
const LARGEST_ROOTS: usize = 3072;

/// Where the description stands in the file.
pub struct Description {
    pub(super) at: u64,
    /// Where in its page the MAC was last: it rarely moves.
    mac_at: usize,
    /// One page, read again in each transaction.
    pub(super) page: Vec<u8>,
}

impl Description {
    pub fn find(connection: &Connection) -> Result<Self> {
        let number =
            |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(|e| storage(sql, &e));
        let root = number("SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = 'meta'")?;
        let size = number("PRAGMA page_size")?.clamp(0, 65_536).unsigned_abs();
        let at = root.checked_sub(1).map(i64::unsigned_abs).and_then(|pages| pages.checked_mul(size));
        let at = at.ok_or_else(|| {
            Status::KeystoreCorrupt.error("the keystore's tables were altered or damaged; restore it from a backup")
        })?;
        Ok(Self { at, mac_at: 0, page: memory::zeroed(usize::try_from(size).unwrap_or_default())? })
    }
}

impl Sqlite {
    /// Fails with KeystoreReplaced if the file is not the one that SQLite's pages come from. The lock of the transaction
    /// is held, so no other process writes meanwhile.
    pub(super) fn check_pages(&mut self) -> Result<()> {
        journal::belongs_to(None);
        let (Some(place), Some(description)) = (&self.place, &mut self.description) else { return Ok(()) };
        // In pages smaller than the library makes, which another program's VACUUM can choose, the row is not in one page.
        if description.page.len() < PAGE {
            return Ok(());
        }
        if fault::wanted("KMS_FAULT_PAGES_TRUSTED") {
            return Ok(());
        }
        let found = self
            .connection
            .prepare_cached("SELECT mac, length(keys) + length(ids) + length(aliases) FROM meta")
            .and_then(|mut statement| {
                statement.query_row([], |row| Ok((bytes(row, 0)?, row.get::<_, i64>(1)?))).optional()
            })
            .map_err(|e| storage("read", &e))?;
        // A keystore that is being made has no description yet.
        let Some((mac, roots)) = found else { return Ok(()) };
        let mac: [u8; 32] = mac;
        journal::belongs_to(Some(mac));
        if usize::try_from(roots).unwrap_or(usize::MAX) > LARGEST_ROOTS {
            return Ok(());
        }
        let read = place.locks.read_at(&mut description.page, description.at)?;
        let found = description.page.get(..read).unwrap_or_default();
        let is_at = |at: usize| found.get(at..).is_some_and(|rest| rest.starts_with(&mac));
        if !is_at(description.mac_at) {
            description.mac_at = (0..found.len()).find(|at| is_at(*at)).unwrap_or(found.len());
        }
        match description.mac_at < found.len() {
            true => Ok(()),
            false => Err(Status::KeystoreReplaced.error(format!(
                "another file was written over the keystore {}; the next call reads it again",
                place.path.display()
            ))),
        }
    }
}
