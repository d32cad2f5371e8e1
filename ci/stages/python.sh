#!/usr/bin/env bash
# One manylinux wheel of bindings/python: auditwheel, types, then all its tests in a fresh virtual environment.
. "$(dirname "$0")/../lib.sh"
need_cargo
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
need python3:python3 venv:python3-venv nm:binutils
use_prebuilt_openssl

# The tools, kept; and the environment of the tests, new each time.
tools=$ROOT/target/python-venv
requirements=bindings/python/requirements-test.txt
if ! cmp -s "$requirements" "$tools/requirements.txt"; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$requirements" </dev/null
    cp "$requirements" "$tools/requirements.txt"
fi
export PATH=$tools/bin:$PATH

wheels=$ROOT/target/python-wheels
rm -rf "$wheels"
(cd bindings/python && CARGO_TARGET_DIR=$ROOT/target/python-wheel maturin build --release --locked --zig \
    --compatibility manylinux_2_28 --interpreter python3 --out "$wheels" </dev/null)
wheel=$(echo "$wheels"/libkms-*.whl)
[ -f "$wheel" ] || die "no wheel was built"

fresh=$ROOT/target/python-fresh
rm -rf "$fresh"
python3 -m venv --without-pip "$fresh"
echo "$("$tools/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    >"$("$fresh/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tools.pth"
python -m pip --python "$fresh/bin/python" install --quiet --disable-pip-version-check --no-input --no-index --no-deps \
    "$wheel" </dev/null

runs_on_old_systems() { auditwheel show "$wheel" | tee /dev/stderr | tr -d '\n' | grep -q 'manylinux_2_28_\|manylinux_2_[12]._'; }
same_openssl() {
    diff <(grep -A1 '^name = "openssl-src"' Cargo.lock) <(grep -A1 '^name = "openssl-src"' bindings/python/Cargo.lock)
}
no_path_of_this_machine() {
    local folder
    folder=$(mktemp -d)
    python -m zipfile -e "$wheel" "$folder"
    printf '%s/\n' "$ROOT" "$(realpath target)" "${CARGO_HOME:-$HOME/.cargo}" "${RUSTUP_HOME:-$HOME/.rustup}" "$HOME" \
        /home /root /registry/src /target/release | grep -vx '//*' >"$folder/paths"
    strings -a "$folder"/libkms/_libkms.abi3.so >"$folder/strings"
    ! grep -F -f "$folder/paths" "$folder/strings" || return 1
    rm -rf "$folder"
}
clippy() { CARGO_TARGET_DIR=target/ci cargo clippy --locked --all-targets --manifest-path bindings/python/Cargo.toml -- -D warnings; }
unsafe_in_one_file() { [ "$(grep -rlE 'unsafe (\{|impl|fn|extern)' bindings/python/src)" = bindings/python/src/raw.rs ]; }
types() { (cd bindings/python && python -m mypy --python-executable "$fresh/bin/python" -p libkms); }
stub() { (cd "$(mktemp -d)" && "$fresh/bin/python" -m mypy.stubtest libkms --allowlist "$ROOT/bindings/python/stubtest-allowlist.txt"); }

attempt "cargo fmt of bindings/python" cargo fmt --check --manifest-path bindings/python/Cargo.toml
attempt "clippy of bindings/python" clippy
attempt "unsafe is in one file only" unsafe_in_one_file
attempt "the wheel runs on manylinux_2_28" runs_on_old_systems
attempt "its OpenSSL is the library's" same_openssl
attempt "it names no path of this machine" no_path_of_this_machine
attempt "mypy --strict" types
attempt "the stub is what the module is" stub

results=$(mktemp)
status=0
"$fresh/bin/python" -m pytest bindings/python/tests -q --rootdir bindings/python -c bindings/python/pyproject.toml \
    </dev/null 2>&1 | tee "$results" || status=$?
count "$(grep -oE '[0-9]+ passed' "$results" | tail -1 | grep -oE '[0-9]+' || echo 0)" \
    "$(grep -oE '[0-9]+ (failed|error)' "$results" | awk '{ n += $1 } END { print n + 0 }')"
rm -f "$results"
[ "$status" = 0 ] || die "tests of bindings/python failed"
all_passed
