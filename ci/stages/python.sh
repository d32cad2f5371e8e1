#!/usr/bin/env bash
# The Python module: clippy, its types and its stub, and all its tests, on the test build.
# An independent decoder opens the recorded ciphertexts.
. "$(dirname "$0")/../lib.sh"
need nm:binutils
use_python
use_test_build

manifest=bindings/python/Cargo.toml
attempt "clippy of bindings/python" cargo clippy --locked --all-targets --manifest-path "$manifest" -- -D warnings
unsafe_in_one_file() { [ "$(grep -rlE 'unsafe (\{|impl|fn|extern)' bindings/python/src)" = bindings/python/src/raw.rs ]; }
same_openssl() {
    diff <(grep -A1 '^name = "openssl-src"' Cargo.lock) <(grep -A1 '^name = "openssl-src"' bindings/python/Cargo.lock)
}
attempt "unsafe is in one file only" unsafe_in_one_file
attempt "its OpenSSL is the library's" same_openssl
cargo build --quiet --locked --manifest-path "$manifest"

# What a wheel would install: the package, the module and the description with its entry points.
site=$ROOT/target/python-dev
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$manifest" | head -1)
info=$site/libkms-$version.dist-info
rm -rf "$site"
mkdir -p "$info"
cp -r bindings/python/python/libkms "$site/"
find "$site" -name __pycache__ -exec rm -rf {} +
cp target/ci/debug/lib_libkms.so "$site/libkms/_libkms.abi3.so"
printf 'Metadata-Version: 2.1\nName: libkms\nVersion: %s\n' "$version" >"$info/METADATA"
printf '[pytest11]\nlibkms = libkms.testing.plugin\n' >"$info/entry_points.txt"
make_python_environment "$site"

attempt "mypy --strict" python_types
attempt "the stub is what the module is" python_stub
attempt "another AES-GCM opens the recorded ciphertexts" python tests/decoder/open_blobs.py tests/vectors/blobs.json
attempt "another AES-GCM opens the recorded files" python tests/decoder/open_file.py tests/vectors/files.json
python_tests bindings/python/tests
all_passed
