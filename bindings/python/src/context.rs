//! Encryption contexts: a Python mapping of texts as the library takes it.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use smallvec::SmallVec;

type Pair<'py> = (Bound<'py, PyString>, Bound<'py, PyString>);

/// The texts of a mapping, kept alive: a callback might change the mapping meanwhile.
pub struct Context<'py>(SmallVec<[Pair<'py>; 4]>);

pub type Entries<'a> = SmallVec<[(&'a str, &'a str); 4]>;

impl<'py> Context<'py> {
    pub fn of(mapping: Option<&Bound<'py, PyAny>>) -> PyResult<Self> {
        let mut pairs = SmallVec::new();
        let Some(mapping) = mapping else { return Ok(Self(pairs)) };
        if let Ok(dict) = mapping.cast_exact::<PyDict>() {
            for (key, value) in dict {
                pairs.push((text(key)?, text(value)?));
            }
        } else {
            for item in mapping.call_method0("items")?.try_iter()? {
                let (key, value) = item?.extract()?;
                pairs.push((text(key)?, text(value)?));
            }
        }
        Ok(Self(pairs))
    }

    pub fn entries(&self) -> PyResult<Entries<'_>> {
        self.0.iter().map(|(key, value)| Ok((key.to_str()?, value.to_str()?))).collect()
    }
}

fn text(object: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyString>> {
    object.cast_into::<PyString>().map_err(|_| {
        pyo3::exceptions::PyTypeError::new_err("an encryption context maps str to str, such as {\"tenant\": \"42\"}")
    })
}
