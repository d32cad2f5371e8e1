//! Callers' memory: buffers that are read, buffers that are filled.
//!
//! Only `bytes` is read in place. Any other object with the buffer interface may be changed by a callback, by a thread that
//! runs while the GIL is released, or through another view, so it is copied first; the copy is wiped.

use std::cell::Cell;

use kms::Status;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use crate::raw::{Contiguous, Part};

/// Bytes that a caller passed.
pub enum Input<'a, 'py> {
    Bytes(&'a Bound<'py, PyBytes>),
    Copied(Zeroizing<Vec<u8>>),
}

impl<'a, 'py> Input<'a, 'py> {
    #[inline(always)]
    pub fn of(object: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        match object.cast_exact::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes)),
            Err(_) => Self::of_other(object),
        }
    }

    #[inline(never)]
    fn of_other(object: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        match object.cast::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes)),
            Err(_) => Ok(Self::Copied(buffer_of(object)?.copied(object.py()))),
        }
    }

    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::Copied(copy) => copy,
        }
    }
}

fn buffer_of(object: &Bound<'_, PyAny>) -> PyResult<Contiguous> {
    let buffer = PyUntypedBuffer::get(object).map_err(|error| {
        if !error.is_instance_of::<PyTypeError>(object.py()) {
            return error;
        }
        let name = object.get_type().name().map_or_else(|_| "this type".into(), |name| name.to_string());
        PyTypeError::new_err(format!("bytes or another buffer is needed, not {name}"))
    })?;
    Contiguous::of(buffer)
}

/// A caller's buffer that a result is written to.
pub struct Output {
    buffer: Contiguous,
    /// The size that was asked for, for the text of an error.
    needed: Cell<usize>,
}

impl Output {
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = buffer_of(object)?;
        if buffer.is_read_only() {
            return Err(PyBufferError::new_err("the buffer can't be written to; a bytearray can"));
        }
        Ok(Self { buffer, needed: Cell::new(0) })
    }

    /// The first `needed` bytes.
    pub fn first(&self, needed: usize) -> kms::Result<Part<'_>> {
        self.needed.set(needed);
        self.buffer.first(needed).ok_or_else(|| {
            let text = format!("the buffer has {} bytes; {needed} are needed", self.buffer.len());
            Status::BufferTooSmall.error(text)
        })
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
