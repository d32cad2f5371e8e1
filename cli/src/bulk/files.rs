//! Ciphertexts that are files: blobs, and encrypted files of any size.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use kms::{KeyRef, Keystore};

use super::form::Form;
use super::inspector::Inspector;
use super::mover::Mover;
use super::replace::{Replacement, open};
use super::walk::{Step, walk};
use crate::data;
use crate::data::{EXTENSION, MOST_CIPHERTEXT};
use crate::exit::{Failure, Result};
use crate::secret::Secret;

/// What the first bytes of a file are.
enum Kind {
    /// The library's file format, of any size.
    Large,
    Blob,
    /// Nothing that `kms` wrote.
    Other,
}

/// A file that was opened, with its first bytes.
struct Opened {
    file: File,
    found: std::fs::Metadata,
    start: Vec<u8>,
    kind: Kind,
}

impl Opened {
    fn new(path: &Path, named: bool) -> Result<Self> {
        let (mut file, found) = open(path)?;
        let mut start = Vec::with_capacity(Keystore::FILE_HEADER_BYTES);
        let read = file.by_ref().take(Keystore::FILE_HEADER_BYTES as u64).read_to_end(&mut start);
        read.map_err(|error| Failure::file("reading", path, &error))?;
        let is_meant = named || path.extension().is_some_and(|extension| extension == EXTENSION);
        let kind = if Keystore::is_encrypted_file(&start) {
            Kind::Large
        } else if Form::of(&start).is_some() || is_meant {
            Kind::Blob
        } else {
            Kind::Other
        };
        Ok(Self { file, found, start, kind })
    }

    fn all(&mut self, path: &Path) -> Result<Secret> {
        let shown = path.display().to_string();
        let start = std::mem::take(&mut self.start);
        data::read_from(start.chain(&mut self.file), &shown, Some(self.found.len()), MOST_CIPHERTEXT)
    }
}

/// Whether a file is one of `kms`, or is meant to be.
pub fn is_ciphertext(path: &Path, named: bool) -> Result<bool> {
    Ok(!matches!(Opened::new(path, named)?.kind, Kind::Other))
}

pub fn inspect(inspector: &mut Inspector<'_>, paths: &[PathBuf]) -> Result<()> {
    walk(paths, &mut |step| match step {
        Step::Other => inspector.skip(|skipped| &mut skipped.other),
        Step::Leftover => inspector.skip(|skipped| &mut skipped.leftovers),
        Step::Failed { path, failure } => inspector.fail(&path.display(), failure),
        Step::File { path, named } => {
            let seen = Opened::new(path, named).and_then(|mut opened| match opened.kind {
                Kind::Other => Ok(None),
                Kind::Large => Ok(Some(opened.start)),
                // A header is at the start; text is decoded as a whole.
                Kind::Blob if Form::of(&opened.start) == Some(Form::Raw) => Ok(Some(opened.start)),
                Kind::Blob => Ok(Some(opened.all(path)?.to_vec())),
            });
            match seen {
                Ok(Some(stored)) => inspector.see(&path.display(), &stored),
                Ok(None) => inspector.skip(|skipped| &mut skipped.not_encrypted),
                Err(failure) => inspector.fail(&path.display(), failure),
            }
        }
    })
}

pub fn reencrypt(mover: &mut Mover<'_>, paths: &[PathBuf]) -> Result<()> {
    walk(paths, &mut |step| match step {
        Step::Other | Step::Leftover => Ok(()),
        Step::Failed { path, failure } => mover.fail(&path.display(), failure),
        Step::File { path, named } => match move_file(mover, path, named) {
            Ok(None) => mover.proceed(),
            Ok(Some(moved)) => mover.done(moved),
            Err(failure) => mover.fail(&path.display(), failure),
        },
    })
}

/// Whether the file had to be moved; none for a file that is no ciphertext.
fn move_file(mover: &Mover<'_>, path: &Path, named: bool) -> Result<Option<bool>> {
    let mut opened = Opened::new(path, named)?;
    match opened.kind {
        Kind::Other => Ok(None),
        Kind::Large => {
            mover.check_context_stays()?;
            let destination = mover.destination.map(KeyRef::from);
            let context = crate::key::pairs(&mover.context);
            Ok(Some(mover.session.keystore.reencrypt_file(path, &context, destination)?))
        }
        Kind::Blob => {
            let stored = opened.all(path)?;
            let Some(moved) = mover.reencrypt(&stored)? else { return Ok(Some(false)) };
            let mut replacement = Replacement::new(path, opened.found)?;
            replacement.write(&moved)?;
            replacement.publish()?;
            Ok(Some(true))
        }
    }
}
