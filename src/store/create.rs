//! Makes a new keystore, and its key file, so that each is there complete or not at all.
//!
//! Both are written under a temporary name, synced, and linked into place, which fails if another was faster. Between
//! key file and store the key file is locked (flock), so that a second creator waits instead of finding half.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::backend::{Backend, Transaction};
use super::root::Root;
use super::sealing::Sealing;
use super::sqlite::{self, Sqlite};
use crate::error::{Error, Result, Status};
use crate::sys::{fork, random, sync};

/// Makes the keystore at `path` if there is none. `patience` bounds the wait for another creator.
pub fn create(path: &Path, root: &Root, patience: Duration) -> Result<()> {
    let Root::File(key_path) = root else {
        return if sqlite::exists(path)? { Ok(()) } else { create_store(path, root) };
    };
    let deadline = Instant::now() + patience;
    loop {
        match (sqlite::exists(path)?, sqlite::exists(key_path)?) {
            (true, true) => return Ok(()),
            (true, false) => return Err(key_without(key_path)),
            (false, true) => {
                let file = File::open(key_path).map_err(|e| {
                    Status::RootKeyUnavailable.error(format!("the root key file can't be read: {}", e.kind()))
                })?;
                match file.try_lock() {
                    Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                        sync::sleep(Duration::from_millis(10));
                    }
                    Err(TryLockError::WouldBlock) => {
                        return Err(Status::KeystoreBusy.error("another process is creating the keystore"));
                    }
                    // A creator gave up and took its key file away.
                    _ if !sqlite::exists(key_path)? => {}
                    // Nobody is creating a store for this key.
                    _ if !sqlite::exists(path)? => return Err(store_without(path)),
                    _ => return Ok(()),
                }
            }
            (false, false) => {
                let Some(_locked) = create_key_file(key_path)? else { continue };
                let made = create_store(path, root);
                if made.is_err() && !sqlite::exists(path)? {
                    // Only this call knows the key, and nothing was sealed with it.
                    let _ = std::fs::remove_file(key_path);
                }
                return made;
            }
        }
    }
}

/// Complains if exactly one of store and key file is there.
pub fn check_pair(path: &Path, root: &Root) -> Result<()> {
    let Root::File(key_path) = root else { return Ok(()) };
    match (sqlite::exists(path)?, sqlite::exists(key_path)?) {
        (true, false) => Err(key_without(key_path)),
        (false, true) => Err(store_without(path)),
        _ => Ok(()),
    }
}

fn key_without(key: &Path) -> Error {
    let name = key.display();
    Status::RootKeyUnavailable.error(format!("the keystore is there but its root key file {name} is not; restore it"))
}

fn store_without(store: &Path) -> Error {
    let name = store.display();
    Status::KeystoreNotFound.error(format!(
        "the root key file is there but its keystore {name} is not; restore it, or move the key file away"
    ))
}

/// A new key file, locked; `None` if another made one first.
fn create_key_file(path: &Path) -> Result<Option<File>> {
    let failed = |e: std::io::Error| {
        Status::RootKeyUnavailable.error(format!("the root key file can't be created: {}", e.kind()))
    };
    let temporary = temporary_name(path)?;
    let key = Zeroizing::new(random::array::<32>()?);
    let made = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&*key)?;
        file.sync_all()?;
        file.lock()?;
        Ok(file)
    })();
    finish(path, &temporary, made, failed)
}

/// A new key file for a keystore that is there; one that is there already is left as it is.
pub fn key_file(path: &Path) -> Result<()> {
    if !sqlite::exists(path)? {
        create_key_file(path)?;
    }
    Ok(())
}

fn create_store(path: &Path, root: &Root) -> Result<()> {
    match place_new(path, |temporary| fill(temporary, root))? {
        // Another creator was faster, and its keystore is as good.
        Placed::New | Placed::Taken => Ok(()),
    }
}

/// Whether a new file could take its place.
pub enum Placed {
    New,
    Taken,
}

/// A new keystore at `path`, made under a temporary name by `fill`, complete or not at all. Never replaces a file.
pub fn place_new(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<Placed> {
    let temporary = temporary_name(path)?;
    let made = fill(&temporary);
    let failed = |e: std::io::Error| Status::KeystoreIo.error(format!("the keystore can't be created: {}", e.kind()));
    let made = match made {
        Ok(()) => File::open(&temporary).and_then(|file| file.sync_all().map(|()| file)),
        Err(error) => {
            remove(&temporary);
            return Err(error);
        }
    };
    let placed = finish(path, &temporary, made, failed)?;
    Ok(if placed.is_some() { Placed::New } else { Placed::Taken })
}

/// Links `temporary` to its final name and syncs the folder; `None` if that name is taken.
fn finish(
    path: &Path,
    temporary: &Path,
    made: std::io::Result<File>,
    failed: impl Fn(std::io::Error) -> Error,
) -> Result<Option<File>> {
    let linked = made.and_then(|file| match std::fs::hard_link(temporary, path) {
        Ok(()) => Ok(Some(file)),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
        Err(e) => Err(e),
    });
    remove(temporary);
    let linked = linked.map_err(&failed)?;
    sync_folder(path).map_err(failed)?;
    Ok(linked)
}

fn remove(temporary: &Path) {
    let _ = std::fs::remove_file(temporary);
    let mut journal = temporary.as_os_str().to_owned();
    journal.push("-journal");
    let _ = std::fs::remove_file(journal);
}

fn temporary_name(path: &Path) -> Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{:016x}", u64::from_ne_bytes(random::array()?)));
    Ok(PathBuf::from(name))
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

fn fill(path: &Path, root: &Root) -> Result<()> {
    let mut made = super::Gated(Some(Box::new(fork::gate(|| Sqlite::create(path))?)));
    fill_rows(made.get()?, root).map(drop)
}

/// The rows of an empty keystore; returns its root key.
pub fn fill_rows(backend: &mut dyn Backend, root: &Root) -> Result<Zeroizing<[u8; 32]>> {
    let key = Zeroizing::new(random::array::<32>()?);
    let uuid = random::array::<16>()?;
    let slot = root.wrap(&key, &uuid)?;
    let generation = i64::from_be_bytes(random::array()?) & ((1 << 62) - 1);
    let meta = Sealing::new(&key, uuid)?.first_meta(generation, std::slice::from_ref(&slot))?;
    fork::gate(|| {
        backend.begin(Transaction::Write)?;
        let written = backend.insert_slot(&slot).and_then(|()| backend.put_meta(&meta)).and_then(|()| backend.commit());
        if written.is_err() {
            backend.rollback();
        }
        written.map(|()| key)
    })
}
