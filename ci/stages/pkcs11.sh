#!/usr/bin/env bash
# The PKCS#11 module: clippy, its exports, its own tests, and programs that speak PKCS#11 while the key rotates.
. "$(dirname "$0")/../lib.sh"
need nm:binutils gcc:gcc
need_cargo
use_test_build
# cargo writes libkms with and without its C functions to the same path in target/ci, and sees no difference. So this stage and
# the next one each build it again.
forget_libkms
work=$(mktemp -d)
trap 'rm -rf "$work"; forget_libkms' EXIT

manifest=pkcs11/Cargo.toml
attempt "clippy of pkcs11" cargo clippy --locked --all-targets --manifest-path "$manifest" -- -D warnings
unsafe_in_ffi() { ! grep -rlE 'unsafe (\{|impl|fn|extern)' pkcs11/src | grep -v '^pkcs11/src/ffi/'; }
same_openssl() {
    diff <(grep -A1 '^name = "openssl-src"' Cargo.lock) <(grep -A1 '^name = "openssl-src"' pkcs11/Cargo.lock)
}
attempt "unsafe is in ffi only" unsafe_in_ffi
attempt "its OpenSSL is the library's" same_openssl
count_cargo cargo test --locked --manifest-path "$manifest"

module=$ROOT/target/ci/debug/deps/libkms_pkcs11.so
three_exports() { [ "$(nm -D --defined-only "$module" | awk '{ print $3 }' | xargs)" = "C_GetFunctionList C_GetInterface C_GetInterfaceList" ]; }
stays_loaded() { readelf -d "$module" | grep -q 'FLAGS_1.*NODELETE'; }
attempt "it exports three functions" three_exports
attempt "it is never unloaded" stays_loaded
all_passed

# Clients of the module, each in a separate process, while the key rotates every second.
need pkcs11-tool:opensc p11tool:gnutls-bin javac:default-jdk-headless python3:python3 venv:python3-venv
need pkg-config:pkg-config p11-kit-1.pc:libp11-kit-dev
cargo build --quiet --locked --package kms-cli
kms=$ROOT/target/ci/debug/kms
clients=$ROOT/pkcs11/tests/clients
seconds=${KMS_PKCS11_SECONDS:-20}

venv=$ROOT/target/pkcs11-venv
if ! cmp -s "$clients/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$clients/requirements.txt" </dev/null
    "$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-binary python-pkcs11 --no-deps --dest "$venv/sdist" \
        "$(grep '^python-pkcs11==' "$clients/requirements.txt")" </dev/null
    tar -xzf "$venv"/sdist/python_pkcs11-*.tar.gz -C "$venv/sdist" --strip-components=1
    # The folder of the sources would hide the installed module.
    mv "$venv/sdist/pkcs11" "$venv/sdist/sources"
    cp "$clients/requirements.txt" "$venv/requirements.txt"
fi

# token NAME: creates an empty keystore with its configuration, in a separate folder.
token() {
    mkdir "$work/$1"
    (cd "$work/$1" && "$kms" --root-key-file root.key init && "$kms" pkcs11 config pkcs11.toml --label cards) >/dev/null
}
kms() { (cd "$work/rotating" && "$kms" "$@"); }

token rotating
export KMS_PKCS11_CONF=$work/rotating/pkcs11.toml
kms key create orders --rotate-every 1s >/dev/null
printf 'name = kms\nlibrary = %s\nslotListIndex = 0\n' "$module" >"$work/java.cfg"
# shellcheck disable=SC2046
c_client() { gcc -std=c99 -D_GNU_SOURCE -Wall -Wextra -Werror -o "$work/openbao" "$clients/openbao.c" $(pkg-config --cflags p11-kit-1) -ldl; }
attempt "compile openbao.c" c_client
together attempt "C, as OpenBao calls it" timeout $((seconds + 120)) "$work/openbao" "$module" orders "$seconds"
together attempt "Java: KeyStore and Cipher of SunPKCS11" timeout $((seconds + 120)) java "$clients/Rotation.java" "$work/java.cfg" "$seconds"
together attempt "python-pkcs11" timeout $((seconds + 120)) "$venv/bin/python" "$clients/rotation.py" "$module" "$seconds"
tool_rotates() {
    local status=0
    timeout $((seconds + 300)) "$clients/rotation_tool.sh" "${PKCS11_TOOL:-pkcs11-tool}" "$module" orders "$seconds" || status=$?
    [ "$status" != 77 ] || echo "pkcs11-tool has no AES-GCM before OpenSC 0.26; PKCS11_TOOL=path runs this with another" | tee "$work/skipped"
    [ "$status" = 0 ] || [ "$status" = 77 ]
}
together attempt "pkcs11-tool" tool_rotates
finish_together
[ ! -e "$work/skipped" ] || say "not run: $(cat "$work/skipped")"
rotated() { [ "$(kms call ListKeyVersions '{"KeyId":"alias/orders"}' | grep -o KeyVersionId | wc -l)" -gt 5 ]; }
attempt "the key rotated meanwhile" rotated
users() { kms status | grep -A9 '^PKCS#11 ' >"$work/users" && grep openbao "$work/users" && grep java "$work/users" && grep python "$work/users"; }
attempt "kms status names the programs" users
kms key disable orders >/dev/null
disabled() { must_fail 1 "$work/openbao" "$module" orders 1 2>&1 | grep 0x68 >/dev/null; }
attempt "a disabled key refuses" disabled

token tools
export KMS_PKCS11_CONF=$work/tools/pkcs11.toml
tool() { pkcs11-tool --module "$module" "$@"; }
objects() { tool --list-objects --type secrkey 2>/dev/null | grep -c 'label:' || true; }
keygen() { tool --keygen --key-type AES:32 --label cards && [ "$(objects)" = 1 ]; }
delete() { tool --delete-object --type secrkey --label cards && [ "$(objects)" = 0 ]; }
attempt "pkcs11-tool: slots and mechanisms" tool --list-slots --list-mechanisms
attempt "pkcs11-tool: a key is made" keygen
attempt "pkcs11-tool: --test" tool --test
attempt "p11tool sees the key" sh -c "p11tool --provider '$module' --list-all 'pkcs11:token=cards' | grep 'Label: cards'"
attempt "pkcs11-tool: the key is deleted" delete

# The client's own tests; only those listed fail.
own_tests() (
    cd "$venv/sdist"
    PKCS11_MODULE=$module PKCS11_TOKEN_LABEL=cards PKCS11_TOKEN_PIN=1234 PKCS11_TOKEN_SO_PIN=1234 timeout 120 \
        "$venv/bin/python" -m pytest -q -rf tests/test_aes.py tests/test_sessions.py tests/test_slots_and_tokens.py \
        tests/test_iterators.py tests/test_threading.py >"$work/results" 2>&1 || true
    cat "$work/results"
    grep -E '[0-9]+ passed' "$work/results" >/dev/null &&
        diff <(grep -v '^#' "$clients/python-pkcs11-failures.txt") <(sed -n 's/^FAILED \([^ ]*\).*/\1/p' "$work/results" | sort)
)
attempt "python-pkcs11's own tests" own_tests
all_passed
