//! Every `unsafe` of the crate, behind types and functions that are safe to use.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::slice;

use kms::Status;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

/// A buffer without gaps: one piece of memory that stays there while this lives. Others may see it, and change it.
pub struct Contiguous(PyUntypedBuffer);

impl Contiguous {
    pub fn of(buffer: PyUntypedBuffer) -> PyResult<Self> {
        if buffer.is_c_contiguous() {
            return Ok(Self(buffer));
        }
        Err(PyBufferError::new_err("the buffer has gaps; copy it into bytes first"))
    }

    pub fn len(&self) -> usize {
        self.0.len_bytes()
    }

    pub fn is_read_only(&self) -> bool {
        self.0.readonly()
    }

    /// What is in it now.
    pub fn copied(&self, _: Python<'_>) -> Zeroizing<Vec<u8>> {
        let mut copy = Zeroizing::new(vec![0_u8; self.len()]);
        if !copy.is_empty() {
            // SAFETY: so many bytes in one piece, which stay there while `self.0` lives; the GIL keeps Python code away.
            // Raw pointers only: other views may exist.
            unsafe { ptr::copy_nonoverlapping(self.0.buf_ptr().cast::<u8>(), copy.as_mut_ptr(), copy.len()) };
        }
        copy
    }

    /// The first `len` bytes, to write to; `None` if there are fewer, or if they can't be written to.
    pub fn first(&self, len: usize) -> Option<Part<'_>> {
        (len <= self.len() && !self.is_read_only()).then_some(Part { buffer: self, len })
    }
}

/// Borrowed as a slice only while the cipher writes, with the GIL held: no Python code can run then.
pub struct Part<'a> {
    buffer: &'a Contiguous,
    len: usize,
}

impl Part<'_> {
    pub fn len(&self) -> usize {
        self.len
    }
}

impl AsMut<[u8]> for Part<'_> {
    fn as_mut(&mut self) -> &mut [u8] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: one piece, writable, at least `len` bytes, which stay there while `buffer` lives; inputs are `bytes` or
        // copies, so they are elsewhere; the GIL, which `PyUntypedBuffer` keeps us from letting go with it, keeps
        // everybody else away.
        unsafe { slice::from_raw_parts_mut(self.buffer.0.buf_ptr().cast::<u8>(), self.len) }
    }
}

/// A new `bytes`, which nobody else has seen yet.
pub struct NewBytes {
    object: Py<PyBytes>,
    memory: NonNull<[u8]>,
}

// SAFETY: the memory belongs to `object`, which is the only reference to it until `finish`.
unsafe impl Send for NewBytes {}

impl NewBytes {
    pub fn new(py: Python<'_>, len: usize) -> kms::Result<Self> {
        let mut memory: NonNull<[u8]> = NonNull::from(&mut []);
        let object = PyBytes::new_with(py, len, |bytes| {
            memory = NonNull::from(bytes);
            Ok(())
        });
        let object = object.map_err(|_| Status::Internal.error("there is no memory for the result"))?;
        Ok(Self { object: object.unbind(), memory })
    }

    /// For a thread that has let the GIL go.
    pub fn attached(len: usize) -> kms::Result<Self> {
        Python::attach(|py| Self::new(py, len))
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

/// How a value ends.
pub trait End {
    fn end(self);
}

/// A value that is ended when it is dropped. Unlike `Drop`, its end may give it to somebody else.
pub struct Ends<T: End>(ManuallyDrop<T>);

impl<T: End> Ends<T> {
    pub fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T: End> Deref for Ends<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: End> Drop for Ends<T> {
    fn drop(&mut self) {
        // SAFETY: taken once, here; nobody looks at it after drop.
        unsafe { ManuallyDrop::take(&mut self.0) }.end();
    }
}

/// Whether this is the interpreter that the process began with.
pub fn in_main_interpreter(_: Python<'_>) -> bool {
    // SAFETY: this thread is attached to an interpreter; the main one's id is 0.
    unsafe { pyo3::ffi::PyInterpreterState_GetID(pyo3::ffi::PyInterpreterState_Get()) == 0 }
}
