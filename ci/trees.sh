#!/usr/bin/env bash
# Runs the tests of combinator trees at length, in a release build: random trees over real pipes, sockets, timers, tasks
# and channels, and every schedule of every small tree over scripted leaves.
#
#   ci/trees.sh [TREES]   1000000 random trees if not said, about 8000 of them a second
#
# A round that fails or hangs names its seed; `MILLSTREAM_SEED=n ci/trees.sh 1` is that round alone, and with
# `MILLSTREAM_TRACE=1` it says each tree before it runs.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != -h && ${1:-} != --help ]] || { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0; }

export MILLSTREAM_TREES=${1:-1000000}
exec cargo test --release --test tree_random --test tree_schedules -- --nocapture
