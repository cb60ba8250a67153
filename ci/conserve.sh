#!/usr/bin/env bash
# Runs the conservation test of the channels at its full length: 10^8 messages, in a release build.
#
#   ci/conserve.sh [MESSAGES [TEST]]   100000000 if not said; about 2 microseconds each. Every flavor has its share of
#                                      them, and with the name of a test, or a part of it, only that share is run.
#
# A round that fails or hangs names its seed; `MILLSTREAM_SEED=n ci/conserve.sh` begins with it.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != -h && ${1:-} != --help ]] || { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0; }

export MILLSTREAM_CONSERVE=${1:-100000000}
exec cargo test --release --test channels_conserve -- --nocapture ${2:+"$2"}
