//! A root: the caller's key, and where it comes from.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::settings::Location;
use crate::crypto::openssl;
use crate::crypto::plaintext::Plaintext;
use crate::error::{Error, Result, Status, shown_path};
use crate::sys::file::{self, Facts, File};
use crate::sys::secret::Secret;

/// Wraps and unwraps the root key outside of the library: an HSM, a TPM, a cloud KMS.
///
/// Both must use authenticated symmetric encryption with a key that stays there, such as AES-256-GCM, and bind `aad`
/// (see [`Options::root_callback`](crate::Options::root_callback)). Never public-key encryption: an attacker can
/// encrypt too, and so replace the keystore by their own.
pub trait RootWrapper: Send + Sync {
    /// Encrypt the 32 bytes of `root` and authenticate them together with `aad`.
    ///
    /// # Errors
    /// Any error, usually [`RootKeyUnavailable`](crate::Status::RootKeyUnavailable).
    fn wrap(&self, root: &[u8], aad: &[u8]) -> Result<Vec<u8>>;
    /// Decrypt what `wrap` returned, and fails unless `aad` is what it was wrapped with. `aad` is empty for a slot that
    /// keystore format 1 made.
    ///
    /// # Errors
    /// Any error, usually [`RootKeyUnavailable`](crate::Status::RootKeyUnavailable); always for another `aad`.
    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<Plaintext>;
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

pub type RootKey = Zeroizing<[u8; 32]>;

/// The kind of a root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RootKind {
    /// 32 bytes, from memory or from a file.
    Key = 1,
    /// A passphrase, stretched by Argon2id.
    Passphrase = 2,
    /// A pair of functions: an HSM, a TPM, a cloud KMS.
    Callback = 3,
}

/// A root that is ready: a key file has been read.
pub enum ReadyRoot<'a> {
    Key(RootKey),
    Passphrase(&'a [u8]),
    Callback(&'a dyn RootWrapper),
}

impl ReadyRoot<'_> {
    pub fn kind(&self) -> RootKind {
        match self {
            Self::Key(_) => RootKind::Key,
            Self::Passphrase(_) => RootKind::Passphrase,
            Self::Callback(_) => RootKind::Callback,
        }
    }
}

/// What is said of a root key of 32 zero bytes, which is what a program passes that forgot to read its key.
pub const ALL_ZEROS: &str = "the root key is 32 zero bytes; pass the key itself";

impl Root {
    pub fn ready(&self) -> Result<ReadyRoot<'_>> {
        Ok(match self {
            Self::Key(key) => {
                ReadyRoot::Key(exact(key.expose()).ok_or_else(|| Status::InvalidArgument.error(ALL_ZEROS))?)
            }
            Self::File(path) => ReadyRoot::Key(read_key_file(path)?),
            Self::Passphrase(text) => ReadyRoot::Passphrase(text),
            Self::Callback(wrapper) => ReadyRoot::Callback(&**wrapper),
        })
    }

    /// The one text for a keystore that doesn't open with this root, for any reason: it does not reveal which slot or
    /// guess was nearly right.
    pub fn opens_nothing(&self, location: &Location) -> Error {
        let root = match self {
            Self::Key(_) => "this root key".to_owned(),
            Self::File(path) => format!("the root key file {}", shown_path(path)),
            Self::Passphrase(_) => "this passphrase".to_owned(),
            Self::Callback(_) => "this root callback".to_owned(),
        };
        Status::WrongRootKey.error(format!(
            "{root} does not open {location}, or the keystore was altered; use a root that opens it now, or restore a backup"
        ))
    }
}

fn unavailable(text: String) -> Error {
    Status::RootKeyUnavailable.error(text)
}

/// A key of 32 bytes, not all of them zero: a buffer that was never filled is no key.
pub fn exact(bytes: &[u8]) -> Option<RootKey> {
    let key = Zeroizing::new(*<&[u8; 32]>::try_from(bytes).ok()?);
    (!openssl::equal(&*key, &[0; 32])).then_some(key)
}

/// The 32 bytes of a key file that no other user can read.
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
    match bytes.get(..len) {
        Some(bytes) if bytes.len() == 32 => exact(bytes)
            .ok_or_else(|| unavailable(format!("the root key file {name} holds 32 zero bytes; restore the key"))),
        _ => Err(unavailable(format!("the root key file {name} must hold exactly 32 bytes"))),
    }
}

/// Checks that only root, this process's user and a group of its choice can read the file, and only the owner can write
/// it.
fn check_key_file(path: &Path, facts: &Facts) -> Result<()> {
    const GROUP_WRITES: u32 = 0o020;
    const OTHERS: u32 = 0o007;
    let (name, mode) = (path.display(), facts.mode & 0o7777);
    if facts.is_folder() {
        return Err(unavailable(format!("the root key path {name} is a folder; pass the path of a file in it")));
    }
    if !facts.is_regular() {
        return Err(unavailable(format!("the root key path {name} is not a regular file; pass the path of one")));
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
