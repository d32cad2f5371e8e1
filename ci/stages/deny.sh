#!/usr/bin/env bash
# cargo-deny: licences, sources and banned crates of every lock file (deny.toml).
. "$(dirname "$0")/../lib.sh"
need_cargo
# Debug: it compiles in a third of the time, and runs for a second.
if [ ! -x target/tools/bin/cargo-deny ]; then
    cargo install --quiet --debug --locked --root target/tools --target-dir target/tools/build cargo-deny@0.20.2
    rm -rf target/tools/build
fi
for manifest in Cargo.toml bindings/python/Cargo.toml pkcs11/Cargo.toml fuzz/Cargo.toml; do
    # cargo-deny reads the manifests of all dependencies, also those for other platforms, and stays offline itself.
    cargo fetch --quiet --locked --manifest-path "$manifest"
    attempt "cargo deny: $manifest" target/tools/bin/cargo-deny --all-features --manifest-path "$manifest" --locked --offline --config "$ROOT/deny.toml" \
        check bans licenses sources
done
all_passed
