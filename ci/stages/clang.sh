#!/usr/bin/env bash
# The tests of the C++ headers under ASAN with UBSan with clang++ as C++20, and the release library.
. "$(dirname "$0")/../lib.sh"
need clang++:clang
need clang-sanitizers:"libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
exec bash ci/stages/cpp.sh clang++
