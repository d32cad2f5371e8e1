//! What all groups get: the libraries under comparison, where to put data, how much to do.

use std::path::{Path, PathBuf};

use crate::evp::Libcrypto;
use crate::kms::Library;
use crate::measure::Effort;

/// Where benches/run puts the library, in its folder.
pub const LIBRARY: &str = "release/libkms.so";

/// Where it puts the command.
pub const COMMAND: &str = "release/kms";

pub struct Bench {
    /// What benches/run has built.
    pub folder: PathBuf,
    pub effort: Effort,
    pub library: Library,
    /// The OpenSSL that libkms is linked with, as a separate shared object.
    pub vendored: Libcrypto,
    /// The distribution's libcrypto, or why there is none.
    pub system: Result<Libcrypto, String>,
    /// A folder on a disk, for keystores.
    pub data: PathBuf,
    /// The interpreter that has the Python peers, if there is one.
    pub python: Option<PathBuf>,
}

impl Bench {
    /// `folder` holds what benches/run has built.
    pub fn new(folder: &Path, effort: Effort) -> Result<Self, String> {
        let data = folder.join("data");
        std::fs::create_dir_all(&data).map_err(|e| format!("{}: {e}", data.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            effort,
            library: Library::open(&folder.join(LIBRARY))?,
            vendored: Libcrypto::open(&folder.join("libcrypto-vendored.so"))?,
            system: Libcrypto::open(Path::new("libcrypto.so.3")),
            data,
            python: std::env::var_os("BENCH_PYTHON").map(PathBuf::from),
        })
    }
}
