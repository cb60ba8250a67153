#!/usr/bin/env bash
# Runs the loom models, then each of them once more with the bug planted that it is there to find: a model that passes
# with its bug proves nothing, and is reported as a failure. So is a bug that no row below names, and a row whose bug is
# not in the source.
#
#   ci/loom.sh                everything
#   ci/loom.sh models         the models only
#   ci/loom.sh bugs [REGEX]   the planted bugs only, or those whose row matches
#
# One build serves all of it: `planted!` asks the environment which bug is in place. LOOM_MAX_PREEMPTIONS bounds the
# search (3 if not said), LIMIT the seconds for each model (300); JOBS says how many models run at once (as many as there
# are processors). `LOOM_MAX_PREEMPTIONS=100 LIMIT=36000 ci/loom.sh models` is in effect without a bound: most models end
# in seconds all the same, those of three threads take their time.
set -u
cd "$(dirname "$0")/.." || exit 2
[[ ${1:-} != -h && ${1:-} != --help ]] || { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0; }

export RUSTFLAGS="--cfg millstream_loom"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" # other flags would rebuild everything there and back
export CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_TEST_OPT_LEVEL=2
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0
export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-3}"
export limit=${LIMIT:-300}
jobs=${JOBS:-$(nproc)}
what="${1:-all}"
failed=0

# The planted bugs, each with the models that must fail under it.
bugs() {
    cat <<'BUGS'
release-wakes-nobody channel::lock::model::three_threads_do_too
release-is-relaxed channel::lock::model::two_threads_exclude_each_other_and_none_sleeps_for_ever
release-without-barrier channel::lock::model::three_threads_do_too
owner-without-barrier channel::bias::model::an_owner_and_who_ends_its_ownership_exclude_each_other
revokes-without-barrier channel::bias::model::an_owner_and_who_ends_its_ownership_exclude_each_other
revokes-at-once channel::bias::model::an_owner_and_who_ends_its_ownership_exclude_each_other
owners-share-a-chair channel::bias::model::an_owner_does_not_disturb_the_next_one
parks-on-an-old-look channel::tests::loom::one_crosses_through_a_slot
parks-on-an-old-look channel::tests::loom::one_behind_another_to_one_through_a_slot
parks-on-an-old-look channel::tests::loom::one_to_one_behind_another_through_a_slot
value-dies-with-its-pop channel::tests::loom::a_dropped_pop_passes_its_value_on
value-dies-with-its-pop channel::tests::loom::a_dropped_pop_wakes_the_one_behind_it
grant-dies-with-its-push channel::tests::loom::a_dropped_arm_passes_its_slot_on
grant-dies-with-its-push channel::tests::loom::a_dropped_arm_wakes_the_push_behind_it_at_a_slot
close-forgets-poppers channel::tests::loom::close_wakes_a_pop
close-forgets-pushers channel::tests::loom::close_gives_a_push_its_value_back
the-end-is-not-passed-on channel::tests::loom::the_end_comes_after_the_last_counted_value
ends-counted-apart channel::tests::loom::the_last_sender_closes
drains-before-it-closes channel::tests::loom::the_last_receiver_leaves_nothing_behind
told-before-pulled channel::tests::loom::a_pulled_push_knows_it_at_once
keeps-its-first-waker channel::tests::loom::a_new_waker_misses_nothing
cancel-keeps-the-value channel::tests::loom::a_cancelled_pop_has_the_value_or_leaves_it
permit-dies-with-its-slot channel::tests::loom::permit::a_dropped_permit_gives_its_slot_to_the_next
a-close-eats-the-permits-value channel::tests::loom::permit::a_permit_beside_a_close_answers_exactly
permit-tells-nobody channel::tests::loom::permit::a_permit_reaches_who_stays
a-batch-wakes-one channel::tests::loom::many::a_batch_wakes_two_pops
a-batch-pulls-nobody channel::tests::loom::many::a_batch_wakes_two_pushes
close-forgets-watchers channel::tests::loom::ends::a_close_is_told
upgrade-looks-then-counts channel::tests::loom::ends::an_upgrade_keeps_the_channel_open_or_fails
inbox-summary-first inbox::loom_tests::no_wake_is_lost
inbox-sleeps-without-a-look inbox::loom_tests::no_message_is_lost
inbox-closes-in-two-steps inbox::loom_tests::a_message_is_taken_or_comes_back
wake-forgets-to-unpark channel::tests::loom::blocking_ends_meet
sides-push-relaxed channel::tests::loom::sides::a_pop_finds_what_a_push_has_filled
sides-pop-relaxed channel::tests::loom::sides::a_push_finds_what_a_pop_has_emptied
sides-part-with-poppers channel::tests::loom::sides::a_push_wakes_a_pop
sides-part-with-pushers channel::tests::loom::sides::a_pop_wakes_a_push
sides-part-when-closed channel::tests::loom::sides::a_push_beside_a_close_counts_or_comes_back
counted-pops-end-alone channel::tests::loom::sides::the_end_comes_after_the_last_counted_value
sides-forget-permits channel::tests::loom::sides::a_permit_counts_for_a_push_beside_it
the-rest-is-of-two-moments channel::tests::loom::sides::a_batch_without_a_limit_passes_another_pop
fold-overwrites util::biased::tests::model::the_owners_handles_dropped_beside_it
owner-is-not-told util::biased::tests::model::the_owners_handles_dropped_beside_it
last-without-acquire util::biased::tests::model::binding_while_another_handle_goes
only-without-acquire util::biased::tests::model::taking_the_value_out_of_an_unbound_handle
oneshot-parks-on-an-old-look channel::tests::loom_oneshot::a_push_wakes_a_pop
oneshot-parks-on-an-old-look channel::tests::loom_oneshot::the_senders_end_wakes_a_pop
oneshot-parks-on-an-old-look channel::tests::loom_oneshot::the_receivers_end_wakes_closed
oneshot-publishes-nothing channel::tests::loom_oneshot::a_value_arrives_whole
oneshot-pushes-into-a-closed-channel channel::tests::loom_oneshot::a_push_beside_a_drop_loses_nothing
oneshot-pushes-into-a-closed-channel channel::tests::loom_oneshot::a_push_beside_a_close_is_popped_or_comes_back
oneshot-takes-its-waker-twice channel::tests::loom_oneshot::a_waker_has_one_owner
oneshot-frees-at-the-first-look channel::tests::loom_oneshot::both_ends_leave_at_once
oneshot-sits-beside-the-sender channel::tests::loom_oneshot::a_new_waker_misses_nothing
cell-moves-before-all-have-looked channel::cell::model::the_last_holder_moves_what_all_have_looked_at
condition-parks-on-an-old-look channel::tests::loom_broadcast::a_push_wakes_every_pop
broadcast-tells-one channel::tests::loom_broadcast::a_push_wakes_all_who_sleep
broadcast-lag-forgets-one channel::tests::loom_broadcast::lag_is_counted_exactly_beside_a_push
broadcast-lag-forgets-one channel::tests::loom_broadcast::a_value_is_popped_or_counted_as_missed
broadcast-a-free-slot-pulls-nobody channel::tests::loom_broadcast::the_slower_of_two_frees_the_slot
broadcast-a-leaving-receiver-pulls-nobody channel::tests::loom_broadcast::the_slowest_receivers_drop_wakes_the_push
broadcast-grant-dies-with-its-push channel::tests::loom_broadcast::a_dropped_arm_passes_its_slot_on
condition-parks-on-an-old-look channel::tests::loom_broadcast::close_wakes_both_sides
cell-moves-before-all-have-looked channel::tests::loom_broadcast::a_value_is_dropped_once_however_it_is_left
condition-parks-on-an-old-look channel::tests::loom_watch::the_last_value_is_never_missed
watch-close-hides-the-last-value channel::tests::loom_watch::the_last_value_is_never_missed
watch-tells-one channel::tests::loom_watch::a_push_wakes_all_who_sleep
watch-close-forgets-poppers channel::tests::loom_watch::close_wakes_a_pop
watch-update-overwrites channel::tests::loom_watch::updates_add_up
tail-is-relaxed channel::tests::spsc::loom::two_cross_through_one_slot
head-is-relaxed channel::tests::spsc::loom::two_cross_through_one_slot
arms-without-fence channel::tests::spsc::loom::two_cross_through_one_slot
arms-without-a-look channel::tests::spsc::loom::two_cross_through_one_slot
waits-heavily-without-barrier channel::tests::spsc::loom::blocking_ends_meet
close-wakes-nobody channel::tests::spsc::loom::close_wakes_a_pop
ends-at-the-first-look channel::tests::spsc::loom::the_last_value_is_not_overlooked
popper-closes-without-barrier channel::tests::spsc::loom::a_push_beside_a_close_counts_or_comes_back
a-late-push-counts channel::tests::spsc::loom::a_push_beside_a_close_counts_or_comes_back
light-is-nothing channel::tests::spsc::loom::a_push_without_a_fence_counts_or_comes_back
consumer-drains-before-it-closes channel::tests::spsc::loom::the_consumer_leaves_nothing_behind
arms-while-it-is-woken channel::tests::spsc::loom::a_new_waker_misses_nothing
poll-ends-without-fence channel::tests::spsc::loom::room_is_told_at_the_end_of_the_poll
noted-once-for-ever channel::tests::spsc::loom::each_poll_tells_of_its_values
watches-armed-without-fence channel::tests::spsc::loom::one_crosses_between_runtimes
watches-armed-without-a-look channel::tests::spsc::loom::one_crosses_between_runtimes
light-is-nothing channel::tests::spsc::loom::one_that_left_is_seen_leaving
arms-for-one-that-left channel::tests::spsc::loom::one_that_left_is_armed_no_more
pool-waits-on-an-old-look pool_ledger::model::a_buffer_that_comes_back_meanwhile_is_seen
pool-turn-dies-with-its-place pool_ledger::model::who_gives_up_passes_its_turn_on
pool-tray-wakes-nobody pool_ledger::model::a_buffer_that_comes_back_meanwhile_is_seen
timer-thread-sleeps-on-an-old-look util::timer_thread::tests::model::no_timer_is_slept_through
timer-thread-is-told-of-the-first util::timer_thread::tests::model::no_timer_is_slept_through
marks-wait-on-an-old-look util::marks::model::no_wake_of_another_thread_is_lost
marks-forget-a-second-wake util::marks::model::no_wake_of_another_thread_is_lost
marks-wait-without-fence util::marks::model::no_wake_of_another_thread_is_lost
BUGS
}

# The unit tests of the library; a failed build says why.
tests=$(cargo rustc --quiet --profile test --lib --message-format json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -n "$tests" ] || { cargo rustc --profile test --lib; exit 2; }
export tests

# The names in the source and those in the rows are the same.
while read -r one; do
    echo "BROKEN $one: planted in the source, and no row names it"
    failed=1
done < <(comm -23 <(grep -rhoE 'planted!\("[a-z0-9-]+"' src | cut -d'"' -f2 | sort -u) <(bugs | cut -d' ' -f1 | sort -u))
while read -r one; do
    echo "BROKEN $one: has a row, and is not in the source"
    failed=1
done < <(comm -13 <(grep -rhoE 'planted!\("[a-z0-9-]+"' src | cut -d'"' -f2 | sort -u) <(bugs | cut -d' ' -f1 | sort -u))

# One model, alone: loom explores on one thread, so processes are what runs side by side.
run_model() {
    local output status
    output=$(timeout "$limit" "$tests" --exact "$1" 2>&1)
    status=$?
    if grep -q "running 0 tests" <<<"$output"; then
        echo "BROKEN there is no model $1"
    elif [ $status -eq 124 ]; then
        echo "HANGS  $1"
    elif [ $status -ne 0 ]; then
        printf 'FAILED %s\n%s\n' "$1" "$output"
    else
        echo "holds  $1"
        return 0
    fi
    return 1
}

# One model with its bug in place.
run_bug() {
    local output status
    output=$(MILLSTREAM_BUG=$1 timeout "$limit" "$tests" --exact "$2" 2>&1)
    status=$?
    if grep -q "running 0 tests" <<<"$output"; then
        echo "BROKEN $1: there is no model $2"
    elif [ $status -eq 0 ]; then
        echo "MISSED $1: $2 passes with the bug in place"
    elif [ $status -eq 124 ]; then
        echo "HANGS  $1: $2"
    elif [ $status -ne 101 ] && [ $status -ne 134 ]; then # a panic, or one while another unwinds
        printf 'BROKEN %s: %s ended with %s\n%s\n' "$1" "$2" "$status" "$output"
    elif grep -q "exceeded maximum number of" <<<"$output"; then
        echo "BROKEN $1: $2 came to the end of what loom can look at, which is no answer"
    else
        echo "found  $1 by $2"
        return 0
    fi
    return 1
}
export -f run_model run_bug

if [ "$what" != bugs ]; then
    "$tests" --list 2>/dev/null | sed -n 's/: test$//p' | grep -E 'loom|::model::' |
        xargs -P "$jobs" -I{} bash -c 'run_model {}' || failed=1
fi
if [ "$what" != models ]; then
    bugs | grep -E -- "${2:-.}" | xargs -P "$jobs" -L1 bash -c 'run_bug "$0" "$1"' || failed=1
fi

[ $failed -eq 0 ] && echo "loom: all as expected"
exit $failed
