//! Chores of this repository: `cargo run -p xtask -- header` writes `include/kms.h` from `src/ffi`, and
//! `cargo run -p xtask -- header --check` compares the two.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

fn main() -> ExitCode {
    let arguments = Vec::from_iter(env::args().skip(1));
    let check = match Vec::from_iter(arguments.iter().map(String::as_str)).as_slice() {
        ["header"] => false,
        ["header", "--check"] => true,
        _ => {
            eprintln!("usage: cargo run -p xtask -- header [--check]");
            return ExitCode::from(2);
        }
    };
    match header(check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}

fn header(check: bool) -> Result<(), String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join("include/kms.h");
    let wanted = generate(&root)?;
    if check {
        if fs::read(&path).unwrap_or_default() != wanted {
            return Err("include/kms.h differs from src/ffi; to write it: make header".to_owned());
        }
        return Ok(());
    }
    fs::write(&path, wanted).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// The header has the order of the `mod` lines of `src/ffi/mod.rs`; cbindgen reads nothing outside `src/ffi`.
fn generate(root: &Path) -> Result<Vec<u8>, String> {
    let config =
        cbindgen::Config::from_file(root.join("cbindgen.toml")).map_err(|error| format!("cbindgen.toml: {error}"))?;
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("src/ffi/mod.rs"))
        .generate()
        .map_err(|error| format!("cbindgen cannot read src/ffi: {error}"))?;
    let mut header = Vec::new();
    bindings.write(&mut header);
    Ok(header)
}
