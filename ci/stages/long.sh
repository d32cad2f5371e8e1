#!/usr/bin/env bash
# Long runs of the tests that a reader can make longer still: KMS_LONG=10 ci/stage long.
. "$(dirname "$0")/../lib.sh"
need_cargo
use_prebuilt_openssl
export CARGO_TARGET_DIR=target/ci KMS_LONG=${KMS_LONG:-1}
# One line for each target of tests/.
count_cargo cargo test --locked --no-fail-fast --features faults --test crash -- --nocapture
