#!/usr/bin/env bash
# The oldest Rust that Cargo.toml promises compiles the library.
. "$(dirname "$0")/../lib.sh"
need_cargo
need_toolchain "$MSRV"
use_prebuilt_openssl
CARGO_TARGET_DIR=target/msrv cargo "+$MSRV" check --locked --config "$SQLITE_QUICKLY"
