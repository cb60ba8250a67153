//! `drain` and `always_async`: on the operation, or on every entry below a combinator.

use std::pin::pin;

use millstream::combinators::{Flaggable, RingOperationExt, WhenAll, hard_link, link, when_all, when_any};
use millstream::ops::EntryFlags;

use crate::fake::{World, poll};

#[test]
fn a_flag_reaches_every_leaf_below_a_combinator() {
    let world = World::new();
    let r = |name| world.ready(name, 0);
    let mut deep = pin!(when_all((
        when_any((r("a"), r("b"))),
        link((r("c"), hard_link(vec![r("d"), r("e")]))),
        when_all([r("f")]),
    )));
    deep.as_mut().add_flags(EntryFlags::DRAIN);
    assert_eq!(world.seen(), "a drains, b drains, c drains, d drains, e drains, f drains");
    deep.as_mut().add_flags(EntryFlags::ASYNC);
    assert!(world.seen().starts_with("a is async, b is async"));
}

#[test]
fn a_flag_keeps_the_type_and_is_there_before_the_first_poll() {
    let world = World::new();
    let mut arms = [Box::pin(world.ready("a", 1)), Box::pin(world.ready("b", 2))];
    let vec: WhenAll<Vec<_>> = when_all(vec![world.ready("c", 3)]).drain().always_async();
    assert_eq!(world.seen(), "c drains, c is async");
    assert!(poll(pin!(vec)).is_ready());
    world.seen();
    for arm in &mut arms {
        arm.as_mut().add_flags(EntryFlags::DRAIN);
    }
    assert!(poll(pin!(when_any(arms))).is_ready());
    assert!(world.seen().starts_with("a drains, b drains, a races"));
}
