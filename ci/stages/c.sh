#!/usr/bin/env bash
# The C programs of tests/c: plain, under AddressSanitizer with UBSan, under valgrind; first, that both would notice.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc valgrind:valgrind
build_release
rm -rf target/c

SANITIZE=(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
VALGRIND=(valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite
    --trace-children=no --fair-sched=try)

# must_fail STATUS COMMAND...: the tool finds the fault that the program has.
must_fail() {
    local wanted=$1 status=0
    shift
    "$@" || status=$?
    [ "$status" = "$wanted" ] || { say "exit $status, not $wanted: $*"; return 1; }
}
for fault in heap_overflow leak undefined; do
    source=ci/proof/$fault.c
    compile_c "$source" "target/c/proof/$fault" "$LIBRARY"
    compile_c "$source" "target/c/proof/$fault-sanitized" "$LIBRARY" "${SANITIZE[@]}"
    attempt "proof: $fault runs through by itself" "target/c/proof/$fault"
    attempt "proof: the sanitizers see $fault" must_fail 1 "target/c/proof/$fault-sanitized"
    [ "$fault" = undefined ] || attempt "proof: valgrind sees $fault" must_fail 9 "${VALGRIND[@]}" "target/c/proof/$fault"
done
all_passed

run_c_programs plain "$LIBRARY" --
run_c_programs sanitized "$LIBRARY" -- "${SANITIZE[@]}"
run_c_programs valgrind "$LIBRARY" "${VALGRIND[@]}" --
all_passed
