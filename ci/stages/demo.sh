#!/usr/bin/env bash
# examples/quickstart.c runs from an empty folder; FILE=path names a file to encrypt.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc
build_dev
file=${FILE:+$(realpath "$FILE")}
compile_c examples/quickstart.c target/demo/quickstart "$LIBRARY"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
target/demo/quickstart "$folder" README.md ${file:+"$file"}
