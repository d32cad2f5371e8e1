//! A temporary folder that the next command of its kind removes where this one is killed.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::TempDir;

use crate::exit::{Failure, Result};

/// A folder of a random name after a prefix, and its lock (flock), which ends with the process.
pub struct WorkFolder {
    folder: TempDir,
    _lock: File,
}

impl WorkFolder {
    /// Makes a folder in `parent`, and removes those of this user's killed commands.
    pub fn new(parent: &Path, prefix: &str) -> Result<Self> {
        let failed = |error: &std::io::Error| Failure::file("writing into", parent, error);
        loop {
            let made = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
            let folder = made.map_err(|error| failed(&error))?;
            // Another command may take it for stale before it is locked.
            let Ok(lock) = File::open(folder.path()) else { continue };
            // A file system without locks: other commands cannot lock the folder either, and leave it alone.
            let _ = lock.try_lock();
            if is_at(&lock, folder.path()) {
                remove_stale(parent, prefix, &lock);
                return Ok(Self { folder, _lock: lock });
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// `mine` is locked, so it stays.
fn remove_stale(parent: &Path, prefix: &str, mine: &File) {
    let owner = |file: &File| file.metadata().map(|found| found.uid()).ok();
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_folder || !entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else { continue };
        if owner(&folder) == owner(mine) && folder.try_lock().is_ok() && is_at(&folder, &entry.path()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let id = |found: std::fs::Metadata| (found.dev(), found.ino());
    matches!((file.metadata(), path.symlink_metadata()), (Ok(a), Ok(b)) if id(a.clone()) == id(b.clone()))
}
