#!/usr/bin/env bash
# The library on aarch64 and musl: no warning, programs of tests/c pass, keystores move between platforms; the MSRV.
# aarch64 runs under qemu-user. With KMS_LONG also s390x, which is big-endian and runs there too, and i686.
. "$(dirname "$0")/../lib.sh"
need_cargo
need aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu /usr/aarch64-linux-gnu/include/stdlib.h:libc6-dev-arm64-cross qemu-aarch64:qemu-user \
    musl-gcc:musl-tools
[ -z "${KMS_LONG:-}" ] || need i686-linux-gnu-gcc:gcc-i686-linux-gnu /usr/i686-linux-gnu/include/stdlib.h:libc6-dev-i386-cross \
    s390x-linux-gnu-gcc:gcc-s390x-linux-gnu /usr/s390x-linux-gnu/include/stdlib.h:libc6-dev-s390x-cross
# On musl only a dynamic C runtime makes a shared library. Debian's libgcc_s is glibc's; Rust brings an unwinder for musl, which
# a shared library would not look for.
unwind=$ROOT/target/foreign/unwind
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_LINKER=i686-linux-gnu-gcc
export CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_LINKER=s390x-linux-gnu-gcc CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=musl-gcc
export CARGO_TARGET_{AARCH64,I686,S390X}_UNKNOWN_LINUX_GNU_RUSTFLAGS="-D warnings"
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-D warnings -C target-feature=-crt-static -C link-arg=-L$unwind"

# Those that start no program. qemu-user dies in a process with threads that forks; FORKING are for platforms that run here.
PROGRAMS="crypt key rotation batch data_key call byok outputs status version verify file stream root"
FORKING="fork prefork"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# compile_foreign COMPILER FOLDER SOURCE OUTPUT
compile_foreign() {
    "$1" -std=c99 -Wall -Wextra -Werror -O1 -pthread -Iinclude -Itests/c -o "$4" "$3" -L"$2" -lkms
}
# opens FOLDER-OF-KEYSTORE RUN...: the program `formats` opens the keystore of a folder that has `key.db` and `lines`.
opens() {
    local folder=$1
    shift
    cp "$folder/key.db" "$work/key.db" && "$@" open "$work/key.db" <"$folder/lines" && rm -f "$work"/key.db*
}
for format in tests/fixtures/format-*; do
    mkdir -p "$work/$(basename "$format")"
    cp "$format/key.db" "$work/$(basename "$format")/"
    python3 tests/formats/lines.py "$format" >"$work/$(basename "$format")/lines"
done
make_formats() {
    local folder=$1
    shift
    mkdir -p "$folder" && "$@" make "$folder/key.db" >"$folder/lines"
}

# foreign SYSTEM TARGET COMPILER OPENSSL-PLATFORM RUN...: the programs against that target's libkms.so.
foreign() {
    local system=$1 target=$2 compiler=$3 platform=$4 folder=target/foreign/$2/debug program format
    shift 4
    need_target "$target"
    build() (
        OPENSSL_PREBUILT=$ROOT/target/foreign/openssl-$system
        read -ra OPENSSL_PLATFORM <<<"$platform"
        use_prebuilt_openssl tls
        cargo build --locked --target "$target" --target-dir target/foreign --features postgres --config "$SQLITE_QUICKLY"
    )
    attempt "$system: cargo build" build
    [ -f "$folder/libkms.so" ] || return 0
    mkdir -p "target/foreign/$system"
    local programs=$PROGRAMS
    case $1 in qemu-*) ;; *) programs+=" $FORKING" ;; esac
    for program in $programs; do
        attempt "$system: compile $program" compile_foreign "$compiler" "$folder" "tests/c/$program.c" "target/foreign/$system/$program"
        attempt "$system: $program" in_empty_folder "$@" "$ROOT/target/foreign/$system/$program"
    done
    attempt "$system: compile formats" compile_foreign "$compiler" "$folder" tests/formats/formats.c "target/foreign/$system/formats"
    attempt "$system: a fork is noticed" "$@" "target/foreign/$system/formats" fork "$work/$system-forked.db"
    attempt "$system: make a keystore" make_formats "$work/$system" "$@" "target/foreign/$system/formats"
    # Those that the platforms before this one made, and its own.
    for format in "$work"/*/; do
        attempt "$system: open the keystore of $(basename "$format")" opens "$format" "$@" "target/foreign/$system/formats"
    done
}
need_target x86_64-unknown-linux-musl
mkdir -p "$unwind"
echo "INPUT($(rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-musl/lib/self-contained/libunwind.a)" >"$unwind/libgcc_s.so"

in_qemu() { echo "qemu-$1 -L /usr/$1-linux-gnu -E LD_LIBRARY_PATH=$ROOT/target/foreign/$1-unknown-linux-gnu/debug"; }
# shellcheck disable=SC2046
foreign aarch64 aarch64-unknown-linux-gnu aarch64-linux-gnu-gcc "linux-aarch64 --cross-compile-prefix=aarch64-linux-gnu-" $(in_qemu aarch64)
if [ -n "${KMS_LONG:-}" ]; then
    # shellcheck disable=SC2046
    foreign s390x s390x-unknown-linux-gnu s390x-linux-gnu-gcc "linux64-s390x --cross-compile-prefix=s390x-linux-gnu-" $(in_qemu s390x)
    foreign i686 i686-unknown-linux-gnu i686-linux-gnu-gcc "linux-x86 --cross-compile-prefix=i686-linux-gnu-" /usr/i686-linux-gnu/lib/ld-linux.so.2 \
        --library-path "/usr/i686-linux-gnu/lib:$ROOT/target/foreign/i686-unknown-linux-gnu/debug"
fi
# OpenSSL includes headers that musl lacks.
foreign musl x86_64-unknown-linux-musl musl-gcc "linux-x86_64 -DOPENSSL_NO_SECURE_MEMORY CC=musl-gcc" \
    env LD_LIBRARY_PATH="$ROOT/target/foreign/x86_64-unknown-linux-musl/debug"

# Where nothing is installed but musl, which is one file.
alone() {
    local root=$work/alone
    mkdir -p "$root/tmp" "$root/lib" && cp -L /lib/ld-musl-x86_64.so.1 "$root/lib/" &&
        cp target/foreign/x86_64-unknown-linux-musl/debug/libkms.so "$root/lib/libkms.so.0" && cp target/foreign/musl/formats "$work"/aarch64/* "$root/" &&
        chroot "$root" /formats open /key.db <"$root/lines"
}
[ "$(id -u)" != 0 ] || attempt "musl: a root that has nothing else" alone

need_toolchain "$MSRV"
(
    use_prebuilt_openssl tls
    CARGO_TARGET_DIR=target/msrv cargo "+$MSRV" check --locked --features postgres --config "$SQLITE_QUICKLY"
)
count 1 0
all_passed
rm -rf target/foreign target/msrv
