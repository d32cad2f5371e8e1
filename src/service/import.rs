//! Importing key material (BYOK): parameters, import, expiry, deletion.

use super::due::without_material;
use super::key_ref::KeyRef;
use super::{Changed, Core, Keystore};
use crate::crypto::import::{TOKEN, Token, material_digest};
use crate::crypto::openssl;
use crate::crypto::row::RowCipher;
use crate::domain::deadline::Deadline;
use crate::domain::id::{KeyId, VersionId};
use crate::domain::key::{Key, Origin};
use crate::domain::log::ChangeAction;
use crate::domain::material::Imported;
use crate::domain::state::{self, Operation};
use crate::domain::time::Time;
use crate::error::{Error, Result, Status};
use crate::sys::{random, stack};

use crate::crypto::openssl::rsa::{NOT_UNWRAPPED, Unwrapped};

pub use crate::crypto::openssl::rsa::Padding as Wrapping;

/// How long an import token is good for, in seconds.
const TOKEN_SECONDS: i64 = 24 * 3600;
/// Bytes of a SubjectPublicKeyInfo of RSA-2048 with exponent 65537.
const PUBLIC_KEY: usize = 294;

/// A wrapping key and a token for one import, from [`Keystore::get_parameters_for_import`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImportParameters {
    /// An RSA-2048 public key, a SubjectPublicKeyInfo in DER. Wrap the 32 bytes of material with it.
    pub public_key: Vec<u8>,
    /// The token that [`Keystore::import_key_material`] takes, for this key only, any number of times.
    pub token: Vec<u8>,
    /// When the token expires, 24 hours after it was made.
    pub expires: Time,
}

impl Keystore {
    /// Create a wrapping key and a token for importing key material into an EXTERNAL key.
    ///
    /// # Errors
    /// `UnsupportedOrigin` unless the origin of the key is EXTERNAL; `KeyNotFound` for an unknown key,
    /// `UnsupportedAlias` for an alias in place of the key id; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, Origin, Wrapping};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let request = CreateKey { origin: Some(Origin::External), ..Default::default() };
    /// # let key = keystore.create_key(&request)?;
    /// let parameters = keystore.get_parameters_for_import(key, Wrapping::OaepSha256)?;
    /// assert_eq!(parameters.public_key.len(), 294);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn get_parameters_for_import<'k>(
        &self,
        key_id: impl Into<KeyRef<'k>>,
        wrapping: Wrapping,
    ) -> Result<ImportParameters> {
        let made = self.get_parameters_for_import_to(key_id.into().as_str(), wrapping, |_, _| Ok(true))?;
        made.ok_or_else(|| Status::Internal.error("no import parameters were made"))
    }

    /// `room` receives the sizes of public key and token after all other checks; nothing is made if it answers
    /// false.
    pub(crate) fn get_parameters_for_import_to(
        &self,
        key_id: &str,
        wrapping: Wrapping,
        room: impl FnOnce(usize, usize) -> Result<bool>,
    ) -> Result<Option<ImportParameters>> {
        let core = self.core()?;
        let id = Core::id_only(key_id)?;
        let found = core.key(&id)?;
        importable(&found.key)?;
        state::check(found.key.state_at(core.clock.wall()), Operation::GetParametersForImport)?;
        if !room(PUBLIC_KEY, TOKEN)? {
            return Ok(None);
        }
        let expires = core.clock.wall().plus_seconds(TOKEN_SECONDS);
        stack::with_stack_wiped(|| {
            let token = Token::issue(id, wrapping, expires)?;
            let public_key = token.private_key.public_der()?;
            Ok(Some(ImportParameters { public_key, token: token.seal(&mut core.token_cipher()?)?, expires }))
        })
    }

    /// Import 32 bytes of key material that are wrapped with the public key of the token. Once a key had material,
    /// it accepts only the same material again.
    ///
    /// The material is refused and erased after `expires`; `None`: it does not expire.
    ///
    /// # Errors
    /// `InvalidImportToken` or `ExpiredImportToken`; `InvalidKeyMaterial` for material that cannot be unwrapped, has
    /// another size, or differs from that before; `InvalidArgument` for an expiry in the past; `StateModifiedFailed`
    /// while the deletion of the key is pending; `UnsupportedOrigin` unless the origin of the key is EXTERNAL;
    /// `KeyNotFound` for an unknown key, `UnsupportedAlias` for an alias in place of the key id; and the [errors of
    /// every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, Origin, Status, Wrapping};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let request = CreateKey { origin: Some(Origin::External), ..Default::default() };
    /// # let key = keystore.create_key(&request)?;
    /// let parameters = keystore.get_parameters_for_import(key, Wrapping::OaepSha256)?;
    /// let wrapped = [0; 256]; // an HSM wraps the material with parameters.public_key
    /// let error = keystore.import_key_material(key, &wrapped, &parameters.token, None).unwrap_err();
    /// assert_eq!(error.status(), Status::InvalidKeyMaterial);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn import_key_material<'k>(
        &self,
        key_id: impl Into<KeyRef<'k>>,
        wrapped: &[u8],
        token: &[u8],
        expires: Option<Time>,
    ) -> Result<()> {
        let key_id = key_id.into();
        let action = ChangeAction::ImportKeyMaterial;
        let is_right = self.manage(action, Some(key_id.as_str()), |core| {
            core.check_expiry(expires)?;
            let id = Core::id_only(key_id.as_str())?;
            core.store.check_writable()?;
            let found = core.key(&id)?;
            importable(&found.key)?;
            state::check(found.key.state_at(core.clock.wall()), Operation::ImportKeyMaterial)?;
            stack::with_stack_wiped(|| {
                let token = Token::open(&mut core.token_cipher()?, token)?;
                token.check(&id, core.clock.wall())?;
                // Unwrapped under the write lock, when all else is checked, and with the same answer for each fault: what
                // the padding hid must not show in which step refused it.
                core.import(action, &id, expires, NOT_UNWRAPPED, || token.unwrap(wrapped))
            })
        })?;
        // Outside of `manage`: the transaction that undid the import has the log's entry already.
        if is_right { Ok(()) } else { Err(invalid(NOT_UNWRAPPED)) }
    }

    /// Import 32 bytes of key material that this process has in plaintext. Otherwise as
    /// [`Keystore::import_key_material`].
    ///
    /// # Errors
    /// Those of [`Keystore::import_key_material`] except those of the token.
    ///
    /// ```
    /// # use kms::{CreateKey, KeyState, Keystore, Options, Origin};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let request = CreateKey { origin: Some(Origin::External), ..Default::default() };
    /// # let key = keystore.create_key(&request)?;
    /// keystore.import_raw_key_material(key, &[9; 32], None)?;
    /// assert_eq!(keystore.describe_key(key)?.state, KeyState::Enabled);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn import_raw_key_material<'k>(
        &self,
        key_id: impl Into<KeyRef<'k>>,
        material: &[u8],
        expires: Option<Time>,
    ) -> Result<()> {
        let key_id = key_id.into();
        let action = ChangeAction::ImportRawKeyMaterial;
        let other = "the key had another material; import the identical one, or create another EXTERNAL key";
        self.manage(action, Some(key_id.as_str()), |core| {
            core.check_expiry(expires)?;
            let id = Core::id_only(key_id.as_str())?;
            stack::with_stack_wiped(|| core.import(action, &id, expires, other, || Unwrapped::of_key(material)))
        })?;
        Ok(())
    }

    /// Erase imported key material at once. The key becomes PendingImport, and accepts only the same material again.
    ///
    /// # Errors
    /// `UnsupportedOrigin` unless the origin of the key is EXTERNAL; `KeyNotFound` for an unknown key,
    /// `UnsupportedAlias` for an alias in place of the key id; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, KeyState, Keystore, Options, Origin};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let request = CreateKey { origin: Some(Origin::External), ..Default::default() };
    /// # let key = keystore.create_key(&request)?;
    /// keystore.import_raw_key_material(key, &[9; 32], None)?;
    /// keystore.delete_key_material(key)?;
    /// assert_eq!(keystore.describe_key(key)?.state, KeyState::PendingImport);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn delete_key_material<'k>(&self, key_id: impl Into<KeyRef<'k>>) -> Result<()> {
        let key_id = key_id.into();
        self.manage(ChangeAction::DeleteKeyMaterial, Some(key_id.as_str()), |core| {
            core.delete_material(key_id.as_str())
        })
    }
}

fn importable(key: &Key) -> Result<()> {
    if key.origin == Origin::External {
        return Ok(());
    }
    Err(Status::UnsupportedOrigin
        .error("the key is not of origin EXTERNAL; create one that is to import material")
        .of_key(&key.id))
}

fn invalid(text: &'static str) -> Error {
    Status::InvalidKeyMaterial.error(text)
}

impl Core {
    fn token_cipher(&self) -> Result<RowCipher> {
        RowCipher::new(&*self.store.subkey("libkms import token")?)
    }

    fn check_expiry(&self, expires: Option<Time>) -> Result<()> {
        match expires {
            Some(date) if date <= self.clock.wall() => {
                Err(Status::InvalidArgument
                    .error("the expiry is not in the future; pass Unix seconds after now, or none"))
            }
            Some(date) if date > Time::MAX_DATE => Err(Status::InvalidArgument.error(
                "the material would expire after the year 9999; check the unit of the date, or pass none for never",
            )),
            _ => Ok(()),
        }
    }

    /// `other`: what is said when it isn't the material that the key had. `material` is asked for last.
    ///
    /// Material whose padding was wrong is written and taken back in one transaction: a disk that is full, or an anchor
    /// that is away, then answers as for material that is right.
    fn import(
        &self,
        action: ChangeAction,
        id: &KeyId,
        expires: Option<Time>,
        other: &'static str,
        material: impl FnOnce() -> Result<Unwrapped>,
    ) -> Result<bool> {
        let digest_key = self.store.subkey("libkms import digest")?;
        let version = VersionId::from_random(random::array()?);
        let done = self.change_key(action, id, |change, mut stored, now| {
            importable(&stored.key)?;
            let state = state::after(stored.key.state_at(now.wall), Operation::ImportKeyMaterial, true)?;
            let found = material()?;
            let material: &[u8; 32] =
                found.message.as_slice().try_into().map_err(|_| invalid("key material has exactly 32 bytes"))?;
            let digest = material_digest(&digest_key, id, material)?;
            let before = stored.key.clone();
            let held = match stored.key.imported {
                Some(held) if !openssl::equal(&held.digest, &digest) => {
                    return Err(invalid(other));
                }
                Some(held) => held.present,
                None => {
                    stored.key.promote(version, now.wall);
                    false
                }
            };
            stored.key.imported = Some(Imported { digest, present: true, expiry: expires.map(Deadline::at) });
            stored.key.state = state;
            if !held {
                change.restore_material(&mut stored, material)?;
            }
            let mut stored = change.update(stored)?;
            let right = found.is_right();
            if !right {
                change.log_refusal(Status::InvalidKeyMaterial);
                change.erase_material(&mut stored)?;
                stored.key = before;
                stored = change.update(stored)?;
            }
            Ok(Changed::one(right, stored))
        })?;
        Ok(done.value)
    }

    fn delete_material(&self, key_id: &str) -> Result<()> {
        let id = Self::id_only(key_id)?;
        self.change_key(ChangeAction::DeleteKeyMaterial, &id, |change, mut stored, now| {
            importable(&stored.key)?;
            state::check(stored.key.state_at(now.wall), Operation::DeleteKeyMaterial)?;
            if stored.key.imported.is_none_or(|imported| !imported.present) {
                return Ok(Changed::none(()));
            }
            change.erase_material(&mut stored)?;
            let stored = change.update(without_material(stored)?)?;
            Ok(Changed::one((), stored))
        })?;
        Ok(())
    }
}
