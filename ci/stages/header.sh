#!/usr/bin/env bash
# include/kms.h matches src/ffi; it compiles alone and twice, without a warning, as C99, C11, C++11 and C++17.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc g++:g++
use_test_build
header=$ROOT/include/kms.h
attempt "include/kms.h is what src/ffi says" cargo run --quiet --locked --package xtask -- header --check
mkdir -p target/c
printf '#include "%s"\n#include "%s"\nint main(void) { return 0; }\n' "$header" "$header" >target/c/header.c
compile_alone() { "$1" -x "$2" -std="$3" -Wall -Wextra -Wpedantic -Werror -fsyntax-only target/c/header.c; }
for standard in c99 c11; do attempt "header as $standard" compile_alone gcc c "$standard"; done
for standard in c++11 c++17; do attempt "header as $standard" compile_alone g++ c++ "$standard"; done
all_passed
