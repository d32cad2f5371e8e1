//! Many records in one call: encrypted, decrypted or re-encrypted independently of each other.
//!
//! What concerns the whole call (the key and its state) is checked once, when it begins, and fails it as a whole. Then
//! every record succeeds or fails independently of the others.

use std::borrow::Cow;
use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use super::crypt::SealOutcome;
use super::key_ref::KeyRef;
use super::target::{BlobPlace, OpenTarget, SealTarget, VecOpen, VecSeal};
use super::thread::{ThreadState, shared};
use super::{Core, Keystore};
use crate::crypto::blob::{Blob, OVERHEAD};
use crate::crypto::context::{Context, ContextSource};
use crate::crypto::plaintext::Plaintext;
use crate::crypto::xaes::{Drawn, Input, Shared};
use crate::domain::id::KeyId;
use crate::domain::limits::check_plaintext_len;
use crate::error::{Error, Result};
use crate::sys::memory;

/// A plaintext to encrypt or a blob to decrypt, with its context.
///
/// Construct it with `..Default::default()`: fields may be added.
#[derive(Clone, Copy, Default)]
pub struct Record<'a> {
    /// The plaintext or the blob.
    pub data: &'a [u8],
    /// The encryption context.
    pub context: &'a [(&'a str, &'a str)],
}

/// A blob to re-encrypt, for [`Keystore::reencrypt_batch`].
///
/// Construct it with `..Default::default()`: fields may be added.
#[derive(Clone, Copy, Default)]
pub struct ReencryptItem<'a> {
    /// The blob.
    pub blob: &'a [u8],
    /// The context that the blob was encrypted with.
    pub source_context: &'a [(&'a str, &'a str)],
    /// The context of the new blob.
    pub destination_context: &'a [(&'a str, &'a str)],
}

/// Shows neither plaintext nor context.
impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} bytes)", self.data.len())
    }
}

/// Shows no context.
impl fmt::Debug for ReencryptItem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReencryptItem({} bytes)", self.blob.len())
    }
}

/// The output of a re-encrypted ciphertext. The plaintext is never written there.
pub trait Place {
    /// Receives the exact size once everything else is checked; false for a caller who only asks for the size.
    fn room(&mut self, needed: usize) -> Result<bool>;

    /// The output of exactly that size.
    fn buffer(&mut self) -> &mut [u8];
}

impl Place for Vec<u8> {
    fn room(&mut self, needed: usize) -> Result<bool> {
        *self = memory::zeroed(needed)?;
        Ok(true)
    }

    fn buffer(&mut self) -> &mut [u8] {
        self
    }
}

impl Keystore {
    /// Encrypt each record under the same version of a key, its primary, even if the key rotates meanwhile. Each
    /// record has its own result, in the order of the records.
    ///
    /// # Errors
    /// The call as a whole fails for the key: `KeyNotFound` or `AliasNotFound` for an unknown key;
    /// `RejectedDisabled`, `RejectedPendingDeletion` or `RejectedPendingImport` by the key's state; and the [errors
    /// of every call](Keystore#errors). A record fails for its plaintext or context, as in [`Keystore::encrypt`].
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, Record};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let records = [Record { data: b"one", ..Default::default() }, Record { data: b"two", ..Default::default() }];
    /// let blobs = keystore.encrypt_batch(key, &records)?.into_iter().collect::<kms::Result<Vec<_>>>()?;
    /// assert_eq!(blobs.len(), 2);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn encrypt_batch<'k>(
        &self,
        key: impl Into<KeyRef<'k>>,
        records: &[Record<'_>],
    ) -> Result<Vec<Result<Vec<u8>>>> {
        let mut kept = KeptContext::default();
        let mut seal = |sealing: &mut BatchSealer<'_>, record: &Record<'_>| {
            let mut target = VecSeal { plaintext: record.data, out: Vec::new() };
            kept.put(record.context, || sealing.put_context(record.context))?;
            sealing.seal(record.data.len(), &mut target)?;
            Ok(target.out)
        };
        let mut done = memory::list(records.len())?;
        self.sealing(key.into().as_bytes(), |sealing| done.extend(records.iter().map(|record| seal(sealing, record))))?;
        Ok(done)
    }

    /// Decrypt each record under the version that its blob names. Each record has its own result, in the order of
    /// the records.
    ///
    /// # Errors
    /// The call as a whole fails with the [errors of every call](Keystore#errors) only. A record fails as in
    /// [`Keystore::decrypt`].
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, Record};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let blob = keystore.encrypt(key, b"one", &[])?;
    /// let records = [Record { data: &blob, ..Default::default() }, Record { data: b"no blob", ..Default::default() }];
    /// let opened = keystore.decrypt_batch(&records)?;
    /// assert!(opened[0].as_deref() == Ok(b"one") && opened[1].is_err());
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn decrypt_batch(&self, records: &[Record<'_>]) -> Result<Vec<Result<Plaintext>>> {
        let mut kept = KeptContext::default();
        let mut open = |opening: &mut BatchOpener<'_>, record: &Record<'_>| {
            let mut target = VecOpen::default();
            kept.put(record.context, || opening.put_context(record.context))?;
            opening.open(record.data, &mut target)?;
            Ok(Plaintext::new(target.0))
        };
        let mut done = memory::list(records.len())?;
        self.opening(|opening| done.extend(records.iter().map(|record| open(opening, record))))?;
        Ok(done)
    }

    /// Re-encrypt each blob under the same version of `destination`, its primary; `None`: each under the primary
    /// version of its own key. Each blob has its own result, in their order.
    ///
    /// # Errors
    /// Unlike in [`Keystore::reencrypt`], the destination is checked first, once. The call as a whole fails for it:
    /// `KeyNotFound` or `AliasNotFound` for an unknown key; `RejectedDisabled`, `RejectedPendingDeletion` or
    /// `RejectedPendingImport` by the key's state; and the [errors of every call](Keystore#errors). An item fails
    /// for its blob or a context.
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, ReencryptItem};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let old = keystore.encrypt(key, b"one", &[])?;
    /// keystore.rotate(key)?;
    /// let new = keystore.reencrypt_batch(None, &[ReencryptItem { blob: &old, ..Default::default() }])?;
    /// assert!(keystore.inspect(new[0].as_ref().unwrap())?.is_primary);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn reencrypt_batch(
        &self,
        destination: Option<KeyRef<'_>>,
        records: &[ReencryptItem<'_>],
    ) -> Result<Vec<Result<Vec<u8>>>> {
        let reseal = |sealing: &mut BatchSealer<'_>, record: &ReencryptItem<'_>| {
            let source = Context::new(record.source_context.iter().copied())?;
            let destination = Context::new(record.destination_context.iter().copied())?;
            let mut out = Vec::new();
            sealing.reseal(record.blob, &source, &destination, &mut out)?;
            Ok(out)
        };
        let mut done = memory::list(records.len())?;
        self.resealing(destination.as_ref().map(KeyRef::as_str), |sealing| {
            done.extend(records.iter().map(|record| reseal(sealing, record)));
        })?;
        Ok(done)
    }

    /// Runs `work` with what seals under one version of `key`, a key id or an alias.
    pub(crate) fn sealing<R>(&self, key: &[u8], work: impl FnOnce(&mut BatchSealer<'_>) -> R) -> Result<R> {
        let core = self.core()?;
        core.threads.with(|mine| {
            let at = core.ready_to_seal(mine, key)?;
            Ok(work(&mut BatchSealer::new(core, mine, Some(key), at)?))
        })
    }

    /// The same for what re-encrypts; without a destination, each ciphertext under a version of its own key.
    pub(crate) fn resealing<R>(
        &self,
        destination: Option<&str>,
        work: impl FnOnce(&mut BatchSealer<'_>) -> R,
    ) -> Result<R> {
        if let Some(key) = destination {
            return self.sealing(key.as_bytes(), work);
        }
        let core = self.core()?;
        core.threads.with(|mine| Ok(work(&mut BatchSealer::new(core, mine, None, usize::MAX)?)))
    }

    /// Runs `work` with what opens.
    pub(crate) fn opening<R>(&self, work: impl FnOnce(&mut BatchOpener<'_>) -> R) -> Result<R> {
        let core = self.core()?;
        core.threads.with(|mine| {
            core.refresh(mine, !core.ticker.ticks())?;
            Ok(work(&mut BatchOpener { core, mine }))
        })
    }
}

/// Seals records under the version that was primary when the first of them was sealed.
pub(crate) struct BatchSealer<'a> {
    core: &'a Core,
    mine: &'a mut ThreadState,
    key: Cow<'a, [u8]>,
    /// Whether `key` is that of the record that is being re-encrypted.
    own: bool,
    /// The entry of that version among this thread's; nothing else uses them meanwhile.
    at: usize,
    may_rotate: bool,
    /// Why the key can't be used any more: found when it had to rotate before the first record.
    lost: Option<Error>,
    /// The plaintext of the record that is being re-encrypted; wiped after each record.
    plaintext: Zeroizing<Vec<u8>>,
}

impl<'a> BatchSealer<'a> {
    fn new(core: &'a Core, mine: &'a mut ThreadState, key: Option<&'a [u8]>, at: usize) -> Result<Self> {
        let (own, key) = (key.is_none(), Cow::Borrowed(key.unwrap_or_default()));
        shared(&mut mine.shared)?.begin_call();
        Ok(Self {
            core,
            mine,
            key,
            own,
            at,
            may_rotate: !core.ticker.ticks(),
            lost: None,
            plaintext: Zeroizing::default(),
        })
    }

    /// Seals the next record under the newest version of the key that it is under.
    fn turn_to(&mut self, key: KeyId) -> Result<()> {
        self.key = Cow::Owned(key.to_string().into_bytes());
        (self.may_rotate, self.lost) = (!self.core.ticker.ticks(), None);
        self.at = self.core.ready_to_seal(self.mine, &self.key)?;
        Ok(())
    }

    /// Puts the context of the next records.
    pub fn put_context(&mut self, context: impl ContextSource) -> Result<()> {
        self.mine.take_context_to_seal(context)
    }

    /// Seals a record with the context that was put last.
    pub fn seal(&mut self, plaintext_len: usize, target: &mut impl SealTarget) -> Result<()> {
        check_plaintext_len(plaintext_len)?;
        if let Some(error) = &self.lost {
            return Err(error.clone());
        }
        loop {
            let word = self.mine.shared.as_ref().map_or(Drawn::NONE, Shared::kept);
            match self.core.seal(self.mine, self.at, plaintext_len, word, &mut *target, self.may_rotate)? {
                SealOutcome::SizeOnly => return Ok(()),
                SealOutcome::Done => {
                    // From here on the version stays.
                    self.may_rotate = false;
                    return Ok(());
                }
                SealOutcome::Overdue(_) => {
                    self.core.rotate_before_use(&self.key)?;
                    self.may_rotate = false;
                    self.at =
                        self.core.ready_to_seal(self.mine, &self.key).inspect_err(|e| self.lost = Some(e.clone()))?;
                }
            }
        }
    }

    /// Open a ciphertext and seal its plaintext again. The plaintext never leaves the library's memory.
    pub fn reseal(
        &mut self,
        blob: &[u8],
        source: &Context<'_>,
        destination: &Context<'_>,
        target: &mut impl Place,
    ) -> Result<()> {
        destination.check_limit()?;
        let parsed = Blob::parse(blob)?;
        check_plaintext_len(parsed.plaintext_len())?;
        self.core.usable_version(&parsed.header.key, &parsed.header.version)?;
        if !target.room(parsed.plaintext_len() + OVERHEAD)? {
            return Ok(());
        }
        let mut opened = VecOpen(std::mem::take(&mut self.plaintext));
        let done = source.put(&mut self.mine.aad);
        let done = done.and_then(|()| self.core.open(self.mine, blob, &mut opened)).and_then(|()| {
            if self.own {
                self.turn_to(parsed.header.key)?;
            }
            let mut target = Resealed { plaintext: &opened.0, target };
            self.put_context(destination)?;
            self.seal(opened.0.len(), &mut target)
        });
        opened.0.as_mut_slice().zeroize();
        self.plaintext = opened.0;
        done
    }
}

impl Drop for BatchSealer<'_> {
    fn drop(&mut self) {
        if let Some(shared) = &mut self.mine.shared {
            shared.end_call();
        }
    }
}

/// The location of the context that was put last. Records that share a context in the same memory need it put only
/// once: it does not change during the call.
#[derive(Default)]
pub(crate) struct KeptContext(Option<(usize, usize)>);

impl KeptContext {
    #[inline]
    pub fn put<T>(&mut self, context: &[T], put: impl FnOnce() -> Result<()>) -> Result<()> {
        let wanted = Some((context.as_ptr().addr(), context.len()));
        if self.0 != wanted {
            // A failure leaves no context in place.
            self.0 = None;
            put()?;
            self.0 = wanted;
        }
        Ok(())
    }
}

/// A target whose plaintext is ours, and so apart from the output.
struct Resealed<'a, T> {
    plaintext: &'a [u8],
    target: &'a mut T,
}

impl<T: Place> SealTarget for Resealed<'_, T> {
    fn room(&mut self, needed: usize) -> Result<bool> {
        self.target.room(needed)
    }

    fn output(&mut self) -> Result<(BlobPlace<'_>, Input<'_>)> {
        Ok((BlobPlace::of(self.target.buffer())?, Input::Apart(self.plaintext)))
    }
}

/// Opens records, each under its own version.
pub(crate) struct BatchOpener<'a> {
    core: &'a Core,
    mine: &'a mut ThreadState,
}

impl BatchOpener<'_> {
    /// Puts the context of the next records.
    pub fn put_context(&mut self, context: impl ContextSource) -> Result<()> {
        context.put(&mut self.mine.aad)
    }

    /// Opens a record with the context that was put last.
    pub fn open(&mut self, blob: &[u8], target: &mut impl OpenTarget) -> Result<()> {
        self.core.open_unchanged(self.mine, blob, || target)
    }
}
