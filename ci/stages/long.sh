#!/usr/bin/env bash
# Long runs of the tests that a reader can make longer still: KMS_LONG=10 ci/stage long.
. "$(dirname "$0")/../lib.sh"
need_cargo
use_prebuilt_openssl
export CARGO_TARGET_DIR=target/ci KMS_LONG=${KMS_LONG:-1}
# The keystore's long counts, and the model's, have variables of their own.
export KMS_TEST_SCALE=${KMS_TEST_SCALE:-$KMS_LONG} KMS_MODEL_SEQUENCES=${KMS_MODEL_SEQUENCES:-$((100000 * KMS_LONG))}

# long TARGET [FILTER]: each ends within two hours for each unit of KMS_LONG, or has failed.
long() {
    local target=$1
    shift
    count_cargo timeout $((7200 * KMS_LONG)) cargo test --locked --no-fail-fast --features faults --test "$target" -- "$@" \
        --nocapture
}
long crash
long keystore
long corruption
long model
long contract clock::
