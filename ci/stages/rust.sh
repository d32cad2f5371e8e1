#!/usr/bin/env bash
# All Rust tests: unit, integration, documentation, and the kms command as a process. Campaigns (corruption, keystore, model)
# are short here, and tests/crash is only compiled.
. "$(dirname "$0")/../lib.sh"
need script:bsdutils
use_test_build
# Many tests wait for other processes.
RUST_TEST_THREADS=$((2 * $(nproc))) count_cargo cargo test --locked --workspace --no-fail-fast
