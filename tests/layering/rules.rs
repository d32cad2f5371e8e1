//! The boundaries: one function, one table.

use crate::lexer::{Token, tokens};
use crate::paths::named;

/// The other layers that each layer may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("ffi", &["service", "store", "crypto", "domain", "error", "clock", "sys"]),
    ("service", &["store", "crypto", "domain", "error", "clock", "sys"]),
    ("store", &["crypto", "domain", "error", "clock", "sys"]),
    ("crypto", &["domain", "error", "clock", "sys"]),
    ("domain", &["error"]),
    ("error", &[]),
    ("clock", &["domain", "error", "sys"]),
    ("sys", &["domain", "error"]),
];

/// The files, or folders ending in `/`, where `unsafe` may occur; the lists below do the same for OpenSSL and locks.
const UNSAFE: &[&str] = &["ffi/", "sys/", "crypto/openssl/", "store/sqlite/locks.rs"];
const OPENSSL: &[&str] = &["crypto/openssl/"];
const LOCKS: &[&str] = &["sys/sync.rs"];
const THREADS: &[&str] = &["sys/sync.rs", "sys/thread.rs"];

/// Where files are opened; the vectors and the system call filter are tests.
const DESCRIPTORS: &[&str] =
    &["sys/file.rs", "sys/file/descriptor.rs", "sys/socket.rs", "crypto/vectors.rs", "sys/denied.rs"];

/// The part of `std::fs` that opens no file: the library opens, verifies and closes its descriptors in one place.
const NOT_OPENING: &[&str] = &["metadata", "symlink_metadata", "hard_link", "rename", "remove_file", "Metadata"];

/// The functions of `libc` and `std::os` that open, hand out or take over a descriptor.
const OPENING: &[&str] = &["open", "open64", "openat", "openat2", "creat", "dup", "dup2", "dup3", "memfd_create"];

/// The part of `std::sync` that is no lock. Everything else may wait, and only `sys/sync.rs` may know about waiting.
const NOT_LOCKS: &[&str] = &["Arc", "Weak", "OnceLock", "atomic"];

/// Names that a pure rule may not use.
const IMPURE: &[&str] = &[
    "std::time",
    "std::fs",
    "std::env",
    "std::net",
    "std::process",
    "std::io",
    "core::time",
    "rand",
    "getrandom",
    "libc",
    "rusqlite",
];

/// `name` is the path below `src`.
pub fn is_checked(name: &str) -> bool {
    name != "lib.rs" && !name.ends_with("/tests.rs") && !name.contains("/tests/")
}

/// What is wrong in the file `name`, a line each.
pub fn check(name: &str, source: &str) -> Vec<String> {
    let module = module_of(name);
    let layer = module[0].as_str();
    let Some((_, may_import)) = MAY_IMPORT.iter().find(|(known, _)| *known == layer) else {
        return vec![format!("src/{name}: {layer} is no layer; tests/layering/rules.rs lists them")];
    };
    let tokens = tokens(source);
    let mut broken = Vec::new();
    let mut complain = |line: usize, what: String| broken.push(format!("src/{name}:{line}: {what}"));

    for placed in &tokens {
        let Token::Word(word) = &placed.token else { continue };
        if word == "unsafe" && !stands_in(name, UNSAFE) {
            complain(placed.line, "unsafe outside its files".into());
        }
        if word.starts_with("openssl") && word != "openssl" && !stands_in(name, OPENSSL) {
            complain(placed.line, format!("{word} outside crypto/openssl"));
        }
    }
    for path in named(&tokens, &module) {
        let text = path.segments.join("::");
        let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
        match segments[..] {
            ["crate", other, ..] if is_layer(other) && other != layer && !may_import.contains(&other) => {
                complain(path.line, format!("{layer} may not import {other} ({text})"));
            }
            ["std", "thread", ..] if !stands_in(name, THREADS) => {
                complain(path.line, format!("{text} outside sys/thread.rs"));
            }
            ["std", "sync"] if !stands_in(name, LOCKS) => {
                complain(path.line, format!("{text} outside sys/sync.rs"));
            }
            ["std", "sync", item, ..] if !NOT_LOCKS.contains(&item) && !stands_in(name, LOCKS) => {
                complain(path.line, format!("{text} outside sys/sync.rs"));
            }
            ["std", "fs", item, ..] if !NOT_OPENING.contains(&item) && !stands_in(name, DESCRIPTORS) => {
                complain(path.line, format!("{text} outside sys/file.rs"));
            }
            ["std", "fs"] | ["std", "os", "fd", ..] | ["std", "os", "unix", "io", ..]
                if !stands_in(name, DESCRIPTORS) =>
            {
                complain(path.line, format!("{text} outside sys/file.rs"));
            }
            ["libc", item] if OPENING.contains(&item) && !stands_in(name, DESCRIPTORS) => {
                complain(path.line, format!("{text} outside sys/file.rs"));
            }
            ["std", "*"] | ["std", "self"] => complain(path.line, format!("{text} hides what is used")),
            _ => {}
        }
        if layer == "domain" && IMPURE.iter().any(|impure| text == *impure || text.starts_with(&format!("{impure}::")))
        {
            complain(path.line, format!("domain is pure and may not name {text}"));
        }
    }
    broken
}

fn is_layer(name: &str) -> bool {
    MAY_IMPORT.iter().any(|(known, _)| *known == name)
}

fn stands_in(name: &str, places: &[&str]) -> bool {
    places.iter().any(|place| name == *place || (place.ends_with('/') && name.starts_with(place)))
}

/// `store/sqlite/mod.rs` is `["store", "sqlite"]`.
pub fn module_of(name: &str) -> Vec<String> {
    let mut module: Vec<String> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if module.len() > 1 && module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(name: &str, source: &str) {
        assert!(!check(name, source).is_empty(), "src/{name} got away with: {source}");
    }

    #[track_caller]
    fn fine(name: &str, source: &str) {
        assert_eq!(check(name, source), Vec::<String>::new(), "src/{name}: {source}");
    }

    #[test]
    fn imports_point_one_way() {
        fine("ffi/key.rs", "use crate::service::key; use crate::error::Error;");
        fine("store/sqlite/row.rs", "use super::super::seal; use crate::crypto::aead; use crate::sys::sync::Mutex;");
        fine("domain/key.rs", "use crate::error::{Error, Result}; use super::id::KeyId; pub(crate) fn f() {}");

        refused("service/key.rs", "use crate::ffi::ptr;");
        refused("store/mod.rs", "fn f() { crate::service::open() }");
        refused("crypto/kdf.rs", "use crate::{domain::id, store::Slot};");
        refused("domain/key.rs", "use super::super::clock::Clock;");
        refused("domain/mod.rs", "use super::{error, sys};");
        refused("error.rs", "use crate::domain::id;");
        fine("clock/mod.rs", "use crate::sys::boot;");
        refused("sys/boot.rs", "use crate::clock::Clock;");
        refused("sys/fork.rs", "use crate::crypto;");
        refused("store/key.rs", "mod inner { use super::super::super::service::x; }");
        refused("helpers/mod.rs", "");
    }

    #[test]
    fn unsafe_stands_in_its_files() {
        fine("ffi/ptr.rs", "unsafe { }");
        fine("store/sqlite/locks.rs", "unsafe fn f() {}");
        fine("service/key.rs", "#![deny(unsafe_op_in_unsafe_fn)] // unsafe\n\"unsafe\"");
        refused("service/key.rs", "unsafe { }");
        refused("store/sqlite/mod.rs", "unsafe impl Send for X {}");
        refused("crypto/openssl_more.rs", "unsafe { }");
    }

    #[test]
    fn openssl_is_named_in_one_place() {
        fine("crypto/openssl/gcm.rs", "use openssl_sys as ffi;");
        fine("crypto/openssl/params.rs", "openssl_sys::OSSL_PARAM");
        fine("crypto/aead.rs", "use super::openssl::Cipher;");
        refused("crypto/aead.rs", "use openssl_sys::EVP_CIPHER;");
        refused("service/mod.rs", "extern crate openssl_sys;");
    }

    #[test]
    fn locks_and_threads_are_named_in_their_files() {
        fine("sys/sync.rs", "pub use std::sync::{Condvar, Mutex}; use std::thread;");
        fine("sys/thread.rs", "use std::thread::JoinHandle;");
        refused("sys/thread.rs", "use std::sync::Mutex;");
        fine("service/cache.rs", "use std::sync::{Arc, OnceLock, atomic::{AtomicU64, Ordering}}; std::thread_local!{}");
        refused("service/cache.rs", "use std::sync::{Arc, Mutex};");
        refused("service/cache.rs", "use std::sync;");
        refused("service/cache.rs", "use std::sync::*;");
        refused("service/cache.rs", "use std::{sync::{self}, fmt};");
        refused("service/cache.rs", "use std::*;");
        refused("service/cache.rs", "static ONCE: ::std::sync::Once = ::std::sync::Once::new();");
        refused("service/ticker.rs", "std::thread::spawn(f)");
        refused("sys/fork.rs", "use std::thread;");
    }

    #[test]
    fn files_are_opened_in_one_place() {
        fine("sys/file.rs", "use std::fs::File; fn f() { libc::open(path, 0) }");
        fine("store/create.rs", "fn f() { std::fs::rename(a, b); std::fs::metadata(a) } use std::fs::remove_file;");
        fine("store/sqlite/locks.rs", "use crate::sys::file::File; fn f() { File::open(path) }");
        refused("store/create.rs", "use std::fs::File;");
        refused("store/create.rs", "use std::fs::{metadata, OpenOptions};");
        refused("store/create.rs", "use std::fs; fn f() { fs::read(path) }");
        refused("store/create.rs", "fn f() { std::fs::read_to_string(path) }");
        refused("sys/word.rs", "use std::os::fd::AsRawFd;");
        refused("sys/word.rs", "fn f() { unsafe { libc::open(path, 0) } }");
    }

    #[test]
    fn the_domain_is_pure() {
        fine("domain/rotation.rs", "fn next(now_ms: i64) -> i64 { std::cmp::max(now_ms, 0) }");
        fine("store/mod.rs", "use std::time::Duration; use std::fs::rename;");
        refused("domain/rotation.rs", "use std::time::Instant;");
        refused("domain/rotation.rs", "std::fs::read(path)");
        refused("domain/rotation.rs", "use std::{fmt, fs};");
        refused("domain/id.rs", "getrandom::fill(bytes)");
        refused("domain/id.rs", "libc::time(x)");
    }
}
