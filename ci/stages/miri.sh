#!/usr/bin/env bash
# Miri runs the unit tests of the unsafe code that needs no foreign function: ffi::ptr, crypto::openssl.
. "$(dirname "$0")/../lib.sh"
need_cargo
need_toolchain nightly miri rust-src
use_prebuilt_openssl
export CARGO_TARGET_DIR=target/miri
for module in ffi::ptr crypto::openssl; do
    count_cargo cargo +nightly miri test --config "$SQLITE_QUICKLY" --locked --lib "$module"
done
