#!/usr/bin/env bash
# No clippy warning, with the default features nor without `vendored`.
. "$(dirname "$0")/../lib.sh"
need_cargo
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
use_prebuilt_openssl
export CARGO_TARGET_DIR=target/ci
cargo clippy --locked --all-targets --features faults -- -D warnings
cargo clippy --locked --all-targets --features faults --no-default-features --features capi -- -D warnings
