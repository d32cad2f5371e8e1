#!/usr/bin/env bash
# libkms.so exports the functions of include/kms.h only, has its SONAME, is never unloaded, names no path of this machine.
. "$(dirname "$0")/../lib.sh"
need nm:binutils gcc:gcc
build_release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

gcc -E -P include/kms.h | { grep -oE '\bkms_[a-z0-9_]+\(' || true; } | tr -d ' (' | sort -u >"$work/declared"
nm -D --defined-only "$LIBRARY" | awk '{ print $NF }' | sort -u >"$work/exported"
readelf -d "$LIBRARY" >"$work/dynamic"
strings -a "$LIBRARY" >"$work/strings"
for list in declared exported dynamic strings; do [ -s "$work/$list" ] || die "$list: nothing found"; done

same_functions() {
    diff "$work/declared" "$work/exported" || { echo "< declared in include/kms.h only, > exported only"; return 1; }
}
only_kms_names() { ! grep -v '^kms_' "$work/exported"; }
dynamic_has() { grep -qE "$1" "$work/dynamic" || { cat "$work/dynamic"; return 1; }; }
needs_no_openssl() { ! grep -E 'NEEDED.*(crypto|ssl|sqlite)' "$work/dynamic"; }
link_beside() { [ "$(readlink "$(dirname "$LIBRARY")/libkms.so.0")" = libkms.so ]; }
no_path_of_this_machine() {
    printf '%s/\n' "$ROOT" "$(realpath target)" "${CARGO_HOME:-$HOME/.cargo}" "${RUSTUP_HOME:-$HOME/.rustup}" "$HOME" \
        /home /root /registry/src /target/release | grep -vx '//*' >"$work/paths"
    ! grep -F -f "$work/paths" "$work/strings"
}

attempt "only kms_* is exported" only_kms_names
attempt "the exports are the header's functions" same_functions
attempt "SONAME is libkms.so.0" dynamic_has 'SONAME.*\[libkms\.so\.0\]'
attempt "NODELETE is set" dynamic_has 'FLAGS_1.*NODELETE'
attempt "OpenSSL is inside, not needed" needs_no_openssl
attempt "libkms.so.0 lies beside it" link_beside
attempt "no path of this machine" no_path_of_this_machine
all_passed
