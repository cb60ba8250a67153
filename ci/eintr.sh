#!/usr/bin/env bash
# Interrupts and refuses system calls under running programs: each must print what it prints undisturbed.
#
#   ci/eintr.sh                  all disturbances on all programs
#   ci/eintr.sh --allow-missing  exit 0 when strace cannot be used here (without it that is a failure)
set -uo pipefail
cd "$(dirname "$0")/.."

allow_missing=0
case ${1:-} in
    --allow-missing) allow_missing=1 ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    '') ;;
    *) echo "eintr: unknown option $1 (try --help)" >&2; exit 2 ;;
esac
if ! strace -o /dev/null true 2>/dev/null; then
    echo "eintr: NOT RUN: strace is not installed, or tracing is forbidden here" >&2
    exit $((1 - allow_missing))
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# What is done to the program. `when=5+5` is the fifth call and every fifth after it; the call is not made.
DISTURBANCES=(
    "io_uring_enter:error=EINTR:when=5+5"
    "io_uring_enter:error=EINTR:when=2+2"
    "io_uring_enter:error=EAGAIN:when=3+5"
    "io_uring_enter:error=EBUSY:when=7+7"
    "io_uring_enter:delay_enter=2000:when=4+9"
    "io_uring_setup:error=ENOMEM:when=1"
)

echo "eintr: building" >&2
cargo build --release --examples 2>"$tmp/build" || { cat "$tmp/build" >&2; exit 1; }
cargo test --release --no-run --test ring_limits --message-format=json-render-diagnostics >"$tmp/json" 2>"$tmp/build" ||
    { cat "$tmp/build" >&2; exit 1; }
ring_limits=$(sed -n 's/.*"test":true.*"executable":"\([^"]*\)".*/\1/p' "$tmp/json" | tail -n1)

# The programs. Their output must not depend on time.
program() {
    case $1 in
        treesum) target/release/examples/treesum src docs ;;
        ring_limits) "$ring_limits" --test-threads=1 2>/dev/null | sed 's/finished in .*//' ;;
    esac
}
export -f program
export ring_limits

status=0
for name in treesum ring_limits; do
    if ! timeout 120 bash -c "program $name" >"$tmp/want" 2>"$tmp/err" || [[ ! -s $tmp/want ]]; then
        echo "eintr: $name fails undisturbed: $(tail -n3 "$tmp/err")"
        status=1
        continue
    fi
    for what in "${DISTURBANCES[@]}"; do
        timeout -s KILL 120 strace -f -qq -o "$tmp/trace" -e "trace=${what%%:*}" -e "inject=$what" \
            bash -o pipefail -c "program $name" >"$tmp/got" 2>"$tmp/err"
        code=$?
        hits=$(grep -c INJECTED "$tmp/trace")
        [[ $what == *delay* ]] && hits=$(grep -c DELAYED "$tmp/trace")
        if ((code != 0)); then
            verdict="FAILED: exit status $code: $(tail -n3 "$tmp/err")"
        elif ! cmp -s "$tmp/want" "$tmp/got"; then
            verdict="FAILED: the output differs: $(diff "$tmp/want" "$tmp/got" | head -n3)"
        elif ((hits == 0)) && [[ $what == *EINTR*5+5* ]]; then
            verdict="FAILED: nothing was injected"
        else
            verdict=ok
        fi
        [[ $verdict == ok ]] || status=1
        printf 'eintr: %-12s %-42s %5d times: %s\n' "$name" "$what" "$hits" "$verdict"
    done
done
exit $status
