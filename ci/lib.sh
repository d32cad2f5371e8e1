# What every script of ci/ shares: the place, the environment, installing tools, counting. Sourced, never run.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The user's settings must not affect the build or the measurements.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CARGO_TARGET_DIR CARGO_BUILD_TARGET RUSTFLAGS CARGO_ENCODED_RUSTFLAGS \
    RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER CFLAGS CXXFLAGS CPPFLAGS LDFLAGS LD_LIBRARY_PATH LD_PRELOAD \
    OPENSSL_NO_VENDOR OPENSSL_DIR OPENSSL_STATIC OPENSSL_LIBS OPENSSL_CONF OPENSSL_ia32cap
export CARGO_TERM_COLOR=never

ROOT=$PWD
SANITIZE=(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
VALGRIND=(valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite --trace-children=no --fair-sched=try)
OPENSSL_PREBUILT=$ROOT/target/openssl
MSRV=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
HOST_TARGET=x86_64-unknown-linux-gnu
# For builds that don't share target/ci: SQLite in 7 seconds in place of 20.
SQLITE_QUICKLY=profile.dev.package.libsqlite3-sys.opt-level=0

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# need TOOL:PACKAGE...: ends with the command that installs the Debian packages whose tools are missing. `make test`, `make
# test-all`, `make test-nightly` and `make demo` set KMS_INSTALL, and then root on Debian gets them.
need() {
    local pair missing=()
    for pair in "$@"; do
        has "${pair%%:*}" || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ -z "${KMS_INSTALL:-}" ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        die "missing: ${missing[*]}; type: sudo make deps, or sudo apt-get install -y ${missing[*]}"
    fi
    say "root on Debian: installing ${missing[*]}"
    install_packages "${missing[@]}"
    for pair in "$@"; do
        has "${pair%%:*}" || die "package ${pair#*:} is installed, but ${pair%%:*} is still not found"
    done
}

install_packages() {
    apt-get -q update </dev/null >&2
    DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@" </dev/null >&2
}

# A name is a program, or a file if it begins with a slash; `openssl.pc` is a pkg-config module; the others are what OpenSSL's
# Configure and the tests import.
has() {
    case $1 in
        /*) [ -e "$1" ] ;;
        *.pc) pkg-config --exists "${1%.pc}" 2>/dev/null ;;
        perl-core) perl -MIPC::Cmd -MFindBin -MTime::Piece -e 1 2>/dev/null ;;
        clang-sanitizers) echo 'int main(void) { return 0; }' | clang -fsanitize=address,undefined -x c - -o /dev/null 2>/dev/null ;;
        venv) python3 -c 'import venv, ensurepip' 2>/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# GnuCOBOL's package has a version in its name; `gnucobol` is the default of the Debian release.
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

# Test builds link a libcrypto that is built once, into target/openssl, from the sources that Cargo.lock has in the crate
# `openssl-src`: only the functions that the library calls, with -O1, take half the time. Released and measured builds have all of it.
OPENSSL_PARTS=(no-{apps,docs,tests,shared,module,dso,engine,legacy,async,ui-console,multiblock}
    no-{ssl,tls,dtls,quic,sock,http,ocsp,ts,cms,cmp,ct,srp,srtp,psk,nextprotoneg,rfc3779,comp,zlib}
    no-{aria,bf,camellia,cast,chacha,des,idea,rc2,rc4,seed,siv,sm4,ocb,poly1305,siphash}
    no-{dh,dsa,ec,gost,lms,ml-dsa,ml-kem,slh-dsa,sm2,argon2,blake2,md4,mdc2,rmd160,scrypt,sm3,whirlpool}
    -O1 -ffunction-sections -fdata-sections -fPIC)
# use_prebuilt_openssl tls: with libssl, which keystores in a database need. The other builds take that one as well.
# OPENSSL_PLATFORM: Configure's target for another platform, compiled into another OPENSSL_PREBUILT.
OPENSSL_PLATFORM=()
use_prebuilt_openssl() {
    local crate stamp=$OPENSSL_PREBUILT/version found version libraries=(libcrypto.a) parts=("${OPENSSL_PARTS[@]}")
    export OPENSSL_NO_VENDOR=1 OPENSSL_STATIC=1 OPENSSL_LIBS=crypto OPENSSL_DIR=$OPENSSL_PREBUILT
    version="$(openssl_version) ${OPENSSL_PARTS[*]}${OPENSSL_PLATFORM[*]+ ${OPENSSL_PLATFORM[*]}}"
    found=$(cat "$stamp" 2>/dev/null) || true
    [ "$found" != "$version tls" ] || return 0
    if [ "${1:-}" = tls ]; then
        version+=" tls" libraries+=(libssl.a) parts=("${parts[@]/%no-tls/no-ssl}") parts=("${parts[@]/%no-ec/no-ec2m}")
    fi
    [ "$found" != "$version" ] || return 0
    need_cargo
    crate=$(cargo metadata --locked --format-version 1 --filter-platform "$HOST_TARGET" </dev/null |
        grep -o '"manifest_path":"[^"]*/openssl-src-[^"/]*/' | cut -d '"' -f 4)
    [ -d "$crate/openssl" ] || die "cargo metadata names no folder of openssl-src: $crate"
    say "building OpenSSL (openssl-src $(openssl_version)) into ${OPENSSL_PREBUILT#"$ROOT/"}"
    rm -rf "$OPENSSL_PREBUILT"
    mkdir -p "$OPENSSL_PREBUILT/lib"
    cp -r "$crate/openssl" "$OPENSSL_PREBUILT/build"
    if ! (cd "$OPENSSL_PREBUILT/build" && perl Configure --openssldir=/usr/local/ssl ${OPENSSL_PLATFORM[@]+"${OPENSSL_PLATFORM[@]}"} "${parts[@]}" && make build_generated &&
        make "-j$(nproc)" "${libraries[@]}") >"$OPENSSL_PREBUILT/log" 2>&1 </dev/null; then
        tail -40 "$OPENSSL_PREBUILT/log" >&2
        die "OpenSSL did not build; all of it: $OPENSSL_PREBUILT/log"
    fi
    cp -r "$OPENSSL_PREBUILT/build/include" "$OPENSSL_PREBUILT/"
    mv "${libraries[@]/#/$OPENSSL_PREBUILT/build/}" "$OPENSSL_PREBUILT/lib/"
    rm -rf "$OPENSSL_PREBUILT/build"
    # Cargo does not see that the archive, of which openssl-sys has a copy, is another one.
    [ ${#OPENSSL_PLATFORM[@]} -gt 0 ] || rm -rf "$ROOT"/target/ci/debug/.fingerprint/openssl-sys-*
    echo "$version" >"$stamp"
}
openssl_version() { awk '$1 == "name" { found = $3 == "\"openssl-src\"" } found && $1 == "version" { gsub("\"", "", $3); print $3 }' Cargo.lock; }

# For released and measured builds: the OpenSSL of the release build, which `build_release` made from source.
use_release_openssl() {
    local archive
    build_release
    archive=$(find "$RELEASE"/build/openssl-sys-*/out/openssl-build/install/lib/libcrypto.a -printf '%T@ %p\n' | sort -n | tail -1)
    export OPENSSL_NO_VENDOR=1 OPENSSL_STATIC=1 OPENSSL_DIR=$ROOT/${archive#* }
    OPENSSL_DIR=${OPENSSL_DIR%/lib/*}
}

# The build that tests share: its dependencies are compiled once, in target/ci, by the same flags. Faults are compiled in.
use_test_build() {
    need_cargo
    use_prebuilt_openssl
    export CARGO_TARGET_DIR=$ROOT/target/ci RUSTFLAGS="--cfg kms_faults"
}

# Does the same for the requirements of keystores in a database.
use_postgres_build() {
    use_prebuilt_openssl tls
    use_test_build
}

# forget_libkms: has cargo build libkms again in target/ci, where the libraries of all feature sets have one path. The release
# build, which takes minutes, stays.
forget_libkms() { rm -rf "$ROOT"/target/ci/debug/.fingerprint/libkms-*; }

# LIBRARY is target/dev/libkms.so, the library of the test build. It is a copy: bindings/python needs another feature set, and
# cargo writes that library to the same path in target/ci.
build_dev() {
    use_test_build
    cargo build --quiet --locked
    if ! nm -D --defined-only target/ci/debug/libkms.so | grep -q ' kms_open$'; then
        forget_libkms
        cargo build --quiet --locked
    fi
    LIBRARY=target/dev/libkms.so
    mkdir -p target/dev
    cmp -s target/ci/debug/libkms.so "$LIBRARY" || cp target/ci/debug/libkms.so "$LIBRARY"
    ln -sf libkms.so target/dev/libkms.so.0
}

# use_postgres_server: `programs` is the folder of the newest server's programs, and `as_user` begins the commands that run
# as the server's user: the server refuses to run as root.
use_postgres_server() {
    need pg_ctlcluster:postgresql python3:python3
    programs=$(find /usr/lib/postgresql/*/bin -maxdepth 0 | sort -V | tail -1)
    as_user=()
    [ "$(id -u)" != 0 ] || as_user=(setpriv --reuid=postgres --regid=postgres --init-groups)
}

# A port of this machine that nothing listens at.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# The package's version: of the .so, of the packages.
package_version() { sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1; }

# release_for TARGET: what a release is built for, here and in the scripts that are called: LIBRARY, COMMAND and MODULE, below
# RELEASE. BINUTILS begins the names of that platform's strip and objcopy; RUN runs its programs here.
release_for() {
    export KMS_TARGET=$1
    RELEASE=target/release FOR_TARGET=() BINUTILS='' RUN=()
    if [ "$1" != "$HOST_TARGET" ]; then
        RELEASE=target/$1/release FOR_TARGET=(--target "$1")
    fi
    if [ "$1" = aarch64-unknown-linux-gnu ]; then
        BINUTILS=aarch64-linux-gnu- RUN=(qemu-aarch64 -L /usr/aarch64-linux-gnu)
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    fi
    LIBRARY=$RELEASE/libkms.so COMMAND=$RELEASE/kms
    # It has a separate folder, because its feature set of libkms would overwrite libkms.so.
    MODULE=target/pkcs11${RELEASE#target}/libkms_pkcs11.so
}
need_release_target() {
    need_target "$KMS_TARGET"
    [ -z "$BINUTILS" ] || need "${BINUTILS}gcc:gcc-${BINUTILS%-}" "${RUN[0]}:qemu-user"
}
release_for "${KMS_TARGET:-$HOST_TARGET}"

# The library and the command, with OpenSSL from source. One call builds both, so that they share one libkms: another feature set
# would overwrite libkms.so.
build_release() {
    need_cargo
    need_release_target
    LIBRARY=$RELEASE/libkms.so
    cargo build --release --locked ${FOR_TARGET[@]+"${FOR_TARGET[@]}"} --package libkms --package kms-cli --features libkms/postgres,kms-cli/postgres
}

# The release build of the PKCS#11 module. It links the OpenSSL of the release build.
build_pkcs11() {
    (use_release_openssl && cargo build --release --locked ${FOR_TARGET[@]+"${FOR_TARGET[@]}"} --manifest-path pkcs11/Cargo.toml --target-dir target/pkcs11)
}

# The Python of the tests, in target/python-venv.
use_python() {
    local requirements=bindings/python/requirements-test.txt tools=$ROOT/target/python-venv
    need python3:python3 venv:python3-venv
    if ! cmp -s "$requirements" "$tools/requirements.txt"; then
        rm -rf "$tools"
        python3 -m venv "$tools"
        "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$requirements" </dev/null
        cp "$requirements" "$tools/requirements.txt"
    fi
    export PATH=$tools/bin:$PATH
}

# make_python_environment FOLDER: FRESH is a Python that finds the package in FOLDER, and the tools of the tests.
make_python_environment() {
    FRESH=$ROOT/target/python-fresh
    rm -rf "$FRESH"
    python3 -m venv --without-pip "$FRESH"
    printf '%s\n' "$1" "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
        >"$("$FRESH/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tools.pth"
}
python_types() { (cd bindings/python && python -m mypy --python-executable "$FRESH/bin/python" -p libkms); }
python_stub() { (cd "$(mktemp -d)" && "$FRESH/bin/python" -m mypy.stubtest libkms --allowlist "$ROOT/bindings/python/stubtest-allowlist.txt"); }
python_tests() {
    local results status=0
    results=$(mktemp)
    "$FRESH/bin/python" -m pytest "$@" -q --rootdir bindings/python -c bindings/python/pyproject.toml \
        </dev/null 2>&1 | tee "$results" || status=$?
    count "$(grep -oE '[0-9]+ passed' "$results" | tail -1 | grep -oE '[0-9]+' || echo 0)" \
        "$(grep -oE '[0-9]+ (failed|error)' "$results" | awk '{ n += $1 } END { print n + 0 }')"
    rm -f "$results"
    [ "$status" = 0 ] || die "tests of bindings/python failed"
}

# no_path_of_this_machine STRINGS, no_fault_switch STRINGS: of released files. Tests switch protections off in builds with
# --cfg kms_faults.
no_path_of_this_machine() {
    local path
    while read -r path; do
        ! grep -F -- "$path" "$1" || return 1
    done < <(printf '%s/\n' "$ROOT" "$(realpath target)" "${CARGO_HOME:-$HOME/.cargo}" "${RUSTUP_HOME:-$HOME/.rustup}" "$HOME" \
        /home /root /registry/src /target/release | grep -vx '//*')
}
no_fault_switch() { ! grep KMS_FAULT "$1"; }

# sh -c "$KMS_WORKS" KMS: the command creates a keystore, encrypts and decrypts.
KMS_WORKS='cd "$(mktemp -d)" && "$0" init --root-key-file root.key && "$0" key create cards && echo secret >note &&
    "$0" encrypt note && mv note before && "$0" decrypt note.kms && cmp note before && ! cmp -s note note.kms'

# kms_works KMS: that, and its version.
kms_works() {
    [ "$("$1" --version)" = "kms $(sed -n 's/^version = "\(.*\)"$/\1/p' "$ROOT/cli/Cargo.toml" | head -1)" ] && sh -c "$KMS_WORKS" "$1"
}

# count PASSED FAILED: adds the results of a stage; the totals of the run are the sum. A stage that counts nothing counts as one.
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

# together COMMAND...: makes attempts in the background, one more at a time than there are processors, since most programs
# also wait. `finish_together` waits for all of them.
TOGETHER=''
together() {
    [ -n "$TOGETHER" ] || TOGETHER=$(mktemp -d)
    while [ "$(jobs -rp | wc -l)" -gt "$(nproc)" ]; do sleep 0.1; done
    { "$@" && all_passed || touch "$TOGETHER/failed"; } &
}
finish_together() {
    wait
    [ ! -e "$TOGETHER/failed" ] || ATTEMPTS_FAILED=1
    rm -rf "$TOGETHER"
    TOGETHER=''
}

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

# run_c_program KIND SOURCE [WRAPPER...] -- FLAG...: compiles and runs one program of tests/c with LIBRARY.
run_c_program() {
    local kind=$1 source=$2 program wrapper=()
    program=$ROOT/target/c/$kind/$(basename "$source" .c)
    shift 2
    while [ "$1" != -- ]; do
        wrapper+=("$1")
        shift
    done
    shift
    attempt "$kind: compile $source" compile_c "$source" "$program" "$LIBRARY" "$@"
    [ ! -x "$program" ] || attempt "$kind: $source" in_empty_folder ${wrapper[@]+"${wrapper[@]}"} "$program"
}

# must_fail STATUS COMMAND...: the tool finds the fault that the program has.
must_fail() {
    local wanted=$1 status=0
    shift
    "$@" || status=$?
    [ "$status" = "$wanted" ] || { say "exit $status, not $wanted: $*"; return 1; }
}
