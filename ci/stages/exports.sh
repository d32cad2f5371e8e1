#!/usr/bin/env bash
# libkms.so exports the functions of include/kms.h only, has its SONAME, needs no OpenSSL, is never unloaded.
. "$(dirname "$0")/../lib.sh"
need nm:binutils gcc:gcc
[ "${1:-}" = release ] || build_dev
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

gcc -E -P include/kms.h | { grep -oE '\bkms_[a-z0-9_]+\(' || true; } | tr -d ' (' | sort -u >"$work/declared"
nm -D --defined-only "$LIBRARY" | awk '{ print $NF }' | sort -u >"$work/exported"
readelf -d "$LIBRARY" >"$work/dynamic"
for list in declared exported dynamic; do [ -s "$work/$list" ] || die "$list: nothing found"; done

same_functions() {
    diff "$work/declared" "$work/exported" || { echo "< declared in include/kms.h only, > exported only"; return 1; }
}
only_kms_names() { ! grep -v '^kms_' "$work/exported"; }
dynamic_has() { grep -qE "$1" "$work/dynamic" || { cat "$work/dynamic"; return 1; }; }
needs_no_openssl() { ! grep -E 'NEEDED.*(crypto|ssl|sqlite)' "$work/dynamic"; }
link_beside() { [ "$(readlink "$(dirname "$LIBRARY")/libkms.so.0")" = libkms.so ]; }

attempt "only kms_* is exported" only_kms_names
attempt "the exports are the header's functions" same_functions
attempt "SONAME is libkms.so.0" dynamic_has 'SONAME.*\[libkms\.so\.0\]'
attempt "NODELETE is set" dynamic_has 'FLAGS_1.*NODELETE'
attempt "OpenSSL is inside, not needed" needs_no_openssl
attempt "libkms.so.0 lies beside it" link_beside
all_passed
