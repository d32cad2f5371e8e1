//! Files that are named, and all files of folders that are named. Symbolic links in folders are not followed.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use crate::exit::{Failure, Result};

/// What a walk comes by.
pub enum Step<'a> {
    /// A regular file, and whether it was named itself.
    File {
        path: &'a Path,
        named: bool,
    },
    /// A symbolic link, a pipe, a device.
    Other,
    /// A temporary file of a `kms` that was killed.
    Leftover,
    Failed {
        path: &'a Path,
        failure: Failure,
    },
}

/// What an argument means: a link that is named means its target, and is not itself replaced.
pub fn meant(path: &Path) -> Result<PathBuf> {
    let found = if path.is_symlink() { fs::canonicalize(path) } else { fs::metadata(path).map(|_| path.to_owned()) };
    found.map_err(|error| Failure::file("reading", path, &error))
}

/// Visits each file once, in the order of the arguments, and each folder's in the order of their names.
pub fn walk(arguments: &[PathBuf], visit: &mut dyn FnMut(Step<'_>) -> Result<()>) -> Result<()> {
    let mut roots: Vec<PathBuf> = Vec::new();
    for path in arguments {
        match meant(path) {
            Ok(path) => roots.push(path),
            Err(failure) => visit(Step::Failed { path, failure })?,
        }
    }
    let real: Vec<Option<PathBuf>> = roots.iter().map(|path| fs::canonicalize(path).ok()).collect();
    for (at, root) in roots.iter().enumerate() {
        let covered = |other: usize| match (&real[at], &real[other]) {
            (Some(mine), Some(theirs)) => mine.starts_with(theirs) && (mine != theirs || other < at),
            _ => false,
        };
        if (0..roots.len()).any(|other| other != at && covered(other)) {
            continue;
        }
        match fs::metadata(root) {
            Ok(found) if found.is_dir() => folder(root, visit)?,
            Ok(found) if found.is_file() => visit(Step::File { path: root, named: true })?,
            Ok(_) => {
                let failure = Failure::usage(format!("{} is neither a file nor a folder", root.display()));
                visit(Step::Failed { path: root, failure })?;
            }
            Err(error) => visit(Step::Failed { path: root, failure: Failure::file("reading", root, &error) })?,
        }
    }
    Ok(())
}

fn folder(root: &Path, visit: &mut dyn FnMut(Step<'_>) -> Result<()>) -> Result<()> {
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let found = match path.symlink_metadata() {
            Ok(found) => found,
            // Removed since its folder was read.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                visit(Step::Failed { path: &path, failure: Failure::file("reading", &path, &error) })?;
                continue;
            }
        };
        if !found.is_dir() {
            visit(step(&path, &found))?;
            continue;
        }
        let entries = fs::read_dir(&path).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
        match entries {
            Ok(entries) => {
                let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
                paths.sort_unstable_by(|a, b| b.cmp(a));
                waiting.append(&mut paths);
            }
            Err(error) => visit(Step::Failed { path: &path, failure: Failure::file("reading", &path, &error) })?,
        }
    }
    Ok(())
}

fn step<'a>(path: &'a Path, found: &Metadata) -> Step<'a> {
    let is_leftover = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".kms-"));
    match (found.is_file(), is_leftover) {
        (true, true) => Step::Leftover,
        (true, false) => Step::File { path, named: false },
        (false, _) => Step::Other,
    }
}
