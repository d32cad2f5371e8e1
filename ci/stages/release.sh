#!/usr/bin/env bash
# `cargo build --release` makes the library, OpenSSL from source included.
. "$(dirname "$0")/../lib.sh"
build_release
[ -f "$LIBRARY" ] || die "$LIBRARY is missing"
