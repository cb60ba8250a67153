#!/usr/bin/env bash
# What matters of a log of a part of check.sh that failed: the tests that failed, hung or panicked, and the end.
#
#   ci/failures.sh LOG
set -uo pipefail
(($# == 1)) && [[ -r $1 ]] || { echo "failures: one readable log, please" >&2; exit 2; }

# A line that says what failed, with what follows it at once: where, and why.
grep -E -A 3 \
    '^test .* FAILED|panicked at |^error|: FAILED|WATCHDOG|has been running for over|\(signal: |^(BROKEN|HANGS|FAILED|MISSED) |times: [^o]' "$1" |
    head -n 80
echo "--- its last lines"
tail -n 40 "$1"
