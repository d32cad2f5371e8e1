#!/usr/bin/env bash
# The build against the system's OpenSSL: unit tests, and the C programs plain.
. "$(dirname "$0")/../lib.sh"
need_cargo
need pkg-config:pkg-config openssl.pc:libssl-dev
export CARGO_TARGET_DIR=target/system
count_cargo cargo test --locked --lib --no-default-features --features capi
cargo build --locked --no-default-features --features capi
readelf -d target/system/debug/libkms.so | grep -q 'NEEDED.*libcrypto' || die "libcrypto is not the system's"
run_c_programs system target/system/debug/libkms.so --
all_passed
