#!/usr/bin/env bash
# The kms command as a process: output, JSON, exit codes, terminals, interrupts, full disks.
. "$(dirname "$0")/../lib.sh"
need script:bsdutils
use_test_build
count_cargo cargo test --locked --package kms-cli
