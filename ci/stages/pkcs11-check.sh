#!/usr/bin/env bash
# pkcs11-check over the PKCS#11 module, and over SoftHSM2: only the listed tests fail.
# Then a thousand forks, and the C client under valgrind.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc valgrind:valgrind softhsm2-util:softhsm2 pkg-config:pkg-config p11-kit-1.pc:libp11-kit-dev
need_cargo
use_test_build
# As in the stage pkcs11: cargo sees no difference between libkms with its C functions and without.
forget_libkms
work=$(mktemp -d)
trap 'rm -rf "$work"; forget_libkms' EXIT

# Python 3.12, which pkcs11-check needs, may be another one than the system's.
python=''
for candidate in python3 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && python=$candidate && break
done
[ -n "$python" ] || die "no Python 3.12 or later; install python3.12 with its venv module"
venv=$ROOT/target/pkcs11-check-venv
if ! "$venv/bin/pkcs11-check" version >/dev/null 2>&1; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input pkcs11-check==0.2.3 </dev/null
fi

manifest=pkcs11/Cargo.toml clients=$ROOT/pkcs11/tests/clients
cargo build --quiet --locked --manifest-path "$manifest"
KMS_FULL=1 count_cargo cargo test --locked --manifest-path "$manifest" -- forked_child
module=$work/libkms-pkcs11.so
cp target/ci/debug/deps/libkms_pkcs11.so "$module"
forget_libkms
cargo build --quiet --locked --package kms-cli
kms=$ROOT/target/ci/debug/kms

mkdir "$work/kms" "$work/softhsm" "$work/softhsm/tokens"
(cd "$work/kms" && "$kms" --root-key-file root.key init && "$kms" pkcs11 config pkcs11.toml --label check && "$kms" key create orders) >/dev/null
export KMS_PKCS11_CONF=$work/kms/pkcs11.toml SOFTHSM2_CONF=$work/softhsm/softhsm2.conf P11TEST_PIN=4321 P11TEST_SO_PIN=1234
printf 'directories.tokendir = %s\nlog.level = ERROR\n' "$work/softhsm/tokens" >"$SOFTHSM2_CONF"
softhsm2-util --init-token --free --label check --pin "$P11TEST_PIN" --so-pin "$P11TEST_SO_PIN" >/dev/null
softhsm=$(find /usr/lib -name libsofthsm2.so | head -1)

# The files of the tests that concern a module with secret keys.
selected="test_ckr or test_interface or test_slot or test_object or test_session or test_concurrent or test_encrypt or test_errors or \
test_attribute or test_access_levels or test_v30_session or test_public_session or test_mechanism"
# check NAME MODULE INTERFACE: writes NAME/failed, in the order of names.
check() (
    cd "$work/$1"
    timeout 1500 "$venv/bin/pkcs11-check" test -m "$2" -i "$3" -c "$selected" --skip-slow --isolation auto --output junit \
        --output-file results.xml >log 2>&1 || true
    sed -n 's/^FAILED .*testcases\/\([^ ]*::[^ ]*\).*/\1/p' log | LC_ALL=C sort -u >failed
    grep -oE '[0-9]+ passed' log | awk '{ n += $1 } END { print n + 0 }' >passed
    # A run that was cut off, or a process that died, is no result.
    [ -s results.xml ] && [ "$(cat passed)" -gt 100 ] && ! grep -E 'CRASHED|TIMEOUT' log
)
expected() {
    check kms "$module" 3.0 && diff <(grep -v '^#' "$clients/pkcs11-check-failures.txt" | LC_ALL=C sort) "$work/kms/failed"
}
together attempt "pkcs11-check: only the listed tests fail" expected
together attempt "pkcs11-check: SoftHSM2" check softhsm "$softhsm" 2.40
finish_together
for name in kms softhsm; do
    say "pkcs11-check, $name: $(cat "$work/$name/passed") passed, $(wc -l <"$work/$name/failed") failed"
done

# shellcheck disable=SC2046
c_client() { gcc -std=c99 -g -D_GNU_SOURCE -Wall -Wextra -Werror -o "$work/openbao" "$clients/openbao.c" $(pkg-config --cflags p11-kit-1) -ldl; }
attempt "compile openbao.c" c_client
attempt "valgrind finds nothing in openbao.c" "${VALGRIND[@]}" "$work/openbao" "$module" orders 3
all_passed
