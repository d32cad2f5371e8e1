//! Files under the temporary names of a creation, `NAME.kms-new-` and 16 hexadecimal digits, which a killed creator leaves.
//!
//! A creator holds the lock of its files (flock). A file without a lock is a leftover: of a creation that was cut off, or a
//! second name of the keystore or the key file that it made.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys::file::{self, File, FileId};

/// Nobody names a file of their own so, which would be taken for a leftover.
const INFIX: &str = ".kms-new-";

/// Whether a file of this name would be taken for an unfinished one: of a creation, a backup or a copy.
pub fn is_unfinished(name: &[u8]) -> bool {
    let ends_in_mark = |name: &[u8]| {
        let mark = name.len().checked_sub(16).and_then(|at| name.split_at_checked(at));
        mark.is_some_and(|(name, mark)| mark.iter().all(u8::is_ascii_hexdigit) && name.ends_with(INFIX.as_bytes()))
    };
    name.ends_with(b".kms-new") || ends_in_mark(name)
}

/// Return the temporary name of a file that will be `path`.
pub fn name(path: &Path, mark: u64) -> PathBuf {
    file::beside(path, &format!("{INFIX}{mark:016x}"))
}

/// Remove a file with a temporary name, and first the journal that SQLite may have left beside it, which nothing else finds.
pub fn remove(temporary: &Path) {
    let _ = std::fs::remove_file(file::beside(temporary, "-journal"));
    let _ = std::fs::remove_file(temporary);
}

/// Remove what killed creations of `path` left. For a path that exists: only then does no creation need its files.
pub fn remove_all(path: &Path) {
    let Some(prefix) = path.file_name().map(|name| [name.as_bytes(), INFIX.as_bytes()].concat()) else { return };
    let is_temporary = |name: &OsStr| {
        let mark = name.as_bytes().strip_prefix(prefix.as_slice());
        mark.is_some_and(|mark| mark.len() == 16) && is_unfinished(name.as_bytes())
    };
    // What can't be read stays; the keystore needs none of it.
    let _ = file::each_name_beside(path, |name| {
        let temporary = path.with_file_name(name);
        let is_left = || {
            let file = File::open(&temporary)?;
            Ok::<_, std::io::Error>(file.try_lock()? && FileId::of(&temporary)? == file.id())
        };
        if is_temporary(name) && is_left().unwrap_or(false) {
            remove(&temporary);
        }
    });
}

/// Remove the temporary name that a creation left to a complete file. Costs one system call where the file has one name.
pub fn remove_second_names(path: &Path) {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.nlink() > 1) {
        remove_all(path);
    }
}
