//! Checks that the indexes hold nothing that the tables don't, in order: a wrong entry hides or doubles a row.

use super::super::backend::{KeyIndex, VersionEntry};
use super::super::view::View;
use super::{Fault, ROWS, Stage, Verifier, in_order};
use crate::error::{Error, Result, Status};

impl Verifier {
    /// Checks that an index of keys has no excess entry, and is in order.
    pub(super) fn index(
        &mut self,
        view: &mut View<'_>,
        index: KeyIndex,
        mut after: (i64, i64),
    ) -> Result<Option<Stage>> {
        let entries = view.rows.backend.index_after(index, after, ROWS)?;
        let full = entries.len() == ROWS;
        for entry in entries {
            in_order(after < entry)?;
            after = entry;
            match view.rows.backend.key_by_row(entry.1) {
                Ok(Some(key)) if index.value(&key) == Some(entry.0) => {}
                Ok(_) => self.faults.push(Fault::general(misindexed())),
                // A damaged key was reported already.
                Err(error) if error.status() == Status::KeystoreCorrupt => {}
                Err(error) => return Err(error),
            }
        }
        Ok(full.then_some(Stage::Index(index, after)))
    }

    pub(super) fn record_indexes(&mut self, view: &mut View<'_>) -> Result<()> {
        if !view.rows.backend.are_version_rows_indexed()? {
            self.faults.push(Fault::general(misindexed()));
        }
        Ok(())
    }

    pub(super) fn alias_index(&mut self, view: &mut View<'_>, mut after: (i64, String)) -> Result<Option<Stage>> {
        let entries = view.rows.backend.alias_index_after(&after, ROWS)?;
        let full = entries.len() == ROWS;
        for entry in entries {
            in_order(after < entry)?;
            let row = view.rows.backend.alias(&entry.1)?;
            if row.is_none_or(|row| row.key_row != entry.0) {
                self.faults.push(Fault::general(misindexed()));
            }
            after = entry;
        }
        Ok(full.then_some(Stage::AliasIndex(after)))
    }

    pub(super) fn version_index(&mut self, view: &mut View<'_>, mut after: VersionEntry) -> Result<Option<Stage>> {
        let entries = view.rows.backend.version_index_after(&after, ROWS)?;
        let full = entries.len() == ROWS;
        for entry in entries {
            in_order((after.key_row, after.version) < (entry.key_row, entry.version))?;
            let row = view.rows.backend.material_at(entry.key_row, entry.number)?;
            if row.is_none_or(|row| row.version != entry.version) {
                self.faults.push(Fault::general(misindexed()));
            }
            after = entry;
        }
        Ok(full.then_some(Stage::VersionIndex(after)))
    }
}

fn misindexed() -> Error {
    Status::KeystoreCorrupt
        .error("an index of the keystore names a row that does not exist; restore the keystore from a backup")
}
