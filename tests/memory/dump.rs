//! A core dump that the kernel writes.

use std::path::{Path, PathBuf};

use crate::roles::MARKER;
use crate::scan::{Memory, Pattern, Search};
use crate::user::{self, Root};

/// Whether the kernel writes a dump into the process's folder, and under that name or one that begins so.
fn name() -> Option<String> {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").ok()?;
    let pattern = pattern.trim();
    let plain = !pattern.is_empty() && !pattern.contains(['|', '/', '%', '@']);
    if !plain {
        eprintln!("the kernel writes no dump that can be looked at here (core_pattern is {pattern})");
    }
    plain.then(|| pattern.to_owned())
}

fn dump_in(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.into_iter().find(|entry| entry.file_name().to_string_lossy().starts_with(name)).map(|entry| entry.path())
}

/// What of keys, and whether the marker, is in the dump of a process that ends by abort while its handle is open.
fn dumped(name: &str, environment: &[(&str, &str)]) -> (Vec<(String, usize)>, bool) {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let environment: Vec<_> = environment.iter().copied().chain([("KMS_TEST_DUMPS", place)]).collect();
    let (mut user, mut known) = user::work(folder.path(), Root::Key, &environment);
    known.add_own(&Memory::of(user.pid()));
    user.say("abort");
    user.wait();
    let dump = dump_in(folder.path(), name).expect("the kernel wrote no dump");
    let bytes = std::fs::read(dump).unwrap();
    let marker: Vec<Pattern> = vec![("marker".into(), *MARKER.first_chunk().unwrap())];
    (Search::new(&known.patterns()).in_bytes(&bytes), !Search::new(&marker).in_bytes(&bytes).is_empty())
}

#[test]
fn a_core_dump_of_an_open_handle_holds_no_key() {
    let Some(name) = name() else { return };
    let (keys, marker) = dumped(&name, &[]);
    assert!(marker, "the dump holds no ordinary memory, so the test proves nothing");
    assert!(keys.is_empty(), "a dump holds keys: {keys:?}");
}

#[cfg(kms_faults)]
#[test]
fn without_the_advice_a_core_dump_holds_keys() {
    let Some(name) = name() else { return };
    assert!(!dumped(&name, &[("KMS_FAULT_DUMPED", "1")]).0.is_empty(), "the search finds nothing in any dump");
}
