//! Data keys for envelope encryption: fresh random bytes, returned encrypted under a key, and optionally in the clear.

use zeroize::Zeroizing;

use super::import::Wrapping;
use super::key_ref::KeyRef;
use super::target::{BlobPlace, SealTarget};
use super::{Core, Keystore};
use crate::crypto::blob::Blob;
use crate::crypto::context::Context;
use crate::crypto::openssl::rsa::PublicKey;
use crate::crypto::plaintext::Plaintext;
use crate::crypto::xaes::Input;
use crate::domain::limits::DATA_KEY_BYTES;
use crate::error::{Result, Status};
use crate::sys::random;

/// Where a data key goes.
pub trait DataKeyTarget {
    /// Receives the size of the encrypted key once everything else is checked; false for a caller who only asks for it.
    fn room(&mut self, needed: usize) -> Result<bool>;

    /// Both forms of the key; called once, when nothing can fail any more.
    fn put(&mut self, plaintext: &[u8], blob: &[u8]);
}

struct DataKey<'a, T> {
    bytes: Zeroizing<Vec<u8>>,
    blob: Vec<u8>,
    target: &'a mut T,
}

impl<T: DataKeyTarget> SealTarget for DataKey<'_, T> {
    const IS_SETTLED: bool = false;

    fn room(&mut self, needed: usize) -> Result<bool> {
        if !self.target.room(needed)? {
            return Ok(false);
        }
        self.blob.resize(needed, 0);
        random::fill(&mut self.bytes)?;
        Ok(true)
    }

    fn output(&mut self) -> Result<(BlobPlace<'_>, Input<'_>)> {
        Ok((BlobPlace::of(&mut self.blob)?, Input::Apart(&self.bytes)))
    }
}

// A call receives a reference, which must say the same.
const _: () = assert!(!<&mut DataKey<'_, Both> as SealTarget>::IS_SETTLED);

#[derive(Default)]
struct Both(Zeroizing<Vec<u8>>, Vec<u8>);

impl DataKeyTarget for Both {
    fn room(&mut self, _: usize) -> Result<bool> {
        Ok(true)
    }

    fn put(&mut self, plaintext: &[u8], blob: &[u8]) {
        self.0.extend_from_slice(plaintext);
        self.1.extend_from_slice(blob);
    }
}

/// Asks for room through a function.
struct Room<'a, F> {
    ask: F,
    both: &'a mut Both,
}

impl<F: FnMut(usize) -> Result<bool>> DataKeyTarget for Room<'_, F> {
    fn room(&mut self, needed: usize) -> Result<bool> {
        (self.ask)(needed)
    }

    fn put(&mut self, plaintext: &[u8], blob: &[u8]) {
        self.both.put(plaintext, blob);
    }
}

/// Bytes of anything that RSA-2048 wraps.
const WRAPPED: usize = 256;

impl Keystore {
    /// Generate a data key of 1 to 1024 bytes for envelope encryption: the plaintext key, and the blob to store
    /// next to the data. [`Keystore::decrypt`] returns the key later.
    ///
    /// # Errors
    /// `InvalidArgument` for another size; those of [`Keystore::encrypt`].
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let (data_key, blob) = keystore.generate_data_key(key, 32, &[])?;
    /// assert_eq!(*keystore.decrypt(&blob, &[])?, *data_key);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn generate_data_key<'k>(
        &self,
        key: impl Into<KeyRef<'k>>,
        number_of_bytes: usize,
        context: &[(&str, &str)],
    ) -> Result<(Plaintext, Vec<u8>)> {
        let mut both = Both::default();
        self.generate_data_key_to(
            key.into().as_str(),
            number_of_bytes,
            &Context::new(context.iter().copied())?,
            &mut both,
        )?;
        Ok((Plaintext::new(both.0), both.1))
    }

    /// Generate a data key of 1 to 1024 bytes and return only its blob.
    ///
    /// # Errors
    /// `InvalidArgument` for another size; those of [`Keystore::encrypt`].
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let blob = keystore.generate_data_key_without_plaintext(key, 32, &[])?;
    /// assert_eq!(keystore.decrypt(&blob, &[])?.len(), 32);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn generate_data_key_without_plaintext<'k>(
        &self,
        key: impl Into<KeyRef<'k>>,
        number_of_bytes: usize,
        context: &[(&str, &str)],
    ) -> Result<Vec<u8>> {
        self.generate_data_key(key, number_of_bytes, context).map(|(_, blob)| blob)
    }

    /// Generate a data key and return its blob, and the key wrapped with an RSA-2048 public key (a
    /// SubjectPublicKeyInfo in DER). Only the holder of the private key can unwrap it.
    ///
    /// # Errors
    /// `InvalidArgument` for another size or a public key that is not RSA-2048; `LimitExceeded` for a data key that
    /// does not fit into the wrapping; those of [`Keystore::encrypt`].
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, Origin, Wrapping};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// # let other = CreateKey { origin: Some(Origin::External), ..Default::default() };
    /// # let other = keystore.create_key(&other)?;
    /// # let public_key = keystore.get_parameters_for_import(other, Wrapping::OaepSha256)?.public_key;
    /// let (blob, wrapped) =
    ///     keystore.generate_and_export_data_key(key, 32, &[], &public_key, Wrapping::OaepSha256)?;
    /// assert_eq!((blob.len(), wrapped.len()), (32 + 80, 256));
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn generate_and_export_data_key<'k>(
        &self,
        key: impl Into<KeyRef<'k>>,
        number_of_bytes: usize,
        context: &[(&str, &str)],
        public_key: &[u8],
        wrapping: Wrapping,
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        let all = |_, _| Ok(true);
        let made = self.generate_and_export_data_key_to(
            key.into().as_str(),
            number_of_bytes,
            context,
            public_key,
            wrapping,
            all,
        )?;
        made.ok_or_else(|| Status::Internal.error("no data key was made"))
    }

    /// Decrypt the blob of a data key and wrap the key with an RSA-2048 public key (a SubjectPublicKeyInfo in DER).
    /// The plaintext stays inside the library.
    ///
    /// # Errors
    /// `InvalidArgument` for a public key that is not RSA-2048; `LimitExceeded` for a data key that does not fit
    /// into the wrapping; those of [`Keystore::decrypt`].
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, Origin, Wrapping};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// # let other = CreateKey { origin: Some(Origin::External), ..Default::default() };
    /// # let other = keystore.create_key(&other)?;
    /// # let public_key = keystore.get_parameters_for_import(other, Wrapping::OaepSha256)?.public_key;
    /// let blob = keystore.generate_data_key_without_plaintext(key, 32, &[])?;
    /// let wrapped = keystore.export_data_key(&blob, &[], &public_key, Wrapping::OaepSha256)?;
    /// assert_eq!(wrapped.len(), 256);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn export_data_key(
        &self,
        blob: &[u8],
        context: &[(&str, &str)],
        public_key: &[u8],
        wrapping: Wrapping,
    ) -> Result<Vec<u8>> {
        let exported = self.export_data_key_to(blob, context, public_key, wrapping, |_| Ok(true))?;
        exported.ok_or_else(|| Status::Internal.error("no data key was exported"))
    }

    /// `room` receives both sizes after all other checks; if it returns false, nothing is made.
    pub(crate) fn generate_and_export_data_key_to(
        &self,
        key: &str,
        number_of_bytes: usize,
        context: &[(&str, &str)],
        public_key: &[u8],
        wrapping: Wrapping,
        room: impl FnOnce(usize, usize) -> Result<bool>,
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let public_key = PublicKey::from_der(public_key)?;
        check_fits(number_of_bytes, wrapping)?;
        let mut room = Some(room);
        let mut both = Both::default();
        let context = Context::new(context.iter().copied())?;
        let mut target =
            Room { ask: |needed| room.take().map_or(Ok(true), |ask| ask(needed, WRAPPED)), both: &mut both };
        self.generate_data_key_to(key, number_of_bytes, &context, &mut target)?;
        if both.1.is_empty() {
            return Ok(None);
        }
        let wrapped = public_key.wrap(wrapping, &both.0)?;
        Ok(Some((both.1, wrapped)))
    }

    /// `room` receives the size after all other checks; if it returns false, nothing is decrypted.
    pub(crate) fn export_data_key_to(
        &self,
        blob: &[u8],
        context: &[(&str, &str)],
        public_key: &[u8],
        wrapping: Wrapping,
        room: impl FnOnce(usize) -> Result<bool>,
    ) -> Result<Option<Vec<u8>>> {
        let public_key = PublicKey::from_der(public_key)?;
        let parsed = Blob::parse(blob)?;
        check_fits(parsed.plaintext_len(), wrapping)?;
        Context::new(context.iter().copied())?;
        self.core()?.usable_version(&parsed.header.key, &parsed.header.version)?;
        if !room(WRAPPED)? {
            return Ok(None);
        }
        let plaintext = self.decrypt(blob, context)?;
        public_key.wrap(wrapping, &plaintext).map(Some)
    }

    pub(crate) fn generate_data_key_to(
        &self,
        key: &str,
        number_of_bytes: usize,
        context: &Context<'_>,
        target: &mut impl DataKeyTarget,
    ) -> Result<()> {
        if !DATA_KEY_BYTES.contains(&number_of_bytes) {
            return Err(Status::InvalidArgument.error(format!("a data key has 1 to 1024 bytes, not {number_of_bytes}")));
        }
        let core: &Core = self.core()?;
        let bytes = Zeroizing::new(vec![0; number_of_bytes]);
        let mut data_key = DataKey { bytes, blob: Vec::new(), target };
        core.encrypt_to(key.as_bytes(), number_of_bytes, context, || &mut data_key)?;
        let DataKey { bytes, blob, target } = data_key;
        if !blob.is_empty() {
            target.put(&bytes, &blob);
        }
        Ok(())
    }
}

/// RFC 8017 §7.1.1: OAEP leaves `k - 2 hLen - 2` bytes, PKCS#1 v1.5 `k - 11`, of a modulus of 256.
fn check_fits(len: usize, wrapping: Wrapping) -> Result<()> {
    let most = match wrapping {
        Wrapping::Pkcs1V15 => 245,
        Wrapping::OaepSha1 => 214,
        Wrapping::OaepSha256 => 190,
    };
    if len > most {
        return Err(Status::LimitExceeded.error(format!("{len} bytes don't fit into this wrapping; at most {most} do")));
    }
    Ok(())
}
