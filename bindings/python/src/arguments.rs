//! Arguments of a method against its parameters: by place or by name, as Python has it.

use std::borrow::Cow;
use std::ops::Deref;

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};

use crate::raw::Arguments;

type Given<'a, 'py> = Option<Borrowed<'a, 'py, PyAny>>;

/// What a method takes.
pub struct Parameters<const N: usize> {
    method: &'static str,
    names: [&'static str; N],
    required: usize,
    /// The same object for equal names everywhere, so that it is enough to compare references.
    interned: PyOnceLock<[Py<PyString>; N]>,
}

impl<const N: usize> Parameters<N> {
    pub const fn new(method: &'static str, names: [&'static str; N], required: usize) -> Self {
        Self { method, names, required, interned: PyOnceLock::new() }
    }

    #[inline]
    pub fn of<'a, 'py>(&self, arguments: &Arguments<'a, 'py>) -> PyResult<[Given<'a, 'py>; N]> {
        let mut given = [None; N];
        let positional = arguments.positional();
        if positional.len() > N {
            return Err(self.too_many(positional.len()));
        }
        for (place, argument) in given.iter_mut().zip(positional) {
            *place = Some(argument);
        }
        for (name, argument) in arguments.named() {
            let place = self.place(&name)?;
            let Some(place @ None) = given.get_mut(place) else { return Err(self.twice(&name)) };
            *place = Some(argument);
        }
        Ok(given)
    }

    /// The error for a missing required argument.
    #[cold]
    pub fn missing(&self, given: &[Given<'_, '_>; N]) -> PyErr {
        let missing = self.names.iter().zip(given).find(|(_, given)| given.is_none());
        let name = missing.map_or("", |(name, _)| name);
        PyTypeError::new_err(format!("Keystore.{}() missing a required argument: '{name}'", self.method))
    }

    #[inline]
    fn place(&self, name: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = name.py();
        let interned = self.interned.get_or_init(py, || self.names.map(|name| PyString::intern(py, name).unbind()));
        match interned.iter().position(|parameter| name.is(parameter)) {
            Some(place) => Ok(place),
            None => self.place_of_equal(name),
        }
    }

    /// A name that was made at run time.
    #[cold]
    fn place_of_equal(&self, name: &Bound<'_, PyAny>) -> PyResult<usize> {
        let text = name.cast::<PyString>()?.to_str()?;
        self.names.iter().position(|parameter| *parameter == text).ok_or_else(|| {
            PyTypeError::new_err(format!("Keystore.{}() got an unexpected keyword argument '{text}'", self.method))
        })
    }

    #[cold]
    fn too_many(&self, given: usize) -> PyErr {
        PyTypeError::new_err(format!(
            "Keystore.{}() takes from {} to {N} arguments but {given} were given",
            self.method, self.required
        ))
    }

    #[cold]
    fn twice(&self, name: &Bound<'_, PyAny>) -> PyErr {
        PyTypeError::new_err(format!("Keystore.{}() got multiple values for argument '{name}'", self.method))
    }
}

/// An argument that names a key: text, borrowed as its object has it, or the id of a `libkms.Key`.
pub struct KeyName<'a>(Cow<'a, str>);

impl<'a> KeyName<'a> {
    #[inline]
    pub fn of(argument: Borrowed<'a, '_, PyAny>) -> PyResult<Self> {
        if argument.is_instance_of::<PyString>() {
            return <&'a str>::extract(argument).map(Cow::Borrowed).map(Self);
        }
        Self::of_key(argument)
    }

    #[cold]
    fn of_key(argument: Borrowed<'a, '_, PyAny>) -> PyResult<Self> {
        static KEY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = argument.py();
        if argument.is_instance(KEY.import(py, "libkms._types", "Key")?)? {
            return argument.getattr("id")?.extract().map(Cow::Owned).map(Self);
        }
        let class = argument.get_type().name().map_or_else(|_| "this type".into(), |name| name.to_string());
        Err(PyTypeError::new_err(format!("a key is a str (an id or an alias) or a Key, not {class}")))
    }
}

impl AsRef<str> for KeyName<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Deref for KeyName<'_> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for KeyName<'a> {
    type Error = PyErr;

    fn extract(argument: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Self::of(argument)
    }
}
