//! Many ciphertexts in one call: for each item its result, or the exception that it alone would have raised.

use kms::Kms;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::buffer::{Input, NewBytes};
use crate::context::{Context, Entries};
use crate::crypt::reencrypt;
use crate::guard::{Failure, guard, is_large, let_go};
use crate::keystore::Keystore;

type Items<'a, 'py> = &'a Bound<'py, PyAny>;
type Mapping<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

#[pymethods]
impl Keystore {
    /// Encrypts many plaintexts under one key; a list with, for each, its ciphertext or its exception.
    ///
    /// `context` holds for all, or `contexts` gives one (or None) for each. Raises only what concerns no single item,
    /// such as TypeError. Units and limits are those of `encrypt`.
    ///
    /// >>> [len(blob) for blob in kms.encrypt_batch(key.id, [b"a", b"bc"])]
    /// [81, 82]
    #[pyo3(signature = (key, plaintexts, context=None, *, contexts=None))]
    fn encrypt_batch<'py>(
        &self,
        py: Python<'py>,
        key: &str,
        plaintexts: Items<'_, 'py>,
        context: Mapping<'_, 'py>,
        contexts: Mapping<'_, 'py>,
    ) -> PyResult<Bound<'py, PyList>> {
        let kms = self.in_use(py)?;
        each(py, plaintexts, context, contexts, |data, entries| kms.encrypt_into(key, data, entries, NewBytes::new))
    }

    /// Decrypts many ciphertexts; a list with, for each, its plaintext or its exception.
    ///
    /// `context` holds for all, or `contexts` gives one (or None) for each. Raises only what concerns no single item,
    /// such as TypeError.
    ///
    /// >>> blobs = kms.encrypt_batch(key.id, [b"a", b"bc"])
    /// >>> kms.decrypt_batch([*blobs, b"?"])
    /// [b'a', b'bc', MalformedCiphertext('too short for a ciphertext')]
    #[pyo3(signature = (blobs, context=None, *, contexts=None))]
    fn decrypt_batch<'py>(
        &self,
        py: Python<'py>,
        blobs: Items<'_, 'py>,
        context: Mapping<'_, 'py>,
        contexts: Mapping<'_, 'py>,
    ) -> PyResult<Bound<'py, PyList>> {
        let kms = self.in_use(py)?;
        each(py, blobs, context, contexts, |data, entries| kms.decrypt_into(data, entries, NewBytes::new))
    }

    /// Moves many ciphertexts to the newest version of a key, by default each of its own; a list with, for each, the new
    /// ciphertext or its exception. Their contexts stay the same.
    ///
    /// `context` holds for all, or `contexts` gives one (or None) for each. Raises only what concerns no single item,
    /// such as TypeError.
    ///
    /// >>> blobs = kms.encrypt_batch(key.id, [b"a", b"bc"])
    /// >>> version = kms.rotate(key.id)
    /// >>> kms.decrypt_batch(kms.reencrypt_batch(blobs))
    /// [b'a', b'bc']
    #[pyo3(signature = (blobs, destination_key_id=None, context=None, *, contexts=None))]
    fn reencrypt_batch<'py>(
        &self,
        py: Python<'py>,
        blobs: Items<'_, 'py>,
        destination_key_id: Option<&str>,
        context: Mapping<'_, 'py>,
        contexts: Mapping<'_, 'py>,
    ) -> PyResult<Bound<'py, PyList>> {
        let kms = self.in_use(py)?;
        let kms: &Kms = &kms;
        each(py, blobs, context, contexts, |data, entries| {
            let sealed = reencrypt(kms, data, entries, destination_key_id, entries)?;
            let mut bytes = NewBytes::new(sealed.len())?;
            bytes.as_mut().copy_from_slice(&sealed);
            Ok(bytes)
        })
    }
}

/// Lets the GIL go once for all items, if they are large together.
fn each<'py>(
    py: Python<'py>,
    items: Items<'_, 'py>,
    context: Mapping<'_, 'py>,
    contexts: Mapping<'_, 'py>,
    call: impl Fn(&[u8], &Entries<'_>) -> kms::Result<NewBytes> + Sync,
) -> PyResult<Bound<'py, PyList>> {
    let inputs = items.try_iter()?.map(|item| Input::of(&item?)).collect::<PyResult<Vec<_>>>()?;
    let kept = match (context, contexts) {
        (Some(_), Some(_)) => return Err(PyValueError::new_err("give either context or contexts")),
        (one, None) => vec![Context::of(one)?],
        (None, Some(many)) => {
            let none = |item: &Bound<'py, PyAny>| if item.is_none() { None } else { Some(item.clone()) };
            many.try_iter()?.map(|item| Context::of(none(&item?).as_ref())).collect::<PyResult<Vec<_>>>()?
        }
    };
    if contexts.is_some() && kept.len() != inputs.len() {
        return Err(PyValueError::new_err(format!("{} items have {} contexts", inputs.len(), kept.len())));
    }
    let entries = kept.iter().map(Context::entries).collect::<PyResult<Vec<_>>>()?;
    let data: Vec<&[u8]> = inputs.iter().map(Input::as_slice).collect();
    let all = || -> Vec<Result<NewBytes, Failure>> {
        data.iter().zip(entries.iter().cycle()).map(|(data, entries)| guard(|| call(data, entries))).collect()
    };
    let total = data.iter().map(|data| data.len()).sum();
    let results = if is_large(total) { let_go(py, all) } else { all() };
    let list = PyList::empty(py);
    for result in results {
        match result {
            Ok(bytes) => list.append::<Bound<'_, PyBytes>>(bytes.finish(py))?,
            Err(Failure::Library(error)) => list.append(crate::error::raise(py, &error).into_value(py))?,
            // A clock's exception, an interrupt: not about one item.
            Err(failure) => return Err(failure.raise(py)),
        }
    }
    Ok(list)
}
