//! Many ciphertexts in one call: for each item its result, or the exception that it alone would have raised.

use kms::{Keystore as Handle, Plaintext, Record, ReencryptItem};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::arguments::KeyName;
use crate::buffer::Input;
use crate::context::Context;
use crate::error::raise;
use crate::guard::{Failure, guard, is_large, let_go, quick};
use crate::keystore::Keystore;
use crate::raw::NewBytes;

type Items<'a, 'py> = &'a Bound<'py, PyAny>;
type Mapping<'a, 'py> = Option<&'a Bound<'py, PyAny>>;
type Results<R> = Vec<kms::Result<R>>;

/// What becomes a `bytes`.
trait Made: Send {
    fn finish(self, py: Python<'_>) -> Bound<'_, PyBytes>;
}

impl Made for Vec<u8> {
    fn finish(self, py: Python<'_>) -> Bound<'_, PyBytes> {
        PyBytes::new(py, &self)
    }
}

enum Opened {
    InPlace(NewBytes),
    Apart(Plaintext),
}

impl Made for Opened {
    fn finish(self, py: Python<'_>) -> Bound<'_, PyBytes> {
        match self {
            Self::InPlace(bytes) => bytes.finish(py),
            Self::Apart(bytes) => PyBytes::new(py, &bytes),
        }
    }
}

#[pymethods]
impl Keystore {
    /// Encrypt many plaintexts under one version of one key; a list with, for each, its ciphertext or its exception.
    ///
    /// `context` holds for all, or `contexts` has one (or None) for each. Raises only what concerns no single item,
    /// such as TypeError; what is wrong with the key is every item's exception. Units and limits are those of `encrypt`.
    ///
    /// >>> [len(blob) for blob in kms.encrypt_batch(key.id, [b"a", b"bc"])]
    /// [81, 82]
    #[pyo3(signature = (key, plaintexts, context=None, *, contexts=None))]
    fn encrypt_batch<'py>(
        &self,
        py: Python<'py>,
        key: KeyName<'_>,
        plaintexts: Items<'_, 'py>,
        context: Mapping<'_, 'py>,
        contexts: Mapping<'_, 'py>,
    ) -> PyResult<Bound<'py, PyList>> {
        let kms = self.in_use(py)?;
        let kms: &Handle = &kms;
        each(py, plaintexts, context, contexts, |records, _| kms.encrypt_batch(&key, records))
    }

    /// Decrypt many ciphertexts; a list with, for each, its plaintext or its exception.
    ///
    /// `context` holds for all, or `contexts` has one (or None) for each. Raises only what concerns no single item,
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
        let kms: &Handle = &kms;
        each(py, blobs, context, contexts, |records, held| {
            if !held {
                let opened = kms.decrypt_batch(records)?;
                return Ok(opened.into_iter().map(|one| one.map(Opened::Apart)).collect());
            }
            // With the GIL held, each goes straight to its `bytes`: nothing to copy, nothing to wipe.
            let open = |record: &Record<'_>| kms.decrypt_into(record.data, record.context, NewBytes::attached);
            Ok(records.iter().map(|record| open(record).map(Opened::InPlace)).collect())
        })
    }

    /// Re-encrypt many ciphertexts under the newest version of a key, by default each under the same key. Return a list
    /// with, for each, the new ciphertext or its exception. Their contexts stay the same. The destination is a key id,
    /// "alias/NAME" or a `Key`.
    ///
    /// `context` holds for all, or `contexts` has one (or None) for each. Raises only what concerns no single item,
    /// such as TypeError; what is wrong with the destination is every item's exception.
    ///
    /// >>> blobs = kms.encrypt_batch(key.id, [b"a", b"bc"])
    /// >>> version = kms.rotate(key.id)
    /// >>> kms.decrypt_batch(kms.reencrypt_batch(blobs))
    /// [b'a', b'bc']
    #[pyo3(signature = (blobs, destination_key=None, context=None, *, contexts=None))]
    fn reencrypt_batch<'py>(
        &self,
        py: Python<'py>,
        blobs: Items<'_, 'py>,
        destination_key: Option<KeyName<'_>>,
        context: Mapping<'_, 'py>,
        contexts: Mapping<'_, 'py>,
    ) -> PyResult<Bound<'py, PyList>> {
        let kms = self.in_use(py)?;
        let kms: &Handle = &kms;
        each(py, blobs, context, contexts, |records, _| {
            let moved: Vec<_> = records.iter().map(moved).collect();
            kms.reencrypt_batch(destination_key.as_ref().map(Into::into), &moved)
        })
    }
}

fn moved<'a>(record: &Record<'a>) -> ReencryptItem<'a> {
    ReencryptItem { blob: record.data, source_context: record.context, destination_context: record.context }
}

fn total(records: &[Record<'_>]) -> usize {
    records.iter().map(|record| record.data.len()).sum()
}

/// Releases the GIL once for all items, if they are large together or have to wait; `call` receives whether it is held.
fn each<'py, R: Made>(
    py: Python<'py>,
    items: Items<'_, 'py>,
    context: Mapping<'_, 'py>,
    contexts: Mapping<'_, 'py>,
    call: impl Fn(&[Record<'_>], bool) -> kms::Result<Results<R>> + Send + Sync,
) -> PyResult<Bound<'py, PyList>> {
    let items = items.try_iter()?.collect::<PyResult<Vec<_>>>()?;
    let inputs = items.iter().map(Input::of).collect::<PyResult<Vec<_>>>()?;
    let kept = match (context, contexts) {
        (Some(_), Some(_)) => return Err(PyValueError::new_err("pass either context or contexts, not both")),
        (one, None) => vec![Context::of(one)?],
        (None, Some(many)) => many.try_iter()?.map(|item| Context::of(Some(&item?))).collect::<PyResult<Vec<_>>>()?,
    };
    if contexts.is_some() && kept.len() != inputs.len() {
        return Err(PyValueError::new_err(format!("{} items have {} contexts", inputs.len(), kept.len())));
    }
    let records: Vec<_> = inputs
        .iter()
        .zip(kept.iter().cycle())
        .map(|(input, context)| Record { data: input.as_slice(), context: context.entries() })
        .collect();
    let quickly = if is_large(total(&records)) { None } else { quick(|| call(&records, true)) };
    let results = match quickly.unwrap_or_else(|| let_go(py, || guard(|| call(&records, false)))) {
        Ok(results) => results,
        Err(Failure::Library(error)) => records.iter().map(|_| Err(error.clone())).collect(),
        // A clock's exception, an interrupt: not about the items.
        Err(failure) => return Err(failure.raise(py)),
    };
    let list = PyList::empty(py);
    for result in results {
        match result {
            Ok(bytes) => list.append(bytes.finish(py))?,
            Err(error) => list.append(raise(py, &error).into_value(py))?,
        }
    }
    Ok(list)
}
