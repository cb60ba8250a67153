//! `when_all`: order, outputs, cancellation, panics.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use millstream::Operation;
use millstream::combinators::{WhenAll, when_all};

use crate::fake::{Cancelled, Step, Value, Wakes, World, discard, panics, poll};

#[test]
fn arms_start_in_order_and_outputs_are_positional() {
    let world = World::new();
    let ((a, ra), (b, rb), (c, rc)) = (world.op("a"), world.op("b"), world.op("c"));
    let mut all = pin!(when_all((a, b, c)));
    assert_eq!(world.seen(), "", "nothing starts before the first poll");
    assert!(poll(all.as_mut()).is_pending());
    assert_eq!(world.seen(), "a starts, b starts, c starts");
    rc.finish(3);
    assert!(poll(all.as_mut()).is_pending());
    ra.finish(1);
    assert!(poll(all.as_mut()).is_pending());
    rb.finish(2);
    assert_eq!(poll(all.as_mut()), Poll::Ready((Value(1), Value(2), Value(3))));
    assert_eq!(world.seen(), "");
}

#[test]
fn condy_102_completes_only_after_the_last_result_whatever_the_shape() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let world = World::new();
        let (ops, remotes): (Vec<_>, Vec<_>) = ["a", "b", "c"].map(|name| world.op(name)).into_iter().unzip();
        let mut all = pin!(when_all(ops));
        assert!(poll(all.as_mut()).is_pending());
        for (nth, arm) in order.into_iter().enumerate() {
            remotes[arm].finish(arm as u32 + 1);
            let polled = poll(all.as_mut());
            if nth < 2 {
                assert!(polled.is_pending());
            } else {
                assert_eq!(polled, Poll::Ready(vec![Value(1), Value(2), Value(3)]));
            }
        }
    }
}

#[test]
fn condy_90_91_93_95_nothing_completes_at_once() {
    assert_eq!(poll(pin!(when_all(()))), Poll::Ready(()));
    assert_eq!(
        poll(pin!(when_all(Vec::<std::pin::Pin<Box<crate::fake::Fake>>>::new()))),
        Poll::Ready(vec![])
    );
    assert_eq!(poll(pin!(when_all([] as [crate::fake::Fake; 0]))), Poll::Ready([]));
}

#[test]
fn arrays_iterators_and_collected_arms_are_positional() {
    let world = World::new();
    let names = ["a", "b", "c"];
    let array = when_all([world.ready("a", 1), world.ready("b", 2)]);
    assert_eq!(poll(pin!(array)), Poll::Ready([Value(1), Value(2)]));
    let mapped = when_all(names.iter().map(|name| world.ready(name, name.len() as u32)));
    assert_eq!(poll(pin!(mapped)), Poll::Ready(vec![Value(1); 3]));
    let collected: WhenAll<Vec<_>> = names.iter().map(|name| world.ready(name, 7)).collect();
    assert_eq!(poll(pin!(collected)), Poll::Ready(vec![Value(7); 3]));
}

#[test]
fn sixteen_arms_fit() {
    let w = World::new();
    let r = |n| w.ready("x", n);
    let all = when_all((
        r(0),
        r(1),
        r(2),
        r(3),
        r(4),
        r(5),
        r(6),
        r(7),
        r(8),
        r(9),
        r(10),
        r(11),
        r(12),
        r(13),
        r(14),
        r(15),
    ));
    let Poll::Ready(outputs) = poll(pin!(all)) else { panic!("every arm was ready") };
    assert_eq!((outputs.0, outputs.7, outputs.15), (Value(0), Value(7), Value(15)));
}

#[test]
fn an_arm_that_completed_is_not_polled_again() {
    let world = World::new();
    let (b, rb) = world.op("b");
    let mut all = pin!(when_all((world.ready("a", 1), b)));
    assert!(poll(all.as_mut()).is_pending());
    assert!(poll(all.as_mut()).is_pending(), "the fake panics when it is polled after completion");
    rb.finish(2);
    assert_eq!(poll(all.as_mut()), Poll::Ready((Value(1), Value(2))));
}

#[test]
fn the_last_waker_is_woken() {
    let world = World::new();
    let (a, ra) = world.op("a");
    let mut all = pin!(when_all((a, world.ready("b", 2))));
    let (old, new) = (Arc::new(Wakes::default()), Arc::new(Wakes::default()));
    for wakes in [&old, &new] {
        assert!(all.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(wakes)))).is_pending());
    }
    ra.finish(1);
    assert_eq!((old.count(), new.count()), (0, 1));
}

#[test]
fn cancelling_reaches_every_unfinished_arm_once_and_outputs_say_what_became_of_each() {
    let world = World::new();
    let ((a, ra), (b, _rb), (c, rc)) = (world.op("a"), world.op("b"), world.op("c"));
    let rc = rc.stubborn();
    let mut all = pin!(when_all((a, b, c)));
    assert!(poll(all.as_mut()).is_pending());
    ra.finish(1);
    assert!(poll(all.as_mut()).is_pending());
    world.seen();
    all.as_mut().request_cancel();
    all.as_mut().request_cancel();
    assert_eq!(world.seen(), "b asked to stop, c asked to stop");
    assert!(poll(all.as_mut()).is_pending(), "c has not stopped");
    rc.finish(3);
    assert_eq!(poll(all.as_mut()), Poll::Ready((Value(1), Cancelled, Value(3))), "c finished all the same");
}

#[test]
fn cancelling_before_the_first_poll_starts_nothing() {
    let world = World::new();
    let mut all = pin!(when_all((world.op("a").0, world.op("b").0)));
    all.as_mut().request_cancel();
    assert_eq!(poll(all.as_mut()), Poll::Ready((Cancelled, Cancelled)));
    assert_eq!(world.seen(), "a asked to stop, b asked to stop");
}

#[test]
fn discarding_waits_for_what_runs_and_drops_what_never_started() {
    let world = World::new();
    let ((a, ra), (b, _rb)) = (world.op("a"), world.op("b"));
    let ra = ra.stubborn();
    let mut all = pin!(when_all((a, b)));
    assert!(poll(all.as_mut()).is_pending());
    world.seen();
    assert!(discard(all.as_mut()).is_pending());
    assert_eq!(world.seen(), "a discarded, b discarded");
    assert!(discard(all.as_mut()).is_pending(), "a is still in flight");
    ra.finish(1);
    assert!(discard(all.as_mut()).is_ready());
    assert_eq!(world.seen(), "a gives back 1");

    let mut fresh = pin!(when_all((world.op("a").0, world.op("b").0)));
    assert!(discard(fresh.as_mut()).is_ready());
    assert_eq!(world.seen(), "a discarded unstarted, b discarded unstarted");
}

#[test]
fn dropping_drops_every_arm_where_it_is() {
    let world = World::new();
    {
        let mut all = pin!(when_all((world.op("a").0, world.ready("b", 2), world.op("c").0)));
        assert!(poll(all.as_mut()).is_pending());
    }
    assert_eq!(world.seen(), "a starts, b starts, c starts, a dropped in flight, c dropped in flight");
    drop(when_all([world.op("a").0, world.op("b").0]));
    assert_eq!(world.seen(), "a dropped unstarted, b dropped unstarted");
}

#[test]
fn a_panic_at_the_first_poll_leaves_later_arms_unstarted_and_everything_is_dropped() {
    let world = World::new();
    let ((a, _), (b, rb), (c, _)) = (world.op("a"), world.op("b"), world.op("c"));
    rb.panic_at(Step::Poll);
    {
        let mut all = pin!(when_all((a, b, c)));
        assert_eq!(panics(|| poll(all.as_mut())).as_deref(), Some("b panics in Poll"));
    }
    assert_eq!(
        world.seen(),
        "a starts, b starts, a dropped in flight, b dropped in flight, c dropped unstarted"
    );
}

#[test]
fn a_panic_in_one_arm_does_not_lose_the_outputs_of_others() {
    let world = World::new();
    let ((a, ra), (b, rb)) = (world.op("a"), world.op("b"));
    let mut all = pin!(when_all((a, b)));
    ra.finish(1);
    rb.panic_at(Step::Poll);
    assert!(panics(|| poll(all.as_mut())).is_some());
    rb.finish(2);
    assert_eq!(poll(all.as_mut()), Poll::Ready((Value(1), Value(2))), "polled on after the panic");
}

#[test]
fn a_panic_in_an_arms_destructor_does_not_lose_its_output() {
    let world = World::new();
    let (a, ra) = world.op("a");
    let mut all = pin!(when_all((a, world.ready("b", 2))));
    ra.finish(1);
    ra.panic_at(Step::Drop);
    assert_eq!(panics(|| poll(all.as_mut())).as_deref(), Some("a panics in Drop"));
    assert_eq!(poll(all.as_mut()), Poll::Ready((Value(1), Value(2))));
}

#[test]
fn a_panic_in_a_request_to_stop_propagates_and_the_rest_still_drops() {
    let world = World::new();
    let ((a, ra), (b, _)) = (world.op("a"), world.op("b"));
    ra.panic_at(Step::Cancel);
    {
        let mut all = pin!(when_all((a, b)));
        assert!(poll(all.as_mut()).is_pending());
        assert!(panics(|| all.as_mut().request_cancel()).is_some());
        world.seen();
    }
    assert_eq!(world.seen(), "a dropped in flight, b dropped in flight");
}

#[test]
fn a_panic_in_one_destructor_does_not_keep_the_others_from_dropping() {
    let world = World::new();
    let ((a, ra), (b, _)) = (world.op("a"), world.op("b"));
    ra.panic_at(Step::Drop);
    let all = when_all(vec![a, b]);
    assert!(panics(|| drop(all)).is_some());
    assert_eq!(world.seen(), "a dropped unstarted, b dropped unstarted");
}

#[test]
fn polling_after_completion_panics() {
    let world = World::new();
    let mut all = pin!(when_all((world.ready("a", 1),)));
    assert!(poll(all.as_mut()).is_ready());
    assert!(panics(|| poll(all.as_mut())).is_some());
}

#[test]
fn a_forgotten_combinator_forgets_its_arms_and_nothing_else() {
    let world = World::new();
    let mut all = Box::pin(when_all((world.op("a").0, world.op("b").0)));
    assert!(poll(all.as_mut()).is_pending());
    std::mem::forget(all);
    assert_eq!(world.seen(), "a starts, b starts");
}

#[test]
fn borrowed_arms_stay_with_their_owner() {
    let world = World::new();
    let ((a, ra), (b, rb)) = (world.op("a"), world.op("b"));
    let (mut a, mut b) = (Box::pin(a), pin!(b));
    {
        let mut all = pin!(when_all((&mut a, b.as_mut())));
        assert!(poll(all.as_mut()).is_pending());
        assert!(discard(all.as_mut()).is_ready(), "borrowed arms are not stopped");
    }
    assert_eq!(world.seen(), "a starts, b starts");
    ra.finish(1);
    rb.finish(2);
    assert_eq!(poll(pin!(when_all((a, b)))), Poll::Ready((Value(1), Value(2))));
}
