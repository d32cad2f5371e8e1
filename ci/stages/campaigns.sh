#!/usr/bin/env bash
# The campaigns of the Rust tests at their full counts; KMS_LONG=10 makes them ten times longer still (make test-long).
. "$(dirname "$0")/../lib.sh"
use_test_build
export KMS_FULL=1
if [ -n "${KMS_LONG:-}" ]; then
    # Separate variables set the long counts of the keystore and of the model.
    export KMS_TEST_SCALE=${KMS_TEST_SCALE:-$KMS_LONG} KMS_MODEL_SEQUENCES=${KMS_MODEL_SEQUENCES:-$((100000 * KMS_LONG))}
fi

# mutants: a part of all changes of .cargo/mutants.toml, another one each day; KMS_MUTANTS=0/1 tries all, in days.
mutants() {
    local part=${KMS_MUTANTS:-$((10#$(date +%j) % 20))/20}
    [ -x target/tools/bin/cargo-mutants ] ||
        cargo install --quiet --debug --locked --root target/tools --target-dir target/tools/build cargo-mutants@27.1.0
    CARGO_TARGET_DIR=$ROOT/target/mutants target/tools/bin/cargo-mutants mutants --no-shuffle --sharding round-robin --shard "$part" -o target
}

# campaign TARGET [FILTER]: each ends within two hours for each unit of KMS_LONG, or has failed.
campaign() {
    local target=$1
    shift
    count_cargo timeout $((7200 * ${KMS_LONG:-1})) cargo test --locked --no-fail-fast --test "$target" -- "$@" --nocapture
}
campaign crash --include-ignored
campaign corruption
campaign model
campaign contract deletion_counts::
# Where a keystore in memory has several shards.
KMS_TEST_SHARDS=1 campaign contract aliases:: deletion:: import:: lists:: matrix:: policy:: rotation_rules:: states:: tags:: version_states::
# make test has half of these counts.
[ -z "${KMS_LONG:-}" ] || campaign keystore
[ -z "${KMS_LONG:-}" ] || campaign contract clock::
[ -z "${KMS_LONG:-}" ] || attempt "no change of the rules goes unnoticed" mutants
all_passed
