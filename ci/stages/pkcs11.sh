#!/usr/bin/env bash
# The PKCS#11 module: clippy, its exports, its own tests, and programs that speak PKCS#11 while the key rotates.
. "$(dirname "$0")/../lib.sh"
need nm:binutils gcc:gcc
need_cargo
use_test_build

manifest=pkcs11/Cargo.toml
attempt "clippy of pkcs11" cargo clippy --locked --all-targets --manifest-path "$manifest" -- -D warnings
unsafe_in_ffi() { ! grep -rlE 'unsafe (\{|impl|fn|extern)' pkcs11/src | grep -v '^pkcs11/src/ffi/'; }
same_openssl() {
    diff <(grep -A1 '^name = "openssl-src"' Cargo.lock) <(grep -A1 '^name = "openssl-src"' pkcs11/Cargo.lock)
}
attempt "unsafe is in ffi only" unsafe_in_ffi
attempt "its OpenSSL is the library's" same_openssl
count_cargo cargo test --locked --manifest-path "$manifest"

module=$ROOT/target/ci/debug/deps/libkms_pkcs11.so
three_exports() { [ "$(nm -D --defined-only "$module" | awk '{ print $3 }' | xargs)" = "C_GetFunctionList C_GetInterface C_GetInterfaceList" ]; }
stays_loaded() { readelf -d "$module" | grep -q 'FLAGS_1.*NODELETE'; }
attempt "it exports three functions" three_exports
attempt "it is never unloaded" stays_loaded
all_passed
