//! AES-GCM and key wrapping under subkeys of a key, for the PKCS#11 module: formats that name no version.
//!
//! Encryption uses the primary version. Decryption tries the versions, newest first, at most as many as the caller says:
//! the one exception to the rule that only the version named in a ciphertext is tried. Neither a version's key nor a
//! subkey leaves the library.

use std::collections::HashMap;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::cache::{CachedKey, Material};
use super::due::new_version;
use super::rotation::rotatable;
use super::slots::lost;
use super::{Changed, Core, Keystore};
use crate::crypto::openssl::{AUTHENTICATION_FAILED, AnyGcm, GcmParts, unwrap_key, wrap_key};
use crate::crypto::subkey::{Family, derive};
use crate::domain::id::{KeyId, VersionId};
use crate::domain::limits::check_plaintext_len;
use crate::domain::log::ChangeAction;
use crate::domain::state::{self, Operation};
use crate::domain::version::{VersionState, VersionUse};
use crate::error::{Error, Result, Status};
use crate::sys::{memory, waiting};

/// Ciphers, and keys whose versions are known, that a thread keeps.
const MOST_KEPT: usize = 256;

/// The versions that a decryption tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidates {
    /// The enabled ones among the newest.
    Newest(usize),
    /// This one.
    Only(VersionId),
}

/// What a thread keeps of subkeys.
#[derive(Default)]
pub(super) struct ReadySubkeys {
    gcm: HashMap<VersionId, AnyGcm>,
    versions: HashMap<KeyId, KnownVersions>,
}

/// The enabled versions among the newest `limit` of a key, newest first; they hold as long as the key is current.
struct KnownVersions {
    key: Arc<CachedKey>,
    limit: usize,
    ids: Arc<[VersionId]>,
}

impl ReadySubkeys {
    /// Forgets all keys, as when some were destroyed.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    fn gcm(&mut self, material: &Material) -> Result<&mut AnyGcm> {
        let id = material.version.id;
        if !self.gcm.contains_key(&id) {
            if self.gcm.len() >= MOST_KEPT {
                self.gcm.clear();
            }
            let key = derive(material.secret.expose(), Family::Gcm, &id)?;
            self.gcm.insert(id, AnyGcm::new(&*key)?);
        }
        self.gcm.get_mut(&id).ok_or_else(lost)
    }
}

impl Keystore {
    /// Encrypt under the GCM subkey of the key's primary version. `out` is `tag_len` bytes longer than `plaintext`. A key
    /// whose version has served 2^31 messages rotates first; one that cannot rotate is refused. The keystore counts the
    /// messages of all handles: each reserves blocks ahead, and what it does not use is lost when it closes.
    #[doc(hidden)]
    #[allow(clippy::missing_errors_doc, reason = "hidden")]
    pub fn encrypt_gcm(&self, key: KeyId, parts: &GcmParts<'_>, plaintext: &[u8], out: &mut [u8]) -> Result<()> {
        check_plaintext_len(plaintext.len())?;
        self.with_primary(key, true, |mine, material| mine.gcm(material)?.seal(parts, plaintext, out))
    }

    /// Decrypt what [`Keystore::encrypt_gcm`] made under one of the candidates. `out` is `tag_len` bytes shorter than
    /// `sealed`; after a failure it is all zeros.
    #[doc(hidden)]
    #[allow(clippy::missing_errors_doc, reason = "hidden")]
    pub fn decrypt_gcm(
        &self,
        key: KeyId,
        candidates: Candidates,
        parts: &GcmParts<'_>,
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        self.with_each_version(key, candidates, |mine, material| mine.gcm(material)?.open(parts, sealed, out))
    }

    /// Wrap a key of the caller's (RFC 3394, or RFC 5649 with `padded`) under the subkey of the key's primary version.
    #[doc(hidden)]
    #[allow(clippy::missing_errors_doc, reason = "hidden")]
    pub fn wrap_with_subkey(&self, key: KeyId, padded: bool, wrapped: &[u8]) -> Result<Vec<u8>> {
        self.with_primary(key, false, |_, material| {
            wrap_key(&*derive(material.secret.expose(), Family::KeyWrap, &material.version.id)?, padded, wrapped)
        })
    }

    /// Unwrap what [`Keystore::wrap_with_subkey`] made under one of the candidates.
    #[doc(hidden)]
    #[allow(clippy::missing_errors_doc, reason = "hidden")]
    pub fn unwrap_with_subkey(
        &self,
        key: KeyId,
        candidates: Candidates,
        padded: bool,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        self.with_each_version(key, candidates, |_, material| {
            let subkey = derive(material.secret.expose(), Family::KeyWrap, &material.version.id)?;
            unwrap_key(&*subkey, padded, wrapped).map(Zeroizing::new)
        })
    }

    /// Whether the key may encrypt and decrypt now.
    #[doc(hidden)]
    #[allow(clippy::missing_errors_doc, reason = "hidden")]
    pub fn check_usable(&self, key: KeyId) -> Result<()> {
        self.core()?.usable_key(&key).map(drop)
    }

    fn with_primary<R>(
        &self,
        key: KeyId,
        counts_messages: bool,
        mut seal: impl FnMut(&mut ReadySubkeys, &Material) -> Result<R>,
    ) -> Result<R> {
        let core = self.core_even_if_poisoned()?;
        let mut may_rotate = !core.ticker.ticks();
        loop {
            let done = core.threads.with(|mine| {
                let at = core.ready_to_seal(mine, &key.text())?;
                let ready = mine.seals.get(at).ok_or_else(lost)?;
                if ready.asks_clock {
                    core.usable(&ready.key.key, Operation::Cryptography)?;
                    if may_rotate && core.is_overdue(&ready.key.key) {
                        return Ok(Sealed::Overdue);
                    }
                }
                if counts_messages && !ready.material.seen.take_message() {
                    return Ok(Sealed::Unreserved(Arc::clone(&ready.material)));
                }
                seal(&mut mine.subkeys, &ready.material).map(Sealed::Done)
            })?;
            match done {
                Sealed::Done(sealed) => return Ok(sealed),
                Sealed::Overdue => {
                    waiting::allowed()?;
                    core.rotate_overdue(&key);
                    may_rotate = false;
                }
                Sealed::Unreserved(material) => {
                    waiting::allowed()?;
                    core.reserve_messages(&key, &material)?;
                }
            }
        }
    }

    fn with_each_version<R>(
        &self,
        key: KeyId,
        candidates: Candidates,
        mut open: impl FnMut(&mut ReadySubkeys, &Material) -> Result<R>,
    ) -> Result<R> {
        let core = self.core()?;
        let found = core.key(&key)?;
        core.usable(&found.key, Operation::Cryptography)?;
        let (known, one);
        let versions = match candidates {
            Candidates::Newest(limit) => {
                known = match core.known_versions(&found, limit)? {
                    Some(known) => known,
                    None => self.enabled_versions(found, limit)?,
                };
                known.get(..limit).unwrap_or(&known)
            }
            Candidates::Only(version) => {
                one = [version];
                &one
            }
        };
        for version in versions {
            let material = match core.usable_version(&key, version) {
                Ok((_, material)) => material,
                // Another version may still be the one.
                Err(error)
                    if matches!(candidates, Candidates::Newest(_))
                        && matches!(error.status(), Status::KeyVersionDisabled | Status::KeyVersionDestroyed) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            match core.threads.with(|mine| open(&mut mine.subkeys, &material)) {
                Ok(opened) => {
                    // A version that was only tried was not used.
                    core.note_use(&material, VersionUse::Decrypt);
                    return Ok(opened);
                }
                Err(error) if error.status() == Status::AuthenticationFailed => {}
                Err(error) => return Err(error),
            }
        }
        Err(Status::AuthenticationFailed.error(AUTHENTICATION_FAILED))
    }
}

impl Keystore {
    fn enabled_versions(&self, found: Arc<CachedKey>, limit: usize) -> Result<Arc<[VersionId]>> {
        memory::headroom()?;
        let mut ids = Vec::new();
        self.list_key_versions(found.key.id, None, limit, |version, _| {
            if version.state == VersionState::Enabled {
                ids.push(version.id);
            }
            true
        })?;
        let ids: Arc<[VersionId]> = ids.into();
        self.core()?.keep_versions(found, limit, Arc::clone(&ids))?;
        Ok(ids)
    }
}

/// The outcome of one attempt to encrypt.
enum Sealed<R> {
    Done(R),
    /// The key must rotate first, because no thread does it.
    Overdue,
    /// More messages of the version must be reserved first.
    Unreserved(Arc<Material>),
}

#[cold]
fn worn_out(id: &KeyId) -> Error {
    Status::LimitExceeded.error(format!(
        "the version of key {id} has encrypted 2^31 GCM messages and the key cannot rotate; create another key"
    ))
}

impl Core {
    /// Stores that this handle may encrypt more GCM messages under a version, before it does: a crash or a fork loses them,
    /// and no two processes have the same. A version without any left has a successor after this.
    #[cold]
    fn reserve_messages(&self, id: &KeyId, material: &Material) -> Result<()> {
        let done = self.change_key(ChangeAction::ReserveMessages, id, |change, mut stored, now| {
            let wanted = material.seen.wanted_messages();
            // Another thread was faster, or the key has rotated meanwhile.
            if wanted == 0 || stored.key.primary.is_none_or(|primary| primary.id != material.version.id) {
                return Ok(Changed::none((0, None)));
            }
            let mut record = stored.records.of(material.version.number);
            let reserved = record.reserve_messages(wanted);
            if reserved > 0 {
                change.put_records(&mut stored, &[record])?;
                return Ok(Changed::one((reserved, None), change.update(stored)?));
            }
            rotatable(&stored).map_err(|_| worn_out(id))?;
            state::check(stored.key.state_at(now.wall), Operation::CreateKeyVersion)?;
            change.log_as(ChangeAction::RotateKeyAuto, Some(*id), 1);
            let stored = new_version(change, stored, now.wall)?;
            self.rotated(change, stored, |version| (0, version))
        })?;
        let (reserved, rotated) = done.value;
        if reserved > 0 {
            material.seen.add_messages(reserved);
        }
        self.tell_rotation(*id, rotated, done.at);
        // Another process may have rotated the key, and not have announced it yet.
        self.catch_up()
    }

    /// The enabled versions among the newest `limit` of a key, newest first.
    fn known_versions(&self, found: &Arc<CachedKey>, limit: usize) -> Result<Option<Arc<[VersionId]>>> {
        let erased = self.cache.erased();
        self.threads.with(|mine| {
            mine.forget_opens(erased)?;
            let known = mine.subkeys.versions.get(&found.key.id);
            let known = known.filter(|known| Arc::ptr_eq(&known.key, found) && known.limit >= limit);
            Ok(known.map(|known| Arc::clone(&known.ids)))
        })
    }

    fn keep_versions(&self, found: Arc<CachedKey>, limit: usize, ids: Arc<[VersionId]>) -> Result<()> {
        self.threads.with(|mine| {
            if mine.subkeys.versions.len() >= MOST_KEPT {
                mine.subkeys.versions.clear();
            }
            mine.subkeys.versions.insert(found.key.id, KnownVersions { key: found, limit, ids });
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
