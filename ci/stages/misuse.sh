#!/usr/bin/env bash
# Every function of kms.h called wrongly in every way, by a program generated from it: plain and sanitized.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc python3:python3
build_release
rm -rf target/misuse
mkdir -p target/misuse

# The generator refuses what it doesn't know, and so what nobody would try.
sed 's/kms_enable_key(const struct kms_t \*kms/kms_enable_key(const struct kms_other *kms/' include/kms.h >target/misuse/other.h
if ci/misuse target/misuse/other.h >/dev/null 2>&1; then
    die "ci/misuse takes a function whose parameters it doesn't know"
fi
count 1 0
ci/misuse include/kms.h >target/misuse/functions.h

# "quick" leaves out the calls that make RSA pairs by the hundred.
run_misuse() {
    local kind=$1
    shift
    attempt "misuse, $kind" in_empty_folder env KMS_MISUSE="$kind" "$@"
}
compile_misuse() { compile_c tests/misuse/misuse.c "target/misuse/$1" "$LIBRARY" -Itests/misuse -Itarget/misuse "${@:2}"; }
compile_misuse plain
compile_misuse sanitized -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
run_misuse plain "$ROOT/target/misuse/plain"
run_misuse quick "$ROOT/target/misuse/sanitized"
all_passed
