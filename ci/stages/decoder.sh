#!/usr/bin/env bash
# An independent decoder in Python opens the blobs of tests/vectors/blobs.json.
. "$(dirname "$0")/../lib.sh"
ci/venv
target/venv/bin/python tests/decoder/open_blobs.py tests/vectors/blobs.json </dev/null
