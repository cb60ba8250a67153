#!/usr/bin/env bash
# Plants bugs in the channels that threads and random calls come across, and sees that the tests find them: the history
# check (`channels_linear`) and the plain models (`channels_model`). Wrong memory orderings are for `ci/loom.sh`.
#
#   ci/planted.sh [REGEX]   all of them, or those whose row matches
set -u
cd "$(dirname "$0")/.." || exit 2
[[ ${1:-} != -h && ${1:-} != --help ]] || { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0; }

export RUSTFLAGS="--cfg millstream_bug"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/planted" # other flags would rebuild everything there and back
limit=120 # seconds for each
failed=0

# The planted bugs, each with the file and the test that must fail under it.
bugs() {
    cat <<'BUGS'
a-late-push-counts channels_linear spsc_channels_are_linearizable
sides-part-when-closed channels_linear bounded_channels_are_linearizable
a-batch-pulls-nobody channels_model lines::local_does_what_the_model_says
a-batch-wakes-one channels_model lines::bounded_does_what_the_model_says
close-forgets-poppers channels_model lines::bounded_does_what_the_model_says
close-forgets-pushers channels_model lines::local_does_what_the_model_says
close-forgets-watchers channels_model lines::bounded_does_what_the_model_says
grant-dies-with-its-push channels_model lines::local_does_what_the_model_says
keeps-its-first-waker channels_model lines::bounded_does_what_the_model_says
permit-dies-with-its-slot channels_model lines::local_does_what_the_model_says
permit-tells-nobody channels_model lines::bounded_does_what_the_model_says
sides-part-with-poppers channels_model lines::bounded_does_what_the_model_says
the-end-is-not-passed-on channels_model lines::local_does_what_the_model_says
value-dies-with-its-pop channels_model lines::local_does_what_the_model_says
a-late-push-counts channels_model spsc::spsc_does_what_the_model_says
close-wakes-nobody channels_model spsc::spsc_does_what_the_model_says
oneshot-pushes-into-a-closed-channel channels_model oneshot::oneshot_does_what_the_model_says
broadcast-a-free-slot-pulls-nobody channels_model broadcast::broadcast_does_what_the_model_says
broadcast-grant-dies-with-its-push channels_model broadcast::broadcast_does_what_the_model_says
broadcast-lag-forgets-one channels_model broadcast::broadcast_does_what_the_model_says
broadcast-tells-one channels_model broadcast::broadcast_does_what_the_model_says
watch-close-forgets-poppers channels_model watch::watch_does_what_the_model_says
watch-close-hides-the-last-value channels_model watch::watch_does_what_the_model_says
watch-tells-one channels_model watch::watch_does_what_the_model_says
BUGS
}

for file in channels_linear channels_model; do
    cargo test --quiet --test "$file" || { echo "BROKEN $file fails without a bug"; exit 1; }
done

while read -r bug file test; do
    output=$(MILLSTREAM_BUG=$bug timeout "$limit" cargo test --quiet --test "$file" -- --exact "$test" 2>&1)
    status=$?
    if grep -q "running 0 tests" <<<"$output"; then
        echo "BROKEN $bug: there is no test $test in $file"
    elif [ $status -eq 0 ]; then
        echo "MISSED $bug: $test passes with the bug in place"
    elif [ $status -ne 101 ]; then
        printf 'BROKEN %s: %s ended with %s\n%s\n' "$bug" "$test" "$status" "$output"
    else
        echo "found  $bug by $file $test"
        continue
    fi
    failed=1
done < <(bugs | grep -E -- "${1:-.}")

[ $failed -eq 0 ] && echo "planted: all as expected"
exit $failed
