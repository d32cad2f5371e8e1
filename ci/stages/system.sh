#!/usr/bin/env bash
# The build against the system's OpenSSL: clippy, unit tests, and the C programs plain; two of them are proved to detect faults.
. "$(dirname "$0")/../lib.sh"
need_cargo
need pkg-config:pkg-config openssl.pc:libssl-dev
export CARGO_TARGET_DIR=target/ci RUSTFLAGS="--cfg kms_faults"
cargo clippy --locked --all-targets --no-default-features --features capi -- -D warnings
count_cargo cargo test --locked --lib --no-default-features --features capi
# Cargo writes the libraries of all feature sets to one path in target/ci.
forget_libkms
cargo build --locked --no-default-features --features capi
mkdir -p target/system
mv target/ci/debug/libkms.so target/system/libkms.so
rm target/ci/debug/deps/libkms.so
ln -sf libkms.so target/system/libkms.so.0
readelf -d target/system/libkms.so | grep -q 'NEEDED.*libcrypto' || die "libcrypto is not the system's"
LIBRARY=target/system/libkms.so
for source in tests/c/*.c; do
    together run_c_program system "$source" --
done
finish_together
fails_without_the_exit_gate() {
    ! KMS_FAULT_NO_EXIT_GATE=1 KMS_EXIT_RUNS=6 in_empty_folder "$ROOT/target/c/system/exit"
}
fails_with_posix_locks() { ! KMS_FAULT_POSIX_LOCKS=1 in_empty_folder "$ROOT/target/c/system/copies"; }
# `vendored` takes libcrypto for its own: a build that would link the system's under that name must end.
is_refused() {
    local log status=0
    log=$(env "$@" cargo check --locked --lib 2>&1) || status=$?
    [ "$status" != 0 ] && grep -q "needs a static libcrypto" <<<"$log" || { echo "$log" >&2; return 1; }
}
attempt "the system's shared libcrypto as the vendored one is refused" is_refused OPENSSL_NO_VENDOR=1
attempt "a shared libcrypto asked for with the vendored one is refused" is_refused OPENSSL_NO_VENDOR=1 OPENSSL_STATIC=0
attempt "proof: tests/c/copies.c fails with SQLite's own locks" fails_with_posix_locks
# fails_without PROGRAM FAULT: a program that hangs is ended after 20 s.
fails_without() {
    local status=0
    env "$2=1" timeout 20 "$ROOT/target/c/system/$1" "$(mktemp -d)" >/dev/null 2>&1 || status=$?
    [ "$status" != 0 ]
}
attempt "proof: tests/c/cancel.c fails where cancellation is enabled" fails_without cancel KMS_FAULT_CANCELLED
attempt "proof: tests/c/atfork.c fails where the gate stays shut" fails_without atfork KMS_FAULT_NOT_REOPENED_IN_FORK
attempt "proof: tests/c/exit.c fails without the exit gate" fails_without_the_exit_gate
all_passed
