#!/usr/bin/env bash
# pkcs11-tool encrypts while the key rotates, a process for each message; everything opens. Arguments: pkcs11-tool, module, key's
# label, seconds. pkcs11-tool has AES-GCM since OpenSC 0.26; an older one ends the script with 77.
set -euo pipefail
tool=$1 module=$2 label=$3 seconds=$4
help=$("$tool" --help 2>&1) || true
case $help in *--tag-bits-len*) ;; *) exit 77 ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
crypt() {
    "$tool" --module "$module" --label "$label" --mechanism AES-GCM --aad 616164 --tag-bits-len 128 "$@" 2>"$work/said" ||
        { cat "$work/said" >&2; return 1; }
}
count=0 end=$((SECONDS + seconds))
while [ "$SECONDS" -lt "$end" ]; do
    count=$((count + 1))
    od -An -N12 -tx1 /dev/urandom | tr -d ' \n' >"$work/$count.iv"
    head -c 50 /dev/urandom >"$work/$count"
    crypt --encrypt --iv "$(cat "$work/$count.iv")" --input-file "$work/$count" --output-file "$work/$count.sealed"
done
for ((i = 1; i <= count; i++)); do
    crypt --decrypt --iv "$(cat "$work/$i.iv")" --input-file "$work/$i.sealed" --output-file "$work/opened"
    cmp "$work/$i" "$work/opened"
done
echo "$count messages"
