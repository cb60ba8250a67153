#!/usr/bin/env bash
# Runs the tests of combinator trees at length, in a release build: random trees over real pipes, sockets, timers, tasks
# and channels, and every schedule of every small tree over scripted leaves.
#
#   ci/trees.sh [TREES]   500000 random trees if not said, about 2000 of them a second; the schedules, some 50 million,
#                         take a few minutes more
#
# A round that fails or hangs names its seed; `MILLSTREAM_SEED=n cargo test --test tree_random` begins with it, and with
# `MILLSTREAM_TRACE=1` says each tree before it runs (`-- --nocapture`).
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != -h && ${1:-} != --help ]] || { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0; }

export MILLSTREAM_TREES=${1:-500000}
exec cargo test --release --test tree_random --test tree_schedules -- --nocapture
