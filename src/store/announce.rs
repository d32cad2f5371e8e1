//! Announces changes to the other processes of the host: the generation in a small mapped file next to the store.
//!
//! The file is made complete under a temporary name and renamed into place while the store's write lock is held; the
//! library never truncates it. It holds no secret, and only says when to read the store: a wrong value costs one read.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::leftover;
use crate::error::{Result, Status};
use crate::sys::file::{self, File};
#[cfg(feature = "postgres")]
use crate::sys::process;
use crate::sys::word::{FILE_LEN, WORD_AT, Word};
use crate::sys::{fault, filesystem, sync};

const MAGIC: &[u8; 16] = b"libkms generatn\0";

/// Nothing is announced, or only before the commit: the faults that show what an announcement after it is for.
const UNANNOUNCED: &str = "KMS_FAULT_UNANNOUNCED";
const EARLY: &str = "KMS_FAULT_ANNOUNCED_BEFORE_COMMIT";

/// Announces a change before it is committed, where a test wants to see what comes of it.
pub fn tell_early(word: &Word) {
    if fault::wanted(EARLY) {
        word.count();
        // A commit on a slow disk: a process that was notified reads before there is anything to see.
        sync::sleep(Duration::from_millis(20));
    }
}

fn path_of(store: &Path) -> PathBuf {
    file::beside(store, "-gen")
}

/// Whether the word is mapped from the store's file, so that others find it.
pub fn is_mapped(word: &Word, store: &Path) -> bool {
    word.is_at(&path_of(store))
}

/// The file of the keystore with this uuid in a database, for the processes of this host and user: in `$XDG_RUNTIME_DIR`, or in
/// a folder of the user's in /dev/shm. None where neither is safe; changes are then seen by the next poll.
///
/// Copies of a keystore have its uuid, and share the file. Each costs the others a read.
#[cfg(feature = "postgres")]
pub fn runtime_path(uuid: &[u8; 16]) -> Option<PathBuf> {
    let folder = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let folder = PathBuf::from(format!("/dev/shm/libkms-{}", process::user()));
            file::make_private_folder(&folder);
            folder
        }
    };
    let name = format!("libkms-{:032x}-gen", u128::from_be_bytes(*uuid));
    file::is_private_folder(&folder).then(|| folder.join(name))
}

/// Maps the file of the store with this uuid into `word`; false if it is missing or invalid.
pub fn map(word: &Word, store: &Path, uuid: &[u8; 16], writable: bool) -> bool {
    map_at(word, &path_of(store), uuid, writable)
}

/// As [`map`], of the file itself.
pub fn map_at(word: &Word, path: &Path, uuid: &[u8; 16], writable: bool) -> bool {
    try_map(word, path, uuid, writable).is_some()
}

fn try_map(word: &Word, path: &Path, uuid: &[u8; 16], writable: bool) -> Option<()> {
    if !writable && filesystem::is_overlay(path) {
        // A mapping stays on the lower layer's file after a writer's change has copied it up, so no announcement would
        // be seen.
        return None;
    }
    let file = if writable { File::open_writable(path) } else { File::open(path) }.ok()?;
    let mut head = [0; 32];
    file.read_at(&mut head, 0).ok()?;
    let (magic, found) = head.split_first_chunk::<16>()?;
    if magic != MAGIC || found != uuid {
        return None;
    }
    word.share(&file, writable).ok()
}

/// Makes a new file. The caller holds the store's write lock.
pub fn make(store: &Path, uuid: &[u8; 16], generation: u64) -> Result<()> {
    let failed = |e: std::io::Error| {
        Status::KeystoreIo.error(format!("the generation file can't be made: {}", file::explain(&e)))
    };
    let mode = std::fs::metadata(store).map_err(failed)?.mode() & 0o777;
    // No other process makes one under the lock, so a file of this name was left by a process that was killed.
    let temporary = file::beside(&path_of(store), leftover::SUFFIX);
    let _ = std::fs::remove_file(&temporary);
    let made = (|| {
        let file = File::create_new(&temporary, mode)?;
        file.write_all_at(&content(uuid, generation), 0)?;
        // The umask may have narrowed the mode, and then another user's process could not map the file.
        // A file system without modes refuses, and needs none.
        let _ = file.set_mode(mode);
        std::fs::rename(&temporary, path_of(store))
    })();
    if made.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    made.map_err(failed)
}

fn content(uuid: &[u8; 16], generation: u64) -> Vec<u8> {
    let mut content = Vec::with_capacity(FILE_LEN);
    content.extend(MAGIC);
    content.extend(uuid);
    content.resize(WORD_AT, 0);
    content.extend(generation.to_le_bytes());
    content.resize(FILE_LEN, 0);
    content
}

/// As [`make`], without a lock: all processes use the file of the first one.
#[cfg(feature = "postgres")]
pub fn make_at(path: &Path, uuid: &[u8; 16], generation: u64) -> Result<()> {
    let temporary = file::beside(path, &format!(".{}{}", process::id(), leftover::SUFFIX));
    let _ = std::fs::remove_file(&temporary);
    let made = (|| {
        File::create_new(&temporary, 0o600)?.write_all_at(&content(uuid, generation), 0)?;
        std::fs::hard_link(&temporary, path)
    })();
    let _ = std::fs::remove_file(&temporary);
    match made {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Status::KeystoreIo.error(format!("the generation file can't be made: {}", file::explain(&e))))
        }
        _ => Ok(()),
    }
}

/// Announces a commit: first, by `publish`, to this handle's own caches, then to all processes. Where the caches say that they hold all
/// that is committed, `announced` receives the word before this one.
/// False if the file was truncated, so that no process was notified.
pub fn tell(word: &Word, publish: impl FnOnce() -> bool, announced: impl FnOnce(u64)) -> bool {
    let holds_all = publish();
    if fault::wanted(UNANNOUNCED) || fault::wanted(EARLY) {
        return true;
    }
    let before = word.count();
    if word.is_lost() {
        return false;
    }
    if holds_all || fault::wanted("KMS_FAULT_GAP_UNNOTICED") {
        announced(before);
    }
    true
}

/// How often a store must be checked for changes that were not announced.
pub fn poll_interval_ms(mapped: bool) -> i64 {
    if mapped { 1000 } else { 100 }
}
