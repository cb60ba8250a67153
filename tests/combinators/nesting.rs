//! Combinators in combinators, three deep and more.

use std::pin::pin;
use std::task::Poll;

use millstream::Operation;
use millstream::combinators::{OneOf2, OneOf3, when_all, when_any};

use crate::fake::{Cancelled, Fake, Remote, Value, World, discard, poll};

fn four(world: &World) -> ([Fake; 4], [Remote; 4]) {
    let ((a, ra), (b, rb)) = (world.op("a"), world.op("b"));
    let ((c, rc), (d, rd)) = (world.op("c"), world.op("d"));
    ([a, b, c, d], [ra.stubborn(), rb.stubborn(), rc.stubborn(), rd.stubborn()])
}

#[test]
fn condy_104_a_race_of_pairs_waits_for_the_losing_pair() {
    let world = World::new();
    let ([a, b, c, d], [ra, rb, rc, rd]) = four(&world);
    let mut race = pin!(when_any((when_all((a, b)), when_all((c, d)))));
    assert!(poll(race.as_mut()).is_pending());
    ra.finish(2);
    rc.finish(4);
    assert!(poll(race.as_mut()).is_pending());
    world.seen();
    rb.finish(3);
    assert!(poll(race.as_mut()).is_pending(), "d has not ended");
    assert_eq!(world.seen(), "d discarded", "c had completed: only d is stopped");
    rd.stop();
    assert_eq!(poll(race.as_mut()), Poll::Ready(OneOf2::A((Value(2), Value(3)))));

    let ([a, b, c, d], [ra, rb, rc, rd]) = four(&world);
    let mut race = pin!(when_any(vec![when_all(vec![a, b]), when_all(vec![c, d])]));
    assert!(poll(race.as_mut()).is_pending());
    ra.finish(2);
    rc.finish(4);
    rd.finish(5);
    assert!(poll(race.as_mut()).is_pending());
    rb.stop();
    assert_eq!(poll(race.as_mut()), Poll::Ready((1, vec![Value(4), Value(5)])));
}

#[test]
fn condy_83_a_pair_of_races() {
    let world = World::new();
    let pair = when_all((
        when_any((world.op("a").0, world.ready("b", 2))),
        when_any((world.ready("c", 3), world.op("d").0)),
    ));
    assert_eq!(poll(pin!(pair)), Poll::Ready((OneOf2::B(Value(2)), OneOf2::A(Value(3)))));
    assert!(world.seen().ends_with("c starts, d discarded unstarted"));
}

#[test]
fn a_request_to_stop_reaches_each_unfinished_leaf_once_at_any_depth() {
    let world = World::new();
    let ([a, b, c, d], [ra, rb, rc, rd]) = four(&world);
    let mut deep = pin!(when_all((when_any((when_all((a, b)), c)), when_all(vec![when_all((d,))]))));
    assert!(poll(deep.as_mut()).is_pending());
    ra.finish(1);
    assert!(poll(deep.as_mut()).is_pending());
    world.seen();
    deep.as_mut().request_cancel();
    deep.as_mut().request_cancel();
    assert_eq!(world.seen(), "b asked to stop, c asked to stop, d asked to stop");
    rc.stop();
    rd.stop();
    assert!(poll(deep.as_mut()).is_pending(), "c decided for the race, b is waited out");
    rb.stop();
    assert_eq!(poll(deep.as_mut()), Poll::Ready((OneOf2::B(Cancelled), vec![(Cancelled,)])));
}

#[test]
fn an_inner_race_that_has_decided_decides_the_outer_one() {
    let world = World::new();
    let ([a, b, c, d], [ra, rb, rc, rd]) = four(&world);
    let mut outer = pin!(when_any((when_any((a, b)), c, d)));
    assert!(poll(outer.as_mut()).is_pending());
    world.seen();
    ra.finish(1); // a message was taken: nothing may make it disappear again
    assert!(poll(outer.as_mut()).is_pending());
    assert_eq!(world.seen(), "b discarded, c discarded, d discarded");
    rc.finish(3);
    rd.stop();
    assert!(poll(outer.as_mut()).is_pending(), "b is in flight");
    assert_eq!(world.seen(), "c gives back 3");
    rb.stop();
    assert_eq!(poll(outer.as_mut()), Poll::Ready(OneOf3::A(OneOf2::A(Value(1)))));
}

#[test]
fn a_pair_whose_arms_have_all_completed_or_decided_decides() {
    let world = World::new();
    let ([a, b, c, d], [ra, rb, rc, rd]) = four(&world);
    let mut outer = pin!(when_any((when_all((when_any((a, b)), c)), d)));
    assert!(poll(outer.as_mut()).is_pending());
    ra.finish(1);
    assert!(poll(outer.as_mut()).is_pending());
    assert!(!world.seen().contains("d discarded"), "c is still open");
    rc.finish(3);
    assert!(poll(outer.as_mut()).is_pending());
    assert_eq!(world.seen(), "d discarded");
    rd.finish(4);
    rb.stop();
    assert_eq!(poll(outer.as_mut()), Poll::Ready(OneOf2::A((OneOf2::A(Value(1)), Value(3)))));
    assert_eq!(world.seen(), "d gives back 4");
}

#[test]
fn a_borrowed_race_that_has_decided_decides_too() {
    let world = World::new();
    let ([a, b, c, _d], [ra, rb, rc, _]) = four(&world);
    let mut inner = pin!(when_any((a, b)));
    let mut outer = pin!(when_any((inner.as_mut(), c)));
    assert!(poll(outer.as_mut()).is_pending());
    ra.finish(1);
    assert!(poll(outer.as_mut()).is_pending());
    rc.stop();
    rb.stop();
    assert_eq!(poll(outer.as_mut()), Poll::Ready(OneOf2::A(OneOf2::A(Value(1)))));
}

#[test]
fn discarding_goes_all_the_way_down() {
    let world = World::new();
    let ([a, b, c, d], remotes) = four(&world);
    let mut deep = pin!(when_all((when_any((when_all((a, b)), c)), d)));
    assert!(poll(deep.as_mut()).is_pending());
    world.seen();
    assert!(discard(deep.as_mut()).is_pending());
    assert_eq!(world.seen(), "a discarded, b discarded, c discarded, d discarded");
    for remote in &remotes {
        assert!(discard(deep.as_mut()).is_pending());
        remote.stop();
    }
    assert!(discard(deep.as_mut()).is_ready());
}

#[test]
fn boxed_operations_of_one_output_type_mix() {
    let world = World::new();
    let arms: Vec<std::pin::Pin<Box<dyn Operation<Output = crate::fake::Outcome>>>> =
        vec![Box::pin(world.op("a").0), Box::pin(world.ready("b", 2))];
    assert_eq!(poll(pin!(when_any(arms))), Poll::Ready((1, Value(2))));
    assert_eq!(world.seen(), "a races, b races, a starts, b starts, a discarded");
}

#[test]
fn every_leaf_of_a_race_hears_of_it_before_it_starts() {
    let world = World::new();
    let ([a, b, c, d], _remotes) = four(&world);
    let mut race = pin!(when_any((when_all((a, when_all([b]))), when_any((c, d)))));
    assert!(poll(race.as_mut()).is_pending());
    let seen = world.seen();
    for name in ["a", "b", "c", "d"] {
        assert_eq!(seen.matches(&format!("{name} races")).count(), 1, "{seen}");
        assert!(seen.find(&format!("{name} races")) < seen.find(&format!("{name} starts")), "{seen}");
    }
}
