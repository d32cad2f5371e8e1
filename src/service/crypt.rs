//! Encrypt, decrypt, re-encrypt and inspect.
//!
//! Each checks arguments, existence and state first; then asks the caller's target for room; only then are buffered
//! randomness and ciphers touched. So a size query and a buffer that is too small change nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use zeroize::{Zeroize, Zeroizing};

use super::cache::{CachedKey, Material};
use super::key_ref::KeyRef;
use super::name::{check_not_empty, is_alias, of_version};
use super::target::{CallerMemory, OpenTarget, SealTarget, VecOpen, VecSeal, no_room};
use super::thread::{Open, ReadyEntry, SMALL, Seal, ThreadState, shared};
use super::{Core, Keystore};
use crate::crypto::blob::{self, Algorithm, Blob, ContextType, Header, OVERHEAD};
use crate::crypto::context::{Aad, Context, ContextSink, ContextSource, LazyContext, bare_aad};
use crate::crypto::plaintext::Plaintext;
use crate::crypto::xaes::{Drawn, Shared};
use crate::domain::id::{KeyId, VersionId};
use crate::domain::key::Key;
use crate::domain::limits::check_plaintext_len;
use crate::domain::rotation::RotationStatus;
use crate::domain::state::Operation;
use crate::domain::version::VersionUse;
use crate::error::{Error, Result, Status};
use crate::store::Standing;
use crate::sys::shield::Shield;
use crate::sys::{clocks, memory, waiting};

/// The header of a blob, as [`Keystore::inspect`] reads it; it is not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobInfo {
    /// 1: XAES-256-GCM.
    pub algorithm: i32,
    /// 0: encrypted without a context. 2: with one.
    pub context_type: i32,
    /// The key that encrypted the blob.
    pub key: KeyId,
    /// The version of the key that encrypted the blob.
    pub version: VersionId,
    /// Whether that version is the key's primary now. An alias may meanwhile name another key.
    pub is_primary: bool,
}

impl Keystore {
    /// Encrypt under the primary version of a key. The blob is 80 bytes longer than the plaintext.
    ///
    /// The context is a set of name and value pairs that is authenticated but not stored: decryption needs the same
    /// pairs.
    ///
    /// # Errors
    /// `KeyNotFound` or `AliasNotFound` for an unknown key; `RejectedDisabled`, `RejectedPendingDeletion` or
    /// `RejectedPendingImport` by the key's state; `LimitExceeded` for a plaintext above 1 GiB or a context above
    /// 8192 encoded bytes; `InvalidArgument` for a context with an empty or repeated name, or NUL; and the [errors
    /// of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let blob = keystore.encrypt(key, b"4111 1111", &[("tenant", "42")])?;
    /// assert_eq!(blob.len(), 9 + 80);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn encrypt<'k>(
        &self,
        key: impl Into<KeyRef<'k>>,
        plaintext: &[u8],
        context: &[(&str, &str)],
    ) -> Result<Vec<u8>> {
        self.encrypt_under(key.into(), plaintext, context)
    }

    // Not generic, so that it is compiled with this crate.
    fn encrypt_under(&self, key: KeyRef<'_>, plaintext: &[u8], context: &[(&str, &str)]) -> Result<Vec<u8>> {
        let mut target = VecSeal { plaintext, out: Vec::new() };
        self.encrypt_to(key.as_bytes(), plaintext.len(), context, || &mut target)?;
        Ok(target.out)
    }

    /// Decrypt under the version that the blob names, with the context that it was encrypted with.
    ///
    /// # Errors
    /// `MalformedCiphertext` for bytes that are no blob; `KeyNotFound` or `KeyVersionNotFound` for a blob of another
    /// keystore; `AuthenticationFailed` for another context or a modified blob; `RejectedDisabled`,
    /// `RejectedPendingDeletion` or `RejectedPendingImport` by the key's state; `InvalidArgument` for an invalid
    /// context; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, Status};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let blob = keystore.encrypt(key, b"4111 1111", &[("tenant", "42")])?;
    /// keystore.rotate(key)?;
    /// assert_eq!(&*keystore.decrypt(&blob, &[("tenant", "42")])?, b"4111 1111");
    ///
    /// let error = keystore.decrypt(&blob, &[]).unwrap_err();
    /// assert_eq!(error.status(), Status::AuthenticationFailed);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn decrypt(&self, blob: &[u8], context: &[(&str, &str)]) -> Result<Plaintext> {
        let mut target = VecOpen::default();
        self.decrypt_to(blob, context, || &mut target)?;
        Ok(Plaintext::new(target.0))
    }

    /// Encrypt into memory of the caller, as [`Keystore::encrypt`] does otherwise.
    ///
    /// `give` is called once, after all checks, with the exact size of the blob, and must return that many bytes.
    ///
    /// # Errors
    /// Those of [`Keystore::encrypt`]; an error of `give`; `Internal` where it returns another size.
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let blob = keystore.encrypt_into(key, b"4111 1111", &[], |len| Ok(vec![0; len]))?;
    /// assert_eq!(&*keystore.decrypt(&blob, &[])?, b"4111 1111");
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn encrypt_into<'k, M: AsMut<[u8]>>(
        &self,
        key: impl Into<KeyRef<'k>>,
        plaintext: &[u8],
        context: &[(&str, &str)],
        give: impl FnOnce(usize) -> Result<M>,
    ) -> Result<M> {
        let mut target = CallerMemory::new(plaintext, give);
        self.encrypt_to(key.into().as_bytes(), plaintext.len(), context, || &mut target)?;
        target.filled()
    }

    /// Decrypt into memory of the caller, as [`Keystore::decrypt`] does otherwise.
    ///
    /// `give` is called once, after all checks that precede decryption, with the exact size of the plaintext, and
    /// must return that many bytes. After a failure, the memory has no plaintext.
    ///
    /// # Errors
    /// Those of [`Keystore::decrypt`]; an error of `give`; `Internal` where it returns another size.
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let blob = keystore.encrypt(key, b"4111 1111", &[])?;
    /// let text = keystore.decrypt_into(&blob, &[], |len| Ok(vec![0; len]))?;
    /// assert_eq!(text, b"4111 1111");
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn decrypt_into<M: AsMut<[u8]>>(
        &self,
        blob: &[u8],
        context: &[(&str, &str)],
        give: impl FnOnce(usize) -> Result<M>,
    ) -> Result<M> {
        let mut target = CallerMemory::new(&[], give);
        self.decrypt_to(blob, context, || &mut target)?;
        target.filled()
    }

    /// As [`Keystore::encrypt_into`], for a caller whose context isn't at hand as a slice: `context` is asked for it, and returns
    /// it to what it is called with, which copies it. Asked before anything else of the caller's is called, and again if
    /// the key has to rotate first.
    #[doc(hidden)]
    #[allow(clippy::missing_errors_doc, reason = "hidden")]
    pub fn encrypt_with_lazy_context<M: AsMut<[u8]>>(
        &self,
        key: &str,
        plaintext: &[u8],
        context: impl Fn(ContextSink<'_>) -> Result<()>,
        give: impl FnOnce(usize) -> Result<M>,
    ) -> Result<M> {
        let mut target = CallerMemory::new(plaintext, give);
        self.encrypt_to(key.as_bytes(), plaintext.len(), &LazyContext(context), || &mut target)?;
        target.filled()
    }

    /// As [`Keystore::decrypt_into`], with a context as for [`Keystore::encrypt_with_lazy_context`].
    #[doc(hidden)]
    #[allow(clippy::missing_errors_doc, reason = "hidden")]
    pub fn decrypt_with_lazy_context<M: AsMut<[u8]>>(
        &self,
        blob: &[u8],
        context: impl Fn(ContextSink<'_>) -> Result<()>,
        give: impl FnOnce(usize) -> Result<M>,
    ) -> Result<M> {
        let mut target = CallerMemory::new(&[], give);
        self.decrypt_to(blob, &LazyContext(context), || &mut target)?;
        target.filled()
    }

    /// Decrypt a blob and encrypt the plaintext under the primary version of `destination`; `None`: of the blob's
    /// own key. The plaintext stays inside the library.
    ///
    /// # Errors
    /// Those of [`Keystore::decrypt`] for the blob, then those of [`Keystore::encrypt`] for `destination`.
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let old = keystore.encrypt(key, b"4111 1111", &[("tenant", "42")])?;
    /// keystore.rotate(key)?;
    /// let new = keystore.reencrypt(&old, &[("tenant", "42")], None, &[("tenant", "42")])?;
    /// assert!(keystore.inspect(&new)?.is_primary);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn reencrypt(
        &self,
        blob: &[u8],
        source_context: &[(&str, &str)],
        destination: Option<KeyRef<'_>>,
        destination_context: &[(&str, &str)],
    ) -> Result<Vec<u8>> {
        let source = Context::new(source_context.iter().copied())?;
        let context = Context::new(destination_context.iter().copied())?;
        let sealed =
            self.reencrypt_to(blob, &source, destination.as_ref().map(KeyRef::as_str), &context, |_| Ok(true))?;
        sealed.ok_or_else(no_room)
    }

    /// Read which key and version encrypted a blob. The blob is neither decrypted nor authenticated.
    ///
    /// # Errors
    /// `MalformedCiphertext`, `KeyNotFound`, `KeyVersionNotFound`; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let blob = keystore.encrypt(key, b"4111 1111", &[])?;
    /// keystore.rotate(key)?;
    /// let info = keystore.inspect(&blob)?;
    /// assert!(info.key == key && !info.is_primary);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn inspect(&self, blob: &[u8]) -> Result<BlobInfo> {
        self.core()?;
        let Header { algorithm, context_type, key, version } = Blob::parse(blob)?.header;
        let is_primary = self.check_version(&key, &version)?;
        Ok(BlobInfo {
            algorithm: match algorithm {
                Algorithm::Xaes256Gcm => 1,
            },
            context_type: context_type as i32,
            key,
            version,
            is_primary,
        })
    }

    /// Whether a version that a header names, which must exist, is the primary of its key.
    pub(super) fn check_version(&self, key: &KeyId, version: &VersionId) -> Result<bool> {
        let core = self.core()?;
        let found = core.key(key)?;
        let is_primary = found.key.primary.is_some_and(|primary| primary.id == *version);
        // A destroyed version is known by its tombstone.
        if !is_primary && found.records.tombstone(version).is_none() {
            core.material(key, version)?;
        }
        Ok(is_primary)
    }

    /// `key` is checked to be text where it isn't known already. `target` is called once, or not at all after a failure:
    /// what is made where it is used stays in registers.
    #[inline(always)]
    pub(crate) fn encrypt_to<T: SealTarget>(
        &self,
        key: &[u8],
        plaintext_len: usize,
        context: impl ContextSource + Copy,
        target: impl FnOnce() -> T,
    ) -> Result<()> {
        // Whether the handle is poisoned is asked when something has changed.
        self.core_even_if_poisoned()?.encrypt_to(key, plaintext_len, context, target)
    }

    #[inline(always)]
    pub(crate) fn decrypt_to<T: OpenTarget>(
        &self,
        blob: &[u8],
        context: impl ContextSource + Copy,
        target: impl FnOnce() -> T,
    ) -> Result<()> {
        self.core_even_if_poisoned()?.decrypt_to(blob, context, target)
    }

    /// `room` is asked as in [`SealTarget`]; nothing if it answers false.
    pub(crate) fn reencrypt_to(
        &self,
        blob: &[u8],
        source: &Context<'_>,
        destination: Option<&str>,
        destination_context: &Context<'_>,
        room: impl FnOnce(usize) -> Result<bool>,
    ) -> Result<Option<Vec<u8>>> {
        let core = self.core()?;
        destination_context.check_limit()?;
        destination.map_or(Ok(()), check_not_empty)?;
        let parsed = Blob::parse(blob)?;
        check_plaintext_len(parsed.plaintext_len())?;
        let Header { key, version, .. } = parsed.header;
        core.usable_version(&key, &version)?;
        // Existence comes after the source's. Resolved once: an alias that moves meanwhile counts for the next call.
        let destination = match destination {
            Some(name) => core.resolve(name)?,
            None => key,
        };
        core.usable_key(&destination)?;
        if !room(parsed.plaintext_len() + OVERHEAD)? {
            return Ok(None);
        }
        let mut plaintext = VecOpen::default();
        core.decrypt_to(blob, source, || &mut plaintext)?;
        let mut sealed = VecSeal { plaintext: &plaintext.0, out: Vec::new() };
        core.encrypt_to(destination.to_string().as_bytes(), plaintext.0.len(), destination_context, || &mut sealed)?;
        Ok(Some(sealed.out))
    }
}

/// The outcome of one attempt to encrypt.
pub(super) enum SealOutcome<T> {
    Done,
    /// The caller only wanted the size.
    SizeOnly,
    /// The key must rotate first, because no thread does it. The target is still empty.
    Overdue(T),
}

impl Core {
    pub(super) fn usable_key(&self, id: &KeyId) -> Result<Arc<CachedKey>> {
        let found = self.key(id)?;
        self.usable(&found.key, Operation::Cryptography)?;
        Ok(found)
    }

    /// A version that exists, of a key whose state allows its use.
    pub(super) fn usable_version(&self, key: &KeyId, version: &VersionId) -> Result<(Arc<CachedKey>, Arc<Material>)> {
        let found = self.key(key)?;
        // The primary is known to exist without its material, which may have been taken away.
        if found.key.primary.is_some_and(|primary| primary.id == *version) {
            self.usable(&found.key, Operation::Cryptography)?;
            return Ok((found, self.material(key, version)?));
        }
        if let Some(gone) = found.records.tombstone(version) {
            self.usable(&found.key, Operation::Cryptography)?;
            found.records.check_use(&gone).map_err(|error| of_version(error, key, version))?;
        }
        let material = self.material(key, version)?;
        self.usable(&found.key, Operation::Cryptography)?;
        found.records.check_use(&material.version).map_err(|error| of_version(error, key, version))?;
        Ok((found, material))
    }

    #[inline(always)]
    pub(super) fn encrypt_to<T: SealTarget>(
        &self,
        key: &[u8],
        plaintext_len: usize,
        context: impl ContextSource + Copy,
        target: impl FnOnce() -> T,
    ) -> Result<()> {
        let polls = !self.ticker.ticks();
        let outcome = {
            let mut lease = self.threads.lease()?;
            let mine = lease.get();
            mine.take_context_to_seal(context)?;
            // Behind the context, which the caller's code may still choose.
            let drawn = mine.draw();
            check_plaintext_len(plaintext_len)?;
            self.refresh(mine, polls)?;
            let ThreadState { shared: state, aad, seals, stamp, .. } = mine;
            if let Some(entry) = seals.latest(key)
                && entry.value.stamp == *stamp
                && !entry.value.asks_clock
            {
                let mut target = target();
                return match target.room(plaintext_len + OVERHEAD)? {
                    true => seal_into(state, aad, entry, drawn, target),
                    false => Ok(()),
                };
            }
            self.find_and_seal(mine, key, plaintext_len, drawn, target(), polls)?
        };
        match outcome {
            SealOutcome::Done | SealOutcome::SizeOnly => Ok(()),
            SealOutcome::Overdue(target) => self.rotate_and_encrypt(key, plaintext_len, context, target),
        }
    }

    #[cold]
    fn rotate_and_encrypt(
        &self,
        key: &[u8],
        plaintext_len: usize,
        context: impl ContextSource + Copy,
        target: impl SealTarget,
    ) -> Result<()> {
        self.rotate_before_use(key)?;
        let mut lease = self.threads.lease()?;
        let mine = lease.get();
        mine.take_context_to_seal(context)?;
        self.refresh(mine, false)?;
        let drawn = mine.draw();
        self.find_and_seal(mine, key, plaintext_len, drawn, target, false).map(drop)
    }

    /// Encrypts under another key than the last, or one about which the clock decides.
    #[inline(never)]
    fn find_and_seal<T: SealTarget>(
        &self,
        mine: &mut ThreadState,
        key: &[u8],
        plaintext_len: usize,
        drawn: Drawn,
        target: T,
        may_rotate: bool,
    ) -> Result<SealOutcome<T>> {
        let at = self.find_to_seal(mine, key)?;
        self.seal(mine, at, plaintext_len, drawn, target, may_rotate)
    }

    /// Rotates a key that a call found overdue.
    #[cold]
    pub(super) fn rotate_before_use(&self, key: &[u8]) -> Result<()> {
        waiting::allowed()?;
        if let Some(id) = str::from_utf8(key).ok().and_then(|key| self.resolve(key).ok()) {
            self.rotate_overdue(&id);
        }
        Ok(())
    }

    /// Registers announced changes; entries with an older stamp are checked again.
    ///
    /// `polls`: no thread reads the keystore once a second.
    #[inline(always)]
    pub(super) fn refresh(&self, mine: &mut ThreadState, polls: bool) -> Result<()> {
        if polls {
            self.poll_if_late()?;
        }
        let (word, epoch) = (self.store.word(), self.cache.epoch());
        // At first a thread has epoch 0, which no cache has.
        let unchanged = (mine.word ^ word) | (mine.epoch ^ epoch) == 0;
        if unchanged { Ok(()) } else { self.look_again(mine, word) }
    }

    #[cold]
    fn look_again(&self, mine: &mut ThreadState, word: u64) -> Result<()> {
        let _shield = Shield::raise();
        memory::headroom()?;
        self.check_alive()?;
        self.fresh()?;
        // Read again: the check itself may have moved the epoch, and anything newer shows next time.
        (mine.word, mine.epoch) = (word, self.cache.epoch());
        mine.stamp += 1;
        Ok(())
    }

    /// The number of this thread's current entry for a key id or an alias.
    pub(super) fn ready_to_seal(&self, mine: &mut ThreadState, name: &[u8]) -> Result<usize> {
        self.refresh(mine, !self.ticker.ticks())?;
        self.find_to_seal(mine, name)
    }

    #[inline]
    fn find_to_seal(&self, mine: &mut ThreadState, name: &[u8]) -> Result<usize> {
        let stamp = mine.stamp;
        match mine.seals.find(name) {
            Some(at) if mine.seals.get(at).is_some_and(|seal| seal.stamp == stamp) => Ok(at),
            _ => self.prepare_seal(mine, name),
        }
    }

    #[cold]
    fn prepare_seal(&self, mine: &mut ThreadState, name: &[u8]) -> Result<usize> {
        let _shield = Shield::raise();
        memory::headroom()?;
        mine.forget_destroyed(self.cache.erased())?;
        // The path has another keystore or none, which could never decrypt what is encrypted now.
        if self.store.standing() != Standing::Here {
            self.catch_up()?;
        }
        let stamp = mine.stamp;
        // Most changes are of other keys. An alias may name another key now.
        if let Some(at) = mine.seals.find(name)
            && let Some(seal) = mine.seals.get(at)
            && seal.key.is_current()
            && !is_alias(name)
        {
            seal.stamp = stamp;
            self.note_use(&seal.material, VersionUse::Encrypt);
            return Ok(at);
        }
        let prepared = self.find_seal(mine, name);
        if prepared.is_err() {
            mine.seals.remove(name);
        }
        prepared
    }

    fn find_seal(&self, mine: &mut ThreadState, name: &[u8]) -> Result<usize> {
        let text = str::from_utf8(name)
            .map_err(|_| Status::InvalidArgument.error("the key is not UTF-8; pass a key id or alias/NAME"))?;
        let id = self.resolve(text)?;
        let key = self.usable_key(&id)?;
        let Some(primary) = key.key.primary else {
            return Err(Status::Internal.error("an Enabled key has no primary version"));
        };
        let stamp = mine.stamp;
        let asks_clock = key.key.imported.is_some() || (!self.ticker.ticks() && key.key.policy.is_some());
        if let Some(at) = mine.seals.find(name)
            && let Some(seal) = mine.seals.get(at)
            && seal.material.version == primary
            && seal.key.key.id == id
        {
            (seal.key, seal.stamp, seal.asks_clock) = (key, stamp, asks_clock);
            self.note_use(&seal.material, VersionUse::Encrypt);
            return Ok(at);
        }
        let material = self.material(&id, &primary.id)?;
        self.note_use(&material, VersionUse::Encrypt);
        let header =
            Header { algorithm: Algorithm::Xaes256Gcm, context_type: ContextType::None, key: id, version: primary.id }
                .encode();
        let seal = Seal { stamp, bare: bare_aad(&header), asks_clock, key, material };
        mine.seals.put(name, seal, self.cache.capacity(), &self.arena)
    }

    /// Encrypts one message under a current entry, with the context that was taken last.
    #[inline(always)]
    pub(super) fn seal<T: SealTarget>(
        &self,
        mine: &mut ThreadState,
        at: usize,
        plaintext_len: usize,
        drawn: Drawn,
        mut target: T,
        may_rotate: bool,
    ) -> Result<SealOutcome<T>> {
        let ThreadState { shared: state, aad, seals, .. } = mine;
        let entry = seals.take(at)?;
        let Seal { asks_clock, key, .. } = &*entry.value;
        // The state was checked when the entry became current; only expiring material changes it unannounced.
        if *asks_clock {
            self.usable(&key.key, Operation::Cryptography)?;
        }
        if !target.room(plaintext_len + OVERHEAD)? {
            return Ok(SealOutcome::SizeOnly);
        }
        if may_rotate && *asks_clock && self.is_overdue(&key.key) {
            return Ok(SealOutcome::Overdue(target));
        }
        seal_into(state, aad, entry, drawn, target).map(|()| SealOutcome::Done)
    }

    /// Whether the clock finds something to do about the key's rotation, unless a try has just failed.
    pub(super) fn is_overdue(&self, key: &Key) -> bool {
        key.policy.is_some()
            && key.schedule().status(self.clock.wall()) != RotationStatus::NotDue
            && clocks::coarse_ms() >= self.retry_after.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(super) fn decrypt_to<T: OpenTarget>(
        &self,
        blob: &[u8],
        context: impl ContextSource + Copy,
        target: impl FnOnce() -> T,
    ) -> Result<()> {
        let mut lease = self.threads.lease()?;
        let mine = lease.get();
        context.put(&mut mine.aad)?;
        // What is no blob is refused before the keystore is asked for changes.
        Blob::parse(blob)?;
        self.refresh(mine, !self.ticker.ticks())?;
        self.open_unchanged(mine, blob, target)
    }

    /// Decrypts one message, with the context that was taken last.
    pub(super) fn open(&self, mine: &mut ThreadState, blob: &[u8], target: impl OpenTarget) -> Result<()> {
        self.refresh(mine, !self.ticker.ticks())?;
        self.open_unchanged(mine, blob, || target)
    }

    /// The same after [`Core::refresh`].
    #[inline(always)]
    pub(super) fn open_unchanged<T: OpenTarget>(
        &self,
        mine: &mut ThreadState,
        blob: &[u8],
        target: impl FnOnce() -> T,
    ) -> Result<()> {
        let parsed = Blob::parse(blob)?;
        let ThreadState { shared: state, aad, small, opens, stamp, .. } = mine;
        if let Some(entry) = opens.latest(&parsed.header.version)
            && entry.value.stamp == *stamp
            && entry.value.id == parsed.header.key
        {
            return self.open_under((state, aad, small), entry, &parsed, target());
        }
        self.open_under_another(mine, blob, target())
    }

    /// Decrypts under another version than the last. Parses the blob again: its parts stay in registers up to here.
    #[inline(never)]
    fn open_under_another(&self, mine: &mut ThreadState, blob: &[u8], target: impl OpenTarget) -> Result<()> {
        let blob = Blob::parse(blob)?;
        let at = self.find_to_open(mine, &blob.header)?;
        let ThreadState { shared: state, aad, small, opens, .. } = mine;
        self.open_under((state, aad, small), opens.take(at)?, &blob, target)
    }

    #[inline(always)]
    fn open_under(
        &self,
        (state, aad, small): (&mut Option<Shared>, &mut Aad, &mut [u8; SMALL]),
        ReadyEntry { value: open, prefix, lender }: ReadyEntry<'_, Open>,
        blob: &Blob<'_>,
        mut target: impl OpenTarget,
    ) -> Result<()> {
        // The state was checked when the entry became current; only expiring material changes it unannounced.
        if open.asks_clock {
            self.usable(&open.key.key, Operation::Cryptography)?;
        }
        let len = blob.plaintext_len();
        if !target.room(len)? {
            return Ok(());
        }
        // Compared before the cipher runs: a context can't be added to or left out of what was sealed.
        if aad.context_type() != blob.header.context_type {
            return Err(unauthentic());
        }
        let cipher = lender.lend(prefix.serial)?;
        let aad = aad.bind(&open.bare, blob.header.context_type);
        let state = shared(state)?;
        let Some(plaintext) = small.get_mut(..len) else {
            return open_large(target, len, &mut |out| {
                cipher.open(state, prefix, &*open.material, blob.nonce, aad, blob.sealed, out)
            });
        };
        // After a failure the cipher has wiped it.
        cipher.open(state, prefix, &*open.material, blob.nonce, aad, blob.sealed, plaintext)?;
        target.copy(plaintext);
        plaintext.zeroize();
        Ok(())
    }

    /// The number of this thread's current entry for a version.
    #[inline]
    fn find_to_open(&self, mine: &mut ThreadState, header: &Header) -> Result<usize> {
        let stamp = mine.stamp;
        match mine.opens.find(&header.version) {
            Some(at) if mine.opens.get(at).is_some_and(|open| open.stamp == stamp && open.id == header.key) => Ok(at),
            _ => self.prepare_open(mine, header),
        }
    }

    #[cold]
    fn prepare_open(&self, mine: &mut ThreadState, header: &Header) -> Result<usize> {
        let _shield = Shield::raise();
        memory::headroom()?;
        // A batch that re-encrypts continues with an entry to encrypt.
        mine.forget_opens(self.cache.erased())?;
        let (name, id, stamp) = (&header.version, header.key, mine.stamp);
        if let Some(at) = mine.opens.find(name)
            && let Some(open) = mine.opens.get(at)
            && open.id == id
            && open.key.is_current()
        {
            open.stamp = stamp;
            self.note_use(&open.material, VersionUse::Decrypt);
            return Ok(at);
        }
        let (key, material) = match self.usable_version(&id, name) {
            Ok(found) => found,
            Err(error) => {
                mine.opens.remove(name);
                return Err(error);
            }
        };
        let asks_clock = key.key.imported.is_some();
        self.note_use(&material, VersionUse::Decrypt);
        if let Some(at) = mine.opens.find(name)
            && let Some(open) = mine.opens.get(at)
            && open.material.key == id
        {
            (open.key, open.stamp, open.asks_clock) = (key, stamp, asks_clock);
            return Ok(at);
        }
        let bare = bare_aad(&header.encode());
        let open = Open { stamp, id, bare, asks_clock, key, material };
        mine.opens.put(name, open, self.cache.capacity(), &self.arena)
    }
}

/// Encrypts into a target that has room.
#[inline(always)]
fn seal_into<T: SealTarget>(
    state: &mut Option<Shared>,
    aad: &mut Aad,
    ReadyEntry { value: seal, prefix, lender }: ReadyEntry<'_, Seal>,
    drawn: Drawn,
    mut target: T,
) -> Result<()> {
    let (cipher, shared) = (lender.lend(prefix.serial)?, shared(state)?);
    let (place, input) = target.output()?;
    // Copies of the machine make different plaintexts: each draws after that.
    let drawn = if T::IS_SETTLED { drawn } else { shared.draw() };
    if let Some(header) = seal.bare.first_chunk() {
        *place.header = *header;
    }
    let context_type = aad.context_type();
    if context_type != ContextType::None {
        blob::set_context_type(place.header, context_type);
    }
    let aad = aad.bind(&seal.bare, context_type);
    if let Err(error) = cipher.seal(shared, prefix, &*seal.material, aad, input, drawn, place.nonce, place.sealed) {
        place.wipe();
        return Err(error);
    }
    target.done();
    Ok(())
}

/// Decrypts what is too long for the thread's own memory straight to its place, or to memory of the call.
fn open_large(mut target: impl OpenTarget, len: usize, decrypt: &mut dyn FnMut(&mut [u8]) -> Result<()>) -> Result<()> {
    if let Some(out) = target.direct() {
        decrypt(out)?;
        target.done();
        return Ok(());
    }
    let mut own = Zeroizing::new(memory::zeroed(len)?);
    decrypt(&mut own)?;
    target.copy(&own);
    Ok(())
}

fn unauthentic() -> Error {
    Status::AuthenticationFailed.error(crate::crypto::openssl::AUTHENTICATION_FAILED)
}
