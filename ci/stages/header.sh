#!/usr/bin/env bash
# include/kms.h is what src/ffi says: build.rs compares them.
. "$(dirname "$0")/../lib.sh"
need_cargo
use_prebuilt_openssl
CARGO_TARGET_DIR=target/ci cargo check --locked --features header
