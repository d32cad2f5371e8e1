//! `THIRD-PARTY.md` names every crate that a released binary contains, with its licence and copyright notices.
//!
//! The test compares the page with what cargo resolves; `KMS_UPDATE_NOTICES=1 cargo test --test third_party` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The licences that the project accepts in a binary. Where there is a choice, it takes MIT.
const ACCEPTED: [&str; 11] = [
    "MIT OR Apache-2.0",
    "Apache-2.0 OR MIT",
    "MIT/Apache-2.0",
    "Unlicense OR MIT",
    "MIT",
    "Zlib",
    "Apache-2.0",
    "ISC",
    "Zlib OR Apache-2.0 OR MIT",
    "Apache-2.0 OR BSL-1.0 OR MIT",
    "(MIT OR Apache-2.0) AND Unicode-3.0",
];

struct Crate {
    licence: String,
    folder: PathBuf,
    libraries: BTreeSet<&'static str>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Adds the crates that are linked into what `manifest` builds: its normal dependencies, without macros, which run in the compiler.
fn add_linked(crates: &mut BTreeMap<(String, String), Crate>, manifest: &str, library: &'static str, features: &str) {
    let made = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET, "--manifest-path"])
        .arg(root().join(manifest))
        .args(["--features", features])
        .output()
        .unwrap();
    assert!(made.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&made.stderr));
    let metadata: Value = serde_json::from_slice(&made.stdout).unwrap();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package, "id").to_owned(), package)).collect();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (text(&node, "id").to_owned(), node)).collect();
    let is_macro = |id: &str| {
        list(&packages[id]["targets"])
            .iter()
            .any(|target| list(&target["kind"]).iter().any(|kind| kind == "proc-macro"))
    };
    let mut waiting = vec![text(&metadata["resolve"], "root").to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if is_macro(&id) || !seen.insert(id.clone()) {
            continue;
        }
        for dependency in list(&nodes[&id]["deps"]) {
            if list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()) {
                waiting.push(text(&dependency, "pkg").to_owned());
            }
        }
        let package = &packages[&id];
        // The project's own packages have no source.
        if package["source"].is_null() {
            continue;
        }
        crates
            .entry((text(package, "name").to_owned(), text(package, "version").to_owned()))
            .or_insert_with(|| Crate {
                licence: text(package, "license").to_owned(),
                folder: Path::new(text(package, "manifest_path")).parent().unwrap().to_owned(),
                libraries: BTreeSet::new(),
            })
            .libraries
            .insert(library);
    }
}

/// The copyright lines of a crate's licence files, without the ones of the licence texts themselves.
fn notices(folder: &Path) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().to_uppercase();
        if !(name.starts_with("LICENSE") || name.starts_with("COPYRIGHT") || name.starts_with("COPYING"))
            || !path.is_file()
        {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let line = line.trim().trim_start_matches(['/', '*', ' ']);
            if line.starts_with("Copyright ")
                && line.contains(|c: char| c.is_ascii_digit() || c == '©')
                && !line.contains("yyyy")
            {
                lines.insert(line.trim_end().replace("  ", " "));
            } else if line.starts_with("Copyright (c) ") && !line.contains('{') {
                lines.insert(line.to_owned());
            }
        }
    }
    lines
}

fn locked(name: &str) -> String {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let (_, found) = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).unwrap();
    found.split('"').next().unwrap().to_owned()
}

fn page() -> String {
    let mut crates = BTreeMap::new();
    add_linked(&mut crates, "Cargo.toml", "C", "postgres");
    add_linked(&mut crates, "bindings/python/Cargo.toml", "Python", "postgres");
    add_linked(&mut crates, "pkcs11/Cargo.toml", "PKCS#11", "");
    let openssl = locked("openssl-src");
    let openssl = openssl.split('+').nth(1).unwrap();
    let mut page = format!(
        "# Third-party notices\n\n\
         The released binaries contain the works below: `libkms.so` and `libkms.a` (C), the Python wheel (Python), and `libkms-pkcs11.so` (PKCS#11).\n\
         A crate that only features of the tests, or of the command `kms`, switch on is listed too.\n\
         `KMS_UPDATE_NOTICES=1 cargo test --test third_party` writes this page from the lock files; without the variable, the test compares it.\n\n\
         | work | version | licence | in |\n|---|---|---|---|\n\
         | [OpenSSL](https://www.openssl.org/) (libcrypto, and libssl in C and Python; not in builds with the system's OpenSSL) | {openssl} | Apache-2.0 | C, PKCS#11, Python |\n\
         | [SQLite](https://sqlite.org/) | as in libsqlite3-sys {} | public domain | C, PKCS#11, Python |\n\
         | [Rust's standard library](https://www.rust-lang.org/) | of the compiler | MIT OR Apache-2.0 | C, PKCS#11, Python |\n",
        locked("libsqlite3-sys"),
    );
    let mut copyrights = String::new();
    for ((name, version), found) in &crates {
        assert!(
            ACCEPTED.contains(&found.licence.as_str()),
            "the licence of {name} {version} is {}: decide whether to accept it",
            found.licence
        );
        let libraries: Vec<_> = found.libraries.iter().copied().collect();
        writeln!(page, "| {name} | {version} | {} | {} |", found.licence, libraries.join(", ")).unwrap();
        let lines: Vec<_> = notices(&found.folder).into_iter().collect();
        if !lines.is_empty() {
            writeln!(copyrights, "* {name}: {}", lines.join("; ")).unwrap();
        }
    }
    let zlib = crates.keys().find(|(name, _)| name == "foldhash").map(|key| &crates[key].folder);
    let zlib = zlib.map(|folder| std::fs::read_to_string(folder.join("LICENSE")).unwrap()).unwrap_or_default();
    let isc = crates.keys().find(|(name, _)| name == "libloading").map(|key| &crates[key].folder);
    let isc = isc.map(|folder| std::fs::read_to_string(folder.join("LICENSE")).unwrap()).unwrap_or_default();
    let unicode = crates.keys().find(|(name, _)| name == "unicode-properties").map(|key| &crates[key].folder);
    let unicode = unicode.map(|folder| std::fs::read_to_string(folder.join("LICENSE-UNICODE")).unwrap());
    let unicode = unicode.unwrap_or_default();
    let mit = std::fs::read_to_string(root().join("LICENSE-MIT")).unwrap();
    let (_, mit) = mit.split_once("Permission is hereby granted").unwrap();
    write!(
        page,
        "\n## Copyright notices\n\n\
         Where a work offers a choice that includes MIT, these binaries use it under MIT.\n\n\
         * OpenSSL: Copyright (c) 1995-2026 The OpenSSL Project Authors; Copyright (c) 1995-1998 Eric A. Young, Tim J. Hudson\n\
         * Rust's standard library: Copyright (c) The Rust Project Contributors\n\
         {copyrights}\n\
         A crate without a line here names no holder in its licence files; its authors hold the copyright.\n\n\
         ## Apache-2.0\n\nThe text is in [LICENSE-APACHE](LICENSE-APACHE).\n\n\
         ## MIT\n\n```text\nPermission is hereby granted{}\n```\n\n\
         ## Zlib (foldhash)\n\n```text\n{}\n```\n\n\
         ## ISC (libloading)\n\n```text\n{}\n```\n\n\
         ## Unicode-3.0 (tables of unicode-normalization and unicode-properties)\n\n```text\n{}\n```\n",
        mit.trim_end(),
        zlib.trim(),
        isc.trim(),
        unicode.trim(),
    )
    .unwrap();
    page
}

#[test]
fn the_notices_name_all_that_the_binaries_contain() {
    let path = root().join("THIRD-PARTY.md");
    let page = page();
    if std::env::var_os("KMS_UPDATE_NOTICES").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == page,
        "THIRD-PARTY.md is not what the lock files say: KMS_UPDATE_NOTICES=1 cargo test --test third_party"
    );
}
