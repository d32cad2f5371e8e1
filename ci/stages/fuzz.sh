#!/usr/bin/env bash
# Fuzzes each target of fuzz/ for FUZZ_SECONDS (15), or TARGET alone, from the committed seeds.
# A first step proves that a fault is found.
. "$(dirname "$0")/../lib.sh"
need_cargo
need g++:g++
need_toolchain nightly
use_prebuilt_openssl
export CARGO_TARGET_DIR=$ROOT/target/fuzz

# Findings stay in target/fuzz/findings, the corpus in target/fuzz/corpus.
seconds=${FUZZ_SECONDS:-15}
read -ra targets <<<"${TARGET:-}"
[ ${#targets[@]} -gt 0 ] || for source in fuzz/targets/*.rs; do targets+=("$(basename "$source" .rs)"); done

# The flags of `cargo fuzz build`, which so need not be installed. SQLite's C code and the engine itself stay as they are.
flags=(-Zsanitizer=address --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0)
export CFLAGS_x86_64_unknown_linux_gnu=-fno-sanitize=address CXXFLAGS_x86_64_unknown_linux_gnu=-fno-sanitize=address
RUSTFLAGS=${flags[*]} cargo +nightly build --release --locked --manifest-path fuzz/Cargo.toml --target "$HOST_TARGET" \
    --bins >&2 </dev/null

memory=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)")
trap 'rm -rf "$memory"' EXIT

# The engine must first find a planted fault: otherwise targets without findings prove nothing.
if "target/fuzz/$HOST_TARGET/release/proof" -max_total_time=30 -artifact_prefix="$memory/" >"$memory/proof.log" 2>&1 </dev/null ||
    ! grep -q "panicked.*proof/main.rs" "$memory/proof.log"; then
    tail -20 "$memory/proof.log" >&2
    die "the fault of fuzz/proof was not found: the build is not instrumented"
fi
count 1 0

# fuzz_one TARGET: prints its executions and its coverage, or its finding.
fuzz_one() {
    local target=$1 corpus=target/fuzz/corpus/$1 findings=target/fuzz/findings/$1/ log=$memory/$1.log status=0
    local options=()
    mkdir -p "$corpus" "$findings" "$memory/tmp"
    [ ! -f "fuzz/$target.dict" ] || options+=("-dict=fuzz/$target.dict")
    TMPDIR=$memory/tmp "target/fuzz/$HOST_TARGET/release/$target" "$corpus" "fuzz/seeds/$target" ${options[@]+"${options[@]}"} \
        -max_total_time="$seconds" -timeout=30 -rss_limit_mb=4096 -max_len=8192 -artifact_prefix="$findings" \
        -print_final_stats=1 -verbosity=1 >"$log" 2>&1 </dev/null || status=$?
    rm -rf "$memory/tmp"
    if [ "$status" != 0 ]; then
        tail -60 "$log"
        echo "again: target/fuzz/$HOST_TARGET/release/$target, with a file of $findings"
        return "$status"
    fi
    awk -v target="$target" '
        /stat::number_of_executed_units/ { executions = $2 }
        / cov: / { for (i = 1; i < NF; i++) { if ($i == "cov:") reached = $(i + 1); if ($i == "corp:") corpus = $(i + 1) } }
        END { printf "%-10s %9d executions, %6d edges reached, %s inputs kept\n", target, executions, reached, corpus
              exit executions < 100 }' "$log"
}

for target in "${targets[@]}"; do
    [ -f "fuzz/targets/$target.rs" ] || die "there is no target $target; see fuzz/targets"
    if fuzz_one "$target"; then count 1 0; else
        count 0 1
        # shellcheck disable=SC2034
        ATTEMPTS_FAILED=1
        say "FAILED: $target"
    fi
done
all_passed
