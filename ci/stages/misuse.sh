#!/usr/bin/env bash
# Every function of kms.h with every argument wrong in turn (tests/misuse/generate): plain, under ASAN with UBSan, under valgrind.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc valgrind:valgrind python3:python3
build_release
mkdir -p target/misuse
# These tests are not about the disk.
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm

tests/misuse/generate target/misuse/table.c
# No function may be left untested: the generator must fail for one that the table lacks.
must_refuse() { ! tests/misuse/generate target/misuse/unknown.c "$1"; }
sed 's/^size_t kms_last_error(/KMS_MUST_USE kms_status kms_newcomer(const struct kms_t *kms, const char *novelty);\n&/' \
    include/kms.h >target/misuse/newcomer.h
attempt "a function that tests/misuse/generate does not know is refused" must_refuse target/misuse/newcomer.h

compile_c target/misuse/table.c target/misuse/plain "$LIBRARY" -Itests/misuse tests/misuse/*.c
compile_c target/misuse/table.c target/misuse/sanitized "$LIBRARY" -Itests/misuse tests/misuse/*.c \
    "${SANITIZE[@]}"

attempt "misuse, plain" in_empty_folder "$ROOT/target/misuse/plain"
attempt "misuse, while memory is short" in_empty_folder "$ROOT/target/misuse/plain" short
attempt "misuse, on a small stack" in_empty_folder "$ROOT/target/misuse/plain" stack
attempt "misuse, sanitized" in_empty_folder "$ROOT/target/misuse/sanitized"
attempt "misuse, valgrind" in_empty_folder "${VALGRIND[@]}" "$ROOT/target/misuse/plain" quick
all_passed
