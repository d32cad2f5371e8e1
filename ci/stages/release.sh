#!/usr/bin/env bash
# `make build` builds the library and the command, including OpenSSL from source.
# The library exports what it must, the command nothing. Neither contains a fault switch or a path of this machine.
. "$(dirname "$0")/../lib.sh"
build_release
[ -f "$LIBRARY" ] || die "$LIBRARY is missing"
bash ci/stages/exports.sh release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
strings -a "$LIBRARY" >"$work/strings"
[ -s "$work/strings" ] || die "no strings in $LIBRARY"

# First, that a switch would be seen.
must_not_pass() { ! "$@"; }
grep -rhoE 'KMS_FAULT_[A-Z_]+' src | head -1 >"$work/switch"
attempt "no path of this machine" no_path_of_this_machine "$work/strings"
attempt "proof: a fault switch is seen" must_not_pass no_fault_switch "$work/switch"
attempt "no fault switch is compiled in" no_fault_switch "$work/strings"
strings -a "$COMMAND" >"$work/command"
exports_nothing() { ! nm -D --defined-only "$COMMAND" | grep ' kms_'; }
attempt "kms exports nothing" exports_nothing
attempt "kms names no path of this machine" no_path_of_this_machine "$work/command"
attempt "kms has no fault switch" no_fault_switch "$work/command"
build_pkcs11
strings -a "$MODULE" >"$work/module"
exports_pkcs11() { [ "$(nm -D --defined-only "$MODULE" | awk '{ print $3 }' | xargs)" = "C_GetFunctionList C_GetInterface C_GetInterfaceList" ]; }
attempt "the PKCS#11 module exports its three functions" exports_pkcs11
attempt "the PKCS#11 module names no path of this machine" no_path_of_this_machine "$work/module"
attempt "the PKCS#11 module has no fault switch" no_fault_switch "$work/module"
all_passed
