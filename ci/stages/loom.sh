#!/usr/bin/env bash
# Loom tries the library's locks, its alarm and its cache of keys in every order of their threads.
. "$(dirname "$0")/../lib.sh"
need_cargo
use_prebuilt_openssl
export CARGO_TARGET_DIR=target/loom RUSTFLAGS="--cfg kms_model"
count_cargo timeout 900 cargo test --config "$SQLITE_QUICKLY" --locked --lib model::
