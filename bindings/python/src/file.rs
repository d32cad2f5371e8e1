//! Files of any size: by their paths, in pieces, and at any place.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kms::{
    Keystore as Handle, Status,
    file::{DecryptStream, EncryptStream, FileOptions, FileReader},
};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use crate::arguments::KeyName;
use crate::buffer::Input;
use crate::context::Context;
use crate::guard::{calling_back, detached, end_call, refuse};
use crate::keystore::Keystore;

type Mapping<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

/// How often a call on files asks for signals, so that an interrupt ends it.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// Passes the count of bytes to the caller's function, and runs pending signal handlers.
fn reporter(progress: Option<Py<PyAny>>) -> impl Fn(u64) -> kms::Result<()> + Send {
    let last = Cell::new(Instant::now());
    move |done| {
        if progress.is_none() && last.get().elapsed() < SIGNALS_EVERY {
            return Ok(());
        }
        last.set(Instant::now());
        let raised = calling_back(|py| {
            py.check_signals()?;
            progress.as_ref().map(|progress| progress.call1(py, (done,))).transpose().map(drop)
        });
        match raised {
            Some(Err(error)) => Err(Status::FileIo.error(format!("a callback raised {}", end_call(error)))),
            _ => Ok(()),
        }
    }
}

/// key id, version id, whether that is the primary, file id, sequence number, length of the plaintext.
type Info<'py> = (String, String, bool, Bound<'py, PyBytes>, u64, u64);

#[pymethods]
impl Keystore {
    /// `how`: threads, and whether an existing target is replaced.
    fn _encrypt_file(
        &self,
        py: Python<'_>,
        key: KeyName<'_>,
        paths: (PathBuf, PathBuf),
        context: Mapping<'_, '_>,
        how: (usize, bool),
        progress: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        let (kms, context, report) = (self.in_use(py)?, Context::of(context)?, reporter(progress));
        let (kms, key, entries): (&Handle, &str, _) = (&kms, &key, context.entries());
        detached(py, move || {
            let options = FileOptions::new().threads(how.0).replace(how.1).progress(&report);
            kms.encrypt_file(key, paths.0, paths.1, entries, &options)
        })
    }

    fn _decrypt_file(
        &self,
        py: Python<'_>,
        paths: (PathBuf, PathBuf),
        context: Mapping<'_, '_>,
        how: (usize, bool),
        progress: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        let (kms, context, report) = (self.in_use(py)?, Context::of(context)?, reporter(progress));
        let (kms, entries): (&Handle, _) = (&kms, context.entries());
        detached(py, move || {
            let options = FileOptions::new().threads(how.0).replace(how.1).progress(&report);
            kms.decrypt_file(paths.0, paths.1, entries, &options)
        })
    }

    /// Re-encrypt an encrypted file in place under the newest version of a key, by default the same key.
    ///
    /// Only the header is rewritten, for a file of any size; the context stays. Returns whether anything had to be
    /// done. A call that was interrupted leaves a file that opens; call it again. Raises what `reencrypt` does, and
    /// `FileIO`.
    ///
    /// >>> size = kms.encrypt_file(key.id, folder / "plain", folder / "moved.kms")
    /// >>> version = kms.rotate(key.id)
    /// >>> kms.reencrypt_file(folder / "moved.kms"), kms.reencrypt_file(folder / "moved.kms")
    /// (True, False)
    #[pyo3(signature = (path, destination_key=None, context=None))]
    fn reencrypt_file(
        &self,
        py: Python<'_>,
        path: PathBuf,
        destination_key: Option<KeyName<'_>>,
        context: Mapping<'_, '_>,
    ) -> PyResult<bool> {
        let (kms, context) = (self.in_use(py)?, Context::of(context)?);
        let (kms, entries): (&Handle, _) = (&kms, context.entries());
        let key = destination_key.as_deref();
        detached(py, move || kms.reencrypt_file(path, entries, key.map(Into::into)))
    }

    fn _inspect_file<'py>(&self, py: Python<'py>, path: PathBuf) -> PyResult<Info<'py>> {
        let info = self.call(py, |kms| kms.inspect_file(path))?;
        let (key, version) = (info.blob.key.to_string(), info.blob.version.to_string());
        let id = PyBytes::new(py, &info.file_id);
        Ok((key, version, info.blob.is_primary, id, info.sequence, info.plaintext_len))
    }

    fn _encrypt_stream(&self, py: Python<'_>, key: KeyName<'_>, context: Mapping<'_, '_>) -> PyResult<_EncryptStream> {
        let (kms, context) = (self.in_use(py)?, Context::of(context)?);
        let (kms, key, entries): (&Handle, &str, _) = (&kms, &key, context.entries());
        let stream = detached(py, || kms.encrypt_stream(key, entries))?;
        Ok(_EncryptStream(Mutex::new(Some(stream))))
    }

    fn _decrypt_stream(
        &self,
        py: Python<'_>,
        start: &Bound<'_, PyAny>,
        context: Mapping<'_, '_>,
    ) -> PyResult<_DecryptStream> {
        let (kms, start, context) = (self.in_use(py)?, Input::of(start)?, Context::of(context)?);
        let (kms, start, entries): (&Handle, _, _) = (&kms, start.as_slice(), context.entries());
        let stream = detached(py, || kms.decrypt_stream(start, entries))?;
        Ok(_DecryptStream(Mutex::new(Some(stream))))
    }

    fn _open_file(&self, py: Python<'_>, path: PathBuf, context: Mapping<'_, '_>) -> PyResult<_FileReader> {
        let (kms, context) = (self.in_use(py)?, Context::of(context)?);
        let (kms, entries): (&Handle, _) = (&kms, context.entries());
        detached(py, move || kms.open_file(path, entries)).map(_FileReader)
    }

    /// `read_at` takes a place and a length, and returns at most that many bytes from the place on.
    fn _open_source(
        &self,
        py: Python<'_>,
        read_at: Py<PyAny>,
        len: u64,
        context: Mapping<'_, '_>,
    ) -> PyResult<_FileReader> {
        let (kms, context) = (self.in_use(py)?, Context::of(context)?);
        let (kms, entries): (&Handle, _) = (&kms, context.entries());
        let read = move |buffer: &mut [u8], at: u64| read_through(&read_at, buffer, at);
        detached(py, move || kms.open_file_with(read, len, entries)).map(_FileReader)
    }
}

fn read_through(read_at: &Py<PyAny>, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
    let asked = calling_back(|py| {
        let read = || -> PyResult<Option<usize>> {
            let found = read_at.bind(py).call1((at, buffer.len()))?;
            let found = Input::of(&found)?;
            let Some(room) = buffer.get_mut(..found.as_slice().len()) else { return Ok(None) };
            room.copy_from_slice(found.as_slice());
            Ok(Some(room.len()))
        };
        let mut read = read;
        read().map_err(|raised| refuse(py, raised))
    });
    match asked {
        Some(Ok(Some(len))) => Ok(len),
        Some(Ok(None)) => Err(std::io::Error::other("the source returned more bytes than it was asked for")),
        Some(Err(())) => Err(std::io::Error::other("the source raised an exception")),
        None => Err(std::io::Error::other("the interpreter has ended")),
    }
}

fn over() -> kms::Error {
    Status::InvalidArgument.error("the stream has ended or failed; make a new one")
}

/// A file that is encrypted in pieces.
#[pyclass(frozen)]
pub struct _EncryptStream(Mutex<Option<EncryptStream>>);

#[pymethods]
impl _EncryptStream {
    fn update<'py>(&self, py: Python<'py>, piece: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let piece = Input::of(piece)?;
        let piece = piece.as_slice();
        let out = detached(py, || {
            let mut out = Vec::new();
            let mut stream = self.0.lock().map_err(|_| over())?;
            stream.as_mut().ok_or_else(over)?.update(piece, &mut out).map(|()| out)
        })?;
        Ok(PyBytes::new(py, &out))
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let out = detached(py, || {
            let mut out = Vec::new();
            let stream = self.0.lock().map_err(|_| over())?.take();
            stream.ok_or_else(over)?.finish(&mut out).map(|()| out)
        })?;
        Ok(PyBytes::new(py, &out))
    }
}

/// A file that is decrypted in pieces.
#[pyclass(frozen)]
pub struct _DecryptStream(Mutex<Option<DecryptStream>>);

#[pymethods]
impl _DecryptStream {
    fn update<'py>(&self, py: Python<'py>, piece: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let piece = Input::of(piece)?;
        let piece = piece.as_slice();
        let out = detached(py, || {
            let mut out = Zeroizing::new(Vec::new());
            let mut stream = self.0.lock().map_err(|_| over())?;
            stream.as_mut().ok_or_else(over)?.update(piece, &mut out).map(|()| out)
        })?;
        Ok(PyBytes::new(py, &out))
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let out = detached(py, || {
            let mut out = Zeroizing::new(Vec::new());
            let stream = self.0.lock().map_err(|_| over())?.take();
            stream.ok_or_else(over)?.finish(&mut out).map(|()| out)
        })?;
        Ok(PyBytes::new(py, &out))
    }
}

/// An encrypted file that is read at any place.
#[pyclass(frozen)]
pub struct _FileReader(FileReader<'static>);

#[pymethods]
impl _FileReader {
    #[getter]
    fn size(&self) -> u64 {
        self.0.len()
    }

    fn read_at<'py>(&self, py: Python<'py>, len: usize, offset: u64) -> PyResult<Bound<'py, PyBytes>> {
        let left = usize::try_from(self.0.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let out = detached(py, || {
            let mut out = Zeroizing::new(Vec::new());
            let len = len.min(left);
            out.try_reserve_exact(len).map_err(|_| Status::OutOfMemory.error("not enough memory for this read"))?;
            out.resize(len, 0);
            let read = self.0.read_at(&mut out, offset)?;
            out.truncate(read);
            Ok(out)
        })?;
        Ok(PyBytes::new(py, &out))
    }
}

/// Whether the start of a file is that of an encrypted one.
#[pyfunction]
pub fn is_encrypted_file(start: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(Handle::is_encrypted_file(Input::of(start)?.as_slice()))
}
