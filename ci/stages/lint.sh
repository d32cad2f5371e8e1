#!/usr/bin/env bash
# Rust, C and C++ are formatted; clippy, rustdoc and shellcheck have no warning; every dependency comes from crates.io.
. "$(dirname "$0")/../lib.sh"
need shellcheck:shellcheck clang-format:clang-format
need_cargo
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
use_test_build

formatted() {
    local manifest
    for manifest in Cargo.toml xtask/Cargo.toml cli/Cargo.toml fuzz/Cargo.toml bindings/python/Cargo.toml pkcs11/Cargo.toml; do
        cargo fmt --check --manifest-path "$manifest" || return 1
    done
}
c_formatted() { git ls-files -z '*.c' '*.h' '*.hpp' '*.cpp' ':!include/kms.h' | xargs -0 clang-format --dry-run --Werror; }
scripts() { git ls-files -z | xargs -0 grep -lzE '^#!.*[/ ](ba)?sh|^# shellcheck shell=' -- ; }
shell_checked() { git grep -lE '^(#!.*[/ ](ba)?sh$|# shellcheck shell=)' | xargs shellcheck -x -P SCRIPTDIR; }
from_crates_io() {
    local lock
    for lock in $(git ls-files '*Cargo.lock'); do
        ! grep -n '^source = ' "$lock" | grep -v '"registry+https://github.com/rust-lang/crates.io-index"' || return 1
    done
}
attempt "Rust is formatted" formatted
attempt "C and C++ are formatted" c_formatted
attempt "shellcheck" shell_checked
attempt "dependencies come from crates.io" from_crates_io
all_passed
cargo clippy --locked --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings --cfg kms_faults" cargo doc --locked --no-deps --lib
count 2 0
