#!/usr/bin/env bash
# Each fuzz target for 15 seconds, from the committed seeds; first, that a finding would be seen.
. "$(dirname "$0")/../lib.sh"
exec ci/fuzz 15
