#!/usr/bin/env bash
# libkms.so exports the functions of include/kms.h only, has its SONAME, is never unloaded, names no path of this machine.
. "$(dirname "$0")/../lib.sh"
need nm:binutils gcc:gcc
build_release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

same_functions() {
    gcc -E -P include/kms.h | grep -oE '\bkms_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u >"$work/declared"
    nm -D --defined-only "$LIBRARY" | awk '{ print $NF }' | sort -u >"$work/exported"
    [ -s "$work/declared" ] || { echo "include/kms.h declares nothing"; return 1; }
    diff "$work/declared" "$work/exported" || { echo "< declared in include/kms.h only, > exported only"; return 1; }
}
only_kms_names() { ! nm -D --defined-only "$LIBRARY" | awk '{ print $NF }' | grep -v '^kms_'; }
dynamic_has() { readelf -d "$LIBRARY" | tee "$work/dynamic" | grep -qE "$1" || { cat "$work/dynamic"; return 1; }; }
link_beside() { [ "$(readlink "$(dirname "$LIBRARY")/libkms.so.0")" = libkms.so ]; }
no_path_of_this_machine() {
    local path
    strings -a "$LIBRARY" >"$work/strings"
    printf '%s/\n' "$ROOT" "$(realpath target)" "${CARGO_HOME:-$HOME/.cargo}" "${RUSTUP_HOME:-$HOME/.rustup}" "$HOME" |
        sort -u >"$work/paths"
    printf '/%s/\n' home root registry/src target/release >>"$work/paths"
    ! grep -F -f <(grep -vx '//*' "$work/paths") "$work/strings" | sort | uniq -c | sort -rn
}

attempt "only kms_* is exported" only_kms_names
attempt "the exports are the header's functions" same_functions
attempt "SONAME is libkms.so.0" dynamic_has 'SONAME.*\[libkms\.so\.0\]'
attempt "NODELETE is set" dynamic_has 'FLAGS_1.*NODELETE'
attempt "OpenSSL is inside, not needed" eval '! readelf -d "$LIBRARY" | grep -E "NEEDED.*(crypto|ssl|sqlite)"'
attempt "libkms.so.0 lies beside it" link_beside
attempt "no path of this machine" no_path_of_this_machine
all_passed
