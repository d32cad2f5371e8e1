//! `libkms._libkms`: the compiled half of the Python package. It converts and calls; what users see is in `python/libkms`.
//!
//! * `keystore`: the class, opening and closing. `crypt`, `batch`: ciphertexts. `file`: files.
//! * `key`, `version`, `rotation`, `alias`, `tag`, `import`: keys. `call`: all of it by action names and JSON.
//! * `health`, `verify`, `backup`, `root`, `log`: the keystore as a whole. `survey`: which process a survey belongs to.
//! * `arguments`, `buffer`, `context`: what callers pass. `raw`: the only file with `unsafe`.
//! * `callback`: Python functions that the library calls. `guard`: what is between a call and an exception.
//! * `error`: statuses as exceptions. `clock`: the manual clock.
//!
//! Calls on ciphertexts hold the GIL unless they are large or would wait; all others release it.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![deny(unsafe_code, unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod arguments;
mod log;
mod root;
mod backup;
mod verify;
mod health;
mod call;
mod import;
mod tag;
mod alias;
mod rotation;
mod version;
mod key;
mod batch;
mod buffer;
mod callback;
mod clock;
mod context;
mod crypt;
mod file;
mod error;
mod guard;
mod keystore;
#[allow(unsafe_code, reason = "the one place for it")]
mod raw;
mod survey;

use pyo3::prelude::*;

#[pymodule]
mod _libkms {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::clock::ManualClock;
    #[pymodule_export]
    use crate::error::{know_exceptions, statuses};
    #[pymodule_export]
    use crate::file::{_DecryptStream, _EncryptStream, _FileReader, is_encrypted_file};
    #[pymodule_export]
    use crate::guard::{await_calls, forget_other_threads, release_gil_from};
    #[pymodule_export]
    use crate::keystore::{Keystore, shown_location};
    #[pymodule_export]
    use crate::survey::SurveyProcess;

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name that Python modules have for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// PyO3 keeps objects of one interpreter in statics, and doesn't refuse another one itself.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        if !crate::raw::in_main_interpreter(module.py()) {
            return Err(pyo3::exceptions::PyImportError::new_err("no support for a subinterpreter"));
        }
        crate::crypt::add_methods(module.py())
    }
}
