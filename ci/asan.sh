#!/usr/bin/env bash
# Runs the tests under AddressSanitizer and LeakSanitizer, on nightly.
#
#   ci/asan.sh                  every test
#   ci/asan.sh --test teardown  any further arguments go to `cargo test`
#
# It sees what the program itself does to memory. What the kernel writes into memory that was given back it does not
# see: that is the quarantine allocator's part, which the stress tests use in every run.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != -h && ${1:-} != --help ]] || { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0; }

cargo +nightly --version >/dev/null || { echo "asan: NOT RUN: needs a nightly toolchain" >&2; exit 1; }
(($#)) || set -- --lib --tests

export RUSTFLAGS="-Zsanitizer=address ${RUSTFLAGS:-}"
# A channel of an absurd capacity is refused for want of memory: here, too.
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:allocator_may_return_null=1
export LSAN_OPTIONS=suppressions=$PWD/ci/lsan.supp:print_suppressions=0
# Instrumented code is several times slower; the leaves of a stress test are reached all the same.
export MILLSTREAM_QUICK=${MILLSTREAM_QUICK:-1}
build=(-p millstream --target x86_64-unknown-linux-gnu --target-dir target/asan)
cargo +nightly build --quiet --examples "${build[@]}" # tests run them
# Tests that call the compiler themselves find another one's artefacts here.
exec cargo +nightly test --no-fail-fast "${build[@]}" "$@" -- --skip must_not_compile
