//! Files of records, one a line or so: read record by record, and replaced as a whole with the new values.

use std::path::{Path, PathBuf};

use super::inspector::Inspector;
use super::mover::{Mover, Pairs};
use super::record::{Cell, Change, Field, Sink};
use super::replace::{Replacement, open};
use super::walk::meant;
use super::{csv, jsonl};
use crate::exit::Result;

#[derive(Clone, Copy)]
pub enum Kind {
    Csv { delimiter: u8 },
    Jsonl,
}

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
