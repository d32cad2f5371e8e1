#!/usr/bin/env bash
# Each program of tests/c passes plain, the most important ones under AddressSanitizer with UBSan.
# A first step proves that the sanitizers detect faults.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc
build_dev
rm -rf target/c

# Those that hand over the most memory, and those that end threads.
SANITIZED=" batch byok call crypt data_key events file key log names outputs root rotation stream survey threads verify "

for fault in heap_overflow leak undefined; do
    compile_c ci/proof/fault.c "target/c/proof/$fault" "$LIBRARY" "-D$fault"
    compile_c ci/proof/fault.c "target/c/proof/$fault-sanitized" "$LIBRARY" "-D$fault" "${SANITIZE[@]}"
    attempt "proof: $fault runs through by itself" "target/c/proof/$fault"
    attempt "proof: the sanitizers see $fault" must_fail 1 "target/c/proof/$fault-sanitized"
done
all_passed

for source in tests/c/*.c; do
    together run_c_program plain "$source" --
    case $SANITIZED in *" $(basename "$source" .c) "*) together run_c_program sanitized "$source" -- "${SANITIZE[@]}" ;; esac
done
finish_together
all_passed
