#!/usr/bin/env bash
# All Rust tests: unit, integration, documentation. Campaigns (crash, corruption, model) are short here.
. "$(dirname "$0")/../lib.sh"
use_test_build
count_cargo cargo test --locked --no-fail-fast
