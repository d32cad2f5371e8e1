#!/usr/bin/env bash
# No program compiled for the recorded ABI (ci/abi) is broken by kms.h; additions pass.
# A first step proves that breaks of each kind are seen.
# KMS_RECORD=1 records the ABI of kms.h: after additions, and after a deliberate break (with a new SONAME).
. "$(dirname "$0")/../lib.sh"
need gcc:gcc abidw:abigail-tools python3:python3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# abi_of HEADER FOLDER [RECORDED]: writes FOLDER/libkms.abi and names.txt; see library.py.
abi_of() {
    python3 ci/abi/library.py "$1" "$2" ${3:+"$3/names.txt"} &&
        (cd "$2" && gcc -std=c99 -g -w -shared -fPIC -Wl,-soname,libkms.so.0 -o libkms.so library.c &&
            abidw --no-corpus-path --no-comp-dir-path --no-show-locs --out-file libkms.abi libkms.so)
}
if [ -n "${KMS_RECORD:-}" ]; then
    abi_of include/kms.h "$work"
    cp "$work/libkms.abi" "$work/names.txt" ci/abi/
    exit 0
fi

# serves_recorded HEADER RECORDED: its types and functions by abidiff, its numbers line by line.
serves_recorded() {
    local folder
    folder=$(mktemp -d "$work/XXXXXX")
    abi_of "$1" "$folder" "$2" || return 2
    if ! abidiff --no-added-syms "$2/libkms.abi" "$folder/libkms.abi"; then
        echo "a program compiled for the recorded ABI would break. If that is meant: a new SONAME, and make abi"
        return 1
    fi
    if grep -v '^struct ' "$2/names.txt" | grep -vxF -f "$folder/names.txt"; then
        echo "these constants are gone or have another number; compiled programs have the old one"
        return 1
    fi
}

# The proof uses the current kms.h, so that it does not depend on the recorded ABI.
mkdir "$work/now"
abi_of include/kms.h "$work/now"
changed() {
    sed -E "$1" include/kms.h >"$work/changed.h"
    ! cmp -s include/kms.h "$work/changed.h" || { echo "nothing was changed: $1"; return 1; }
}
is_seen() { changed "$1" && { serves_recorded "$work/changed.h" "$work/now"; [ $? = 1 ]; }; }
passes() { changed "$1" && serves_recorded "$work/changed.h" "$work/now"; }

attempt "proof: a removed function is seen" is_seen '/^void kms_string_free\(/d'
attempt "proof: another parameter is seen" is_seen 's/int64_t timeout_ms\)/int32_t timeout_ms)/'
attempt "proof: another result is seen" is_seen 's/^size_t kms_last_error/int32_t kms_last_error/'
attempt "proof: a member in the middle is seen" is_seen 's/^    uint64_t version_count;/&\n    uint64_t another;/'
attempt "proof: a removed member is seen" is_seen '/^    int64_t delete_date_ms;/d'
attempt "proof: another type of a member is seen" is_seen 's/^    uint64_t number;/    uint32_t number;/'
attempt "proof: growth of a struct without struct_size is seen" is_seen 's/^    const char \*value;/&\n    int32_t more;/'
attempt "proof: another callback is seen" is_seen 's/^typedef int64_t \(\*kms_clock_fn\)\(void \*user\)/typedef int64_t (*kms_clock_fn)(void *user, int32_t more)/'
attempt "proof: another number is seen" is_seen 's/^#define KMS_KEY_NOT_FOUND 200/#define KMS_KEY_NOT_FOUND 204/'
attempt "proof: a longer id is seen" is_seen 's/^#define KMS_ID_SIZE 37/#define KMS_ID_SIZE 38/'
attempt "proof: growth doesn't hide another change" is_seen 's/^    uint64_t rotation_failures;/    uint32_t rotation_failures;/; s/^    uint64_t generation;/&\n    int64_t more;/'
attempt "proof: a new function passes" passes 's/^void kms_close\(/void kms_more(struct kms_t *kms);\n&/'
attempt "proof: a new constant passes" passes 's/^#define KMS_OK 0/&\n#define KMS_MORE 999/'
attempt "proof: a sized struct may grow at its end" passes 's/^    int32_t service_managed;/&\n    int64_t more_ms;/'
all_passed

recorded_whole() { [ -s ci/abi/libkms.abi ] && [ -s ci/abi/names.txt ]; }
attempt "an ABI is recorded" recorded_whole
attempt "the recorded ABI is served" serves_recorded include/kms.h "$ROOT/ci/abi"
all_passed
