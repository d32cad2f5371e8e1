#!/usr/bin/env bash
# The library compiles for 64-bit ARM and for musl without a warning; nothing is linked (ci/stages/foreign.sh does that).
. "$(dirname "$0")/../lib.sh"
need_cargo
need aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu musl-gcc:musl-tools
# Of OpenSSL only the headers are needed, and those of the host serve.
use_prebuilt_openssl
cross_flags
export CARGO_TARGET_DIR=target/cross
# SQLite is compiled, because its build script compiles it, but never run.
export CFLAGS_aarch64_unknown_linux_gnu=-O0 CFLAGS_x86_64_unknown_linux_musl=-O0

for target in $CROSS_TARGETS; do
    need_target "$target"
    attempt "$target compiles without a warning" cargo check --locked --target "$target"
done
all_passed
