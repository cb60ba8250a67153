//! `link` and `hard_link`: what is queued, tied to what, and what becomes of a chain that is not queued.

use std::pin::pin;
use std::task::Poll;

use millstream::Operation;
use millstream::combinators::{hard_link, link, when_all, when_any};

use crate::fake::{Cancelled, Fake, Refused, Remote, Value, World, discard, on_ring, panics, poll};

fn three(world: &World) -> ([Fake; 3], [Remote; 3]) {
    let ((a, ra), (b, rb), (c, rc)) = (world.op("a"), world.op("b"), world.op("c"));
    ([a, b, c], [ra, rb, rc])
}

#[test]
fn members_are_prepared_then_staged_in_order_and_outputs_are_positional() {
    on_ring(|| {
        let world = World::new();
        let ([a, b, c], [ra, rb, rc]) = three(&world);
        let mut chain = pin!(link((a, b, c)));
        assert_eq!(world.seen(), "");
        assert!(poll(chain.as_mut()).is_pending());
        assert_eq!(world.seen(), "a prepares, b prepares, c prepares, a then, b then, c last");
        rc.finish(3);
        ra.finish(1);
        assert!(poll(chain.as_mut()).is_pending());
        rb.finish(2);
        assert_eq!(poll(chain.as_mut()), Poll::Ready((Value(1), Value(2), Value(3))));
        assert_eq!(world.seen(), "");
    });
}

#[test]
fn condy_100_vecs_arrays_and_iterators_link_and_hard_link() {
    on_ring(|| {
        let world = World::new();
        let mut soft = pin!(link(vec![world.ready("a", 1), world.ready("b", 2)]));
        assert_eq!(poll(soft.as_mut()), Poll::Ready(vec![Value(1), Value(2)]));
        assert_eq!(world.seen(), "a prepares, b prepares, a then, b last");
        let mut hard = pin!(hard_link([world.ready("a", 1), world.ready("b", 2)]));
        assert_eq!(poll(hard.as_mut()), Poll::Ready([Value(1), Value(2)]));
        assert_eq!(world.seen(), "a prepares, b prepares, a then anyway, b last");
        let mut mapped = pin!(hard_link(["a", "b"].map(|name| world.ready(name, 7)).into_iter().rev()));
        assert_eq!(poll(mapped.as_mut()), Poll::Ready(vec![Value(7), Value(7)]));
    });
}

#[test]
fn a_chain_of_nothing_completes_at_once_and_asks_for_no_ring() {
    assert_eq!(poll(pin!(link(()))), Poll::Ready(()));
    assert_eq!(poll(pin!(hard_link(Vec::<Fake>::new()))), Poll::Ready(vec![]));
}

#[test]
fn nothing_is_staged_until_every_member_can_be() {
    on_ring(|| {
        let world = World::new();
        let ([a, b, c], [_ra, rb, _rc]) = three(&world);
        rb.prepared(false);
        let mut chain = pin!(link((a, b, c)));
        assert!(poll(chain.as_mut()).is_pending());
        assert_eq!(world.seen(), "a prepares, b prepares");
        rb.prepared(true);
        assert!(poll(chain.as_mut()).is_pending());
        assert_eq!(world.seen(), "a prepares, b prepares, c prepares, a then, b then, c last");
    });
}

#[test]
fn a_chain_in_a_chain_keeps_its_own_kind_inside_and_goes_on_with_the_outer_one() {
    let nested = |world: &World| {
        let r = |name| world.ready(name, 0);
        (r("a"), (r("b"), r("c")), r("d"))
    };
    on_ring(|| {
        let world = World::new();
        let (a, inner, d) = nested(&world);
        let mut chain = pin!(link((a, hard_link(inner), d)));
        assert_eq!(poll(chain.as_mut()), Poll::Ready((Value(0), (Value(0), Value(0)), Value(0))));
        assert!(world.seen().ends_with("a then, b then anyway, c then, d last"));

        let (a, inner, d) = nested(&world);
        let mut chain = pin!(hard_link((a, link(inner), d)));
        assert!(poll(chain.as_mut()).is_ready());
        assert!(world.seen().ends_with("a then anyway, b then, c then anyway, d last"));

        let mut deep =
            pin!(link((link((hard_link((world.ready("a", 0), world.ready("b", 0))),)), world.ready("c", 0))));
        assert!(poll(deep.as_mut()).is_ready());
        assert!(world.seen().ends_with("a then anyway, b then, c last"));
    });
}

#[test]
fn an_empty_chain_in_a_chain_leaves_no_link_dangling() {
    on_ring(|| {
        let world = World::new();
        let none = || link(Vec::<Fake>::new());
        let mut chain = pin!(link((none(), world.ready("a", 0), none(), world.ready("b", 0), none())));
        assert!(poll(chain.as_mut()).is_ready());
        assert_eq!(world.seen(), "a prepares, b prepares, a then, b last");
        let mut outer = pin!(hard_link((link((world.ready("a", 0), none())), world.ready("b", 0))));
        assert!(poll(outer.as_mut()).is_ready());
        assert_eq!(world.seen(), "a prepares, b prepares, a then anyway, b last");
    });
}

#[test]
fn a_chain_that_can_never_fit_refuses_every_member_with_both_lengths() {
    on_ring(|| {
        let world = World::new();
        let ([a, b, c], [ra, ..]) = three(&world);
        ra.entries(1_000_000);
        let mut chain = pin!(link((a, hard_link((b, c)))));
        assert_eq!(poll(chain.as_mut()), Poll::Ready((Refused, (Refused, Refused))));
        let seen = world.seen();
        assert!(!seen.contains("then") && !seen.contains("last"), "nothing was staged: {seen}");
        for name in ["a", "b", "c"] {
            assert!(seen.contains(&format!("{name} refused: a chain of 1000002 ")), "{seen}");
        }
    });
}

#[test]
fn chains_side_by_side_are_two_chains() {
    on_ring(|| {
        let world = World::new();
        let r = |name| world.ready(name, 0);
        let mut both = pin!(when_all((link((r("a"), r("b"))), link((r("c"), r("d"))))));
        assert!(poll(both.as_mut()).is_ready());
        assert_eq!(
            world.seen(),
            "a prepares, b prepares, a then, b last, c prepares, d prepares, c then, d last"
        );
    });
}

#[test]
fn a_request_to_stop_reaches_every_member_once() {
    on_ring(|| {
        let world = World::new();
        let ([a, b, c], [ra, ..]) = three(&world);
        let mut chain = pin!(link((a, link((b, c)))));
        assert!(poll(chain.as_mut()).is_pending());
        ra.finish(1);
        assert!(poll(chain.as_mut()).is_pending());
        world.seen();
        chain.as_mut().request_cancel();
        chain.as_mut().request_cancel();
        assert_eq!(world.seen(), "b asked to stop, c asked to stop");
        assert_eq!(poll(chain.as_mut()), Poll::Ready((Value(1), (Cancelled, Cancelled))));
    });
}

#[test]
fn a_request_to_stop_before_the_chain_is_queued_queues_nothing() {
    let world = World::new();
    let ([a, b, _], _) = three(&world);
    let mut fresh = pin!(link((a, b)));
    fresh.as_mut().request_cancel();
    assert_eq!(poll(fresh.as_mut()), Poll::Ready((Cancelled, Cancelled)));
    assert_eq!(world.seen(), "c dropped unstarted, a asked to stop, b asked to stop");

    let ([a, b, _], [_, rb, _]) = three(&world);
    rb.prepared(false);
    let mut waiting = pin!(link((a, b)));
    assert!(poll(waiting.as_mut()).is_pending());
    waiting.as_mut().request_cancel();
    assert_eq!(poll(waiting.as_mut()), Poll::Ready((Cancelled, Cancelled)));
    let seen = world.seen();
    assert!(!seen.contains("then") && !seen.contains("starts"), "{seen}");
}

#[test]
fn a_chain_that_loses_is_waited_out() {
    on_ring(|| {
        let world = World::new();
        let ([a, b, c], [ra, rb, rc]) = three(&world);
        let (ra, rb) = (ra.stubborn(), rb.stubborn());
        let mut race = pin!(when_any((link((a, b)), c)));
        assert!(poll(race.as_mut()).is_pending());
        world.seen();
        rc.finish(3);
        assert!(poll(race.as_mut()).is_pending());
        assert_eq!(world.seen(), "a discarded, b discarded");
        ra.finish(1);
        assert!(poll(race.as_mut()).is_pending());
        rb.stop();
        assert!(poll(race.as_mut()).is_ready());
        assert_eq!(world.seen(), "a gives back 1");
    });
}

#[test]
fn discarding_an_unstarted_chain_is_nothing_and_a_waiting_one_lets_members_put_things_back() {
    let world = World::new();
    let ([a, b, _], _) = three(&world);
    world.seen();
    let mut fresh = pin!(link((a, b)));
    assert!(discard(fresh.as_mut()).is_ready());
    assert_eq!(world.seen(), "a discarded unstarted, b discarded unstarted");

    let ([a, b, c], [_, _, rc]) = three(&world);
    rc.prepared(false);
    let mut waiting = pin!(link((a, b, c)));
    assert!(poll(waiting.as_mut()).is_pending());
    world.seen();
    assert!(discard(waiting.as_mut()).is_ready());
    assert_eq!(world.seen(), "a discarded unstarted, b discarded unstarted, c discarded unstarted");
}

#[test]
fn dropping_a_chain_drops_its_members_where_they_are() {
    on_ring(|| {
        let world = World::new();
        let ([a, b, c], [ra, ..]) = three(&world);
        {
            let mut chain = pin!(link((a, b, c)));
            assert!(poll(chain.as_mut()).is_pending());
            ra.finish(1);
            assert!(poll(chain.as_mut()).is_pending());
            world.seen();
        }
        assert_eq!(world.seen(), "b dropped in flight, c dropped in flight");
    });
}

#[test]
fn polling_after_completion_panics() {
    on_ring(|| {
        let world = World::new();
        let mut chain = pin!(link((world.ready("a", 1),)));
        assert!(poll(chain.as_mut()).is_ready());
        assert!(panics(|| poll(chain.as_mut())).is_some());
    });
}
