//! Encrypt, decrypt, re-encrypt, inspect, and data keys.

use std::ffi::CStr;

use kms::{Keystore as Handle, Status, Wrapping};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arguments::{KeyName, Parameters};
use crate::buffer::{Input, Output};
use crate::context::{Asked, Context};
use crate::guard::{detached, guard, is_large, quick, sized};
use crate::keystore::Keystore;
use crate::raw::{Arguments, Method, NewBytes, add_method};

type Mapping<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

/// The two that are called most; see [`Method`].
pub fn add_methods(py: Python<'_>) -> PyResult<()> {
    add_method::<Encrypt>(py)?;
    add_method::<Decrypt>(py)
}

struct Encrypt;

impl Method for Encrypt {
    type Class = Keystore;
    const NAME: &'static CStr = c"encrypt";
    const DOC: &'static CStr = cr#"encrypt($self, key, plaintext, context=None)
--

Encrypts under the primary version of a key; the result is 80 bytes longer than the plaintext.

`key` is a key id, "alias/NAME" or a `Key`; at most 1 GiB. `context` maps str to str, at most 8192 bytes encoded; it isn't
stored, and decrypt needs the same. Raises `KeyNotFound`, `AliasNotFound`, `RejectedDisabled` and the other
`Rejected...`, `LimitExceeded`.

>>> blob = kms.encrypt(key.id, b"4111 1111", context={"tenant": "42"})
>>> len(blob)
89"#;

    #[inline]
    fn call<'py>(keystore: &Keystore, arguments: Arguments<'_, 'py>) -> PyResult<Bound<'py, PyBytes>> {
        static PARAMETERS: Parameters<3> = Parameters::new("encrypt", ["key", "plaintext", "context"], 2);
        let py = arguments.py();
        let given = PARAMETERS.of(&arguments)?;
        let [Some(key), Some(plaintext), context] = &given else { return Err(PARAMETERS.missing(&given)) };
        let (kms, key, input) = (keystore.in_use(py)?, KeyName::of(*key)?, Input::of(plaintext)?);
        let (kms, key, input, context): (&Handle, &str, _, _) = (&kms, &key, input.as_slice(), context.as_deref());
        let context = if is_large(input.len()) {
            Context::of(context)?
        } else {
            let asked = Asked::of(context, keystore.calls_python)?;
            let give = |needed| NewBytes::new(py, needed);
            if let Some(done) = quick(|| kms.encrypt_with_lazy_context(key, input, |take| asked.give(take), give)) {
                let sealed = done.map_err(|failure| asked.explain(failure.raise(py)))?;
                return Ok(sealed.finish(py));
            }
            asked.kept()?
        };
        let entries = context.entries();
        Ok(detached(py, || kms.encrypt_into(key, input, entries, NewBytes::attached))?.finish(py))
    }
}

struct Decrypt;

impl Method for Decrypt {
    type Class = Keystore;
    const NAME: &'static CStr = c"decrypt";
    const DOC: &'static CStr = cr#"decrypt($self, blob, context=None)
--

Decrypts under the version of the key that encrypted it.

`context` must be equal to the one it was encrypted with. Raises `AuthenticationFailed` if ciphertext or context
were changed, `MalformedCiphertext`, `KeyNotFound`, `KeyVersionNotFound`, `RejectedDisabled` and the other
`Rejected...`.

>>> blob = kms.encrypt(key.id, b"4111 1111", context={"tenant": "42"})
>>> kms.decrypt(blob, context={"tenant": "42"})
b'4111 1111'
>>> kms.decrypt(blob)
Traceback (most recent call last):
libkms.errors.AuthenticationFailed: authentication failed: wrong context or key, or the ciphertext was modified"#;

    #[inline]
    fn call<'py>(keystore: &Keystore, arguments: Arguments<'_, 'py>) -> PyResult<Bound<'py, PyBytes>> {
        static PARAMETERS: Parameters<2> = Parameters::new("decrypt", ["blob", "context"], 1);
        let py = arguments.py();
        let given = PARAMETERS.of(&arguments)?;
        let [Some(blob), context] = &given else { return Err(PARAMETERS.missing(&given)) };
        let (kms, input) = (keystore.in_use(py)?, Input::of(blob)?);
        let (kms, input, context): (&Handle, _, _) = (&kms, input.as_slice(), context.as_deref());
        let context = if is_large(input.len()) {
            Context::of(context)?
        } else {
            let asked = Asked::of(context, keystore.calls_python)?;
            let give = |needed| NewBytes::new(py, needed);
            if let Some(done) = quick(|| kms.decrypt_with_lazy_context(input, |take| asked.give(take), give)) {
                let opened = done.map_err(|failure| asked.explain(failure.raise(py)))?;
                return Ok(opened.finish(py));
            }
            asked.kept()?
        };
        let entries = context.entries();
        Ok(detached(py, || kms.decrypt_into(input, entries, NewBytes::attached))?.finish(py))
    }
}

#[pymethods]
impl Keystore {
    /// Encrypt into the caller's buffer and return the number of bytes written: 80 more than the plaintext has.
    ///
    /// Raises what `encrypt` does, and `BufferTooSmall`, whose `size` says how many bytes are needed; then nothing is
    /// written.
    ///
    /// >>> room = bytearray(100)
    /// >>> kms.encrypt_into(key.id, b"4111 1111", room)
    /// 89
    #[pyo3(signature = (key, plaintext, out, context=None))]
    fn encrypt_into(
        &self,
        py: Python<'_>,
        key: KeyName<'_>,
        plaintext: &Bound<'_, PyAny>,
        out: &Bound<'_, PyAny>,
        context: Mapping<'_, '_>,
    ) -> PyResult<usize> {
        let (kms, input, context) = (self.in_use(py)?, Input::of(plaintext)?, Context::of(context)?);
        let (kms, input, entries): (&Handle, _, _) = (&kms, input.as_slice(), context.entries());
        let out = Output::of(out)?;
        let write = || kms.encrypt_into(&key, input, entries, |needed| out.first(needed)).map(|part| part.len());
        let done = match if is_large(input.len()) { None } else { quick(write) } {
            Some(done) => done,
            // A buffer that others can reach is never written to while the GIL is released.
            None => {
                let sealed = detached(py, || kms.encrypt(&key, input, entries))?;
                guard(|| out.put(py, &sealed).map(|()| sealed.len()))
            }
        };
        done.map_err(|failure| out.explain(py, failure.raise(py)))
    }

    /// Decrypt into the caller's buffer, which can be wiped after use, and return the number of bytes written.
    ///
    /// Raises what `decrypt` does, and `BufferTooSmall`, whose `size` says how many bytes are needed. After a failure the
    /// buffer holds no plaintext.
    ///
    /// >>> room = bytearray(9)
    /// >>> kms.decrypt_into(kms.encrypt(key.id, b"4111 1111"), room)
    /// 9
    /// >>> room[:] = bytes(9)
    #[pyo3(signature = (blob, out, context=None))]
    fn decrypt_into(
        &self,
        py: Python<'_>,
        blob: &Bound<'_, PyAny>,
        out: &Bound<'_, PyAny>,
        context: Mapping<'_, '_>,
    ) -> PyResult<usize> {
        let (kms, input, context) = (self.in_use(py)?, Input::of(blob)?, Context::of(context)?);
        let (kms, input, entries): (&Handle, _, _) = (&kms, input.as_slice(), context.entries());
        let out = Output::of(out)?;
        let write = || kms.decrypt_into(input, entries, |needed| out.first(needed)).map(|part| part.len());
        let done = match if is_large(input.len()) { None } else { quick(write) } {
            Some(done) => done,
            None => {
                let opened = detached(py, || kms.decrypt(input, entries))?;
                guard(|| out.put(py, &opened).map(|()| opened.len()))
            }
        };
        done.map_err(|failure| out.explain(py, failure.raise(py)))
    }

    /// Re-encrypt a ciphertext under the newest version of a key, by default the same key; the plaintext stays in the
    /// library.
    ///
    /// The destination is a key id, "alias/NAME" or a `Key`. Without `destination_context` the context stays the same; `{}`
    /// takes it away. Raises what `decrypt` and `encrypt` do.
    ///
    /// >>> old = kms.encrypt(key.id, b"4111 1111")
    /// >>> version = kms.rotate(key.id)
    /// >>> new = kms.reencrypt(old)
    /// >>> kms.inspect(new).version_id == version
    /// True
    #[pyo3(signature = (blob, destination_key=None, source_context=None, destination_context=None))]
    fn reencrypt<'py>(
        &self,
        py: Python<'py>,
        blob: &Bound<'py, PyAny>,
        destination_key: Option<KeyName<'_>>,
        source_context: Mapping<'_, 'py>,
        destination_context: Mapping<'_, 'py>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (kms, input) = (self.in_use(py)?, Input::of(blob)?);
        let (source, destination) =
            (Context::of(source_context)?, Context::of(destination_context.or(source_context))?);
        let (kms, input): (&Handle, _) = (&kms, input.as_slice());
        let (source, destination) = (source.entries(), destination.entries());
        let key = destination_key.as_deref();
        sized(py, input.len(), || kms.reencrypt(input, source, key.map(Into::into), destination))
            .map(|sealed| PyBytes::new(py, &sealed))
    }

    /// algorithm, context type, key id, version id, whether that is the primary.
    fn _inspect(&self, py: Python<'_>, blob: &Bound<'_, PyAny>) -> PyResult<(i32, i32, String, String, bool)> {
        let (kms, input) = (self.in_use(py)?, Input::of(blob)?);
        let (kms, input): (&Handle, _) = (&kms, input.as_slice());
        let info = sized(py, 0, || kms.inspect(input))?;
        Ok((info.algorithm, info.context_type, info.key.to_string(), info.version.to_string(), info.is_primary))
    }

    /// The bytes of a data key, and its ciphertext.
    #[pyo3(signature = (key, number_of_bytes, context=None))]
    fn _generate_data_key<'py>(
        &self,
        py: Python<'py>,
        key: KeyName<'_>,
        number_of_bytes: usize,
        context: Mapping<'_, 'py>,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let (kms, context) = (self.in_use(py)?, Context::of(context)?);
        let (kms, entries): (&Handle, _) = (&kms, context.entries());
        let (bytes, blob) = sized(py, 0, || kms.generate_data_key(&key, number_of_bytes, entries))?;
        Ok((PyBytes::new(py, &bytes), PyBytes::new(py, &blob)))
    }

    /// Generate a data key and return its ciphertext, without showing its bytes; `decrypt` returns them where they are needed.
    ///
    /// 1 to 1024 bytes, otherwise `InvalidArgument`. Raises what `encrypt` does.
    ///
    /// >>> len(kms.decrypt(kms.generate_data_key_without_plaintext(key.id)))
    /// 32
    #[pyo3(signature = (key, number_of_bytes=32, context=None))]
    fn generate_data_key_without_plaintext<'py>(
        &self,
        py: Python<'py>,
        key: KeyName<'_>,
        number_of_bytes: usize,
        context: Mapping<'_, 'py>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (kms, context) = (self.in_use(py)?, Context::of(context)?);
        let (kms, entries): (&Handle, _) = (&kms, context.entries());
        sized(py, 0, || kms.generate_data_key_without_plaintext(&key, number_of_bytes, entries))
            .map(|blob| PyBytes::new(py, &blob))
    }

    /// The ciphertext of a new data key, and the key wrapped with a public key.
    #[pyo3(signature = (key, public_key, wrapping, number_of_bytes, context=None))]
    fn _generate_and_export_data_key<'py>(
        &self,
        py: Python<'py>,
        key: KeyName<'_>,
        public_key: &Bound<'py, PyAny>,
        wrapping: i32,
        number_of_bytes: usize,
        context: Mapping<'_, 'py>,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let (kms, public_key, context) = (self.in_use(py)?, Input::of(public_key)?, Context::of(context)?);
        let (kms, public_key, entries): (&Handle, _, _) = (&kms, public_key.as_slice(), context.entries());
        let (blob, exported) = sized(py, 0, || {
            kms.generate_and_export_data_key(&key, number_of_bytes, entries, public_key, padding(wrapping)?)
        })?;
        Ok((PyBytes::new(py, &blob), PyBytes::new(py, &exported)))
    }

    #[pyo3(signature = (blob, public_key, wrapping, context=None))]
    fn _export_data_key<'py>(
        &self,
        py: Python<'py>,
        blob: &Bound<'py, PyAny>,
        public_key: &Bound<'py, PyAny>,
        wrapping: i32,
        context: Mapping<'_, 'py>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (kms, blob, public_key) = (self.in_use(py)?, Input::of(blob)?, Input::of(public_key)?);
        let context = Context::of(context)?;
        let (kms, blob, public_key): (&Handle, _, _) = (&kms, blob.as_slice(), public_key.as_slice());
        let entries = context.entries();
        sized(py, 0, || kms.export_data_key(blob, entries, public_key, padding(wrapping)?))
            .map(|exported| PyBytes::new(py, &exported))
    }
}

pub fn padding(number: i32) -> kms::Result<Wrapping> {
    match number {
        1 => Ok(Wrapping::Pkcs1V15),
        2 => Ok(Wrapping::OaepSha1),
        3 => Ok(Wrapping::OaepSha256),
        _ => Err(Status::InvalidArgument.error("there is no such wrapping")),
    }
}
