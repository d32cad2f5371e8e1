//! Everything about keys that isn't a ciphertext: their life, versions, rotation, names, labels, imported material.

use kms::domain::key::Creator;
use kms::domain::time::Time;
use kms::{CreateKey, Interval, Key, Kms, Origin};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::arguments::KeyName;
use crate::buffer::Input;
use crate::crypt::padding;
use crate::error::raise;
use crate::guard::detached;
use crate::keystore::Keystore;

type Page<'py, T> = (Vec<T>, Option<Bound<'py, PyAny>>);

impl Keystore {
    /// One call that lets the GIL go.
    pub fn call<R: Send>(&self, py: Python<'_>, body: impl FnOnce(&Kms) -> kms::Result<R> + Send) -> PyResult<R> {
        let kms = self.in_use(py)?;
        let kms: &Kms = &kms;
        detached(py, || body(kms))
    }
}

fn interval(seconds: Option<i64>) -> kms::Result<Option<Interval>> {
    seconds.map(Interval::from_seconds).transpose()
}

fn request(description: String, external: bool, rotate_every_s: Option<i64>) -> kms::Result<CreateKey> {
    let origin = if external { Origin::External } else { Origin::Kms };
    Ok(CreateKey { description, origin: Some(origin), rotate_every: interval(rotate_every_s)? })
}

fn millis(time: Option<Time>) -> Option<i64> {
    time.map(Time::millis)
}

/// The fields of `libkms.Key`.
fn fields<'py>(py: Python<'py>, key: &Key) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("id", key.id.to_string())?;
    dict.set_item("state", key.state as i32)?;
    dict.set_item("origin", key.origin as i32)?;
    dict.set_item("description", &key.description)?;
    dict.set_item("created", key.created.millis())?;
    dict.set_item("rotation", key.automatic_rotation() as i32)?;
    dict.set_item("rotate_every", key.policy.map(Interval::seconds))?;
    dict.set_item("primary_version_id", key.primary.map(|primary| primary.id.to_string()))?;
    dict.set_item("version_count", key.version_count())?;
    dict.set_item("last_rotation", millis(key.last_rotation()))?;
    dict.set_item("next_rotation", millis(key.next_rotation()))?;
    dict.set_item("delete_date", millis(key.deletion.map(|deletion| deletion.date)))?;
    dict.set_item("material_expires", millis(key.imported.and_then(|held| held.expiry).map(|expiry| expiry.date)))?;
    dict.set_item("deletion_protection", &key.protection)?;
    dict.set_item("service_managed", key.creator == Creator::Service)?;
    Ok(dict)
}

#[pymethods]
impl Keystore {
    #[pyo3(signature = (description, external, rotate_every_s))]
    fn _create_key<'py>(
        &self,
        py: Python<'py>,
        description: String,
        external: bool,
        rotate_every_s: Option<i64>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let key = self.call(py, |kms| {
            let request = request(description, external, rotate_every_s)?;
            kms.describe_key(&kms.create_key(&request)?.to_string())
        })?;
        fields(py, &key)
    }

    #[pyo3(signature = (count, description, external, rotate_every_s))]
    fn _create_keys<'py>(
        &self,
        py: Python<'py>,
        count: usize,
        description: String,
        external: bool,
        rotate_every_s: Option<i64>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let keys = self.call(py, |kms| {
            let ids = kms.create_keys(&request(description, external, rotate_every_s)?, count)?;
            ids.iter().map(|id| kms.describe_key(&id.to_string())).collect::<kms::Result<Vec<_>>>()
        })?;
        keys.iter().map(|key| fields(py, key)).collect()
    }

    fn _describe_key<'py>(&self, py: Python<'py>, key: KeyName<'_>) -> PyResult<Bound<'py, PyDict>> {
        fields(py, &self.call(py, |kms| kms.describe_key(&key))?)
    }

    /// A page of keys, and the error of keys that were passed over.
    #[pyo3(signature = (after, limit))]
    fn _list_keys<'py>(
        &self,
        py: Python<'py>,
        after: Option<&str>,
        limit: usize,
    ) -> PyResult<Page<'py, Bound<'py, PyDict>>> {
        let (keys, error) = self.call(py, |kms| {
            let mut keys = Vec::new();
            let done = kms.list_keys(after, limit, |key| {
                keys.push(key.clone());
                true
            });
            match done {
                Err(error) if error.status() != kms::Status::KeystoreCorrupt => Err(error),
                done => Ok((keys, done.err())),
            }
        })?;
        let keys = keys.iter().map(|key| fields(py, key)).collect::<PyResult<_>>()?;
        Ok((keys, error.map(|error| raise(py, &error).into_value(py).into_bound(py).into_any())))
    }

    /// Makes a Disabled key Enabled; an Enabled one stays so. If its rotation became overdue meanwhile, it rotates first.
    ///
    /// Raises `StateModifiedFailed` in another state.
    ///
    /// >>> kms.disable_key(key.id)
    /// >>> kms.enable_key(key.id)
    fn enable_key(&self, py: Python<'_>, key_id: KeyName<'_>) -> PyResult<()> {
        self.call(py, |kms| kms.enable_key(&key_id))
    }

    /// Makes an Enabled key Disabled: nothing is encrypted or decrypted under it until it is enabled again.
    ///
    /// Other processes see it on their next call. Raises `StateModifiedFailed` while its deletion or import is pending.
    ///
    /// >>> kms.disable_key(key.id)
    /// >>> kms.encrypt(key.id, b"4111 1111")
    /// Traceback (most recent call last):
    /// libkms.errors.RejectedDisabled: key ... is Disabled; enable it first
    fn disable_key(&self, py: Python<'_>, key_id: KeyName<'_>) -> PyResult<()> {
        self.call(py, |kms| kms.disable_key(&key_id))
    }

    fn _schedule_key_deletion(&self, py: Python<'_>, key_id: KeyName<'_>, days: i32) -> PyResult<()> {
        self.call(py, |kms| kms.schedule_key_deletion(&key_id, days))
    }

    /// Takes a scheduled deletion back: the key is Enabled again, or waits for its import if it has no material.
    ///
    /// Raises `StateModifiedFailed` in another state.
    ///
    /// >>> kms.schedule_key_deletion(key.id, timedelta(days=7))
    /// >>> kms.cancel_key_deletion(key.id)
    fn cancel_key_deletion(&self, py: Python<'_>, key_id: KeyName<'_>) -> PyResult<()> {
        self.call(py, |kms| kms.cancel_key_deletion(&key_id))
    }

    /// Replaces a key's whole description; at most 8192 characters, "" to delete it.
    ///
    /// Raises `RejectedPendingDeletion`, `LimitExceeded`.
    ///
    /// >>> kms.update_key_description(key.id, "card numbers")
    /// >>> kms.describe_key(key.id).description
    /// 'card numbers'
    fn update_key_description(&self, py: Python<'_>, key_id: KeyName<'_>, description: &str) -> PyResult<()> {
        self.call(py, |kms| kms.update_key_description(&key_id, description))
    }

    #[pyo3(signature = (key_id, reason))]
    fn _set_deletion_protection(&self, py: Python<'_>, key_id: KeyName<'_>, reason: Option<&str>) -> PyResult<()> {
        self.call(py, |kms| kms.set_deletion_protection(&key_id, reason))
    }

    fn _create_service_key<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyDict>> {
        fields(py, &self.call(py, |kms| kms.describe_key(&kms.create_service_key(name)?.to_string()))?)
    }

    /// Makes a new version of a key, promotes it to primary and returns its id (the service's CreateKeyVersion).
    ///
    /// New encryptions use it, old ciphertexts go on decrypting. `key` is a key id, "alias/NAME" or a `Key`. The next
    /// automatic rotation is counted from now. Raises `RejectedDisabled` and the other `Rejected...`,
    /// `UnsupportedOperation` for imported material.
    ///
    /// >>> kms.rotate(key.id) == kms.describe_key(key.id).primary_version_id
    /// True
    fn rotate(&self, py: Python<'_>, key: KeyName<'_>) -> PyResult<String> {
        self.call(py, |kms| kms.rotate(&key)).map(|id| id.to_string())
    }

    #[pyo3(signature = (key_id, rotate_every_s))]
    fn _update_rotation_policy(
        &self,
        py: Python<'_>,
        key_id: KeyName<'_>,
        rotate_every_s: Option<i64>,
    ) -> PyResult<()> {
        self.call(py, |kms| kms.update_rotation_policy(&key_id, interval(rotate_every_s)?))
    }

    /// rotated, destroyed, damaged
    fn _tick(&self, py: Python<'_>) -> PyResult<(usize, usize, usize)> {
        let done = self.call(py, Kms::tick)?;
        Ok((done.rotated, done.destroyed, done.damaged))
    }

    /// A page of versions, newest first: id, number, created, whether primary.
    #[pyo3(signature = (key, before, limit))]
    fn _list_key_versions(
        &self,
        py: Python<'_>,
        key: KeyName<'_>,
        before: Option<u64>,
        limit: usize,
    ) -> PyResult<Vec<(String, u64, i64, bool)>> {
        self.call(py, |kms| {
            let mut page = Vec::new();
            kms.list_key_versions(&key, before, limit, |version, primary| {
                page.push((version.id.to_string(), version.number, version.created.millis(), primary));
                true
            })?;
            Ok(page)
        })
    }

    fn _describe_key_version(
        &self,
        py: Python<'_>,
        key: KeyName<'_>,
        version_id: &str,
    ) -> PyResult<(String, u64, i64, bool)> {
        let (version, primary) = self.call(py, |kms| kms.describe_key_version(&key, version_id))?;
        Ok((version.id.to_string(), version.number, version.created.millis(), primary))
    }

    /// Makes `alias`, "alias/" and 1 to 255 letters, digits, _, / or -, another name of a key.
    ///
    /// Raises `AliasAlreadyExists`, `InvalidArgument` for another form, `StateModifiedFailed` while the key's deletion is
    /// pending.
    ///
    /// >>> kms.create_alias(key.id, "alias/cards")
    /// >>> kms.decrypt(kms.encrypt("alias/cards", b"4111 1111"))
    /// b'4111 1111'
    fn create_alias(&self, py: Python<'_>, key_id: KeyName<'_>, alias: &str) -> PyResult<()> {
        self.call(py, |kms| kms.create_alias(&key_id, alias))
    }

    /// Moves an alias to another key; what was encrypted by it goes on decrypting under the old one.
    ///
    /// Raises `AliasNotFound`, `RejectedPendingDeletion`.
    ///
    /// >>> kms.create_alias(key.id, "alias/cards")
    /// >>> kms.update_alias(kms.create_key().id, "alias/cards")
    fn update_alias(&self, py: Python<'_>, key_id: KeyName<'_>, alias: &str) -> PyResult<()> {
        self.call(py, |kms| kms.update_alias(&key_id, alias))
    }

    /// Deletes an alias; its key is untouched. Raises `AliasNotFound`.
    ///
    /// >>> kms.create_alias(key.id, "alias/cards")
    /// >>> kms.delete_alias("alias/cards")
    fn delete_alias(&self, py: Python<'_>, alias: &str) -> PyResult<()> {
        self.call(py, |kms| kms.delete_alias(alias))
    }

    /// A page of aliases and key ids.
    #[pyo3(signature = (key_id, after, limit))]
    fn _list_aliases(
        &self,
        py: Python<'_>,
        key_id: Option<KeyName<'_>>,
        after: Option<&str>,
        limit: usize,
    ) -> PyResult<Vec<(String, String)>> {
        self.call(py, |kms| {
            let mut page = Vec::new();
            kms.list_aliases(key_id.as_deref(), after, limit, |alias, id| {
                page.push((alias.to_owned(), id.to_string()));
                true
            })?;
            Ok(page)
        })
    }

    fn _tag_resource(&self, py: Python<'_>, key_id: KeyName<'_>, tags: Vec<(String, String)>) -> PyResult<()> {
        self.call(py, |kms| {
            let tags: Vec<_> = tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            kms.tag_resource(&key_id, &tags)
        })
    }

    fn _untag_resource(&self, py: Python<'_>, key_id: KeyName<'_>, names: Vec<String>) -> PyResult<()> {
        self.call(py, |kms| kms.untag_resource(&key_id, &names.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    fn _list_resource_tags(&self, py: Python<'_>, key_id: KeyName<'_>) -> PyResult<Vec<(String, String)>> {
        self.call(py, |kms| kms.list_resource_tags(&key_id))
    }

    /// public key, token, Unix milliseconds when they expire
    fn _get_parameters_for_import<'py>(
        &self,
        py: Python<'py>,
        key_id: KeyName<'_>,
        wrapping: i32,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>, i64)> {
        let made = self.call(py, |kms| kms.get_parameters_for_import(&key_id, padding(wrapping)?))?;
        Ok((PyBytes::new(py, &made.public_key), PyBytes::new(py, &made.token), made.expires.millis()))
    }

    #[pyo3(signature = (key_id, wrapped, token, expires_ms))]
    fn _import_key_material(
        &self,
        py: Python<'_>,
        key_id: KeyName<'_>,
        wrapped: &Bound<'_, PyAny>,
        token: &Bound<'_, PyAny>,
        expires_ms: Option<i64>,
    ) -> PyResult<()> {
        let (wrapped, token) = (Input::of(wrapped)?, Input::of(token)?);
        let (wrapped, token) = (wrapped.as_slice(), token.as_slice());
        self.call(py, |kms| kms.import_key_material(&key_id, wrapped, token, expires_ms.map(Time::from_millis)))
    }

    #[pyo3(signature = (key_id, material, expires_ms))]
    fn _import_raw_key_material(
        &self,
        py: Python<'_>,
        key_id: KeyName<'_>,
        material: &Bound<'_, PyAny>,
        expires_ms: Option<i64>,
    ) -> PyResult<()> {
        let material = Input::of(material)?;
        let material = material.as_slice();
        self.call(py, |kms| kms.import_raw_key_material(&key_id, material, expires_ms.map(Time::from_millis)))
    }

    /// Erases imported material at once: what it encrypted can't be decrypted until the identical material comes back.
    ///
    /// Works in every state of the key. Raises `UnsupportedOrigin` for a key of the library's own material.
    ///
    /// >>> byok = kms.create_key(origin=libkms.Origin.EXTERNAL)
    /// >>> kms.import_raw_key_material(byok.id, bytes(range(32)))
    /// >>> kms.delete_key_material(byok.id)
    fn delete_key_material(&self, py: Python<'_>, key_id: KeyName<'_>) -> PyResult<()> {
        self.call(py, |kms| kms.delete_key_material(&key_id))
    }

    /// The response, or the error's body and its exception.
    fn _call<'py>(
        &self,
        py: Python<'py>,
        action: &str,
        request: &str,
    ) -> PyResult<(String, Option<Bound<'py, PyAny>>)> {
        let done = self.call(py, |kms| Ok(kms.call(action, request)))?;
        Ok(match done {
            Ok(response) => (response, None),
            Err(failed) => (failed.body, Some(raise(py, &failed.error).into_value(py).into_bound(py).into_any())),
        })
    }
}
