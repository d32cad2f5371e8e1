#!/usr/bin/env bash
# The hot path takes no more instructions than ci/instructions.txt says, to 5 %; KMS_RECORD=1 writes that file.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc valgrind:valgrind
build_release

RECORD=ci/instructions.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
compile_c ci/instructions.c "$work/program" "$LIBRARY" -O2

# What would make another CPU take other code: glibc's string functions. libcrypto takes its code for the CPU that valgrind
# shows, which has AVX2 wherever the machine does.
export GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX512VL,-AVX512BW,-ERMS,-FSRM,-BMI2,-RTM,-MOVBE

# instructions WHAT SIZE: of one call.
instructions() {
    valgrind --tool=callgrind --callgrind-out-file="$work/out" --collect-atstart=no --toggle-collect=measured \
        "$work/program" "$1" "$2" >"$work/calls" 2>"$work/log" || { cat "$work/log" >&2; return 1; }
    local collected
    collected=$(sed -n 's/^==[0-9]*== Collected : //p' "$work/log")
    echo $((collected / $(cat "$work/calls")))
}

toolchain() {
    rustc --version
    valgrind --version
    gcc -dumpfullversion | sed 's/^/gcc /'
    getconf GNU_LIBC_VERSION
}

if [ -n "${KMS_RECORD:-}" ]; then
    {
        echo "# Instructions of one call as callgrind counts them, and what built and ran it: KMS_RECORD=1 ci/stage instructions"
        for what in encrypt decrypt; do
            for size in 64 4096; do
                echo "$what $size $(instructions "$what" "$size")"
            done
        done
        toolchain | sed 's/^/made with /'
    } >"$work/record"
    mv "$work/record" "$RECORD"
    cat "$RECORD" >&2
    exit 0
fi

# compare WHAT SIZE RECORDED: at most 5 % more. Also no less by more, or the next regression would hide behind it.
compare() {
    local found
    found=$(instructions "$1" "$2") || return 1
    say "$1 $2 B: $found instructions, $3 recorded"
    [ $((found * 100)) -le $(($3 * 105)) ] || { say "the hot path has become longer"; return 1; }
    [ $((found * 100)) -ge $(($3 * 95)) ] ||
        { say "the hot path has become shorter; record it: KMS_RECORD=1 make test-all STAGE=instructions"; return 1; }
}

toolchain | sed 's/^/made with /' >"$work/ours"
if ! diff <(grep '^made with' "$RECORD") "$work/ours" >"$work/other"; then
    say "recorded with other tools, which may count differently; if nothing else has changed, record again:"
    say "KMS_RECORD=1 make test-all STAGE=instructions"
    cat "$work/other" >&2
fi
recorded=0
while read -r what size figure; do
    attempt "$what $size B takes $figure instructions" compare "$what" "$size" "$figure"
    recorded=$((recorded + 1))
done < <(grep -E '^(encrypt|decrypt) ' "$RECORD")
[ "$recorded" = 4 ] || die "$RECORD: $recorded figures, not 4"
all_passed
