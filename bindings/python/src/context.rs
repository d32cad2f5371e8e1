//! Encryption contexts: a Python mapping of texts as the library takes it.

use std::cell::Cell;

use kms::Status;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::raw::{Items, Texts, give_texts};

/// The texts of a mapping.
#[derive(Default)]
pub struct Context<'py>(Texts<'py>);

pub type Entries<'a> = [(&'a str, &'a str)];

impl<'py> Context<'py> {
    /// Without a mapping, or with None, an empty one.
    pub fn of(mapping: Option<&Bound<'py, PyAny>>) -> PyResult<Self> {
        let mut texts = Texts::default();
        let Some(mapping) = mapping.filter(|mapping| !mapping.is_none()) else { return Ok(Self(texts)) };
        if let Ok(dict) = mapping.cast_exact::<PyDict>() {
            for (key, value) in Items::of(dict) {
                texts.push(text(key)?, text(value)?)?;
            }
        } else {
            for item in mapping.call_method0("items")?.try_iter()? {
                let (key, value) = item?.extract()?;
                texts.push(text(key)?, text(value)?)?;
            }
        }
        Ok(Self(texts))
    }

    pub fn entries(&self) -> &Entries<'_> {
        self.0.pairs()
    }
}

/// A context for one call that holds the GIL: a dict is read when the library asks for it, and nothing of it is kept unless
/// Python code can change it before the library asks again.
pub struct Asked<'a, 'py> {
    mapping: Mapping<'a, 'py>,
    /// What the library can't carry.
    exception: Cell<Option<PyErr>>,
}

enum Mapping<'a, 'py> {
    None,
    Dict(&'a Bound<'py, PyDict>),
    Kept(Box<Context<'py>>),
}

impl<'a, 'py> Asked<'a, 'py> {
    #[inline(always)]
    pub fn of(mapping: Option<&'a Bound<'py, PyAny>>, keep: bool) -> PyResult<Self> {
        let mapping = match mapping.filter(|mapping| !mapping.is_none()) {
            None => Mapping::None,
            Some(mapping) => match mapping.cast_exact::<PyDict>() {
                Ok(dict) if !keep => Mapping::Dict(dict),
                _ => Mapping::Kept(Box::new(Context::of(Some(mapping))?)),
            },
        };
        Ok(Self { mapping, exception: Cell::new(None) })
    }

    #[inline]
    pub fn give(&self, take: kms::internal::ContextSink<'_>) -> kms::Result<()> {
        match &self.mapping {
            Mapping::None => take(&[]),
            Mapping::Dict(dict) => give_texts(dict, take, not_text).unwrap_or_else(|exception| self.refuse(exception)),
            Mapping::Kept(context) => take(context.entries()),
        }
    }

    /// For the same call without the GIL: what Python code could change in between was kept.
    #[cold]
    pub fn kept(self) -> PyResult<Context<'py>> {
        match self.mapping {
            Mapping::None => Ok(Context::default()),
            Mapping::Dict(dict) => Context::of(Some(dict)),
            Mapping::Kept(context) => Ok(*context),
        }
    }

    #[cold]
    fn refuse(&self, exception: PyErr) -> kms::Result<()> {
        self.exception.set(Some(exception));
        Err(Status::InvalidArgument.error("an encryption context can't be read"))
    }

    /// The exception of a call that failed with `error`.
    #[cold]
    pub fn explain(&self, error: PyErr) -> PyErr {
        self.exception.take().unwrap_or(error)
    }
}

fn text(object: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyString>> {
    object.cast_into::<PyString>().map_err(|_| not_text())
}

#[cold]
fn not_text() -> PyErr {
    PyTypeError::new_err("an encryption context maps str to str, such as {\"tenant\": \"42\"}")
}
