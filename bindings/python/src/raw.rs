//! Every `unsafe` of the crate, behind types and functions that are safe to use.

use std::cell::{Cell, UnsafeCell};
use std::ffi::CStr;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::slice;

use kms::Status;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};
use pyo3::{Borrowed, PyClass, PyTypeInfo};
use smallvec::SmallVec;
use zeroize::Zeroizing;

use crate::guard::Failure;

#[cfg(Py_GIL_DISABLED)]
compile_error!("libkms counts on the GIL; there is no build for free-threaded Python");

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
            // SAFETY: that many bytes in one piece, which stay there while `self.0` lives; the GIL keeps Python code away.
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
        // copies, so they are elsewhere; the GIL, which `PyUntypedBuffer` keeps us from releasing with it, keeps
        // other threads away.
        unsafe { slice::from_raw_parts_mut(self.buffer.0.buf_ptr().cast::<u8>(), self.len) }
    }
}

/// A new `bytes`, which no other code has seen yet.
pub struct NewBytes {
    object: Py<PyBytes>,
    memory: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to `object`, which is the only reference to it until `finish`.
unsafe impl Send for NewBytes {}

impl NewBytes {
    /// Not zeroed, which would cost a tenth of the time that encryption takes: only for what the library fills, all of it.
    #[inline]
    pub fn new(py: Python<'_>, len: usize) -> kms::Result<Self> {
        let Ok(size) = len.try_into() else { return Err(no_memory()) };
        // SAFETY: null asks for a new object with room for that many bytes.
        let Some(object) =
            (unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyBytes_FromStringAndSize(ptr::null(), size)) })
        else {
            PyErr::take(py);
            return Err(no_memory());
        };
        // SAFETY: a `bytes`.
        let memory = unsafe { NonNull::new(ffi::PyBytes_AsString(object.as_ptr()).cast::<u8>()) };
        // SAFETY: as above.
        let object = unsafe { object.cast_into_unchecked::<PyBytes>() };
        Ok(Self { object: object.unbind(), memory: memory.ok_or_else(no_memory)?, len })
    }

    /// For a thread that has released the GIL.
    pub fn attached(len: usize) -> kms::Result<Self> {
        Python::attach(|py| Self::new(py, len))
    }

    #[inline]
    pub fn finish(self, py: Python<'_>) -> Bound<'_, PyBytes> {
        self.object.into_bound(py)
    }
}

#[cold]
fn no_memory() -> kms::Error {
    Status::Internal.error("there is no memory for the result")
}

impl AsMut<[u8]> for NewBytes {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: the bytes of `object`; `self` is the only way to them. They hold what the interpreter's allocator
        // left there, which is behind a call that the compiler doesn't see into; they are not read before they are
        // written.
        unsafe { slice::from_raw_parts_mut(self.memory.as_ptr(), self.len) }
    }
}

/// The entries of a dict, owned. If it is changed meanwhile, some may be missed.
pub struct Items<'a, 'py> {
    dict: &'a Bound<'py, PyDict>,
    place: ffi::Py_ssize_t,
}

impl<'a, 'py> Items<'a, 'py> {
    pub fn of(dict: &'a Bound<'py, PyDict>) -> Self {
        Self { dict, place: 0 }
    }

    /// The next entry, the dict's own.
    #[inline]
    fn next_borrowed(&mut self) -> Option<(*mut ffi::PyObject, *mut ffi::PyObject)> {
        let (mut key, mut value) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: a dict, and places for its results; it checks `place` itself.
        let found = unsafe { ffi::PyDict_Next(self.dict.as_ptr(), &mut self.place, &mut key, &mut value) };
        (found != 0).then_some((key, value))
    }
}

impl<'py> Iterator for Items<'_, 'py> {
    type Item = (Bound<'py, PyAny>, Bound<'py, PyAny>);

    fn next(&mut self) -> Option<Self::Item> {
        let py = self.dict.py();
        let (key, value) = self.next_borrowed()?;
        // SAFETY: the dict has references to both, and the GIL is held: it can't lose them before these are made.
        unsafe { Some((Bound::from_borrowed_ptr(py, key), Bound::from_borrowed_ptr(py, value))) }
    }
}

/// Passes the texts of a dict to the library without a copy; `refuse` makes the exception of what is no text.
#[inline]
pub fn give_texts(
    dict: &Bound<'_, PyDict>,
    take: kms::internal::ContextSink<'_>,
    refuse: fn() -> PyErr,
) -> Result<kms::Result<()>, PyErr> {
    let (py, mut items, mut pairs) = (dict.py(), Items::of(dict), SmallVec::<[(&str, &str); 4]>::new());
    while let Some((key, value)) = items.next_borrowed() {
        // SAFETY: the dict has references to both until it is changed. That takes Python code, of which none runs before
        // the last use of `pairs`: the GIL is held, `take` only copies, and after an exception `pairs` isn't used.
        unsafe { pairs.push((text_of(py, key, refuse)?, text_of(py, value, refuse)?)) };
    }
    Ok(take(&pairs))
}

/// # Safety
///
/// The object is there for as long as `'a`.
#[inline(always)]
unsafe fn text_of<'a>(py: Python<'_>, object: *mut ffi::PyObject, refuse: fn() -> PyErr) -> PyResult<&'a str> {
    // SAFETY: an object; the caller says for how long.
    let object = unsafe { Borrowed::<'a, '_, PyAny>::from_ptr(py, object) };
    let text = match object.cast_exact::<PyString>() {
        Ok(text) => text,
        Err(_) => object.cast::<PyString>().map_err(|_| refuse())?,
    };
    let text = ptr::from_ref(text.to_str()?);
    // SAFETY: a str keeps its UTF-8, which neither moves nor changes.
    Ok(unsafe { &*text })
}

/// Pairs of texts as the library takes them. Their objects are kept: a callback might change what they come from.
#[derive(Default)]
pub struct Texts<'py> {
    /// They are in the objects below.
    pairs: SmallVec<[(&'static str, &'static str); 4]>,
    objects: SmallVec<[(Bound<'py, PyString>, Bound<'py, PyString>); 4]>,
}

impl<'py> Texts<'py> {
    #[inline]
    pub fn push(&mut self, key: Bound<'py, PyString>, value: Bound<'py, PyString>) -> PyResult<()> {
        // SAFETY: a str keeps its UTF-8, which neither moves nor changes; it is lent for no longer than `self` lives.
        let pair = unsafe { (&*ptr::from_ref(key.to_str()?), &*ptr::from_ref(value.to_str()?)) };
        self.objects.push((key, value));
        self.pairs.push(pair);
        Ok(())
    }

    #[inline]
    pub fn pairs(&self) -> &[(&str, &str)] {
        &self.pairs
    }
}

/// How a value ends.
pub trait End {
    fn end(self);
}

/// A value that calls borrow, until it is ended: then no call gets it any more, and the last one that has it ends it.
///
/// The GIL is its lock: it is lent, returned and ended with the GIL held, which may be released in between.
pub struct Lent<T: End> {
    value: UnsafeCell<Option<T>>,
    loans: Cell<usize>,
    is_over: Cell<bool>,
}

// SAFETY: every access to the cells is made with a `Python` token, so with the GIL, or by the only owner; what they hold may
// go to other threads, and be used by many.
unsafe impl<T: End + Send + Sync> Sync for Lent<T> {}

impl<T: End> Lent<T> {
    pub fn new(value: T) -> Self {
        Self { value: UnsafeCell::new(Some(value)), loans: Cell::new(0), is_over: Cell::new(false) }
    }

    #[inline]
    pub fn lend<'a, 'py>(&'a self, py: Python<'py>) -> Option<Loan<'a, 'py, T>> {
        if self.is_over.get() {
            return None;
        }
        // SAFETY: the value is taken out only when it is over, which keeps this from being reached.
        let value = unsafe { (*self.value.get()).as_ref() }?;
        self.loans.set(self.loans.get() + 1);
        Some(Loan { lent: self, value: NonNull::from(value), _py: py })
    }

    pub fn is_over(&self, _: Python<'_>) -> bool {
        self.is_over.get()
    }

    pub fn end(&self, py: Python<'_>) {
        self.is_over.set(true);
        self.end_unless_lent(py);
    }

    fn end_unless_lent(&self, _: Python<'_>) {
        if self.loans.get() > 0 {
            return;
        }
        // SAFETY: no call has it or gets it any more; it is taken out before its end releases the GIL.
        if let Some(value) = unsafe { (*self.value.get()).take() } {
            value.end();
        }
    }
}

impl<T: End> Drop for Lent<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.get_mut().take() {
            value.end();
        }
    }
}

/// What one call has borrowed. It stays on the thread that attached to the interpreter, as its `Python` does.
pub struct Loan<'a, 'py, T: End> {
    lent: &'a Lent<T>,
    value: NonNull<T>,
    _py: Python<'py>,
}

impl<T: End> Deref for Loan<'_, '_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: it stays where it is while there is a loan.
        unsafe { self.value.as_ref() }
    }
}

impl<T: End> Drop for Loan<'_, '_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lent.loans.set(self.lent.loans.get() - 1);
        if self.lent.is_over.get() {
            self.lent.end_unless_lent(self._py);
        }
    }
}

/// A method of a class that is called with its arguments where the interpreter has them.
///
/// PyO3 doesn't count these calls as attached: an object that is dropped as a `Py` waits for the next call that is.
pub trait Method {
    type Class: PyClass<Frozen = True> + Sync;
    const NAME: &'static CStr;
    /// The signature, "--" and the docstring, as CPython takes them apart.
    const DOC: &'static CStr;

    fn call<'py>(this: &Self::Class, arguments: Arguments<'_, 'py>) -> PyResult<Bound<'py, PyBytes>>;
}

/// Makes it an attribute of the class.
pub fn add_method<M: Method>(py: Python<'_>) -> PyResult<()> {
    // Never freed, because the class keeps using it.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: M::NAME.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: enter::<M> },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: M::DOC.as_ptr(),
    }));
    // SAFETY: a class, and a definition that stays; the descriptor checks at each call that `self` is of this class.
    let method = unsafe {
        let method = ffi::PyDescr_NewMethod(M::Class::type_object_raw(py), definition);
        Bound::from_owned_ptr_or_err(py, method)?
    };
    M::Class::type_object(py).setattr(PyString::from_bytes(py, M::NAME.to_bytes())?, method)
}

unsafe extern "C" fn enter<M: Method>(
    this: *mut ffi::PyObject,
    first: *const *mut ffi::PyObject,
    positional: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls with the GIL held. The caller keeps all arguments until we return; `this` is
    // of the class, as the descriptor checked, and `names` a tuple or null.
    let (py, this, names) = unsafe {
        let py = Python::assume_attached();
        let names = Borrowed::from_ptr_or_opt(py, names).map(|names| names.cast_unchecked::<PyTuple>());
        (py, Bound::ref_from_ptr(py, &this).cast_unchecked::<M::Class>(), names)
    };
    let arguments = Arguments { py, first, positional: positional.unsigned_abs(), names };
    let called = catch_unwind(AssertUnwindSafe(|| M::call(this.get(), arguments)));
    match called {
        Ok(Ok(made)) => made.into_ptr(),
        failed => fail(py, failed.ok().and_then(Result::err)),
    }
}

#[cold]
fn fail(py: Python<'_>, error: Option<PyErr>) -> *mut ffi::PyObject {
    error.unwrap_or_else(|| Failure::Panic.raise(py)).restore(py);
    ptr::null_mut()
}

/// What a method was called with: `positional` arguments, then one for each name.
#[derive(Clone, Copy)]
pub struct Arguments<'a, 'py> {
    py: Python<'py>,
    first: *const *mut ffi::PyObject,
    positional: usize,
    names: Option<Borrowed<'a, 'py, PyTuple>>,
}

impl<'a, 'py> Arguments<'a, 'py> {
    pub fn py(&self) -> Python<'py> {
        self.py
    }

    #[inline]
    pub fn positional(&self) -> impl ExactSizeIterator<Item = Borrowed<'a, 'py, PyAny>> + use<'a, 'py> {
        self.at(0, self.positional)
    }

    /// Names and their arguments.
    #[inline]
    pub fn named(&self) -> impl Iterator<Item = (Borrowed<'a, 'py, PyAny>, Borrowed<'a, 'py, PyAny>)> + use<'a, 'py> {
        let (py, names) = (self.py, self.names.map_or(ptr::null_mut(), |names| names.as_ptr()));
        let count = self.names.map_or(0, |names| names.len());
        // SAFETY: the tuple has that many names; it stays as `at` says of the array.
        let names =
            (0..count).map(move |place| unsafe { Borrowed::from_ptr(py, ffi::PyTuple_GetItem(names, place as isize)) });
        names.zip(self.at(self.positional, count))
    }

    #[inline]
    fn at(&self, from: usize, count: usize) -> impl ExactSizeIterator<Item = Borrowed<'a, 'py, PyAny>> + use<'a, 'py> {
        let (py, first) = (self.py, self.first);
        // SAFETY: an object, in the interpreter's array of that many, which holds it until the method returns.
        (from..from + count).map(move |place| unsafe { Borrowed::from_ptr(py, *first.add(place)) })
    }
}

/// Whether this is the interpreter that the process began with.
pub fn in_main_interpreter(_: Python<'_>) -> bool {
    // SAFETY: this thread is attached to an interpreter; the main one's id is 0.
    unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) == 0 }
}
