#!/usr/bin/env bash
# The oldest Rust that Cargo.toml promises compiles the library. It builds for 64-bit ARM and for musl without a warning, with its OpenSSL: programs of tests/c run under qemu-aarch64,
# and on musl.
. "$(dirname "$0")/../lib.sh"
need_cargo
need aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu qemu-aarch64:qemu-user musl-gcc:musl-tools
# On musl only a dynamic C runtime makes a shared library. Debian's libgcc_s is glibc's; Rust brings an unwinder for musl, which
# a shared library would not look for.
unwind=$ROOT/target/foreign/unwind
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-D warnings"
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=musl-gcc
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-D warnings -C target-feature=-crt-static -C link-arg=-L$unwind"

# Those that neither fork nor start a program.
PROGRAMS="crypt key rotation batch data_key call byok outputs status version verify"

# foreign NAME TARGET GCC RUN...: the programs against that target's libkms.so.
foreign() {
    local name=$1 target=$2 compiler=$3 folder=target/foreign/$2/debug program
    shift 3
    need_target "$target"
    attempt "$name: cargo build" cargo build --locked --target "$target" --target-dir target/foreign --features postgres
    [ -f "$folder/libkms.so" ] || return 0
    mkdir -p "target/foreign/$name"
    for program in $PROGRAMS; do
        attempt "$name: compile $program" "$compiler" -std=c99 -Wall -Wextra -Werror -O1 -pthread -Iinclude -Itests/c \
            -o "target/foreign/$name/$program" "tests/c/$program.c" -L"$folder" -lkms
        attempt "$name: $program" in_empty_folder "$@" "$ROOT/target/foreign/$name/$program"
    done
}
need_target x86_64-unknown-linux-musl
mkdir -p "$unwind"
echo "INPUT($(rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-musl/lib/self-contained/libunwind.a)" >"$unwind/libgcc_s.so"

foreign aarch64 aarch64-unknown-linux-gnu aarch64-linux-gnu-gcc \
    qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$ROOT/target/foreign/aarch64-unknown-linux-gnu/debug"
foreign musl x86_64-unknown-linux-musl musl-gcc env LD_LIBRARY_PATH="$ROOT/target/foreign/x86_64-unknown-linux-musl/debug"

need_toolchain "$MSRV"
(
    use_prebuilt_openssl tls
    CARGO_TARGET_DIR=target/msrv cargo "+$MSRV" check --locked --features postgres --config "$SQLITE_QUICKLY"
)
count 1 0
all_passed
