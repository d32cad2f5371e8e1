#!/usr/bin/env bash
# The library built for 64-bit ARM and for musl, with its OpenSSL: programs of tests/c run under qemu-aarch64, and on musl.
. "$(dirname "$0")/../lib.sh"
need_cargo
need aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu qemu-aarch64:qemu-user musl-gcc:musl-tools
cross_flags

# Those that neither fork nor start a program.
PROGRAMS="crypt key rotation batch data_key call byok outputs status version verify"

# foreign NAME TARGET GCC RUN...: the programs against that target's libkms.so.
foreign() {
    local name=$1 target=$2 compiler=$3 folder=target/cross/$2/release program
    shift 3
    attempt "$name: cargo build --release" cargo build --release --locked --target "$target" --target-dir target/cross
    [ -f "$folder/libkms.so" ] || return 0
    mkdir -p "target/cross/$name"
    for program in $PROGRAMS; do
        attempt "$name: compile $program" "$compiler" -std=c99 -Wall -Wextra -Werror -O1 -pthread -Iinclude -Itests/c \
            -o "target/cross/$name/$program" "tests/c/$program.c" -L"$folder" -lkms
        attempt "$name: $program" in_empty_folder "$@" "$ROOT/target/cross/$name/$program"
    done
}
for target in $CROSS_TARGETS; do
    need_target "$target"
done
# Debian's libgcc_s is glibc's; Rust brings an unwinder for musl, which a shared library would not look for.
mkdir -p target/cross/unwind
echo "INPUT($(rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-musl/lib/self-contained/libunwind.a)" \
    >target/cross/unwind/libgcc_s.so
CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS+=" -C link-arg=-L$ROOT/target/cross/unwind"

foreign aarch64 aarch64-unknown-linux-gnu aarch64-linux-gnu-gcc \
    qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$ROOT/target/cross/aarch64-unknown-linux-gnu/release"
foreign musl x86_64-unknown-linux-musl musl-gcc \
    env LD_LIBRARY_PATH="$ROOT/target/cross/x86_64-unknown-linux-musl/release"
all_passed
