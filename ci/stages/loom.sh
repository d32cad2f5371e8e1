#!/usr/bin/env bash
# Loom tries the library's locks, its alarm and its cache of keys in every order of their threads.
. "$(dirname "$0")/../lib.sh"
need_cargo
use_prebuilt_openssl
export CARGO_TARGET_DIR=target/ci
count_cargo timeout 600 cargo test --locked --lib --features model model::
