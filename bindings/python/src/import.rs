//! Imported key material (BYOK).

use kms::Time;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arguments::KeyName;
use crate::buffer::Input;
use crate::crypt::padding;
use crate::keystore::Keystore;

#[pymethods]
impl Keystore {
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

    /// Erase imported material at once: what it encrypted can't be decrypted until the identical material comes back.
    ///
    /// Works in every state of the key. Raises `UnsupportedOrigin` for a key of the library's own material.
    ///
    /// >>> byok = kms.create_key(origin=libkms.Origin.EXTERNAL)
    /// >>> kms.import_raw_key_material(byok.id, bytes(range(32)))
    /// >>> kms.delete_key_material(byok.id)
    fn delete_key_material(&self, py: Python<'_>, key_id: KeyName<'_>) -> PyResult<()> {
        self.call(py, |kms| kms.delete_key_material(&key_id))
    }
}
