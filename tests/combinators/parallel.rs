//! `parallel_all` and `parallel_any`: every outcome, and the order in which they came.

use std::pin::pin;
use std::task::Poll;

use millstream::Operation;
use millstream::channel::{PopError, PushError, bounded};
use millstream::combinators::{OneOf2, Parallel, Raced, parallel_all, parallel_any, when_all, when_any};

use crate::fake::{Cancelled, Fake, Outcome, Remote, Step, Value, World, discard, panics, poll};

fn three(world: &World) -> ([Fake; 3], [Remote; 3]) {
    let ((a, ra), (b, rb), (c, rc)) = (world.op("a"), world.op("b"), world.op("c"));
    ([a, b, c], [ra.stubborn(), rb.stubborn(), rc.stubborn()])
}

/// Outputs and order.
type Shown = (Vec<Outcome>, Vec<usize>);

#[test]
fn condy_92_94_all_say_in_which_order_they_completed() {
    for shape in ["tuple", "array", "vec"] {
        let world = World::new();
        let ([a, b, c], [ra, rb, rc]) = three(&world);
        let check = |mut polled: Box<dyn FnMut() -> Poll<Shown> + '_>| {
            assert!(polled().is_pending());
            assert_eq!(world.seen(), "a starts, b starts, c starts", "no arm hears of a race");
            rc.finish(3);
            assert!(polled().is_pending());
            rb.finish(2);
            ra.finish(1);
            // One poll finds both: they stand in the order of the arms.
            assert_eq!(polled(), Poll::Ready((vec![Value(1), Value(2), Value(3)], vec![2, 0, 1])), "{shape}");
        };
        match shape {
            "tuple" => {
                let mut all = pin!(parallel_all((a, b, c)));
                check(Box::new(|| {
                    poll(all.as_mut()).map(|Parallel { outputs: (a, b, c), order }| {
                        let order: [usize; 3] = order;
                        (vec![a, b, c], order.to_vec())
                    })
                }));
            }
            "array" => {
                let mut all = pin!(parallel_all([a, b, c]));
                check(Box::new(|| {
                    poll(all.as_mut()).map(|done| (done.outputs.to_vec(), done.order.to_vec()))
                }));
            }
            _ => {
                let mut all = pin!(parallel_all(vec![a, b, c]));
                check(Box::new(|| poll(all.as_mut()).map(|done| (done.outputs, done.order))));
            }
        }
    }
}

#[test]
fn condy_93_95_all_of_nothing_complete_at_once() {
    assert_eq!(poll(pin!(parallel_all(()))), Poll::Ready(Parallel { outputs: (), order: [] }));
    let nothing = Parallel { outputs: vec![], order: vec![] };
    assert_eq!(poll(pin!(parallel_all(Vec::<Fake>::new()))), Poll::Ready(nothing));
}

#[test]
fn condy_97_a_loser_shows_that_it_was_stopped() {
    let world = World::new();
    let ([a, b, c], [ra, rb, rc]) = three(&world);
    let mut any = pin!(parallel_any((a, b, c)));
    assert!(poll(any.as_mut()).is_pending());
    assert_eq!(world.seen(), "a races, b races, c races, a starts, b starts, c starts");
    rb.finish(2);
    assert!(poll(any.as_mut()).is_pending(), "the losers have not ended");
    assert_eq!(world.seen(), "a asked to stop, c asked to stop");
    rc.stop();
    assert!(poll(any.as_mut()).is_pending());
    ra.stop();
    let expected = Raced { winner: 1, outputs: (Cancelled, Value(2), Cancelled), order: [1, 2, 0] };
    assert_eq!(poll(any.as_mut()), Poll::Ready(expected));
    assert_eq!(world.seen(), "", "each was asked once");
}

#[test]
fn condy_98_a_loser_that_completed_all_the_same_is_seen() {
    let world = World::new();
    let ([a, b, c], [ra, rb, rc]) = three(&world);
    let mut any = pin!(parallel_any(vec![a, b, c]));
    assert!(poll(any.as_mut()).is_pending());
    rb.finish(2);
    ra.finish(1); // ready in the same poll, and polled first
    assert!(poll(any.as_mut()).is_pending());
    rc.finish(3); // quicker than the request to stop
    let expected = Raced { winner: 0, outputs: vec![Value(1), Value(2), Value(3)], order: vec![0, 1, 2] };
    assert_eq!(poll(any.as_mut()), Poll::Ready(expected));
    assert!(world.seen().ends_with("b asked to stop, c asked to stop"));
}

#[test]
fn a_loser_that_never_started_says_so_and_is_not_started() {
    let world = World::new();
    let mut any = pin!(parallel_any([world.ready("a", 1), world.op("b").0, world.ready("c", 3)]));
    let expected = Raced { winner: 0, outputs: [Value(1), Cancelled, Cancelled], order: [0, 1, 2] };
    // `c` is asked before its first poll: it does not even see that it is ready.
    assert_eq!(poll(any.as_mut()), Poll::Ready(expected));
    assert_eq!(world.seen(), "a races, b races, c races, a starts, b asked to stop, c asked to stop");
}

#[test]
fn a_push_that_lost_gives_its_value_back_whether_it_stood_in_line_or_not() {
    let ((tx, rx), (stop_tx, stop)) = (bounded(1), bounded(1));
    tx.try_push(0).unwrap();
    let mut any = pin!(parallel_any((tx.push(1), stop.pop(), tx.push(2))));
    assert!(poll(any.as_mut()).is_pending());
    stop_tx.try_push(()).unwrap();
    let (first, last) = (Err(PushError::Cancelled(1)), Err(PushError::Cancelled(2)));
    let expected = Raced { winner: 1, outputs: (first, Ok(()), last), order: [1, 0, 2] };
    assert_eq!(poll(any.as_mut()), Poll::Ready(expected));
    assert_eq!((rx.try_pop(), rx.is_empty()), (Ok(0), true));
}

#[test]
fn a_pop_that_lost_with_a_message_already_its_own_shows_it() {
    let ((tx1, rx1), (tx2, rx2), (_open, rx3)) = (bounded(1), bounded(1), bounded(1));
    let mut any = pin!(parallel_any([rx1.pop(), rx2.pop(), rx3.pop()]));
    assert!(poll(any.as_mut()).is_pending());
    tx2.try_push(2).unwrap();
    tx1.try_push(1).unwrap();
    let outputs = [Ok(1), Ok(2), Err(PopError::Cancelled)];
    let expected = Raced { winner: 0, outputs, order: [0, 1, 2] };
    assert_eq!(poll(any.as_mut()), Poll::Ready(expected));
    assert!(rx1.is_empty() && rx2.is_empty(), "seen here, so not there");
}

#[test]
fn a_borrowed_arm_is_asked_too_for_its_outcome_is_wanted() {
    let world = World::new();
    let mut kept = Box::pin(world.op("kept").0);
    let mut any = pin!(parallel_any((&mut kept, world.ready("b", 2))));
    assert!(matches!(
        poll(any.as_mut()),
        Poll::Ready(Raced { winner: 1, outputs: (Cancelled, Value(2)), .. })
    ));
}

#[test]
fn a_request_to_stop_reaches_every_arm_once() {
    let world = World::new();
    let ([a, b, c], [ra, rb, rc]) = three(&world);
    let mut any = pin!(parallel_any((a, b, c)));
    assert!(poll(any.as_mut()).is_pending());
    world.seen();
    any.as_mut().request_cancel();
    any.as_mut().request_cancel();
    assert_eq!(world.seen(), "a asked to stop, b asked to stop, c asked to stop");
    rb.stop();
    assert!(poll(any.as_mut()).is_pending());
    ra.stop();
    rc.stop();
    assert!(matches!(poll(any.as_mut()), Poll::Ready(Raced { winner: 1, order: [1, 0, 2], .. })));
    assert_eq!(world.seen(), "", "and not again when one had decided");

    let ([a, b, c], [ra, rb, rc]) = three(&world);
    let mut all = pin!(parallel_all((a, b, c)));
    assert!(poll(all.as_mut()).is_pending());
    rb.finish(2);
    assert!(poll(all.as_mut()).is_pending());
    world.seen();
    all.as_mut().request_cancel();
    all.as_mut().request_cancel();
    assert_eq!(world.seen(), "a asked to stop, c asked to stop");
    rc.stop();
    ra.stop();
    let expected = Parallel { outputs: (Cancelled, Value(2), Cancelled), order: [1, 0, 2] };
    assert_eq!(poll(all.as_mut()), Poll::Ready(expected));
}

#[test]
fn a_request_to_stop_before_the_first_poll_starts_nothing() {
    let world = World::new();
    let mut any = pin!(parallel_any((world.op("a").0, world.op("b").0)));
    any.as_mut().request_cancel();
    assert!(matches!(
        poll(any.as_mut()),
        Poll::Ready(Raced { winner: 0, outputs: (Cancelled, Cancelled), .. })
    ));
    let mut all = pin!(parallel_all((world.op("c").0, when_any((world.op("d").0, world.op("e").0)))));
    all.as_mut().request_cancel();
    assert!(poll(all.as_mut()).is_ready());
    assert!(!world.seen().contains("starts"));
}

#[test]
fn a_request_to_stop_after_the_decision_reaches_a_winner_that_has_not_ended() {
    let world = World::new();
    let ([a, b, c], [ra, rb, rc]) = three(&world);
    let mut any = pin!(parallel_any((when_any((a, b)), c)));
    assert!(poll(any.as_mut()).is_pending());
    ra.finish(1); // the inner race has decided, and so has the outer one; `b` is waited out
    assert!(poll(any.as_mut()).is_pending());
    assert!(world.seen().ends_with("b discarded, c asked to stop"));
    rc.stop();
    assert!(poll(any.as_mut()).is_pending());
    any.as_mut().request_cancel();
    assert_eq!(world.seen(), "", "the inner race has decided: there is nobody left to ask");
    rb.stop();
    let expected = Raced { winner: 0, outputs: (OneOf2::A(Value(1)), Cancelled), order: [1, 0] };
    assert_eq!(poll(any.as_mut()), Poll::Ready(expected));
}

#[test]
fn three_deep_each_leaf_is_asked_once_and_shown() {
    let world = World::new();
    let ([a, b, c], [ra, rb, rc]) = three(&world);
    let (d, rd) = world.op("d");
    let rd = rd.stubborn();
    let mut any = pin!(parallel_any((parallel_all((when_all((a, b)), c)), d)));
    assert!(poll(any.as_mut()).is_pending());
    ra.finish(1);
    assert!(poll(any.as_mut()).is_pending());
    world.seen();
    rd.finish(4);
    assert!(poll(any.as_mut()).is_pending());
    assert_eq!(world.seen(), "b asked to stop, c asked to stop");
    rc.stop();
    assert!(poll(any.as_mut()).is_pending());
    rb.finish(2);
    let inner = Parallel { outputs: ((Value(1), Value(2)), Cancelled), order: [1, 0] };
    let expected = Raced { winner: 1, outputs: (inner, Value(4)), order: [1, 0] };
    assert_eq!(poll(any.as_mut()), Poll::Ready(expected));
}

#[test]
fn one_that_has_decided_decides_the_race_around_it() {
    let world = World::new();
    let ([a, b, c], [ra, rb, rc]) = three(&world);
    let mut outer = pin!(when_any((parallel_any((a, b)), c)));
    assert!(poll(outer.as_mut()).is_pending());
    ra.finish(1);
    assert!(poll(outer.as_mut()).is_pending());
    rc.finish(3);
    assert!(poll(outer.as_mut()).is_pending());
    rb.stop();
    let expected = Raced { winner: 0, outputs: (Value(1), Cancelled), order: [0, 1] };
    assert_eq!(poll(outer.as_mut()), Poll::Ready(OneOf2::A(expected)));
}

#[test]
fn dropped_or_discarded_they_leave_nothing_in_flight() {
    let world = World::new();
    {
        let ([a, b, c], [ra, ..]) = three(&world);
        let mut any = pin!(parallel_any((a, b, c)));
        assert!(poll(any.as_mut()).is_pending());
        ra.finish(1);
        assert!(poll(any.as_mut()).is_pending());
        world.seen();
    }
    assert_eq!(world.seen(), "b dropped in flight, c dropped in flight");

    let ([a, b, c], [ra, rb, rc]) = three(&world);
    let mut all = pin!(parallel_all((parallel_any((a, b)), c)));
    assert!(poll(all.as_mut()).is_pending());
    world.seen();
    assert!(discard(all.as_mut()).is_pending());
    assert_eq!(world.seen(), "a discarded, b discarded, c discarded");
    for remote in [ra, rb, rc] {
        assert!(discard(all.as_mut()).is_pending());
        remote.stop();
    }
    assert!(discard(all.as_mut()).is_ready());
}

#[test]
fn a_panic_while_losers_are_asked_forgets_none_and_asks_none_twice() {
    let world = World::new();
    let ([a, b, c], [ra, rb, rc]) = three(&world);
    let mut any = pin!(parallel_any((a, b, c)));
    assert!(poll(any.as_mut()).is_pending());
    world.seen();
    ra.finish(1);
    rb.panic_at(Step::Cancel);
    assert!(panics(|| poll(any.as_mut())).is_some());
    assert_eq!(world.seen(), "b asked to stop");
    assert!(poll(any.as_mut()).is_pending());
    assert_eq!(world.seen(), "c asked to stop");
    rb.finish(2);
    rc.stop();
    let expected = Raced { winner: 0, outputs: (Value(1), Value(2), Cancelled), order: [0, 1, 2] };
    assert_eq!(poll(any.as_mut()), Poll::Ready(expected));
}

#[test]
fn a_panic_in_the_destructor_of_an_operation_loses_no_output_and_no_place() {
    let world = World::new();
    let ((a, ra), (b, rb)) = (world.op("a"), world.op("b"));
    let mut all = pin!(parallel_all((a, b)));
    assert!(poll(all.as_mut()).is_pending());
    ra.finish(1);
    ra.panic_at(Step::Drop);
    assert!(panics(|| poll(all.as_mut())).is_some());
    rb.finish(2);
    assert!(matches!(
        poll(all.as_mut()),
        Poll::Ready(Parallel { outputs: (Value(1), Value(2)), order: [1, 0] | [0, 1] })
    ));
}

#[test]
fn polling_after_completion_panics_with_its_name() {
    let world = World::new();
    let mut any = pin!(parallel_any([world.ready("a", 1)]));
    assert!(poll(any.as_mut()).is_ready());
    assert_eq!(panics(|| poll(any.as_mut())).as_deref(), Some("`parallel_any` was polled after completion"));
    let mut all = pin!(parallel_all(Vec::<Fake>::new()));
    assert!(poll(all.as_mut()).is_ready());
    assert_eq!(panics(|| poll(all.as_mut())).as_deref(), Some("`parallel_all` was polled after completion"));
}
