#!/usr/bin/env bash
# Floods `echo_multishot` at its full size: 1,000 connections of 10 MiB each, through 16 buffers and channels with room for
# one, with clients that pause, half-close and reset; once with connections in slots of the ring's table, and once with
# connections that have descriptors.
#
#   ci/flood.sh [CONNECTIONSxMEBIBYTES]   1000x10 if not said: a minute on two idle CPUs, some minutes on busy ones
#
# `MILLSTREAM_SEED=n ci/flood.sh` draws what the clients do once more; a run says its seed.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != -h && ${1:-} != --help ]] || { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0; }

export MILLSTREAM_FLOOD=${1:-1000x10}
# A descriptor for each connection here, and in the server; those in its ring's table have the same limit.
(($(ulimit -n) >= ${MILLSTREAM_FLOOD%x*} + 100)) || ulimit -n $((${MILLSTREAM_FLOOD%x*} + 100))
cargo build --release --example echo_multishot # the test runs it
exec cargo test --release --test flood -- --nocapture
