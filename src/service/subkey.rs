//! AES-GCM and key wrapping under subkeys of a key, for the PKCS#11 module: formats that name no version.
//!
//! Encryption uses the primary version. Decryption tries the versions, newest first, at most as many as the caller says:
//! the one exception to the rule that only the version named in a ciphertext is tried. Neither a version's key nor a
//! subkey leaves the library.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use zeroize::Zeroizing;

use super::cache::{CachedKey, Material};
use super::slots::lost;
use super::{Core, Keystore};
use crate::crypto::openssl::{AUTHENTICATION_FAILED, AnyGcm, GcmParts, unwrap_key, wrap_key};
use crate::crypto::subkey::{Family, derive};
use crate::domain::id::{KeyId, VersionId};
use crate::domain::limits::check_plaintext_len;
use crate::domain::state::Operation;
use crate::domain::version::{VersionState, VersionUse};
use crate::error::{Error, Result, Status};
use crate::sys::{memory, waiting};

/// GCM messages under one version: with random IVs of 12 bytes, two of 2^31 share one with a probability of 2^-35.
const MOST_MESSAGES: u64 = 1 << 31;
/// Ciphers, and keys whose versions are known, that a thread keeps.
const MOST_KEPT: usize = 256;

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
    /// whose version has served 2^31 messages of this handle rotates first; one that cannot rotate is refused.
    #[doc(hidden)]
    #[allow(clippy::missing_errors_doc, reason = "hidden")]
    pub fn encrypt_gcm(&self, key: KeyId, parts: &GcmParts<'_>, plaintext: &[u8], out: &mut [u8]) -> Result<()> {
        check_plaintext_len(plaintext.len())?;
        self.with_primary(key, |mine, material| mine.gcm(material)?.seal(parts, plaintext, out))
    }

    /// Decrypt what [`Keystore::encrypt_gcm`] made; tries at most `trials` versions. `out` is `tag_len` bytes shorter than
    /// `sealed`; after a failure it is all zeros.
    #[doc(hidden)]
    #[allow(clippy::missing_errors_doc, reason = "hidden")]
    pub fn decrypt_gcm(
        &self,
        key: KeyId,
        trials: usize,
        parts: &GcmParts<'_>,
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        self.with_each_version(key, trials, |mine, material| mine.gcm(material)?.open(parts, sealed, out))
    }

    /// Wrap a key of the caller's (RFC 3394, or RFC 5649 with `padded`) under the subkey of the key's primary version.
    #[doc(hidden)]
    #[allow(clippy::missing_errors_doc, reason = "hidden")]
    pub fn wrap_with_subkey(&self, key: KeyId, padded: bool, wrapped: &[u8]) -> Result<Vec<u8>> {
        self.with_primary(key, |_, material| {
            wrap_key(&*derive(material.secret.expose(), Family::KeyWrap, &material.version.id)?, padded, wrapped)
        })
    }

    /// Unwrap what [`Keystore::wrap_with_subkey`] made; tries at most `trials` versions.
    #[doc(hidden)]
    #[allow(clippy::missing_errors_doc, reason = "hidden")]
    pub fn unwrap_with_subkey(
        &self,
        key: KeyId,
        trials: usize,
        padded: bool,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        self.with_each_version(key, trials, |_, material| {
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
                if ready.material.seen.messages.load(Ordering::Relaxed) >= MOST_MESSAGES {
                    return Ok(Sealed::WornOut);
                }
                ready.material.seen.messages.fetch_add(1, Ordering::Relaxed);
                seal(&mut mine.subkeys, &ready.material).map(Sealed::Done)
            })?;
            match done {
                Sealed::Done(sealed) => return Ok(sealed),
                Sealed::Overdue => {
                    waiting::allowed()?;
                    core.rotate_overdue(&key);
                    may_rotate = false;
                }
                Sealed::WornOut => {
                    self.rotate(key).map_err(worn_out)?;
                }
            }
        }
    }

    fn with_each_version<R>(
        &self,
        key: KeyId,
        trials: usize,
        mut open: impl FnMut(&mut ReadySubkeys, &Material) -> Result<R>,
    ) -> Result<R> {
        let core = self.core()?;
        let found = core.key(&key)?;
        core.usable(&found.key, Operation::Cryptography)?;
        let versions = match core.known_versions(&found, trials)? {
            Some(known) => known,
            None => self.enabled_versions(found, trials)?,
        };
        for version in versions.iter().take(trials) {
            let material = match core.usable_version(&key, version) {
                Ok((_, material)) => material,
                // Another version may still be the one.
                Err(error) if matches!(error.status(), Status::KeyVersionDisabled | Status::KeyVersionDestroyed) => {
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
    /// The version has served [`MOST_MESSAGES`].
    WornOut,
}

#[cold]
fn worn_out(why: Error) -> Error {
    Status::LimitExceeded.error(format!(
        "a version has encrypted 2^31 GCM messages and the key could not rotate; use another key: {why}"
    ))
}

impl Core {
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
