#!/usr/bin/env bash
# Everything that must hold before a change goes in. Continuous integration runs the same.
#
#   ./check.sh                  all parts
#   ./check.sh clippy test      only these
#   ./check.sh --skip kernels   all but this one (repeatable)
#   ./check.sh --list           the parts, in order
#   ./check.sh --allow-missing  a tool that is not installed (QEMU, a kernel package, strace) skips its part, loudly
#
# Longer than a coffee, and so not here: ci/asan.sh, ci/conserve.sh, ci/flood.sh, ci/planted.sh, ci/soak.sh, ci/trees.sh, ci/kernels.sh
# without --quick.
set -uo pipefail
cd "$(dirname "$0")"

PARTS=(fmt clippy features doc test release loom eintr kernels)

# What each part runs. `layers`, `unsafe_list` and `op_flow` (structure of the source) are tests, so `test` has them.
part_fmt() { cargo fmt --all -- --check; }
part_clippy() {
    cargo clippy --all-targets -- -D warnings && cargo clippy -p millstream-bench --all-targets -- -D warnings
}
part_features() { cargo check -p millstream --no-default-features && cargo check -p millstream --all-features; }
part_doc() { RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features; }
part_test() { cargo test --no-fail-fast; }
part_release() { cargo test --release --all-features --no-fail-fast; }
part_loom() { ci/loom.sh; }
part_eintr() { ci/eintr.sh "${missing[@]}"; }
part_kernels() { ci/kernels.sh --quick "${missing[@]}"; }

missing=() skip=() wanted=()
while (($#)); do
    case $1 in
        --list) printf '%s\n' "${PARTS[@]}"; exit 0 ;;
        --skip) skip+=("$2"); shift ;;
        --allow-missing) missing=(--allow-missing) ;;
        -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        -*) echo "check: unknown option $1 (try --help)" >&2; exit 2 ;;
        *) wanted+=("$1") ;;
    esac
    shift
done
((${#wanted[@]})) || wanted=("${PARTS[@]}")

is_in() { local one=$1 other; shift; for other; do [[ $one == "$other" ]] && return 0; done; return 1; }
for part in "${wanted[@]}" "${skip[@]}"; do
    is_in "$part" "${PARTS[@]}" || { echo "check: there is no part $part (try --list)" >&2; exit 2; }
done

# Every part runs, also after one has failed: one round trip shows everything that is wrong. What a failed part said is
# repeated at the end, as whoever reads the log of another machine may have only that.
summary=() status=0
said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT
for part in "${wanted[@]}"; do
    is_in "$part" "${skip[@]}" && continue
    echo "=== $part"
    began=$SECONDS
    if "part_$part" 2>&1 | tee "$said/$part"; then verdict=ok; else verdict=FAILED status=1; fi
    [[ $verdict == ok ]] && rm -f "$said/$part"
    summary+=("$(printf '%-10s %-7s %4d s' "$part" "$verdict" $((SECONDS - began)))")
done
for part in "$said"/*; do
    [[ -e $part ]] || continue
    echo "=== $(basename "$part") FAILED, having said"
    ci/failures.sh "$part"
done
echo "=== summary"
((${#summary[@]} == 0)) || printf '%s\n' "${summary[@]}"
exit $status
