#!/usr/bin/env bash
# The Rust code is formatted.
. "$(dirname "$0")/../lib.sh"
need_cargo
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo fmt --check
cargo fmt --check --manifest-path tools/openssl-build/Cargo.toml
cargo fmt --check --manifest-path fuzz/Cargo.toml
