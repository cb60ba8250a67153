//! `with_cancel`, `latch`, `lost_into`, `deadline`: who is stopped, by whom, and what comes back.

use std::cell::Cell;
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use millstream::channel::{PopError, PushError, bounded, oneshot};
use millstream::combinators::{
    Elapsed, OneOf2, OperationExt, Raced, adapters, parallel_any, when_all, when_any,
};
use millstream::{Operation, Runtime, race, spawn, time, yield_now};

use crate::fake::{Cancelled, Step, Value, World, discard, on_ring, panics, poll};

#[test]
fn the_slot_is_polled_first_and_when_it_resolves_the_operation_is_stopped() {
    let world = World::new();
    let ((op, rop), (slot, rslot)) = (world.op("op"), world.op("slot"));
    let rop = rop.stubborn();
    let mut both = pin!(op.with_cancel(slot));
    assert_eq!(world.seen(), "");
    assert!(poll(both.as_mut()).is_pending());
    assert_eq!(world.seen(), "slot races, slot starts, op starts");
    rslot.finish(1);
    assert!(poll(both.as_mut()).is_pending(), "waited out");
    assert!(poll(both.as_mut()).is_pending());
    assert_eq!(world.seen(), "op asked to stop", "once");
    rop.stop();
    assert_eq!(poll(both.as_mut()), Poll::Ready(Cancelled));
    assert_eq!(world.seen(), "");
}

#[test]
fn an_operation_that_is_quicker_than_the_request_shows_its_result() {
    let world = World::new();
    let ((op, rop), (slot, rslot)) = (world.op("op"), world.op("slot"));
    let mut both = pin!(op.with_cancel(slot));
    assert!(poll(both.as_mut()).is_pending());
    rslot.finish(1);
    rop.finish(2);
    assert_eq!(poll(both.as_mut()), Poll::Ready(Value(2)));
}

#[test]
fn a_slot_that_has_resolved_already_lets_nothing_start() {
    let world = World::new();
    let mut both = pin!(world.op("op").0.with_cancel(world.ready("slot", 1)));
    assert_eq!(poll(both.as_mut()), Poll::Ready(Cancelled));
    assert_eq!(world.seen(), "slot races, slot starts, op asked to stop");
}

#[test]
fn a_slot_that_was_not_needed_is_given_up_without_effect() {
    let world = World::new();
    let ((op, rop), (slot, rslot)) = (world.op("op"), world.op("slot"));
    let rslot = rslot.stubborn();
    let mut both = pin!(op.with_cancel(slot));
    assert!(poll(both.as_mut()).is_pending());
    world.seen();
    rop.finish(1);
    assert!(poll(both.as_mut()).is_pending(), "the slot is waited out");
    assert!(both.is_decided());
    assert_eq!(world.seen(), "slot discarded");
    both.as_mut().request_cancel();
    rslot.finish(2);
    assert_eq!(poll(both.as_mut()), Poll::Ready(Value(1)));
    assert_eq!(world.seen(), "slot gives back 2");

    let ((tx, rx), (stop_tx, stop)) = (bounded(1), bounded(1));
    let mut pop = pin!(rx.pop().with_cancel(stop.pop()));
    assert!(poll(pop.as_mut()).is_pending());
    tx.try_push(7).unwrap();
    assert_eq!(poll(pop.as_mut()), Poll::Ready(Ok(7)));
    stop_tx.try_push("later").unwrap();
    assert_eq!(stop.try_pop(), Ok("later"));
}

#[test]
fn a_borrowed_slot_stays_for_the_next_operation() {
    let world = World::new();
    let (slot, rslot) = world.op("slot");
    let mut slot = pin!(slot.latch());
    for value in 1..3 {
        let (op, rop) = world.op("op");
        let mut both = pin!(op.with_cancel(slot.as_mut()));
        assert!(poll(both.as_mut()).is_pending());
        rop.finish(value);
        assert_eq!(poll(both.as_mut()), Poll::Ready(Value(value)));
    }
    assert!(!world.seen().contains("slot discarded"));
    rslot.finish(9);
    for _ in 0..2 {
        assert_eq!(poll(pin!(world.op("late").0.with_cancel(slot.as_mut()))), Poll::Ready(Cancelled));
    }
    assert!(!world.seen().contains("late starts"));
    assert!(slot.is_set());
    assert_eq!(slot.output(), Some(&Value(9)));
    assert_eq!((slot.as_mut().take(), slot.as_mut().take()), (Some(Value(9)), None));
    assert_eq!(
        poll(pin!(race!(slot.as_mut() || world.op("other").0))),
        Poll::Ready(OneOf2::A(())),
        "still set"
    );
}

#[test]
fn asked_to_stop_from_outside_the_slot_no_longer_matters() {
    let world = World::new();
    let ((op, rop), (slot, rslot)) = (world.op("op"), world.op("slot"));
    let rop = rop.stubborn();
    let mut both = pin!(op.with_cancel(slot));
    assert!(poll(both.as_mut()).is_pending());
    world.seen();
    both.as_mut().request_cancel();
    both.as_mut().request_cancel();
    rslot.finish(1);
    assert!(poll(both.as_mut()).is_pending());
    assert_eq!(world.seen(), "op asked to stop", "once, whoever asks");
    rop.stop();
    assert_eq!(poll(both.as_mut()), Poll::Ready(Cancelled));

    let mut fresh = pin!(world.op("op").0.with_cancel(world.op("slot").0));
    fresh.as_mut().request_cancel();
    world.seen();
    assert_eq!(poll(fresh.as_mut()), Poll::Ready(Cancelled));
    assert_eq!(world.seen(), "slot discarded unstarted");
}

#[test]
fn on_a_combinator_every_unfinished_leaf_is_asked_once() {
    let world = World::new();
    let ((a, ra), (b, rb), (c, rc)) = (world.op("a"), world.op("b"), world.op("c"));
    let (rb, rc) = (rb.stubborn(), rc.stubborn());
    let (slot, rslot) = world.op("slot");
    let mut all = pin!(when_all((when_all((a, b)), c)).with_cancel(slot));
    assert!(poll(all.as_mut()).is_pending());
    ra.finish(1);
    assert!(poll(all.as_mut()).is_pending());
    world.seen();
    rslot.finish(0);
    assert!(poll(all.as_mut()).is_pending());
    assert_eq!(world.seen(), "b asked to stop, c asked to stop");
    rb.stop();
    rc.finish(3);
    assert_eq!(poll(all.as_mut()), Poll::Ready(((Value(1), Cancelled), Value(3))));
}

#[test]
fn as_a_loser_it_gives_up_both_and_dropped_it_drops_both() {
    let world = World::new();
    let ((op, rop), (slot, rslot)) = (world.op("op"), world.op("slot"));
    let (rop, rslot) = (rop.stubborn(), rslot.stubborn());
    let mut both = pin!(op.with_cancel(slot));
    assert!(poll(both.as_mut()).is_pending());
    world.seen();
    assert!(discard(both.as_mut()).is_pending());
    assert_eq!(world.seen(), "op discarded, slot discarded");
    rop.stop();
    assert!(discard(both.as_mut()).is_pending());
    rslot.stop();
    assert!(discard(both.as_mut()).is_ready());

    {
        let mut dropped = pin!(world.op("op").0.with_cancel(world.op("slot").0));
        assert!(poll(dropped.as_mut()).is_pending());
        world.seen();
    }
    assert_eq!(world.seen(), "op dropped in flight, slot dropped in flight");
}

#[test]
fn a_panic_in_the_request_to_stop_does_not_repeat_it() {
    let world = World::new();
    let (op, rop) = world.op("op");
    let rop = rop.stubborn();
    rop.panic_at(Step::Cancel);
    let mut both = pin!(op.with_cancel(world.ready("slot", 1)));
    assert!(panics(|| poll(both.as_mut())).is_some());
    world.seen();
    assert!(poll(both.as_mut()).is_pending());
    rop.finish(2);
    assert_eq!(poll(both.as_mut()), Poll::Ready(Value(2)));
    assert!(!world.seen().contains("asked"));
}

#[test]
fn slots_are_pops_oneshots_tasks_timers_and_races() {
    Runtime::new().expect("a ring").block_on(async {
        let never = || adapters::future(pending::<()>());
        let stopped = Err(adapters::Cancelled);
        let ((tx, rx), (reply, answer)) = (bounded::<()>(1), oneshot());
        assert_eq!(never().with_cancel(time::sleep(Duration::from_millis(1))).await, stopped);
        assert_eq!(never().with_cancel(spawn(yield_now())).await, stopped);
        reply.push(()).unwrap();
        assert_eq!(never().with_cancel(answer).await, stopped);
        let other = rx.clone();
        assert_eq!(
            never().with_cancel(race!(other.pop() || time::sleep(Duration::from_millis(1)))).await,
            stopped
        );
        drop(tx);
        assert_eq!(never().with_cancel(rx.pop()).await, stopped);
        let (tx, rx) = bounded::<()>(1);
        drop(rx);
        assert_eq!(never().with_cancel(tx.closed()).await, stopped);
    });
}

#[test]
fn a_task_as_a_slot_by_value_is_cancelled_and_by_reference_runs_on() {
    Runtime::new().expect("a ring").block_on(async {
        let alive = Rc::new(Cell::new(()));
        let forever = || {
            let alive = Rc::clone(&alive);
            spawn(async move {
                let _alive = alive;
                pending::<()>().await;
            })
        };
        assert_eq!(adapters::future(yield_now()).with_cancel(forever()).await, Ok(()));
        assert_eq!(Rc::strong_count(&alive), 1);
        let mut task = forever();
        assert_eq!(adapters::future(yield_now()).with_cancel(&mut task).await, Ok(()));
        assert_eq!(Rc::strong_count(&alive), 2);
    });
}

#[test]
fn a_loser_leaves_its_outcome_in_its_place() {
    let world = World::new();
    let ((a, ra), (b, rb)) = (world.op("a"), world.op("b"));
    let ra = ra.stubborn();
    let mut lost = Some(Value(99));
    {
        let mut any = pin!(when_any((a.lost_into(&mut lost), b)));
        assert!(poll(any.as_mut()).is_pending());
        assert_eq!(world.seen(), "a races, b races, a starts, b starts");
        rb.finish(2);
        assert!(poll(any.as_mut()).is_pending());
        assert!(poll(any.as_mut()).is_pending());
        assert_eq!(world.seen(), "a asked to stop", "once, and waited for");
        ra.finish(1);
        assert_eq!(poll(any.as_mut()), Poll::Ready(OneOf2::B(Value(2))));
        assert_eq!(world.seen(), "", "it gives nothing back elsewhere: its result is here");
    }
    assert_eq!(lost, Some(Value(1)));

    let mut unstarted = None;
    let won = poll(pin!(race!(world.ready("a", 1) || world.op("b").0.lost_into(&mut unstarted))));
    assert_eq!((won, unstarted), (Poll::Ready(OneOf2::A(Value(1))), Some(Cancelled)));
    assert!(!world.seen().contains("b starts"));

    let mut won = Some(Value(99));
    assert!(poll(pin!(race!(world.ready("a", 1).lost_into(&mut won) || world.op("b").0))).is_ready());
    assert_eq!(won, None, "it did not lose");
}

#[test]
fn a_push_that_lost_a_race_by_value_comes_back() {
    let ((tx, rx), (stop_tx, stop)) = (bounded(1), bounded::<()>(1));
    tx.try_push(Box::new(0)).unwrap();
    let mut lost = None;
    {
        let push = tx.push(Box::new(1)).lost_into(&mut lost);
        let mut any = pin!(when_any((when_all((push, stop.pop())), stop.pop())));
        assert!(poll(any.as_mut()).is_pending());
        stop_tx.close();
        assert_eq!(poll(any.as_mut()), Poll::Ready(OneOf2::B(Err(PopError::Closed))));
    }
    assert_eq!(lost, Some(Err(PushError::Cancelled(Box::new(1)))));
    assert_eq!((rx.try_pop().unwrap(), rx.is_empty()), (Box::new(0), true));
}

#[test]
fn a_deadline_is_an_instant_that_several_operations_share() {
    Runtime::new().expect("a ring").block_on(async {
        let (_tx, rx) = bounded::<u8>(1);
        let at = Instant::now() + Duration::from_millis(5);
        let both = (rx.pop().deadline(at) & rx.pop().deadline(at)).await;
        assert!(Instant::now() >= at);
        let late = || Err(Elapsed { outcome: Err(PopError::Cancelled) });
        assert_eq!(both, (late(), late()));
        let world = World::new();
        assert_eq!(world.ready("a", 1).deadline(at).await, Ok(Value(1)), "what is there was in time");
        assert_eq!(world.op("b").0.deadline(at).await, Err(Elapsed { outcome: Cancelled }));
    });
}

#[test]
fn asked_to_stop_before_its_deadline_it_is_not_asked_again_at_it() {
    on_ring(|| {
        let world = World::new();
        let (a, ra) = world.op("a");
        let ra = ra.stubborn();
        let mut op = pin!(a.deadline(Instant::now()));
        op.as_mut().request_cancel();
        op.as_mut().request_cancel();
        world.seen();
        assert_eq!(poll(op.as_mut()), Poll::Ready(Ok(Cancelled)));
        drop(ra);

        let (b, rb) = world.op("b");
        let rb = rb.stubborn();
        let at = Instant::now() + Duration::from_millis(2);
        let mut op = pin!(b.deadline(at));
        assert!(poll(op.as_mut()).is_pending());
        op.as_mut().request_cancel();
        while Instant::now() < at {
            std::hint::spin_loop();
        }
        assert!(poll(op.as_mut()).is_pending());
        assert_eq!(world.seen(), "b starts, b asked to stop");
        rb.finish(2);
        assert_eq!(poll(op.as_mut()), Poll::Ready(Ok(Value(2))), "stopped by request, not late");
    });
}

#[test]
fn they_nest_with_everything() {
    let world = World::new();
    let (slot, rslot) = world.op("slot");
    let mut lost = None;
    {
        let guarded = (world.op("a").0.with_cancel(slot)).lost_into(&mut lost);
        let mut any = pin!(parallel_any((guarded, world.op("b").0)));
        assert!(poll(any.as_mut()).is_pending());
        rslot.finish(0);
        assert!(matches!(
            poll(any.as_mut()),
            Poll::Ready(Raced { winner: 0, outputs: (Cancelled, Cancelled), .. })
        ));
    }
    assert_eq!(lost, None, "`parallel_any` shows it itself");
}
