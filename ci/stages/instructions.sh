#!/usr/bin/env bash
# The hot path takes the instructions of ci/instructions.txt, within 5 %; KMS_RECORD=1 writes that file.
. "$(dirname "$0")/../lib.sh"
need gcc:gcc valgrind:valgrind
build_release

RECORD=ci/instructions.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
compile_c ci/instructions.c "$work/program" "$LIBRARY" -O2

# Only glibc's string functions would use different code on another CPU. libcrypto chooses its code for the CPU that valgrind
# emulates, which has AVX2 if the machine does.
export GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX512VL,-AVX512BW,-ERMS,-FSRM,-BMI2,-RTM,-MOVBE

# instructions WHAT SIZE ENTRIES: of one message, then those of them that are the library's own: of the exported function
# without what it calls of the provider in libcrypto, and of the program's clock.
instructions() {
    valgrind --tool=callgrind --callgrind-out-file="$work/out" --compress-strings=no --collect-atstart=no \
        --toggle-collect=measured "$work/program" "$1" "$2" "$3" >"$work/calls" 2>"$work/log" ||
        { cat "$work/log" >&2; return 1; }
    awk -v calls="$(cat "$work/calls")" '
        /^summary: / { all = $2 }
        /^cfn=/ { sign = /^cfn=kms_/ ? 1 : /^cfn=(ossl_gcm_(einit|dinit|stream_update|stream_final|get_ctx_params)|clock_gettime)$/ ? -1 : 0 }
        /^calls=/ { getline; own += sign * $2 }
        END { print int(all / calls), int(own / calls) }' "$work/out"
}

toolchain() {
    rustc --version
    valgrind --version
    gcc -dumpfullversion | sed 's/^/gcc /'
    getconf GNU_LIBC_VERSION
    grep -m 1 -ow rdrand /proc/cpuinfo || true
}

if [ -n "${KMS_RECORD:-}" ]; then
    {
        echo "# Call, bytes, entries of context; instructions for one message as callgrind counts them, and the library's own of them."
        echo "# Then what built and ran it. KMS_RECORD=1 ci/stage instructions writes this."
        for message in {encrypt,decrypt}\ {"64 0","64 1","4096 0"} "batch 64 0" "batch 64 1"; do
            # shellcheck disable=SC2086
            echo "$message $(instructions $message)"
        done
        toolchain | sed 's/^/made with /'
    } >"$work/record"
    mv "$work/record" "$RECORD"
    cat "$RECORD" >&2
    exit 0
fi

# compare WHAT SIZE ENTRIES ALL OWN: within 5 %. A larger decrease fails too, or it would hide the next regression.
compare() {
    local all own recorded
    read -r all own < <(instructions "$1" "$2" "$3") || return 1
    say "$1 $2 B, $3 entries: $all instructions, $own of them the library's; recorded: $4, $5"
    for recorded in "$all $4" "$own $5"; do
        within "${recorded% *}" "${recorded#* }" || return 1
    done
}

# within FOUND RECORDED
within() {
    [ $(($1 * 100)) -le $(($2 * 105)) ] || { say "the hot path has become longer"; return 1; }
    [ $(($1 * 100)) -ge $(($2 * 95)) ] ||
        { say "the hot path has become shorter; record it: KMS_RECORD=1 make test-all STAGE=instructions"; return 1; }
}

toolchain | sed 's/^/made with /' >"$work/ours"
if ! diff <(grep '^made with' "$RECORD") "$work/ours" >"$work/other"; then
    say "recorded with other tools, which may count differently; if nothing else has changed, record again:"
    say "KMS_RECORD=1 make test-all STAGE=instructions"
    cat "$work/other" >&2
fi
recorded=0
while read -r what size entries all own; do
    attempt "$what $size B with $entries entries takes $all instructions" compare "$what" "$size" "$entries" "$all" "$own"
    recorded=$((recorded + 1))
done < <(grep -E '^(encrypt|decrypt|batch) ' "$RECORD")
[ "$recorded" = 8 ] || die "$RECORD: $recorded calls, not 8"
all_passed
