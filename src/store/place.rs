//! Whether a keystore is used through one path. Its journal and its generation file are found by that path: through a second
//! one, a crash loses acknowledged changes and damages the file, and other processes' changes are seen late.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Error, Result, Status};
use crate::sys::file::FileId;
use crate::sys::filesystem;

/// Refuses a path that is seen to be a second one; `recorded` is the path by which the keystore was last changed. Whether it
/// is certain that there is no other.
pub fn check(path: &Path, recorded: Option<&[u8]>) -> Result<bool> {
    let known = match filesystem::is_mount_point(path) {
        Some(true) => {
            return Err(Status::KeystoreSecondPath.error(format!(
                "{} is mounted as a single file, so its journal is not the one beside the original; mount its folder instead",
                path.display()
            )));
        }
        known => known.is_some(),
    };
    // A file without metadata was opened nevertheless, and the next transaction asks again.
    let Ok(found) = std::fs::metadata(path) else { return Ok(false) };
    if found.nlink() < 2 {
        return Ok(known);
    }
    // Hard links: backup tools make them, and the program that owns the keystore continues under its usual name.
    let Some(recorded) = recorded.map(|bytes| Path::new(OsStr::from_bytes(bytes))) else { return Ok(false) };
    if recorded == path {
        return Ok(known);
    }
    if FileId::of(recorded).ok() != FileId::of(path).ok() {
        return Ok(false);
    }
    match same_folder(recorded, path) && recorded.file_name() == path.file_name() {
        true => Ok(known),
        false => Err(second(recorded, path)),
    }
}

/// Whether two paths lead to the same folder, perhaps by several mounts of it.
fn same_folder(a: &Path, b: &Path) -> bool {
    match (a.parent().map(FileId::of), b.parent().map(FileId::of)) {
        (Some(Ok(a)), Some(Ok(b))) => a == b,
        _ => false,
    }
}

fn second(recorded: &Path, path: &Path) -> Error {
    Status::KeystoreSecondPath.error(format!(
        "{} is a second name of the keystore {}, whose journal is beside that one; open it there, or remove that name first",
        path.display(),
        recorded.display()
    ))
}
