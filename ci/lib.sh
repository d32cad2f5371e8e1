# What every script of ci/ shares: the place, the environment, installing tools, counting. Sourced, never run.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The user's own settings must not change what is built or measured here.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CARGO_TARGET_DIR CARGO_BUILD_TARGET RUSTFLAGS CARGO_ENCODED_RUSTFLAGS \
    RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER CFLAGS CXXFLAGS CPPFLAGS LDFLAGS LD_LIBRARY_PATH LD_PRELOAD \
    OPENSSL_NO_VENDOR OPENSSL_DIR OPENSSL_STATIC OPENSSL_CONF OPENSSL_ia32cap
export CARGO_TERM_COLOR=never

ROOT=$PWD
LIBRARY=target/release/libkms.so
OPENSSL_PREBUILT=$ROOT/target/openssl
MSRV=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
HOST_TARGET=x86_64-unknown-linux-gnu

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# need TOOL:PACKAGE...: installs the Debian packages of the tools that are missing, or names the command that does.
need() {
    local pair missing=()
    for pair in "$@"; do
        has "${pair%%:*}" || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        die "missing: ${missing[*]}; type: sudo apt-get update && sudo apt-get install -y ${missing[*]}"
    fi
    say "installing: ${missing[*]}"
    apt-get -q update </dev/null >&2
    DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}" </dev/null >&2
    for pair in "$@"; do
        has "${pair%%:*}" || die "package ${pair#*:} is installed, but ${pair%%:*} is still not found"
    done
}

# A name is a program; `openssl.pc` is a pkg-config module; the others are what OpenSSL's Configure and the tests import.
has() {
    case $1 in
        *.pc) pkg-config --exists "${1%.pc}" 2>/dev/null ;;
        perl-core) perl -MIPC::Cmd -MFindBin -MTime::Piece -e 1 2>/dev/null ;;
        clang-sanitizers) echo 'int main(void) { return 0; }' | clang -fsanitize=address,undefined -x c - -o /dev/null 2>/dev/null ;;
        venv) python3 -c 'import venv, ensurepip' 2>/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# GnuCOBOL's package has its version in its name; `gnucobol` is whatever the release prefers.
cobol_package() { apt-cache show gnucobol3 >/dev/null 2>&1 && echo gnucobol3 || echo gnucobol; }

need_cargo() {
    command -v cargo >/dev/null || die "missing: Rust; type: curl https://sh.rustup.rs -sSf | sh"
    need gcc:gcc make:make perl-core:perl
}

# need_toolchain NAME COMPONENT...: a Rust toolchain with its components, through rustup.
need_toolchain() {
    local name=$1 component
    shift
    if ! cargo "+$name" --version >/dev/null 2>&1; then
        rustup toolchain install "$name" --profile minimal >&2 </dev/null ||
            die "missing: Rust $name; type: rustup toolchain install $name --profile minimal"
    fi
    for component in "$@"; do
        rustup "+$name" component list --installed 2>/dev/null | grep -q "^$component" ||
            rustup component add --toolchain "$name" "$component" >&2 </dev/null ||
            die "missing: $component; type: rustup component add --toolchain $name $component"
    done
}

# need_target TARGET: Rust's standard library for another platform, through rustup.
need_target() {
    [ ! -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ] || return 0
    command -v rustup >/dev/null || die "missing: Rust's standard library for $1; install it beside rustc"
    rustup target add "$1" >&2 </dev/null || die "missing: Rust's standard library for $1; type: rustup target add $1"
}

# The other platforms, with Debian's compilers for them. On musl only a dynamic C runtime makes a shared library.
CROSS_TARGETS="aarch64-unknown-linux-gnu x86_64-unknown-linux-musl"
cross_flags() {
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-D warnings"
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=musl-gcc
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-D warnings -C target-feature=-crt-static"
}

# Everything but the one release build links an OpenSSL that is built once, into target/openssl.
use_prebuilt_openssl() {
    ci/openssl
    export OPENSSL_NO_VENDOR=1 OPENSSL_STATIC=1 OPENSSL_DIR=$OPENSSL_PREBUILT/install
}

# The package's version: of the .so, of the packages.
package_version() { sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1; }

# The library as `cargo build --release` makes it, with OpenSSL from source.
build_release() {
    need_cargo
    cargo build --release --locked
}

# count PASSED FAILED: what a stage tried; the totals of the run are the sum. A stage that counts nothing counts as one.
count() { [ -z "${KMS_COUNTS:-}" ] || echo "$1 $2" >>"$KMS_COUNTS"; }

# attempt NAME COMMAND...: runs one check of many, counts it, prints its output only when it fails.
attempt() {
    local name=$1 log
    shift
    log=$(mktemp)
    if "$@" >"$log" 2>&1 </dev/null; then
        count 1 0
        rm -f "$log"
    else
        local status=$?
        count 0 1
        cat "$log" >&2
        rm -f "$log"
        say "FAILED (exit $status): $name"
        ATTEMPTS_FAILED=1
    fi
}
ATTEMPTS_FAILED=0
all_passed() { [ "$ATTEMPTS_FAILED" = 0 ]; }

# count_cargo COMMAND...: runs `cargo test` or `cargo miri test`, shows its output, counts its results; none at all is a failure.
count_cargo() {
    local log status=0
    log=$(mktemp)
    "$@" 2>&1 </dev/null | tee "$log" || status=$?
    local passed failed
    passed=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$log")
    failed=$(awk '/^test result:/ { n += $6 } END { print n + 0 }' "$log")
    rm -f "$log"
    count "$passed" "$failed"
    [ "$status" = 0 ] || return "$status"
    [ "$passed" -gt 0 ] || die "no test matched: $*"
}

# compile_c PROGRAM.c OUTPUT LIBRARY FLAG...: a C99 program against include/kms.h, linked with that libkms.so.
compile_c() {
    local source=$1 output=$2 library=$ROOT/$3
    shift 3
    mkdir -p "$(dirname "$output")"
    gcc -std=c99 -Wall -Wextra -Wpedantic -Werror -g -pthread "$@" -Iinclude -Itests/c -o "$output" "$source" \
        -L"$(dirname "$library")" -Wl,-rpath,"$(dirname "$library")" -lkms
}

# in_empty_folder PROGRAM...: runs it there, at most ten minutes; the folder is also its last argument.
in_empty_folder() {
    local folder status=0
    folder=$(mktemp -d)
    (cd "$folder" && timeout 600 "$@" "$folder") || status=$?
    rm -rf "$folder"
    return "$status"
}

# run_c_programs KIND LIBRARY [WRAPPER...] -- FLAG...: compiles and runs every program of tests/c.
run_c_programs() {
    local kind=$1 library=$2 source program wrapper=() more
    shift 2
    while [ "$1" != -- ]; do
        wrapper+=("$1")
        shift
    done
    shift
    [ -n "$(ls tests/c/*.c 2>/dev/null)" ] || die "tests/c holds no program"
    for source in tests/c/*.c; do
        more=()
        # Its children end beside a rotation thread, and valgrind takes what threads hold at a fork for leaks of the child. So
        # accesses are checked there, but no leaks.
        [ "$kind" != valgrind ] || [ "$source" != tests/c/crowded.c ] || more=(--leak-check=no)
        program=$ROOT/target/c/$kind/$(basename "$source" .c)
        attempt "$kind: compile $source" compile_c "$source" "$program" "$library" "$@"
        [ ! -x "$program" ] || attempt "$kind: $source" in_empty_folder ${wrapper[@]+"${wrapper[@]}"} ${more[@]+"${more[@]}"} "$program"
    done
}
