//! Announces changes to the other processes of the host: the generation in a small mapped file beside the store.
//!
//! The file is made complete under a temporary name and renamed into place while the store's write lock is held; it
//! is never truncated. It holds no secret, and only says when to look at the store: a wrong value costs one look.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Result, Status};
use crate::sys::word::{FILE_LEN, WORD_AT, Word};
use crate::sys::{fault, random, sync};

const MAGIC: &[u8; 16] = b"libkms generatn\0";

/// Nothing is announced, or only before the commit: the faults that show what an announcement after it is for.
const UNANNOUNCED: &str = "KMS_FAULT_UNANNOUNCED";
const EARLY: &str = "KMS_FAULT_ANNOUNCED_BEFORE_COMMIT";

/// Announces a change before it is committed, where a test wants to see what comes of it.
pub fn tell_early(word: &Word) {
    if fault::wanted(EARLY) {
        word.count();
        // A commit on a slow disk: who was told looks before there is anything to see.
        sync::sleep(Duration::from_millis(20));
    }
}

fn path_of(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push("-gen");
    PathBuf::from(name)
}

/// Maps the file of the store with this uuid; `None` if it isn't there or isn't right.
pub fn map(store: &Path, uuid: &[u8; 16], writable: bool) -> Option<Word> {
    let mut file = OpenOptions::new().read(true).write(writable).open(path_of(store)).ok()?;
    let mut head = [0; 32];
    file.read_exact(&mut head).ok()?;
    let (magic, found) = head.split_first_chunk::<16>()?;
    if magic != MAGIC || found != uuid {
        return None;
    }
    Word::shared(file, writable).ok()
}

/// Makes the file anew. The caller holds the store's write lock.
pub fn make(store: &Path, uuid: &[u8; 16], generation: u64) -> Result<()> {
    let failed =
        |e: std::io::Error| Status::KeystoreIo.error(format!("the generation file can't be made: {}", e.kind()));
    let mode = std::fs::metadata(store).map_err(failed)?.mode() & 0o777;
    let mut temporary = path_of(store).into_os_string();
    temporary.push(format!(".new-{:016x}", u64::from_ne_bytes(random::array()?)));
    let temporary = PathBuf::from(temporary);
    let mut content = Vec::with_capacity(FILE_LEN);
    content.extend(MAGIC);
    content.extend(uuid);
    content.resize(WORD_AT, 0);
    content.extend(generation.to_le_bytes());
    content.resize(FILE_LEN, 0);
    let made = (|| {
        let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(&content)?;
        // The umask may have narrowed the mode, and then another user's process could not map the file.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        std::fs::rename(&temporary, path_of(store))
    })();
    if made.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    made.map_err(failed)
}

/// Tells a commit: first, by `publish`, this handle's own caches, then everybody. Where the caches say that they hold all
/// that is committed, `announced` is told the word before ours.
pub fn tell(word: &Word, publish: impl FnOnce() -> bool, announced: impl FnOnce(u64)) {
    let holds_all = publish();
    if fault::wanted(UNANNOUNCED) || fault::wanted(EARLY) {
        return;
    }
    let before = word.count();
    if holds_all || fault::wanted("KMS_FAULT_GAP_UNNOTICED") {
        announced(before);
    }
}
