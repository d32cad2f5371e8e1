//! Makes a new keystore, and its key file, so that each is there complete or not at all.
//!
//! Both are written under a temporary name, synced, and linked into place, which fails if another was faster. Their creator
//! holds a lock on each (flock), so that the next creation removes what a killed one left. Between
//! key file and store the key file is locked (flock), so that a second creator waits instead of finding half. The store
//! waits complete, under a name that only its key leads to, before the key file appears: a process that finds a creation that
//! was cut off between the two links finishes it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::backend::{Backend, SlotRow, Transaction};
use super::connection::{Gated, gated};
use super::leftover;
use super::root::{Root, read_key_file};
use super::sealing::Sealing;
use super::slot;
use super::sqlite::{self, Sqlite};
use crate::crypto::kdf;
use crate::error::{Error, Result, Status, shown_path};
use crate::sys::file::{self, File, FileId};
use crate::sys::{fault, fork, random, sync};

/// The root of a keystore that is made, and when that is.
#[derive(Clone, Copy)]
pub struct NewRoot<'a> {
    pub root: &'a Root,
    pub created: i64,
}

/// Makes the keystore at `path` if there is none. `patience` bounds the wait for another creator. Returns the store root
/// key where it was made here, so that a root that was just tried need not unwrap it once more.
pub fn create(path: &Path, new: &NewRoot<'_>, patience: Duration) -> Result<Option<Zeroizing<[u8; 32]>>> {
    sqlite::check_no_leftover(path)?;
    if !sqlite::exists(path)? {
        check_no_companion(path)?;
    }
    match new.root {
        Root::File(key_path) => create_with_key_file(path, key_path, new.created, patience).map(|()| None),
        _ if sqlite::exists(path)? => Ok(None),
        _ => create_store(path, new),
    }
}

fn create_with_key_file(path: &Path, key_path: &Path, created: i64, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        match (sqlite::exists(path)?, sqlite::exists(key_path)?) {
            (true, true) => return Ok(()),
            (true, false) => return Err(key_without(key_path)),
            (false, true) => {
                let locked = File::open(key_path).and_then(|file| file.try_lock().map(|locked| (locked, file)));
                match locked {
                    Ok((false, _)) if Instant::now() < deadline => sync::sleep(Duration::from_millis(10)),
                    Ok((false, _)) => {
                        return Err(Status::KeystoreBusy.error("another process is creating the keystore; try again"));
                    }
                    // Another process cancelled its creation and removed its key file.
                    _ if !sqlite::exists(key_path)? => {}
                    _ if sqlite::exists(path)? => return Ok(()),
                    _ => {
                        // No process is creating a store for this key; one may have died while creating it.
                        let prepared = prepared_name(path, &*read_key_file(key_path)?)?;
                        return match sqlite::exists(&prepared)? {
                            true => {
                                link_new(&prepared, path)
                                    .and_then(|_| file::sync_folder_of(path))
                                    .map_err(|e| store_failed(path, &e))?;
                                drop(locked);
                                leftover::remove_all(path);
                                leftover::remove_all(key_path);
                                Ok(())
                            }
                            false => Err(store_without(path)),
                        };
                    }
                }
            }
            (false, false) => {
                if create_both(path, key_path, created)? {
                    return Ok(());
                }
            }
        }
    }
}

/// Fails if exactly one of store and key file exists.
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
    Status::RootKeyUnavailable
        .error(format!("the keystore exists, but its root key file {name} does not; restore the key file"))
}

fn store_without(store: &Path) -> Error {
    let name = store.display();
    Status::KeystoreNotFound.error(format!(
        "the root key file exists, but its keystore {name} does not; restore the keystore, or move the key file away"
    ))
}

/// A new key file and its store; false if another made one first.
fn create_both(path: &Path, key_path: &Path, created: i64) -> Result<bool> {
    let key = Zeroizing::new(random::array::<32>()?);
    let key_temporary = temporary_name(key_path)?;
    let prepared = prepared_name(path, &key)?;
    let mut key_id = None;
    let made = (|| {
        let locked = write_key_file(&key_temporary, &key).map_err(|e| key_failed(key_path, &e))?;
        key_id = Some(locked.id());
        let new = NewRoot { root: &Root::File(key_temporary.clone()), created };
        let (store, _) = fill(&prepared, &new, path)?;
        store.sync().map_err(|e| store_failed(&prepared, &e))?;
        // The way back from a creation that is cut off must be there before the key file is.
        file::sync_folder_of(path).map_err(|e| store_failed(path, &e))?;
        if !link_new(&key_temporary, key_path).map_err(|e| key_failed(key_path, &e))? {
            return Ok(false);
        }
        file::sync_folder_of(key_path).map_err(|e| key_failed(key_path, &e))?;
        let linked = link_new(&prepared, path).map_err(|e| store_failed(path, &e))? || same_file(&prepared, path);
        if !linked {
            // A creator with another root was faster, and this key opens nothing.
            std::fs::remove_file(key_path)
                .and_then(|()| file::sync_folder_of(key_path))
                .map_err(|e| key_failed(key_path, &e))?;
            return Ok(false);
        }
        file::sync_folder_of(path).map_err(|e| store_failed(path, &e))?;
        Ok(true)
    })();
    if made.is_ok() || take_back(path, key_path, key_id) {
        leftover::remove(&prepared);
    }
    leftover::remove(&key_temporary);
    if matches!(made, Ok(true)) {
        leftover::remove_all(path);
        leftover::remove_all(key_path);
    }
    made
}

/// Removes the key file of a failed creation, unless its store exists; returns whether nothing is left that could need
/// `prepared`. Only this creation knows the key, and nothing was sealed with it.
fn take_back(path: &Path, key_path: &Path, key: Option<FileId>) -> bool {
    if key.is_none() || FileId::of(key_path).ok() != key {
        return true;
    }
    if !matches!(sqlite::exists(path), Ok(false)) {
        return false;
    }
    std::fs::remove_file(key_path).and_then(|()| file::sync_folder_of(key_path)).is_ok()
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((FileId::of(a), FileId::of(b)), (Ok(a), Ok(b)) if a == b)
}

/// A complete key file under a temporary name, locked.
fn write_key_file(temporary: &Path, key: &[u8; 32]) -> std::io::Result<File> {
    let file = create_locked(temporary)?;
    file.write_all_at(key, 0)?;
    file.sync()?;
    Ok(file)
}

/// A new empty file, locked. A creation that ends at this moment may take it for a leftover before it is locked.
fn create_locked(path: &Path) -> std::io::Result<File> {
    loop {
        let file = File::create_new(path, 0o600)?;
        if file.try_lock()? && FileId::of(path).is_ok_and(|found| found == file.id()) {
            return Ok(file);
        }
    }
}

/// Makes a key file for an existing keystore, unless there is one already; returns which file was made.
pub fn key_file(path: &Path) -> Result<Option<FileId>> {
    if sqlite::exists(path)? {
        return Ok(None);
    }
    let key = Zeroizing::new(random::array::<32>()?);
    let temporary = temporary_name(path)?;
    let made = write_key_file(&temporary, &key)
        .and_then(|locked| Ok(link_new(&temporary, path)?.then(|| locked.id())))
        .and_then(|made| file::sync_folder_of(path).map(|()| made))
        .map_err(|e| key_failed(path, &e));
    leftover::remove(&temporary);
    made
}

/// Removes a key file that was made for nothing.
pub fn remove_key_file(path: &Path, made: FileId) {
    if FileId::of(path).ok() == Some(made) {
        let _ = std::fs::remove_file(path).and_then(|()| file::sync_folder_of(path));
    }
}

fn create_store(path: &Path, new: &NewRoot<'_>) -> Result<Option<Zeroizing<[u8; 32]>>> {
    let temporary = temporary_name(path)?;
    let made = fill(&temporary, new, path).and_then(|(file, key)| {
        file.sync()
            .and_then(|()| link_new(&temporary, path))
            .and_then(|new| file::sync_folder_of(path).map(|()| new))
            .map(|new| new.then_some(key))
            .map_err(|e| store_failed(path, &e))
    });
    leftover::remove(&temporary);
    if matches!(made, Ok(Some(_))) {
        leftover::remove_all(path);
    }
    // None: another creator was faster, and its keystore is as good.
    made
}

/// Checks that the name is not reserved for a file of another keystore: that file would be replaced, or that keystore
/// would take this one for its journal.
pub fn check_no_companion(path: &Path) -> Result<()> {
    let Some(name) = path.file_name().map(OsStrExt::as_bytes).filter(|name| !name.is_empty()) else {
        return Err(Status::InvalidArgument.error(format!("{} names no file; pass a path to one", shown_path(path))));
    };
    if leftover::is_unfinished(name) {
        return Err(Status::KeystoreIo.error(format!(
            "{} has a name of unfinished files, which end in .kms-new or .kms-new-MARK; choose another path",
            shown_path(path)
        )));
    }
    for suffix in ["-gen", "-journal", "-wal", "-shm", "-backups"] {
        let Some(stem) = name.strip_suffix(suffix.as_bytes()).filter(|stem| !stem.is_empty()) else { continue };
        let owner = path.with_file_name(OsStr::from_bytes(stem));
        if sqlite::exists(&owner)? {
            return Err(Status::KeystoreIo.error(format!(
                "{} is a name that belongs to {}; choose another path",
                shown_path(path),
                shown_path(&owner)
            )));
        }
    }
    Ok(())
}

/// Links or renames `temporary` to its final name; false if that name is taken. Not every file system has hard links
/// (vfat, some FUSE ones), and not every one can rename without replacing.
fn link_new(temporary: &Path, path: &Path) -> std::io::Result<bool> {
    let taken = |e: &std::io::Error| e.kind() == std::io::ErrorKind::AlreadyExists;
    match std::fs::hard_link(temporary, path) {
        Ok(()) => Ok(true),
        Err(e) if taken(&e) => Ok(false),
        Err(e) if fault::wanted("KMS_FAULT_LINKS_ONLY") => Err(e),
        Err(unlinked) => match file::rename_new(temporary, path) {
            Ok(()) => Ok(true),
            Err(e) if taken(&e) => Ok(false),
            Err(unnamed) => Err(std::io::Error::other(format!(
                "the file system neither links a file ({unlinked}) nor renames it to a new name only ({unnamed}); use a \
                 local one (ext4, XFS, Btrfs, tmpfs)"
            ))),
        },
    }
}

/// Renames or links `temporary` to its final name; false if that name is taken.
pub fn rename_new(temporary: &Path, path: &Path) -> std::io::Result<bool> {
    match file::rename_new(temporary, path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(_) => link_new(temporary, path),
    }
}

fn key_failed(path: &Path, error: &std::io::Error) -> Error {
    let (name, why) = (path.display(), sqlite::not_made(error));
    Status::RootKeyUnavailable.error(format!("the root key file {name} can't be created: {why}"))
}

fn store_failed(path: &Path, error: &std::io::Error) -> Error {
    let (name, why) = (path.display(), sqlite::not_made(error));
    Status::KeystoreIo.error(format!("the keystore {name} can't be created: {why}"))
}

fn temporary_name(path: &Path) -> Result<PathBuf> {
    Ok(leftover::name(path, u64::from_ne_bytes(random::array()?)))
}

/// Where the store of this key file waits for its name.
fn prepared_name(path: &Path, key: &[u8; 32]) -> Result<PathBuf> {
    let mark = kdf::derive(key, "libkms creation", &[])?;
    let mark = u64::from_be_bytes(*mark.first_chunk().ok_or_else(|| Status::Internal.error("a subkey is too short"))?);
    Ok(leftover::name(path, mark))
}

/// A new keystore under a temporary name, which will be used at `path`; its file is locked.
fn fill(temporary: &Path, new: &NewRoot<'_>, path: &Path) -> Result<(File, Zeroizing<[u8; 32]>)> {
    sqlite::refuse_network(temporary.parent().unwrap_or(temporary))?;
    let file = create_locked(temporary).map_err(|e| store_failed(path, &e))?;
    let mut made = Gated::new(fork::gate(|| Sqlite::create(temporary))?);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let place = folder.canonicalize().ok().zip(path.file_name()).map(|(folder, name)| folder.join(name));
    Ok((file, fill_rows(made.get()?, new, place.as_deref(), Duration::ZERO)?))
}

/// The rows of an empty keystore; returns its root key.
pub fn fill_rows(
    backend: &mut dyn Backend,
    new: &NewRoot<'_>,
    place: Option<&Path>,
    patience: Duration,
) -> Result<Zeroizing<[u8; 32]>> {
    let key = Zeroizing::new(random::array::<32>()?);
    let uuid = random::array::<16>()?;
    let slot = slot::wrap(new.root, &key, &uuid, new.created, None)?;
    let place = place.map(|place| place.as_os_str().as_bytes().to_vec());
    fill_empty(backend, &mut Sealing::new(&key, uuid)?, std::slice::from_ref(&slot), place, patience)?;
    Ok(key)
}

/// The rows of a keystore that has slots and no keys yet. `patience` bounds the wait for a creator that does the same.
pub fn fill_empty(
    backend: &mut dyn Backend,
    sealing: &mut Sealing,
    slots: &[SlotRow],
    place: Option<Vec<u8>>,
    patience: Duration,
) -> Result<()> {
    let (shards, mut metas) = (backend.shards(), Vec::new());
    for shard in shards.all() {
        let generation = shards.first_generation(shard, u64::from_be_bytes(random::array()?));
        metas.push((shard, sealing.first_meta(generation, slots, place.clone())?));
    }
    gated(backend, |backend| {
        backend.begin(Transaction::Write, patience)?;
        let written = slots.iter().try_for_each(|slot| backend.insert_slot(slot));
        let written =
            metas.iter().fold(written, |done, (shard, meta)| done.and_then(|()| backend.put_meta(*shard, meta)));
        let written = written.and_then(|()| backend.commit());
        if written.is_err() {
            backend.rollback();
        }
        written
    })
}
