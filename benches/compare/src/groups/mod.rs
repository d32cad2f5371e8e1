//! The groups of comparisons; each runs in a separate process.

mod batch;
mod file;
mod keys;
mod python;
mod scale;
mod sizes;
mod storm;
mod threads;

use std::path::Path;

use crate::bench::{Bench, LIBRARY};
use crate::kms::Library;
use crate::section::Section;

type Group = fn(&Bench) -> Result<Section, String>;

/// In the order of the report.
pub const ALL: [(&str, Group); 8] = [
    ("sizes", sizes::run),
    ("keys", keys::run),
    ("threads", threads::run),
    ("batch", batch::run),
    ("file", file::run),
    ("scale", scale::run),
    ("storm", storm::run),
    ("python", python::run),
];

/// What groups run in further processes, where the process itself is measured: it loads nothing but libkms.
pub fn child(folder: &Path, arguments: &[String]) -> Result<String, String> {
    scale::child(Library::open(&folder.join(LIBRARY))?, arguments)
}
