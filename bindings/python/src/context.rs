//! Encryption contexts: a Python mapping of texts as the library takes it.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::raw::{Items, Texts};

/// The texts of a mapping.
#[derive(Default)]
pub struct Context<'py>(Texts<'py>);

pub type Entries<'a> = [(&'a str, &'a str)];

impl<'py> Context<'py> {
    /// Without a mapping, or with None, an empty one.
    pub fn of(mapping: Option<&Bound<'py, PyAny>>) -> PyResult<Self> {
        let mut context = Self::default();
        context.keep(mapping)?;
        Ok(context)
    }

    /// Where it lies, because to move it takes as long as to read it.
    #[inline]
    pub fn keep(&mut self, mapping: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
        let Some(mapping) = mapping.filter(|mapping| !mapping.is_none()) else { return Ok(()) };
        let Ok(dict) = mapping.cast_exact::<PyDict>() else { return self.keep_other(mapping) };
        for (key, value) in Items::of(dict) {
            self.0.push(text(key)?, text(value)?)?;
        }
        Ok(())
    }

    fn keep_other(&mut self, mapping: &Bound<'py, PyAny>) -> PyResult<()> {
        for item in mapping.call_method0("items")?.try_iter()? {
            let (key, value) = item?.extract()?;
            self.0.push(text(key)?, text(value)?)?;
        }
        Ok(())
    }

    #[inline]
    pub fn entries(&self) -> &Entries<'_> {
        self.0.pairs()
    }
}

#[inline]
fn text(object: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyString>> {
    object.cast_into_exact::<PyString>().or_else(|other| other.into_inner().cast_into().map_err(|_| not_text()))
}

#[cold]
fn not_text() -> PyErr {
    PyTypeError::new_err("an encryption context maps str to str, such as {\"tenant\": \"42\"}")
}
