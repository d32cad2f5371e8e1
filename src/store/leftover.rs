//! Files under the temporary names of a creation, `NAME.kms-new-` and 16 hexadecimal digits, which a killed creator leaves.
//!
//! A creator holds the lock of its files (flock). A file without a lock is a leftover: of a creation that was cut off, or a
//! second name of the keystore or the key file that it made.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys::file::{self, File, FileId};

/// What marks the names of unfinished files: of a creation, a backup, a copy, or a file next to the keystore. Other
/// files must not have it: they would be taken for leftovers.
pub const SUFFIX: &str = ".kms-new";
/// The digits after it that distinguish the creations of one path.
const MARK: usize = 16;

/// Whether a file of this name would be taken for an unfinished one.
pub fn is_unfinished(name: &[u8]) -> bool {
    let marked = name.len().checked_sub(MARK).and_then(|at| name.split_at_checked(at));
    let marked = marked.filter(|(_, mark)| mark.iter().all(u8::is_ascii_hexdigit));
    let stem = marked.and_then(|(stem, _)| stem.strip_suffix(b"-")).unwrap_or(name);
    stem.ends_with(SUFFIX.as_bytes())
}

/// Return the temporary name of a file that will be `path`.
pub fn name(path: &Path, mark: u64) -> PathBuf {
    file::beside(path, &format!("{SUFFIX}-{mark:016x}"))
}

/// Remove a file with a temporary name, and first the journal that SQLite may have left next to it, which nothing else
/// finds.
pub fn remove(temporary: &Path) {
    let _ = std::fs::remove_file(file::beside(temporary, "-journal"));
    let _ = std::fs::remove_file(temporary);
}

/// Remove what killed creations of `path` left. For a path that exists: only then does no creation need its files.
pub fn remove_all(path: &Path) {
    let Some(prefix) = path.file_name().map(|name| [name.as_bytes(), SUFFIX.as_bytes(), b"-"].concat()) else { return };
    let is_temporary = |name: &OsStr| {
        let mark = name.as_bytes().strip_prefix(prefix.as_slice());
        mark.is_some_and(|mark| mark.len() == MARK && mark.iter().all(u8::is_ascii_hexdigit))
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
