#!/usr/bin/env bash
# Programs of tests/c under ThreadSanitizer, with the library, Rust's std and SQLite instrumented.
# A first step proves that races are found. OpenSSL's code isn't instrumented, so accesses to its memory are not seen.
# Nothing is suppressed.
. "$(dirname "$0")/../lib.sh"
need_cargo
need_toolchain nightly rust-src
need nm:binutils
use_prebuilt_openssl
export CARGO_TARGET_DIR=target/tsan
mkdir -p target/tsan/c

RUNTIME=$(rustc +nightly --print sysroot)/lib/rustlib/$HOST_TARGET/lib/librustc-nightly_rt.tsan.a
ARCHIVE=target/tsan/$HOST_TARGET/debug/libkms.a

# compile_racy SOURCE OUTPUT ARCHIVE|FLAG...: a C program instrumented by gcc; the runtime is Rust's, there can be only one.
compile_racy() {
    local source=$1 output=$2
    shift 2
    gcc -std=c99 -Wall -Wextra -Wpedantic -Werror -g -O1 -pthread -fsanitize=thread -Iinclude -Itests/c \
        -Ddata_race -c -o "$output.o" "$source"
    # openssl-sys has functions of libssl in the same object as those of libcrypto; without its sections nothing asks for them.
    gcc -pthread -o "$output" "$output.o" "$@" -Wl,--gc-sections -Wl,--whole-archive "$RUNTIME" -Wl,--no-whole-archive -ldl -lm -lrt
}

# sees PROGRAM: it ends with the sanitizer's exit status and a report.
sees() {
    local status=0
    "$1" 2>"$1.log" || status=$?
    [ "$status" = 66 ] && grep -q 'WARNING: ThreadSanitizer: data race' "$1.log"
}
rustc +nightly -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --target "$HOST_TARGET" \
    --cfg data_race -o target/tsan/data_race ci/proof/fault.rs
attempt "proof: ThreadSanitizer sees the race of fault.rs" sees target/tsan/data_race
compile_racy ci/proof/fault.c target/tsan/c/data_race
attempt "proof: ThreadSanitizer sees the race of fault.c" sees target/tsan/c/data_race
all_passed

# Higher levels of optimization only make the build longer.
CFLAGS_x86_64_unknown_linux_gnu="-fsanitize=thread -O1" CARGO_PROFILE_DEV_OPT_LEVEL=1 RUSTFLAGS=-Zsanitizer=thread \
    cargo +nightly rustc --locked --lib --crate-type staticlib -Zbuild-std --target "$HOST_TARGET"

# instrumented MEMBER: an object of the archive calls the runtime.
instrumented() {
    nm -A "$ARCHIVE" 2>/dev/null | grep ":[^:]*$1[^:]*:.* U __tsan_read" >/dev/null
}
attempt "the library is instrumented" instrumented 'kms-'
attempt "SQLite is instrumented" instrumented sqlite3
attempt "Rust's std is instrumented" instrumented 'std-'

# Not those that fork with threads alive, which ThreadSanitizer can't follow, nor those that load a libkms.so.
for name in together threads events batch rotation data_key verify; do
    program=$ROOT/target/tsan/c/$name
    attempt "tsan: compile $name" compile_racy "tests/c/$name.c" "$program" "$ARCHIVE"
    for _ in $([ "$name" = together ] && seq 5 || echo once); do
        attempt "tsan: $name" in_empty_folder "$program"
    done
done
all_passed
