#!/usr/bin/env bash
# Which lines of src/ the unit, contract and keystore tests reach, as a table; no share is promised (docs/test-results.md).
. "$(dirname "$0")/../lib.sh"
use_test_build
tools=$(rustc --print target-libdir)/../bin
[ -x "$tools/llvm-cov" ] || rustup component add llvm-tools >&2 </dev/null || die "missing: llvm-tools; type: rustup component add llvm-tools"
profiles=$ROOT/target/coverage
rm -rf "$profiles"
mkdir -p "$profiles"

# Only the crates of this repository are instrumented, so that everything else comes from target/ci as it is.
printf '#!/bin/sh\nexec "$@" -C instrument-coverage\n' >"$profiles/rustc"
chmod +x "$profiles/rustc"
export RUSTC_WORKSPACE_WRAPPER=$profiles/rustc LLVM_PROFILE_FILE=$profiles/%4m.profraw
cargo test --locked --lib --test contract --test keystore --no-run --message-format json >"$profiles/built" </dev/null
mapfile -t programs < <(grep -o '"executable":"[^"]*"' "$profiles/built" | cut -d '"' -f 4)
[ ${#programs[@]} = 3 ] || die "${#programs[@]} test programs were built, not 3"
# What counts open files or bytes of memory may fail when it is instrumented; `rust` is where tests must pass.
for program in "${programs[@]}"; do "$program" >"$profiles/$(basename "$program").log" 2>&1 </dev/null || say "failed when instrumented: $(basename "$program")"; done

"$tools/llvm-profdata" merge -sparse -o "$profiles/all.profdata" "$profiles"/*.profraw
"$tools/llvm-cov" report -instr-profile "$profiles/all.profdata" -show-region-summary=false -show-branch-summary=false \
    -ignore-filename-regex '/tests/|/(tests|vectors|model|miri)\.rs$|^/rustc/|/\.?cargo/' \
    "${programs[0]}" -object "${programs[1]}" -object "${programs[2]}" | tee "$profiles/report"
awk '/\.rs / { sub(".*/src/", "", $1); layer = $1; sub("/.*", "", layer); lines[layer] += $(NF - 2); missed[layer] += $(NF - 1) }
    END { for (layer in lines) printf "%-10s %6d lines, %5.1f %% reached\n", layer, lines[layer], 100 - 100 * missed[layer] / lines[layer]
          exit !length(lines) }' "$profiles/report"
