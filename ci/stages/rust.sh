#!/usr/bin/env bash
# All Rust tests: unit, integration, documentation, and the kms command as a process. Campaigns (crash, corruption, model) are
# short here.
. "$(dirname "$0")/../lib.sh"
need script:bsdutils
use_test_build
count_cargo cargo test --locked --workspace --no-fail-fast
