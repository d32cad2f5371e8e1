#!/usr/bin/env bash
# One manylinux_2_28 wheel of bindings/python: auditwheel, no path of this machine, no fault switch.
# In a fresh environment it passes the tests of calls, processes and packaging.
. "$(dirname "$0")/../lib.sh"
need nm:binutils
use_python
wheels=$ROOT/target/python-wheels
rm -rf "$wheels"
packaging/wheel "$wheels" manylinux_2_28
python -m pip install --quiet --disable-pip-version-check --no-input -r bindings/python/requirements-wheel.txt </dev/null
wheel=$(echo "$wheels"/libkms-*.whl)
[ -f "$wheel" ] || die "no wheel was built"
site=$ROOT/target/python-wheel/site
rm -rf "$site"
python -m pip install --quiet --disable-pip-version-check --no-input --no-index --no-deps --target "$site" "$wheel" </dev/null
make_python_environment "$site"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
strings -a "$site"/libkms/_libkms.abi3.so >"$work/strings"
[ -s "$work/strings" ] || die "no strings in the module"
runs_on_old_systems() { auditwheel show "$wheel" | tee /dev/stderr | tr -d '\n' | grep -q 'manylinux_2_28_\|manylinux_2_[12]._'; }
attempt "the wheel runs on manylinux_2_28" runs_on_old_systems
attempt "it names no path of this machine" no_path_of_this_machine "$work/strings"
attempt "no fault switch is compiled in" no_fault_switch "$work/strings"
python_tests bindings/python/tests/test_{calls,processes,package,documentation}.py
all_passed
