#!/usr/bin/env bash
# Unit tests under Miri, AddressSanitizer and loom.
# Miri runs the unsafe code that needs no foreign function. All unit tests and the PKCS#11 module run under AddressSanitizer, which
# is first proved to detect faults. loom runs the locks, the alarm and the cache of keys in every order of their threads.
. "$(dirname "$0")/../lib.sh"
need_cargo
need_toolchain nightly miri rust-src
use_prebuilt_openssl

export CARGO_TARGET_DIR=target/miri
for module in ffi::ptr crypto::openssl; do
    count_cargo cargo +nightly miri test --config "$SQLITE_QUICKLY" --locked --lib "$module"
done

# The PKCS#11 module reads and writes its callers' memory in one file.
count_cargo cargo +nightly miri test --config "$SQLITE_QUICKLY" --locked --manifest-path pkcs11/Cargo.toml --lib

export CARGO_TARGET_DIR=target/loom
RUSTFLAGS="--cfg kms_model" count_cargo timeout 900 cargo test --config "$SQLITE_QUICKLY" --locked --lib model::

export CARGO_TARGET_DIR=target/asan

mkdir -p target/asan
rustc +nightly -Zsanitizer=address --target "$HOST_TARGET" --cfg heap_overflow -o target/asan/heap_overflow ci/proof/fault.rs
if target/asan/heap_overflow >/dev/null 2>&1; then
    die "AddressSanitizer does not see the fault of ci/proof/fault.rs"
fi
count 1 0

# SQLite's C code stays as it is: instrumented, it takes six minutes to compile.
export CFLAGS_x86_64_unknown_linux_gnu=-fno-sanitize=address
# AddressSanitizer maps memory itself. So it can't run the test that forbids mmap to its thread, nor the one that reads all of
# the process's memory, including the shadow. By default it ends a process that requests more memory than exists.
# With --target, build scripts and procedural macros are not instrumented.
ASAN_OPTIONS=allocator_may_return_null=1 RUSTFLAGS=-Zsanitizer=address count_cargo cargo +nightly test --config "$SQLITE_QUICKLY" --locked --lib --target "$HOST_TARGET" -- \
    --skip service::thread::tests::an_entry_that_found_no_memory_is_not_found_either \
    --skip service::call::tests::memory::no_secret_of_a_request_is_left_in_memory

# The PKCS#11 module as programs load it.
ASAN_OPTIONS=allocator_may_return_null=1 RUSTFLAGS="--cfg kms_faults -Zsanitizer=address" count_cargo cargo +nightly test --config "$SQLITE_QUICKLY" --locked --manifest-path pkcs11/Cargo.toml --target "$HOST_TARGET"
nm -D "$CARGO_TARGET_DIR/$HOST_TARGET/debug/deps/libkms_pkcs11.so" | grep ' U __asan_report' >/dev/null || die "libkms_pkcs11.so is not instrumented"
count 1 0
