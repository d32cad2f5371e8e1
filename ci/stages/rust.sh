#!/usr/bin/env bash
# All Rust tests: unit, integration, documentation.
. "$(dirname "$0")/../lib.sh"
need_cargo
use_prebuilt_openssl
export CARGO_TARGET_DIR=target/ci
count_cargo cargo test --locked --no-fail-fast --features faults
