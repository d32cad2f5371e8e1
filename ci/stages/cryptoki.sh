#!/usr/bin/env bash
# The tests of cryptoki, a PKCS#11 client in Rust, over the module and over SoftHSM2: only the listed ones fail.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc softhsm2-util:softhsm2
need_cargo
use_test_build
# As in the stage pkcs11: cargo sees no difference between libkms with its C functions and without.
forget_libkms
work=$(mktemp -d)
trap 'rm -rf "$work"; forget_libkms' EXIT
cargo build --quiet --locked --manifest-path pkcs11/Cargo.toml
module=$work/libkms-pkcs11.so
cp target/ci/debug/deps/libkms_pkcs11.so "$module"
forget_libkms
cargo build --quiet --locked --package kms-cli
kms=$ROOT/target/ci/debug/kms
softhsm=$(find /usr/lib -name libsofthsm2.so | head -1)

# The archive of the crate has its tests and its Cargo.lock; cargo compares it with the registry's checksum.
version=0.12.1 sources=$ROOT/target/cryptoki/sources
if [ ! -f "$sources/Cargo.lock" ]; then
    mkdir -p "$work/fetch/src" target/cryptoki
    : >"$work/fetch/src/lib.rs"
    printf '[package]\nname = "fetch"\nversion = "0.0.0"\n[dependencies]\ncryptoki = "=%s"\n' "$version" >"$work/fetch/Cargo.toml"
    archive=$(cargo metadata --manifest-path "$work/fetch/Cargo.toml" --format-version 1 |
        grep -o "\"manifest_path\":\"[^\"]*/cryptoki-$version/Cargo.toml\"" | cut -d '"' -f 4)
    [ -f "$archive" ] || die "cargo metadata names no folder of cryptoki $version: $archive"
    rm -rf "$sources"
    cp -r "$(dirname "$archive")" "$work/sources"
    printf '\n[workspace]\n' >>"$work/sources/Cargo.toml"
    # `kms init` makes the keystore, not C_InitToken. Any PIN will do, because the token has a root key file.
    sed -i 's/^    pkcs11\.init_token(/    if !is_softhsm() {\n        return (pkcs11, slot);\n    }\n&/' "$work/sources/tests/common/mod.rs"
    [ "$(grep -c '^    if !is_softhsm() {$' "$work/sources/tests/common/mod.rs")" = 1 ] || die "cryptoki's tests make their token in another way"
    mv "$work/sources" "$sources"
fi
# shellcheck disable=SC2031
compile() { (cd "$sources" && RUSTFLAGS='' CARGO_TARGET_DIR=$ROOT/target/cryptoki/build cargo test --locked --no-run --test '*'); }
compile >"$work/programs" 2>&1 </dev/null || { cat "$work/programs" >&2; die "cryptoki's tests do not compile"; }
sed -n 's/^ *Executable tests\/\([a-z_]*\)\.rs (\(.*\))$/\1 \2/p' "$work/programs" >"$work/binaries"

# A new token in the folder, and how its module finds it. The PINs are those of the tests.
token_of_kms() {
    (cd "$1" && "$kms" --root-key-file root.key init && "$kms" pkcs11 config pkcs11.toml --label check) >/dev/null
    export KMS_PKCS11_CONF=$1/pkcs11.toml TEST_PKCS11_MODULE=$module
}
token_of_softhsm() {
    mkdir "$1/tokens"
    printf 'directories.tokendir = %s/tokens\nlog.level = ERROR\n' "$1" >"$1/softhsm2.conf"
    export SOFTHSM2_CONF=$1/softhsm2.conf TEST_PKCS11_MODULE=$softhsm
    softhsm2-util --init-token --free --label check --pin fedcba123456 --so-pin abcdef654321 >/dev/null
}
# run NAME: runs each test in a separate process with a separate token. Writes NAME/passed and NAME/failed, in the order of names.
run() (
    mkdir "$work/$1"
    : >"$work/$1/passed"
    : >"$work/$1/failed"
    while read -r file program; do
        for name in $(comm -23 <("$program" --list --format terse | sed -n 's/: test$//p' | sort) \
            <("$program" --list --format terse --ignored | sed -n 's/: test$//p' | sort)); do
            folder=$work/$1/$file::$name
            mkdir "$folder"
            "token_of_$1" "$folder"
            if timeout 120 "$program" --exact "$name" >"$folder/log" 2>&1 </dev/null && grep -q '^test result: ok. 1 passed' "$folder/log"; then
                echo "$file::$name" >>"$work/$1/passed"
            else
                echo "$file::$name" >>"$work/$1/failed"
                # An assertion fails with 101; a signal or a timeout is no result of a test.
                grep -q '^test result: FAILED' "$folder/log" || { cat "$folder/log"; return 1; }
            fi
        done
    done <"$work/binaries"
    LC_ALL=C sort -o "$work/$1/failed" "$work/$1/failed"
    [ "$(wc -l <"$work/$1/passed")" -gt 20 ]
)
expected() {
    run kms && diff <(grep -v '^#' pkcs11/tests/clients/cryptoki-failures.txt | LC_ALL=C sort) "$work/kms/failed"
}
together attempt "cryptoki's tests: only the listed ones fail" expected
together attempt "cryptoki's tests: SoftHSM2" run softhsm
finish_together
for name in kms softhsm; do
    say "cryptoki, $name: $(wc -l <"$work/$name/passed") passed, $(wc -l <"$work/$name/failed") failed"
done
all_passed
