#!/usr/bin/env bash
# Each program of tests/c passes under valgrind with the release library, and the ones that `c` leaves out under the sanitizers.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc valgrind:valgrind
build_release
rm -rf target/c/valgrind target/c/sanitized

for fault in heap_overflow leak; do
    compile_c ci/proof/fault.c "target/c/proof/$fault" "$LIBRARY" "-D$fault"
    attempt "proof: valgrind sees $fault" must_fail 9 "${VALGRIND[@]}" "target/c/proof/$fault"
done
all_passed

for source in tests/c/*.c; do
    together run_c_program sanitized "$source" -- "${SANITIZE[@]}"
    # The children of these programs don't free memory of other threads at the fork, nor of their parent's handles, streams or
    # surveys. valgrind takes that for leaks of the child. So it checks accesses only; the stage c checks leaks.
    more=()
    case $source in
    tests/c/crowded.c | tests/c/file.c | tests/c/stream.c | tests/c/survey.c) more=(--leak-check=no) ;;
    esac
    together run_c_program valgrind "$source" "${VALGRIND[@]}" ${more[@]+"${more[@]}"} --
done
finish_together
all_passed
