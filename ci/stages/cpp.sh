#!/usr/bin/env bash
# The C++ headers: each compiles alone, they use all of kms.h and define no macro; their tests pass under ASAN with g++ as C++17.
. "$(dirname "$0")/../lib.sh"
need g++:g++ python3:python3
compiler=g++
# The stage clang: the tests with another compiler and UBSan too, with the release library.
[ "${1:-}" != clang++ ] || compiler=clang++
if [ "$compiler" = g++ ]; then build_dev; else build_release; fi
headers=bindings/cpp/include
out=$ROOT/target/cpp
version=$(package_version)
mkdir -p "$out"
STRICT=(-std=c++17 -Wall -Wextra -Wpedantic -Wshadow -Werror -I"$ROOT/include" -I"$ROOT/$headers")
SANITIZE=(-g1 -fsanitize=address -fno-omit-frame-pointer)

bindings/cpp/tests/coverage --statuses include/kms.h >"$out/statuses.inc"

headers_hold() {
    rm -rf "$out/less"
    # Coverage: a function, constant or member of kms.h that no header uses fails; first, that it would.
    covers() { bindings/cpp/tests/coverage "${1:-include/kms.h}" "${2:-$headers/kms}"; }
    misses() {
        local said
        if said=$(covers "$1" "$2"); then return 1; fi
        grep -q "^$3 " <<<"$said"
    }
    sed 's/^void kms_close(/void kms_more(struct kms_t *kms);\n&/; s/^#define KMS_OK 0/&\n#define KMS_MORE 999/' include/kms.h >"$out/more.h"
    cp -r "$headers/kms" "$out/less"
    sed -i 's/kms_tick(/kms_tock(/; s/kms_rotate(/kms_rotten(/' "$out/less/rotation.hpp"
    attempt "proof: a function that is new in kms.h is missed" misses "$out/more.h" "$headers/kms" kms_more
    attempt "proof: a constant that is new in kms.h is missed" misses "$out/more.h" "$headers/kms" KMS_MORE
    attempt "proof: a call that C++ lost is missed" misses include/kms.h "$out/less" kms_tick
    attempt "all of kms.h is used" covers

    no_macro() { ! grep -nE '^\s*#\s*(define|undef)' "$headers"/kms/*.hpp; }
    macros() { { echo "#include <$1>"; } | g++ "${STRICT[@]}" -x c++ -dM -E - | sed -n 's/^#define \(\(KMS\|kms\)[A-Za-z0-9_]*\).*/\1/p' | sort; }
    no_other_macro() { diff <(macros kms.h) <(macros kms/kms.hpp); }
    attempt "no header defines a macro" no_macro
    attempt "kms.hpp brings the macros of kms.h only" no_other_macro

    # Each alone, and twice.
    alone() {
        local header
        for header in "$headers"/kms/*.hpp; do
            printf '#include <kms/%s>\n#include <kms/%s>\n' "$(basename "$header")" "$(basename "$header")" >"$out/alone-$(basename "$header").cpp"
        done
        printf '%s\0' "$out"/alone-*.cpp | xargs -0 -n 1 -P "$(nproc)" "$1" "${STRICT[@]}" -fsyntax-only
    }
    newer() { printf '#include <kms/kms.hpp>\n' | g++ "${STRICT[@]}" -std="$1" -x c++ -fsyntax-only -; }
    readme() {
        sed -n '/^```cpp$/,/^```$/p' README.md | sed '1d;$d' >"$out/readme.txt" && [ -s "$out/readme.txt" ] &&
            { grep '^#include' "$out/readme.txt"; echo 'int main() {'; grep -v '^#include' "$out/readme.txt"; echo '}'; } >"$out/readme.cpp" &&
            g++ -std=c++17 -Iinclude -I"$headers" -o "$out/readme" "$out/readme.cpp" -L"$(dirname "$LIBRARY")" \
                -Wl,-rpath,"$ROOT/$(dirname "$LIBRARY")" -lkms && in_empty_folder "$out/readme"
    }
    attempt "the README's lines compile and run" readme
    attempt "each header alone" alone g++
    attempt "all of them as C++20" newer c++20
    attempt "all of them as C++23" newer c++23
}
[ "$compiler" != g++ ] || headers_hold

# All tests are one program: kms.hpp is included in each of its files, and must link.
compile() {
    rm -rf "${out:?}/$1"
    mkdir -p "$out/$1"
    (cd "$out/$1" && printf '%s\0' "$ROOT"/bindings/cpp/tests/*.cpp | xargs -0 -n 1 -P "$(nproc)" \
        "$1" "${STRICT[@]}" "${SANITIZE[@]}" "-DVERSION=\"$version\"" -I"$out" -c) &&
        "$1" "${SANITIZE[@]}" -o "$out/$1/tests" "$out/$1"/*.o -L"$(dirname "$LIBRARY")" \
            -Wl,-rpath,"$ROOT/$(dirname "$LIBRARY")" -lkms -pthread
}
is_sanitized() { nm "$out/$1/tests" | grep "$2" >/dev/null; }
run() {
    local log status=0
    log=$(mktemp)
    in_empty_folder "$out/$1/tests" | tee "$log" || status=$?
    count "$(grep -c '^passed ' "$log")" "$(grep -c '^FAILED ' "$log" || true)"
    rm -f "$log"
    [ "$status" = 0 ] || { say "FAILED: tests with $1"; ATTEMPTS_FAILED=1; }
}
# UBSan once: it finds the same with either, and doubles what g++ needs. So with the later language version: what a literal or
# a temporary turns into depends on it.
if [ "$compiler" = clang++ ]; then
    SANITIZE+=(-fsanitize=undefined -fno-sanitize-recover=all)
    STRICT+=(-std=c++20)
fi
attempt "$compiler: the tests compile without a warning" compile "$compiler"
all_passed
attempt "$compiler: AddressSanitizer is there" is_sanitized "$compiler" __asan_init
[ "$compiler" = g++ ] || attempt "$compiler: UBSan is there" is_sanitized "$compiler" __ubsan_handle
run "$compiler"
all_passed
