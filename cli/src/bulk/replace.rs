//! A file that is replaced by a new content, in one step, with its owner and permissions.

use std::fs::{File, Metadata, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::data::NewFile;
use crate::exit::{Exit, Failure, Result};

/// A new content, in a temporary file next to the old one.
pub struct Replacement {
    path: PathBuf,
    before: Metadata,
    out: BufWriter<NewFile>,
}

impl Replacement {
    /// `before` is of the open file whose content is read.
    pub fn new(path: &Path, before: Metadata) -> Result<Self> {
        let out = BufWriter::with_capacity(1 << 16, NewFile::beside(path)?);
        Ok(Self { path: path.to_owned(), before, out })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|error| Failure::file("writing", &self.path, &error))
    }

    /// Puts the new content in place, unless the file has changed since it was read.
    pub fn publish(self) -> Result<()> {
        let Self { path, before, out } = self;
        let failed = |error: &std::io::Error| Failure::file("writing", &path, error);
        let file = out.into_inner().map_err(|error| failed(error.error()))?;
        let made = file.file().metadata().map_err(|error| failed(&error))?;
        if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
            fchown(file.file(), Some(before.uid()), Some(before.gid())).map_err(|error| {
                Failure::file("keeping the owner of", &path, &error).next("run the command as the owner of the file")
            })?;
        }
        // After the owner, whose change takes bits away.
        file.file()
            .set_permissions(Permissions::from_mode(before.mode() & 0o7777))
            .and_then(|()| file.file().sync_all())
            .map_err(|error| failed(&error))?;
        let now = path.symlink_metadata().map_err(|error| failed(&error))?;
        let state = |found: &Metadata| (found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec());
        if state(&now) != state(&before) {
            let text = format!("{} was changed by another program meanwhile", path.display());
            return Err(Failure::new(Exit::File, "Cli.File", text).next("run the command again"));
        }
        file.publish(&path, true)
    }
}

/// Opens a regular file, and says what it is.
pub fn open(path: &Path) -> Result<(File, Metadata)> {
    let failed = |error: &std::io::Error| Failure::file("reading", path, error);
    let file = File::open(path).map_err(|error| failed(&error))?;
    let found = file.metadata().map_err(|error| failed(&error))?;
    match found.is_file() {
        true => Ok((file, found)),
        false => Err(Failure::usage(format!("{} is not a regular file", path.display()))),
    }
}
