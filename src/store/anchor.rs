//! The anchor: a record outside of the keystore of the newest change, so that an older copy of the whole keystore shows.
//!
//! It is raised after each commit and before the change is acknowledged. A crash between the two leaves it behind by what
//! was not acknowledged, so a keystore may be further on than its anchor, and never behind it.
//!
//! An anchor file has two places for a record; the older one is overwritten, under a lock of the file (flock). A power
//! cut while it is written leaves the other. An empty file becomes the anchor of the first keystore that is opened with it.

use std::fmt::Display;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::state::State;
use crate::crypto::kdf;
use crate::crypto::openssl::{self, Hmac};
use crate::error::{Error, Result, Status};
use crate::sys::file::{self, Facts, File, FileId};
use crate::sys::fork;

/// Keeps the anchor's record outside of the library: a TPM's counter, a remote service.
pub trait AnchorStore: Send + Sync {
    /// Return the record that was put last; empty if there was none yet.
    ///
    /// # Errors
    /// Any error; the call that needed the record fails with it.
    fn get(&self) -> Result<Vec<u8>>;
    /// Keep a record of 104 bytes durably. It holds no secret.
    ///
    /// # Errors
    /// Any error; the change that was to be anchored then fails with it.
    fn put(&self, record: &[u8]) -> Result<()>;
}

#[derive(Clone)]
pub enum Anchor {
    File(PathBuf),
    Callback(Arc<dyn AnchorStore>),
}

impl std::fmt::Debug for Anchor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Callback(_) => f.write_str("Callback"),
        }
    }
}

const MAGIC: &[u8; 16] = b"libkms anchor 1\0";
const RECORD: usize = 104;
/// Far enough apart that a torn write hits one of them only.
const PLACES: [u64; 2] = [0, 4096];

/// An anchor file that was made ahead of its keystore.
#[derive(Debug)]
pub struct NewAnchor {
    path: PathBuf,
    /// Where the keystore is to be; none for one that is no file.
    store: Option<PathBuf>,
    file: File,
    is_kept: bool,
}

#[cfg(feature = "postgres")]
impl NewAnchor {
    /// The keystore exists, or may exist.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for NewAnchor {
    fn drop(&mut self) {
        let is_empty = self.file.facts().is_ok_and(|facts| facts.len == 0);
        let is_ours = FileId::of(&self.path).is_ok_and(|found| found == self.file.id());
        let is_alone = || self.store.as_ref().is_none_or(|store| matches!(super::sqlite::exists(store), Ok(false)));
        if !self.is_kept && is_empty && is_ours && is_alone() {
            let _ = std::fs::remove_file(&self.path).and_then(|()| file::sync_folder_of(&self.path));
        }
    }
}

/// Reads and writes the records of one keystore. Made, used and dropped inside the fork gate: the rotation thread may use
/// libcrypto there only.
struct AnchorCodec {
    uuid: [u8; 16],
    hmac: Hmac,
}

impl AnchorCodec {
    fn new(root: &[u8; 32], uuid: [u8; 16]) -> Result<Self> {
        Ok(Self { uuid, hmac: Hmac::new(&*kdf::derive(root, "libkms anchor", &uuid)?)? })
    }

    fn encode(&mut self, state: &State) -> Result<Vec<u8>> {
        let mut record = [MAGIC.as_slice(), &self.uuid, &state.generation().to_be_bytes(), state.mac()].concat();
        let mac = self.hmac.mac(&[&record])?;
        record.extend(mac);
        Ok(record)
    }

    fn decode(&mut self, record: &[u8]) -> Result<Option<State>> {
        let Some((body, mac)) = record.split_last_chunk::<32>() else { return Ok(None) };
        if record.len() != RECORD || !openssl::equal(&self.hmac.mac(&[body])?, mac) {
            return Ok(None);
        }
        let parsed = body.strip_prefix(MAGIC.as_slice()).and_then(|body| body.split_first_chunk::<16>());
        let state = parsed.filter(|(uuid, _)| **uuid == self.uuid).and_then(|(_, rest)| {
            let (generation, mac) = rest.split_first_chunk::<8>()?;
            Some(State::new(i64::from_be_bytes(*generation), mac.try_into().ok()?))
        });
        Ok(state)
    }
}

impl Anchor {
    /// Prepares the anchor of a keystore that is about to be made at `place`. An anchor that knows a keystore is refused:
    /// that keystore was lost. The new anchor file is removed when the result is dropped, unless it is kept or the file
    /// `store` exists by then.
    pub fn prepare(&self, place: &dyn Display, store: Option<&Path>) -> Result<Option<NewAnchor>> {
        let (known, made) = match self {
            Self::Callback(store) => (!store.get()?.is_empty(), None),
            Self::File(path) => match File::create_new(path, 0o600) {
                Ok(file) => {
                    let made = NewAnchor { path: path.clone(), store: store.map(Path::to_owned), file, is_kept: false };
                    let reserved = made.file.reserve(PLACES[1] as u32 + RECORD as u32);
                    reserved.and_then(|()| file::sync_folder_of(path)).map_err(|e| unavailable(path, &e))?;
                    (false, Some(made))
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    let file = File::open_writable(path).map_err(|e| unavailable(path, &e))?;
                    let facts = file.facts().map_err(|e| unavailable(path, &e))?;
                    check_kind(path, &facts)?;
                    (facts.len > 0, None)
                }
                Err(e) => return Err(unavailable(path, &e)),
            },
        };
        match known {
            true => Err(Status::KeystoreRolledBack.error(format!(
                "no keystore at {place}, but its anchor knows one; restore it, or empty the anchor for a new one"
            ))),
            false => Ok(made),
        }
    }

    /// What is anchored; nothing yet where the anchor is empty. Runs a callback: no lock may be held.
    pub fn read(&self, root: &[u8; 32], uuid: [u8; 16]) -> Result<Option<State>> {
        match self {
            Self::Callback(store) => match store.get()? {
                record if record.is_empty() => Ok(None),
                record => fork::gate(|| AnchorCodec::new(root, uuid)?.decode(&record))?.map(Some).ok_or_else(foreign),
            },
            Self::File(path) => fork::gate(|| {
                let file = File::open(path).map_err(|e| unavailable(path, &e))?;
                let (newest, len) = newest(path, &file, &mut AnchorCodec::new(root, uuid)?)?;
                match newest {
                    None if len > 0 => Err(foreign()),
                    newest => Ok(newest.map(|(state, _)| state)),
                }
            }),
        }
    }

    /// Anchors `state` unless a newer one is. KEYSTORE_BUSY while another process does; the caller waits.
    pub fn raise(&self, root: &[u8; 32], uuid: [u8; 16], state: &State) -> Result<()> {
        match self {
            Self::Callback(store) => store.put(&fork::gate(|| AnchorCodec::new(root, uuid)?.encode(state))?),
            // Inside the gate also so that no child is born with the descriptor and its lock.
            Self::File(path) => fork::gate(|| raise_file(path, &mut AnchorCodec::new(root, uuid)?, state)),
        }
    }
}

fn raise_file(path: &Path, records: &mut AnchorCodec, state: &State) -> Result<()> {
    let file = File::open_writable(path).map_err(|e| unavailable(path, &e))?;
    if !file.try_lock().map_err(|e| unavailable(path, &e))? {
        return Err(Status::KeystoreBusy.error("another process is writing the anchor; try again"));
    }
    let (newest, len) = newest(path, &file, records)?;
    let place = match newest {
        Some((anchored, _)) if anchored.generation() >= state.generation() => return Ok(()),
        Some((_, place)) => PLACES.iter().copied().find(|other| *other != place).unwrap_or(0),
        None if len > 0 => return Err(foreign()),
        None => 0,
    };
    file.write_all_at(&records.encode(state)?, place).and_then(|()| file.sync_data()).map_err(|e| unavailable(path, &e))
}

/// The newest record, its position, and the file's length.
fn newest(path: &Path, file: &File, records: &mut AnchorCodec) -> Result<(Option<(State, u64)>, u64)> {
    // Before the records: the first one may just be coming.
    let facts = file.facts().map_err(|e| unavailable(path, &e))?;
    check_kind(path, &facts)?;
    let mut newest: Option<(State, u64)> = None;
    for place in PLACES {
        let mut record = [0; RECORD];
        if file.read_at(&mut record, place).map_err(|e| unavailable(path, &e))? < RECORD {
            continue;
        }
        if let Some(state) = records.decode(&record)?
            && newest.is_none_or(|(known, _)| known.generation() < state.generation())
        {
            newest = Some((state, place));
        }
    }
    Ok((newest, facts.len))
}

/// Checks that only root and this process's user can write the file, and so discard what was anchored.
fn check_kind(path: &Path, facts: &Facts) -> Result<()> {
    let name = path.display();
    let refuse = |text: String| Err(Status::AnchorUnavailable.error(text));
    if !facts.is_regular() {
        return refuse(format!("the anchor {name} is not a regular file; pass the path of one"));
    }
    if !file::is_trusted_owner(facts.owner) {
        return refuse(format!(
            "the anchor {name} belongs to user {}, neither to this process's user nor to root; chown it",
            facts.owner
        ));
    }
    Ok(())
}

fn unavailable(path: &Path, error: &std::io::Error) -> Error {
    let name = path.display();
    Status::AnchorUnavailable.error(match error.kind() {
        ErrorKind::NotFound => {
            format!("the anchor file {name} is missing: mount its volume; for a new anchor, make an empty file there")
        }
        _ => format!("the anchor file {name} can't be used: {}", file::explain(error)),
    })
}

fn foreign() -> Error {
    Status::AnchorUnavailable
        .error("the anchor is damaged or belongs to another keystore; name the right one, or empty it to start over")
}
