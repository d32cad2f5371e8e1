//! Files of records, one a line or so: read record by record, and replaced as a whole with the new values.

use std::path::{Path, PathBuf};

use super::inspector::Inspector;
use super::mover::{Mover, Pairs};
use super::replace::{Replacement, open};
use super::walk::meant;
use super::{csv, jsonl};
use crate::exit::Result;

/// A record, at most: a quote that is never closed must not take the whole file into memory.
pub const MOST_RECORD: usize = 64 << 20;

/// Which value of a record is the ciphertext, and which are its context.
pub struct Field<'a> {
    pub name: &'a str,
    /// Name in the context, and column.
    pub context: &'a Pairs,
}

/// A ciphertext in a record.
pub struct Cell<'a> {
    pub line: u64,
    pub value: Result<&'a [u8]>,
    pub context: &'a dyn Fn() -> Result<Pairs>,
}

#[derive(Clone, Copy)]
pub enum Kind {
    Csv { delimiter: u8 },
    Jsonl,
}

/// What is done with a cell: its new value, or none if it stays.
pub type Change<'a> = dyn FnMut(Cell<'_>) -> Result<Option<Vec<u8>>> + 'a;
/// Where the records go that were read, changed or not.
pub type Sink<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

fn scan(
    kind: Kind,
    path: &Path,
    source: std::fs::File,
    field: &Field<'_>,
    change: &mut Change<'_>,
    sink: &mut Sink<'_>,
) -> Result<()> {
    match kind {
        Kind::Csv { delimiter } => csv::scan(path, source, delimiter, field, change, sink),
        Kind::Jsonl => jsonl::scan(path, source, field, change, sink),
    }
}

pub fn inspect(inspector: &mut Inspector<'_>, paths: &[PathBuf], kind: Kind, name: &str) -> Result<()> {
    for path in paths {
        let (source, _) = open(path)?;
        let field = Field { name, context: &Pairs::new() };
        let mut change = |cell: Cell<'_>| {
            let place = format!("{} line {}", path.display(), cell.line);
            match cell.value {
                Ok(value) if value.trim_ascii().is_empty() => inspector.skip(|skipped| &mut skipped.empty)?,
                Ok(value) => inspector.see(&place, value)?,
                Err(failure) => inspector.fail(&place, failure)?,
            }
            Ok(None)
        };
        scan(kind, path, source, &field, &mut change, &mut |_| Ok(()))?;
    }
    Ok(())
}

pub fn reencrypt(mover: &mut Mover<'_>, paths: &[PathBuf], kind: Kind, name: &str, context: &Pairs) -> Result<()> {
    for path in paths {
        let path = &meant(path)?;
        let (source, before) = open(path)?;
        let mut replacement = Replacement::new(path, before)?;
        let (mut moved, mut newest) = (0, 0);
        let mut change = |cell: Cell<'_>| {
            mover.proceed()?;
            let place = format!("{} line {}", path.display(), cell.line);
            let done = match cell.value {
                Ok(value) if value.trim_ascii().is_empty() => return Ok(None),
                Ok(value) => mover.reencrypt_with(value, cell.context),
                Err(failure) => Err(failure),
            };
            match done {
                Ok(Some(new)) => {
                    moved += 1;
                    return Ok(Some(new));
                }
                Ok(None) => newest += 1,
                Err(failure) => mover.fail(&place, failure)?,
            }
            Ok(None)
        };
        scan(kind, path, source, &Field { name, context }, &mut change, &mut |bytes| replacement.write(bytes))?;
        // Nothing of a file counts as moved before all of it is in place.
        if moved > 0 {
            replacement.publish()?;
        }
        mover.add(moved, newest)?;
    }
    Ok(())
}
