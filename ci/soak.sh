#!/usr/bin/env bash
# Runs the stress tests again and again with fresh seeds, then the soak test, which watches memory and descriptors.
#
#   ci/soak.sh [SECONDS]   300 if not said; the half for the stress tests, the half for the soak test
#
# A failure prints the seed that replays it.
set -uo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != -h && ${1:-} != --help ]] || { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0; }
seconds=${1:-300}

STRESS=(dropped_in_flight cancel_iowq teardown ring_limits)
tests=()
for name in "${STRESS[@]}"; do tests+=(--test "$name"); done

cargo test --release --no-run "${tests[@]}" --test soak || exit 1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
round=0 end=$((SECONDS + seconds / 2))
while ((SECONDS < end)); do
    round=$((round + 1))
    export MILLSTREAM_SEED=$RANDOM$RANDOM
    if ! timeout -s KILL 900 cargo test --release --quiet "${tests[@]}" >"$log" 2>&1; then
        tail -n 40 "$log"
        echo "soak: round $round FAILED; replay with MILLSTREAM_SEED=$MILLSTREAM_SEED"
        exit 1
    fi
done
echo "soak: $round rounds of ${STRESS[*]}: ok"
MILLSTREAM_SOAK=$((seconds / 2)) cargo test --release --test soak -- --nocapture
