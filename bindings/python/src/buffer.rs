//! Callers' memory: buffers that are read, `bytes` that are made, buffers that are filled.
//!
//! Only `bytes` is read in place. Whatever else has the buffer interface may be changed by a callback, by a thread that
//! runs while the GIL is let go, or through another view, so it is copied first; the copy is wiped.

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::slice;

use kms::Status;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

/// Bytes that a caller gave.
pub enum Input<'py> {
    Bytes(Bound<'py, PyBytes>),
    Copied(Zeroizing<Vec<u8>>),
}

impl<'py> Input<'py> {
    pub fn of(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        match object.cast::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes.clone())),
            Err(_) => copied(object).map(Self::Copied),
        }
    }

    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::Copied(copy) => copy,
        }
    }
}

fn buffer_of(object: &Bound<'_, PyAny>) -> PyResult<PyUntypedBuffer> {
    let buffer = PyUntypedBuffer::get(object).map_err(|error| {
        if !error.is_instance_of::<PyTypeError>(object.py()) {
            return error;
        }
        let name = object.get_type().name().map_or_else(|_| "this type".into(), |name| name.to_string());
        PyTypeError::new_err(format!("bytes or another buffer is needed, not {name}"))
    })?;
    if !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err("the buffer has gaps; copy it into bytes first"));
    }
    Ok(buffer)
}

fn copied(object: &Bound<'_, PyAny>) -> PyResult<Zeroizing<Vec<u8>>> {
    let buffer = buffer_of(object)?;
    let mut copy = Zeroizing::new(vec![0_u8; buffer.len_bytes()]);
    if !copy.is_empty() {
        // SAFETY: the buffer is contiguous and has so many bytes, which stay there while `buffer` lives. Raw pointers
        // only: other views may exist.
        unsafe { ptr::copy_nonoverlapping(buffer.buf_ptr().cast::<u8>(), copy.as_mut_ptr(), copy.len()) };
    }
    Ok(copy)
}

/// A new `bytes`, which nobody else has seen yet.
pub struct NewBytes {
    object: Py<PyBytes>,
    memory: NonNull<[u8]>,
}

// SAFETY: the memory belongs to `object`, which is the only reference to it until `finish`.
unsafe impl Send for NewBytes {}

impl NewBytes {
    pub fn new(len: usize) -> kms::Result<Self> {
        Python::attach(|py| {
            let mut memory: NonNull<[u8]> = NonNull::from(&mut []);
            let object = PyBytes::new_with(py, len, |bytes| {
                memory = NonNull::from(bytes);
                Ok(())
            });
            let object = object.map_err(|_| Status::Internal.error("there is no memory for the result"))?;
            Ok(Self { object: object.unbind(), memory })
        })
    }

    pub fn finish(self, py: Python<'_>) -> Bound<'_, PyBytes> {
        self.object.into_bound(py)
    }
}

impl AsMut<[u8]> for NewBytes {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: the bytes of `object`, zeroed when it was made; `self` is the only way to it.
        unsafe { self.memory.as_mut() }
    }
}

/// A caller's buffer that a result is written to.
pub struct Output {
    buffer: PyUntypedBuffer,
    /// The size that was asked for, for the text of an error.
    needed: Cell<usize>,
}

impl Output {
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = buffer_of(object)?;
        if buffer.readonly() {
            return Err(PyBufferError::new_err("the buffer can't be written to; a bytearray can"));
        }
        Ok(Self { buffer, needed: Cell::new(0) })
    }

    /// The first `needed` bytes.
    pub fn first(&self, needed: usize) -> kms::Result<Part<'_>> {
        self.needed.set(needed);
        let len = self.buffer.len_bytes();
        if len < needed {
            let text = format!("the buffer has {len} bytes; {needed} are needed");
            return Err(Status::BufferTooSmall.error(text));
        }
        Ok(Part { output: self, len: needed })
    }

    /// The GIL is held.
    pub fn put(&self, _: Python<'_>, bytes: &[u8]) -> kms::Result<()> {
        let mut part = self.first(bytes.len())?;
        part.as_mut().copy_from_slice(bytes);
        Ok(())
    }

    /// The exception of a buffer that was too small also says how large it must be.
    pub fn explain(&self, py: Python<'_>, error: PyErr) -> PyErr {
        let value = error.value(py);
        if value.getattr("status").is_ok_and(|status| status.eq(Status::BufferTooSmall as i32).unwrap_or(false)) {
            let _ = value.setattr("size", self.needed.get());
        }
        error
    }
}

/// Borrowed as a slice only while the cipher writes, with the GIL held: no Python code can run then.
pub struct Part<'a> {
    output: &'a Output,
    len: usize,
}

impl AsMut<[u8]> for Part<'_> {
    fn as_mut(&mut self) -> &mut [u8] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: contiguous, writable, at least `len` bytes, which stay there while `output.buffer` lives; inputs are
        // `bytes` or copies, so they are elsewhere; the GIL keeps everybody else away.
        unsafe { slice::from_raw_parts_mut(self.output.buffer.buf_ptr().cast::<u8>(), self.len) }
    }
}

impl Part<'_> {
    pub fn len(&self) -> usize {
        self.len
    }
}
