//! The store root key: where the caller's key comes from, and how it wraps the root key in a slot.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::backend::SlotRow;
use crate::crypto::passphrase::{self, Argon2Params};
use crate::crypto::row;
use crate::error::{Error, Result, Status};
use crate::sys::file::{self, Facts, File};
use crate::sys::random;
use crate::sys::secret::Secret;

/// Wraps and unwraps the root key outside of the library: an HSM, a TPM, a cloud KMS.
pub trait RootWrapper: Send + Sync {
    fn wrap(&self, root: &[u8]) -> Result<Vec<u8>>;
    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>>;
}

/// What opens the store; exactly one is set per open.
#[derive(Clone)]
pub enum Root {
    Key(Arc<Secret>),
    /// Exactly 32 bytes, readable by the owner alone.
    File(PathBuf),
    Passphrase(Arc<Zeroizing<Vec<u8>>>),
    Callback(Arc<dyn RootWrapper>),
}

const KIND_KEY: i64 = 1;
const KIND_PASSPHRASE: i64 = 2;
const KIND_CALLBACK: i64 = 3;

type RootKey = Zeroizing<[u8; 32]>;

impl Root {
    fn kind(&self) -> i64 {
        match self {
            Self::Key(_) | Self::File(_) => KIND_KEY,
            Self::Passphrase(_) => KIND_PASSPHRASE,
            Self::Callback(_) => KIND_CALLBACK,
        }
    }

    /// A slot that holds `root` for this caller. Slow: no lock may be held.
    pub fn wrap(&self, root: &[u8; 32], uuid: &[u8; 16]) -> Result<SlotRow> {
        let (parameters, wrapped) = match self {
            Self::Key(key) => (Vec::new(), seal(key.expose(), root, uuid, KIND_KEY, &[])?),
            Self::File(path) => (Vec::new(), seal(&*read_key_file(path)?, root, uuid, KIND_KEY, &[])?),
            Self::Passphrase(text) => {
                let mut parameters = Argon2Params::DEFAULT.encode().to_vec();
                parameters.extend(random::array::<16>()?);
                let key = derive(text, &parameters)?;
                let wrapped = seal(&key, root, uuid, KIND_PASSPHRASE, &parameters)?;
                (parameters, wrapped)
            }
            Self::Callback(wrapper) => (Vec::new(), wrapper.wrap(root)?),
        };
        Ok(SlotRow { kind: self.kind(), parameters, wrapped })
    }

    /// The root key from the slots of a store. Slow: no lock may be held.
    pub fn unwrap(&self, slots: &[SlotRow], uuid: &[u8; 16]) -> Result<RootKey> {
        let mut last = Status::WrongRootKey.error(format!(
            "the keystore is not opened by {}; use the one it was created with",
            match self.kind() {
                KIND_KEY => "a root key",
                KIND_PASSPHRASE => "a passphrase",
                _ => "a callback",
            }
        ));
        for slot in slots.iter().filter(|slot| slot.kind == self.kind()) {
            match self.unwrap_one(slot, uuid) {
                Err(e) if e.status() == Status::WrongRootKey => last = e,
                done => return done,
            }
        }
        Err(last)
    }

    fn unwrap_one(&self, slot: &SlotRow, uuid: &[u8; 16]) -> Result<RootKey> {
        match self {
            Self::Key(key) => open(key.expose(), slot, uuid),
            Self::File(path) => open(&*read_key_file(path)?, slot, uuid),
            Self::Passphrase(text) => open(&*derive(text, &slot.parameters)?, slot, uuid),
            Self::Callback(wrapper) => exact(&wrapper.unwrap(&slot.wrapped)?).ok_or_else(|| {
                Status::RootKeyUnavailable.error("the unwrap callback gave a key that is not 32 bytes long")
            }),
        }
    }
}

fn derive(text: &[u8], parameters: &[u8]) -> Result<RootKey> {
    let damaged = || Status::KeystoreCorrupt.error("a root key slot is damaged; restore the keystore from a backup");
    let (costs, salt) = parameters.split_first_chunk().ok_or_else(damaged)?;
    let salt = salt.try_into().map_err(|_| damaged())?;
    let costs = Argon2Params::decode(costs)?;
    costs.check()?;
    passphrase::derive(text, salt, &costs)
}

fn aad(uuid: &[u8; 16], kind: i64, parameters: &[u8]) -> Vec<u8> {
    [b"libkms slot".as_slice(), uuid, &kind.to_be_bytes(), parameters].concat()
}

fn seal(key: &[u8; 32], root: &[u8; 32], uuid: &[u8; 16], kind: i64, parameters: &[u8]) -> Result<Vec<u8>> {
    row::seal_once(key, &aad(uuid, kind, parameters), root)
}

fn open(key: &[u8; 32], slot: &SlotRow, uuid: &[u8; 16]) -> Result<RootKey> {
    let wrong = || Status::WrongRootKey.error("the root key is not the one this keystore was created with");
    let opened =
        row::open_once(key, &aad(uuid, slot.kind, &slot.parameters), &slot.wrapped).map_err(|e| match e.status() {
            Status::AuthenticationFailed | Status::MalformedCiphertext => wrong(),
            _ => e,
        })?;
    exact(&opened).ok_or_else(wrong)
}

fn exact(bytes: &[u8]) -> Option<RootKey> {
    Some(Zeroizing::new(*<&[u8; 32]>::try_from(bytes).ok()?))
}

fn unavailable(text: String) -> Error {
    Status::RootKeyUnavailable.error(text)
}

/// The 32 bytes of a key file that nobody else can read.
pub fn read_key_file(path: &Path) -> Result<RootKey> {
    let name = path.display();
    let unreadable = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => unavailable(format!("the root key file {name} does not exist; restore it")),
        _ => unavailable(format!("the root key file {name} can't be read: {}", file::explain(&e))),
    };
    let file = File::open(path).map_err(unreadable)?;
    check_key_file(path, &file.facts().map_err(unreadable)?)?;
    let mut bytes = Zeroizing::new([0u8; 33]);
    let len = file.read_at(&mut *bytes, 0).map_err(unreadable)?;
    match bytes.get(..len).and_then(exact) {
        Some(key) => Ok(key),
        None => Err(unavailable(format!("the root key file {name} must hold exactly 32 bytes"))),
    }
}

/// That only root, this process's user and a group of its choice can read the file, and only the owner can write it.
fn check_key_file(path: &Path, facts: &Facts) -> Result<()> {
    const GROUP_WRITES: u32 = 0o020;
    const OTHERS: u32 = 0o007;
    let (name, mode) = (path.display(), facts.mode & 0o7777);
    if facts.is_folder() {
        return Err(unavailable(format!("the root key path {name} is a folder; give the path of a file in it")));
    }
    if !facts.is_regular() {
        return Err(unavailable(format!("the root key path {name} is not a regular file; give the path of one")));
    }
    if !file::is_trusted_owner(facts.owner) {
        return Err(unavailable(format!(
            "the root key file {name} belongs to user {}, neither to this process's user nor to root; chown it, or run as \
             that user",
            facts.owner
        )));
    }
    if mode & (GROUP_WRITES | OTHERS) != 0 {
        return Err(unavailable(format!(
            "the root key file {name} has mode {mode:04o}: others can read it, or its group can write it; run: chmod \
             u=rw,g=r,o= {name} (or mount it with mode 0440)"
        )));
    }
    Ok(())
}
