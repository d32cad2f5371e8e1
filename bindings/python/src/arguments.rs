//! Arguments of a method against its parameters: by place or by name, as Python has it.

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

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

    /// The error of one that was needed and isn't given.
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

/// An argument that is text, borrowed as its object has it.
#[inline]
pub fn text<'a>(argument: &'a Bound<'_, PyAny>, name: &str) -> PyResult<&'a str> {
    match argument.cast_exact::<PyString>() {
        Ok(text) => text.to_str(),
        Err(_) => other_text(argument, name),
    }
}

#[cold]
fn other_text<'a>(argument: &'a Bound<'_, PyAny>, name: &str) -> PyResult<&'a str> {
    match argument.cast::<PyString>() {
        Ok(text) => text.to_str(),
        Err(_) => {
            let class = argument.get_type().name().map_or_else(|_| "this type".into(), |name| name.to_string());
            Err(PyTypeError::new_err(format!("{name} is a str, not {class}")))
        }
    }
}
