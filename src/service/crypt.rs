//! Encrypt, decrypt, re-encrypt and inspect.
//!
//! Each checks arguments, existence and state first; then asks the caller's target for room; only then are randomness
//! and ciphers touched. So a size query and a buffer that is too small do nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use zeroize::{Zeroize, Zeroizing};

use super::cache::{CachedKey, Material};
use super::thread::{self, Open, SMALL, Seal, ThreadState};
use super::{Core, Kms, check_plaintext_len};
use crate::crypto::blob::{Algorithm, Blob, HEADER, Header, OVERHEAD, TAG};
use crate::crypto::context::Context;
use crate::crypto::xaes::{Input, Opener, Sealer};
use crate::domain::id::{KeyId, VersionId};
use crate::domain::key::Key;
use crate::domain::rotation::Finding;
use crate::domain::state::Operation;
use crate::error::{Error, Result, Status};
use crate::sys::clocks;

/// Where a ciphertext goes, and where its plaintext lies.
pub trait SealTarget {
    /// Told the exact size once everything else is checked; false for a caller who only asks for the size.
    fn room(&mut self, needed: usize) -> Result<bool>;

    /// The output of exactly that size. `Input::InPlace`: the plaintext was moved to offset `at` of it.
    fn output(&mut self, at: usize) -> (&mut [u8], Input<'_>);
}

/// Where a plaintext goes.
pub trait OpenTarget {
    /// Told the exact size once everything else is checked; false for a caller who only asks for the size.
    fn room(&mut self, needed: usize) -> Result<bool>;

    /// The output of exactly that size, if it may be written while the ciphertext is still read.
    fn direct(&mut self) -> Option<&mut [u8]>;

    fn copy(&mut self, plaintext: &[u8]);
}

/// What a blob says about itself; nothing is decrypted or authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobInfo {
    pub algorithm: i32,
    pub context_type: i32,
    pub key: KeyId,
    pub version: VersionId,
    /// Whether that version is the key's primary now.
    pub is_primary: bool,
}

struct VecSeal<'a> {
    plaintext: &'a [u8],
    out: Vec<u8>,
}

impl SealTarget for VecSeal<'_> {
    fn room(&mut self, needed: usize) -> Result<bool> {
        self.out.resize(needed, 0);
        Ok(true)
    }

    fn output(&mut self, _: usize) -> (&mut [u8], Input<'_>) {
        (&mut self.out, Input::Apart(self.plaintext))
    }
}

#[derive(Default)]
struct VecOpen(Zeroizing<Vec<u8>>);

impl OpenTarget for VecOpen {
    fn room(&mut self, needed: usize) -> Result<bool> {
        self.0.resize(needed, 0);
        Ok(true)
    }

    fn direct(&mut self) -> Option<&mut [u8]> {
        Some(&mut self.0)
    }

    fn copy(&mut self, plaintext: &[u8]) {
        self.0.copy_from_slice(plaintext);
    }
}

/// Memory of the caller's, asked for once and only borrowed while the cipher writes into it: code of the caller's that
/// runs before, such as its clock, never meets a borrow of ours.
struct Given<'a, M, F> {
    plaintext: &'a [u8],
    give: Option<F>,
    memory: Option<M>,
}

impl<'a, M: AsMut<[u8]>, F: FnOnce(usize) -> Result<M>> Given<'a, M, F> {
    fn new(plaintext: &'a [u8], give: F) -> Self {
        Self { plaintext, give: Some(give), memory: None }
    }

    fn ask(&mut self, needed: usize) -> Result<bool> {
        if let Some(give) = self.give.take() {
            self.memory = Some(give(needed)?);
        }
        Ok(true)
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.memory.as_mut().map(AsMut::as_mut).unwrap_or_default()
    }

    fn filled(self) -> Result<M> {
        self.memory.ok_or_else(no_room)
    }
}

impl<M: AsMut<[u8]>, F: FnOnce(usize) -> Result<M>> SealTarget for Given<'_, M, F> {
    fn room(&mut self, needed: usize) -> Result<bool> {
        self.ask(needed)
    }

    fn output(&mut self, _: usize) -> (&mut [u8], Input<'_>) {
        let plaintext = self.plaintext;
        (self.bytes(), Input::Apart(plaintext))
    }
}

impl<M: AsMut<[u8]>, F: FnOnce(usize) -> Result<M>> OpenTarget for Given<'_, M, F> {
    fn room(&mut self, needed: usize) -> Result<bool> {
        self.ask(needed)
    }

    fn direct(&mut self) -> Option<&mut [u8]> {
        Some(self.bytes())
    }

    fn copy(&mut self, plaintext: &[u8]) {
        self.bytes().copy_from_slice(plaintext);
    }
}

impl Kms {
    /// Encrypts under the primary version of `key`, a key id or `alias/NAME`. The ciphertext is 80 bytes longer.
    pub fn encrypt(&self, key: &str, plaintext: &[u8], context: &[(&str, &str)]) -> Result<Vec<u8>> {
        let mut target = VecSeal { plaintext, out: Vec::new() };
        self.encrypt_to(key, plaintext.len(), &Context::new(context.iter().copied())?, &mut target)?;
        Ok(target.out)
    }

    /// Decrypts under the version that the blob names. The context must be the one it was encrypted with.
    pub fn decrypt(&self, blob: &[u8], context: &[(&str, &str)]) -> Result<Zeroizing<Vec<u8>>> {
        let mut target = VecOpen::default();
        self.decrypt_to(blob, &Context::new(context.iter().copied())?, &mut target)?;
        Ok(target.0)
    }

    /// As [`Kms::encrypt`], into memory that `give` is asked for once, when all else is checked: told the exact size, it
    /// gives so many bytes.
    pub fn encrypt_into<M: AsMut<[u8]>>(
        &self,
        key: &str,
        plaintext: &[u8],
        context: &[(&str, &str)],
        give: impl FnOnce(usize) -> Result<M>,
    ) -> Result<M> {
        let mut target = Given::new(plaintext, give);
        self.encrypt_to(key, plaintext.len(), &Context::new(context.iter().copied())?, &mut target)?;
        target.filled()
    }

    /// As [`Kms::decrypt`], into memory that `give` is asked for as in [`Kms::encrypt_into`]. After a failure it holds no
    /// plaintext.
    pub fn decrypt_into<M: AsMut<[u8]>>(
        &self,
        blob: &[u8],
        context: &[(&str, &str)],
        give: impl FnOnce(usize) -> Result<M>,
    ) -> Result<M> {
        let mut target = Given::new(&[], give);
        self.decrypt_to(blob, &Context::new(context.iter().copied())?, &mut target)?;
        target.filled()
    }

    /// Moves a ciphertext to the primary version of `destination_key_id`, which may be its own key. The plaintext
    /// doesn't leave the library.
    pub fn reencrypt(
        &self,
        blob: &[u8],
        source_context: &[(&str, &str)],
        destination_key_id: &str,
        destination_context: &[(&str, &str)],
    ) -> Result<Vec<u8>> {
        let source = Context::new(source_context.iter().copied())?;
        let destination = Context::new(destination_context.iter().copied())?;
        let sealed = self.reencrypt_to(blob, &source, destination_key_id, &destination, |_| Ok(true))?;
        sealed.ok_or_else(no_room)
    }

    /// What a blob says about itself: see [`BlobInfo`].
    pub fn inspect(&self, blob: &[u8]) -> Result<BlobInfo> {
        let core = self.core()?;
        let Header { algorithm, context_type, key, version } = Blob::parse(blob)?.header;
        let found = core.key(&key)?;
        let is_primary = found.key.primary.is_some_and(|primary| primary.id == version);
        if !is_primary {
            core.material(&key, &version)?;
        }
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

    pub(crate) fn encrypt_to(
        &self,
        key: &str,
        plaintext_len: usize,
        context: &Context<'_>,
        target: &mut impl SealTarget,
    ) -> Result<()> {
        self.core()?.encrypt_to(key, plaintext_len, context, target)
    }

    pub(crate) fn decrypt_to(&self, blob: &[u8], context: &Context<'_>, target: &mut impl OpenTarget) -> Result<()> {
        self.core()?.decrypt_to(blob, context, target)
    }

    /// `room` is asked as in [`SealTarget`]; nothing if it answers false.
    pub(crate) fn reencrypt_to(
        &self,
        blob: &[u8],
        source: &Context<'_>,
        destination_key_id: &str,
        destination: &Context<'_>,
        room: impl FnOnce(usize) -> Result<bool>,
    ) -> Result<Option<Vec<u8>>> {
        let core = self.core()?;
        destination.check_limit()?;
        let destination_id = match Core::id_only(destination_key_id) {
            // Existence comes after the source's.
            Err(e) if e.status() == Status::KeyNotFound => Err(e),
            named => Ok(named?),
        };
        let parsed = Blob::parse(blob)?;
        check_plaintext_len(parsed.plaintext_len())?;
        let Header { key, version, .. } = parsed.header;
        core.usable_version(&key, &version)?;
        core.usable_key(&destination_id?)?;
        if !room(parsed.plaintext_len() + OVERHEAD)? {
            return Ok(None);
        }
        let mut plaintext = VecOpen::default();
        core.decrypt_to(blob, source, &mut plaintext)?;
        let mut sealed = VecSeal { plaintext: &plaintext.0, out: Vec::new() };
        core.encrypt_to(destination_key_id, plaintext.0.len(), destination, &mut sealed)?;
        Ok(Some(sealed.out))
    }
}

/// How one try to encrypt went.
enum Tried {
    Done,
    /// The key must rotate first, because no thread does it.
    Overdue(KeyId),
}

impl Core {
    fn usable_key(&self, id: &KeyId) -> Result<Arc<CachedKey>> {
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
        let material = self.material(key, version)?;
        self.usable(&found.key, Operation::Cryptography)?;
        Ok((found, material))
    }

    pub(super) fn encrypt_to(
        &self,
        key: &str,
        plaintext_len: usize,
        context: &Context<'_>,
        target: &mut impl SealTarget,
    ) -> Result<()> {
        context.check_limit()?;
        check_plaintext_len(plaintext_len)?;
        let mut may_rotate = !self.ticks;
        loop {
            match self.threads.with(|mine| self.try_encrypt(mine, key, plaintext_len, context, target, may_rotate))? {
                Tried::Done => return Ok(()),
                Tried::Overdue(id) => self.rotate_overdue(&id),
            }
            may_rotate = false;
        }
    }

    #[inline]
    fn try_encrypt(
        &self,
        mine: &mut ThreadState,
        name: &str,
        plaintext_len: usize,
        context: &Context<'_>,
        target: &mut impl SealTarget,
        may_rotate: bool,
    ) -> Result<Tried> {
        self.refresh(mine)?;
        let ThreadState { shared, aad, seals, stamp, .. } = mine;
        let seal = match seals.get(name) {
            Some(seal) if seal.stamp == *stamp => seal,
            _ => {
                self.prepare_seal(mine, name)?;
                return self.try_encrypt(mine, name, plaintext_len, context, target, may_rotate);
            }
        };
        let key = &seal.key.key;
        self.usable(key, Operation::Cryptography)?;
        if !target.room(plaintext_len + OVERHEAD)? {
            return Ok(Tried::Done);
        }
        if may_rotate && self.is_overdue(key) {
            return Ok(Tried::Overdue(key.id));
        }
        let header = Header {
            algorithm: Algorithm::Xaes256Gcm,
            context_type: context.context_type(),
            key: key.id,
            version: seal.material.version.id,
        }
        .encode();
        let (out, input) = target.output(OVERHEAD - TAG);
        let in_place = matches!(input, Input::InPlace);
        let (head, sealed) = out.split_first_chunk_mut::<HEADER>().ok_or_else(no_room)?;
        let done = seal.sealer.seal(
            thread::shared(shared)?,
            &seal.material.secret,
            aad.build(&header, context),
            input,
            sealed,
        );
        match done {
            Ok(()) => *head = header,
            // A plaintext that was moved here, or lay here, must not stay.
            Err(_) if in_place => out.zeroize(),
            Err(_) => sealed.zeroize(),
        }
        done.map(|()| Tried::Done)
    }

    /// Takes note of announced changes; entries with an older stamp are checked again.
    #[inline]
    fn refresh(&self, mine: &mut ThreadState) -> Result<()> {
        if !self.ticks {
            self.poll_if_late()?;
        }
        let (word, epoch) = (self.store.word(), self.cache.epoch());
        if mine.stamp == 0 || mine.word != word || mine.epoch != epoch {
            self.fresh()?;
            // Read again: looking may itself have moved the epoch, and anything newer shows next time.
            (mine.word, mine.epoch) = (word, self.cache.epoch());
            mine.stamp += 1;
        }
        Ok(())
    }

    #[cold]
    fn prepare_seal(&self, mine: &mut ThreadState, name: &str) -> Result<()> {
        let id = self.resolve(name)?;
        let key = match self.usable_key(&id) {
            Ok(key) => key,
            Err(error) => {
                mine.seals.remove(name);
                return Err(error);
            }
        };
        let Some(primary) = key.key.primary else {
            return Err(Status::Internal.error("an Enabled key has no primary version"));
        };
        if let Some(seal) = mine.seals.get(name)
            && seal.material.version == primary
            && seal.key.key.id == id
        {
            (seal.key, seal.stamp) = (key, mine.stamp);
            return Ok(());
        }
        let material = self.material(&id, &primary.id)?;
        let seal = Seal { key, material, sealer: Sealer::new()?, stamp: mine.stamp };
        mine.seals.put(name.into(), seal);
        Ok(())
    }

    /// Whether the clock finds something to do about the key's rotation, unless a try has just failed.
    fn is_overdue(&self, key: &Key) -> bool {
        key.look_at_rotation(self.clock.wall()) != Finding::NotDue
            && clocks::coarse_ms() >= self.retry_after.load(Ordering::Relaxed)
    }

    pub(super) fn decrypt_to(&self, blob: &[u8], context: &Context<'_>, target: &mut impl OpenTarget) -> Result<()> {
        let parsed = Blob::parse(blob)?;
        self.threads.with(|mine| self.open(mine, &parsed, context, target))
    }

    #[inline]
    fn open(
        &self,
        mine: &mut ThreadState,
        blob: &Blob<'_>,
        context: &Context<'_>,
        target: &mut impl OpenTarget,
    ) -> Result<()> {
        self.refresh(mine)?;
        let ThreadState { shared, aad, small, opens, stamp, .. } = mine;
        let open = match opens.get(&blob.header.version) {
            Some(open) if open.stamp == *stamp && open.key.key.id == blob.header.key => open,
            _ => {
                self.prepare_open(mine, &blob.header)?;
                return self.open(mine, blob, context, target);
            }
        };
        // The state was checked when the entry was made; only expiring material changes it without an announcement.
        if open.key.key.imported.is_some() {
            self.usable(&open.key.key, Operation::Cryptography)?;
        }
        let len = blob.plaintext_len();
        if !target.room(len)? {
            return Ok(());
        }
        // Compared before the cipher runs: a context can't be added to or left out of what was sealed.
        if context.context_type() != blob.header.context_type {
            return Err(unauthentic());
        }
        let aad = aad.build(blob.header_bytes, context);
        let shared = thread::shared(shared)?;
        let mut decrypt =
            |out: &mut [u8]| open.opener.open(shared, &open.material.secret, blob.nonce, aad, blob.sealed, out);
        if len <= SMALL {
            let plaintext = small.get_mut(..len).ok_or_else(no_room)?;
            let done = decrypt(plaintext);
            if done.is_ok() {
                target.copy(plaintext);
            }
            plaintext.zeroize();
            return done;
        }
        if let Some(out) = target.direct() {
            return decrypt(out);
        }
        let mut own = Zeroizing::new(vec![0; len]);
        decrypt(&mut own)?;
        target.copy(&own);
        Ok(())
    }

    #[cold]
    fn prepare_open(&self, mine: &mut ThreadState, header: &Header) -> Result<()> {
        let id = &header.version;
        let (key, material) = match self.usable_version(&header.key, id) {
            Ok(found) => found,
            Err(error) => {
                mine.opens.remove(id);
                return Err(error);
            }
        };
        if let Some(open) = mine.opens.get(id)
            && open.material.key == header.key
        {
            (open.key, open.stamp) = (key, mine.stamp);
            return Ok(());
        }
        mine.opens.put(*id, Open { key, material, opener: Opener::new()?, stamp: mine.stamp });
        Ok(())
    }
}

fn no_room() -> Error {
    Status::Internal.error("an output buffer of the wrong size")
}

fn unauthentic() -> Error {
    Status::AuthenticationFailed.error(crate::crypto::openssl::AUTHENTICATION_FAILED)
}
