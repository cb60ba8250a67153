//! What a combinator takes: any iterator, and nothing at all.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::task::Poll;

use millstream::combinators::{
    Arms, IntoArms, NoArms, WhenAll, hard_link, link, parallel_all, parallel_any, try_parallel_any,
    try_when_any, when_all, when_any,
};

use crate::fake::{Fake, Outcome, Value, World, on_ring, panics, poll};

/// An iterator that std has never heard of.
struct Countdown<'a> {
    world: &'a World,
    left: u32,
}

impl Iterator for Countdown<'_> {
    type Item = Fake;

    fn next(&mut self) -> Option<Fake> {
        self.left = self.left.checked_sub(1)?;
        Some(self.world.ready("op", self.left))
    }
}

fn countdown(world: &World) -> Countdown<'_> {
    Countdown { world, left: 3 }
}

const DOWN: [Outcome; 3] = [Value(2), Value(1), Value(0)];

#[test]
fn any_iterator_is_a_set_of_arms() {
    let world = World::new();
    assert_eq!(poll(pin!(when_all(countdown(&world)))), Poll::Ready(DOWN.to_vec()));
    assert_eq!(poll(pin!(when_any(countdown(&world)))), Poll::Ready((0, Value(2))));
    assert!(
        matches!(poll(pin!(parallel_all(countdown(&world)))), Poll::Ready(done) if done.outputs == DOWN && done.order == [0, 1, 2])
    );
    assert!(matches!(poll(pin!(parallel_any(countdown(&world)))), Poll::Ready(raced) if raced.winner == 0));
    assert_eq!(poll(pin!(when_all(&mut countdown(&world)))), Poll::Ready(DOWN.to_vec()));
    let boxed: Box<dyn Iterator<Item = Fake>> = Box::new(countdown(&world).skip(1));
    assert_eq!(poll(pin!(when_all(boxed))), Poll::Ready(DOWN[1..].to_vec()));
    on_ring(|| {
        assert_eq!(poll(pin!(link(countdown(&world)))), Poll::Ready(DOWN.to_vec()));
        assert_eq!(poll(pin!(hard_link(countdown(&world).step_by(2)))), Poll::Ready(vec![DOWN[0], DOWN[2]]));
    });
}

#[test]
fn so_are_those_of_collections_by_value_and_by_reference() {
    let world = World::new();
    let ops = || countdown(&world);
    let expected = || Poll::Ready(DOWN.to_vec());
    assert_eq!(poll(pin!(when_all(ops().collect::<VecDeque<_>>().into_iter()))), expected());
    let map: BTreeMap<u8, Fake> = (0..).zip(ops()).collect();
    assert_eq!(poll(pin!(when_all(map.into_values()))), expected());
    let mut boxed: Vec<_> = ops().map(Box::pin).collect();
    assert_eq!(poll(pin!(when_all(boxed.iter_mut()))), expected());
    assert_eq!(poll(pin!(when_all(Some(world.ready("one", 1)).into_iter()))), Poll::Ready(vec![Value(1)]));
}

#[test]
fn arms_pass_through_a_generic_function() {
    fn all<T: IntoArms<Form, Arms: Arms>, Form>(arms: T) -> WhenAll<T::Arms> {
        when_all(arms)
    }
    fn each<O: millstream::Operation>(arms: impl Iterator<Item = O>) -> WhenAll<Vec<O>> {
        when_all(arms)
    }
    let world = World::new();
    assert_eq!(poll(pin!(all((world.ready("a", 1),)))), Poll::Ready((Value(1),)));
    assert_eq!(poll(pin!(all([world.ready("a", 1)]))), Poll::Ready([Value(1)]));
    assert_eq!(poll(pin!(all(countdown(&world)))), Poll::Ready(DOWN.to_vec()));
    assert_eq!(poll(pin!(each(countdown(&world)))), Poll::Ready(DOWN.to_vec()));
}

#[test]
fn of_no_arms_all_complete_at_once_and_none_can_win() {
    let none = || Vec::<Fake>::new();
    assert_eq!(poll(pin!(when_all(()))), Poll::Ready(()));
    assert_eq!(poll(pin!(when_all(none()))), Poll::Ready(vec![]));
    assert_eq!(poll(pin!(when_all(std::iter::empty::<Fake>()))), Poll::Ready(vec![]));
    assert_eq!(poll(pin!(when_all([] as [Fake; 0]))).map(|outputs| outputs.len()), Poll::Ready(0));

    assert_eq!(try_when_any(none()).err(), Some(NoArms));
    assert_eq!(try_when_any(none().into_iter()).err(), Some(NoArms));
    assert_eq!(try_parallel_any(none()).err(), Some(NoArms));
    assert_eq!(NoArms.to_string(), "a race of nothing: it needs at least one arm to decide it");
    let said = panics(|| parallel_any(none())).expect("nothing can decide");
    assert_eq!(said, "`parallel_any` of nothing: a race needs at least one arm to decide it");

    let world = World::new();
    let one = try_when_any(vec![world.ready("a", 1)]).expect("there is one");
    assert_eq!(poll(pin!(one)), Poll::Ready((0, Value(1))));
    let one = try_parallel_any([world.ready("a", 1)]).expect("there is one");
    assert!(poll(pin!(one)).is_ready());
}
