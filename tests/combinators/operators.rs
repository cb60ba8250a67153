//! `&`, `|` and `>>`: flat where they repeat, nested where they mix; and the macros.

use std::pin::pin;
use std::task::Poll;

use millstream::combinators::adapters::{self, Cancelled, Lifted};
use millstream::combinators::{
    Linked, OneOf2, OneOf3, OneOf4, Soft, WhenAll, WhenAny, hard_link, link, when_all, when_any,
};

use crate::fake::{Fake, Value, World, on_ring, poll};

type Ready = Lifted<std::future::Ready<u32>>;

fn now(value: u32) -> Ready {
    adapters::future(std::future::ready(value))
}

fn never() -> Lifted<std::future::Pending<u32>> {
    adapters::future(std::future::pending())
}

#[test]
fn condy_81_and_is_flat() {
    let all: WhenAll<(Ready, Ready, Ready, Ready)> = now(1) & now(2) & now(3) & now(4);
    assert_eq!(poll(pin!(all)), Poll::Ready((Ok(1), Ok(2), Ok(3), Ok(4))));
    let nested: WhenAll<(Ready, WhenAll<(Ready, Ready)>)> = now(1) & (now(2) & now(3));
    assert_eq!(poll(pin!(nested)), Poll::Ready((Ok(1), (Ok(2), Ok(3)))));
}

#[test]
fn condy_82_or_is_flat() {
    let any: WhenAny<(_, _, Ready, _)> = never() | never() | now(3) | never();
    assert_eq!(poll(pin!(any)), Poll::Ready(OneOf4::C(Ok(3))));
    let nested = never() | (never() | now(3));
    assert_eq!(poll(pin!(nested)), Poll::Ready(OneOf2::B(OneOf2::B(Ok(3)))));
}

#[test]
fn condy_83_mixed_operators_nest() {
    let mixed = (never() | now(2)) & (now(3) | never());
    assert_eq!(poll(pin!(mixed)), Poll::Ready((OneOf2::B(Ok(2)), OneOf2::A(Ok(3)))));
    let mixed = never() & now(1) | now(2) & now(3) | never();
    assert_eq!(poll(pin!(mixed)), Poll::Ready(OneOf3::B((Ok(2), Ok(3)))));
}

#[test]
fn condy_86_then_is_flat_and_hard_links_stay_their_own() {
    on_ring(|| {
        let world = World::new();
        let r = |name| world.ready(name, 0);
        let chain: Linked<(Fake, Fake, Fake), Soft> = link((r("a"), r("b"))) >> r("c");
        assert_eq!(poll(pin!(chain)), Poll::Ready((Value(0), Value(0), Value(0))));
        assert!(world.seen().ends_with("a then, b then, c last"));
        let chain = hard_link((r("a"), r("b"))) >> r("c");
        assert_eq!(poll(pin!(chain)), Poll::Ready(((Value(0), Value(0)), Value(0))));
        assert!(world.seen().ends_with("a then anyway, b then, c last"));
        let chain = link(vec![r("a"), r("b")]) >> r("c");
        assert_eq!(poll(pin!(chain)), Poll::Ready((vec![Value(0), Value(0)], Value(0))));
        assert!(world.seen().ends_with("a then, b then, c last"));
        let chains = link((r("a"), r("b"))) & (link((r("c"),)) >> r("d")) | link((r("e"),));
        assert!(poll(pin!(chains)).is_ready());
    });
}

#[test]
fn sixteen_operands_are_one_flat_tuple() {
    type Sixteen<T> = (T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T);
    let n = now;
    let all: WhenAll<Sixteen<Ready>> = n(0)
        & n(1)
        & n(2)
        & n(3)
        & n(4)
        & n(5)
        & n(6)
        & n(7)
        & n(8)
        & n(9)
        & n(10)
        & n(11)
        & n(12)
        & n(13)
        & n(14)
        & n(15);
    let Poll::Ready(outputs) = poll(pin!(all)) else { panic!("all are ready") };
    assert_eq!((outputs.0, outputs.7, outputs.15), (Ok(0), Ok(7), Ok(15)));

    let w = never;
    type Never = Lifted<std::future::Pending<u32>>;
    type Last = (
        Never,
        Never,
        Never,
        Never,
        Never,
        Never,
        Never,
        Never,
        Never,
        Never,
        Never,
        Never,
        Never,
        Never,
        Never,
        Ready,
    );
    let any: WhenAny<Last> =
        w() | w() | w() | w() | w() | w() | w() | w() | w() | w() | w() | w() | w() | w() | w() | n(15);
    assert_eq!(poll(pin!(any)).map(|won| (won.index(), won.into_inner())), Poll::Ready((15, Ok(15))));

    on_ring(|| {
        let world = World::new();
        let r = || world.ready("a", 0);
        let chain: Linked<Sixteen<Fake>, Soft> = link((r(), r()))
            >> r()
            >> r()
            >> r()
            >> r()
            >> r()
            >> r()
            >> r()
            >> r()
            >> r()
            >> r()
            >> r()
            >> r()
            >> r()
            >> r();
        assert!(poll(pin!(chain)).is_ready());
        assert_eq!(world.seen().matches("a then").count(), 15);
    });
}

#[test]
fn collections_are_one_arm() {
    let all = when_all(vec![now(1), now(2)]) & now(3);
    assert_eq!(poll(pin!(all)), Poll::Ready((vec![Ok(1), Ok(2)], Ok(3))));
    let any = when_any([never(), never()]) | now(3);
    assert_eq!(poll(pin!(any)), Poll::Ready(OneOf2::B(Ok(3))));
}

#[test]
fn a_borrowed_operation_is_an_operand_too() {
    let mut kept = Box::pin(never());
    let mut pinned = pin!(never());
    let any = kept.as_mut() | pinned.as_mut() | now(3);
    assert_eq!(poll(pin!(any)), Poll::Ready(OneOf3::C(Ok(3))));
    let mut unpinned = never();
    assert_eq!(poll(pin!(&mut unpinned | now(1))), Poll::Ready(OneOf2::B(Ok(1))));
    assert!(poll(kept.as_mut()).is_pending(), "still there");
    let mut race = never() | now(5);
    assert_eq!(poll(pin!(&mut race & now(6))), Poll::Ready((OneOf2::B(Ok(5)), Ok(6))));
}

#[test]
fn a_combinator_that_was_polled_does_not_grow() {
    let mut all = now(1) & never();
    assert!(poll(pin!(&mut all)).is_pending());
    let said = crate::fake::panics(|| all & now(2)).expect("an output would be lost");
    assert_eq!(said, "a combinator was extended after one of its arms had completed");
}

#[test]
fn macros_take_expressions_between_operators() {
    use millstream::{chain, join, race};

    let mut kept = pin!(never());
    let lift = |f: fn() -> u32| now(f());
    assert_eq!(poll(pin!(race!(kept.as_mut() || lift(|| 2) || never()))), Poll::Ready(OneOf3::B(Ok(2))));
    assert_eq!(
        poll(pin!(race!(race!(never() || now(1)) || never()))),
        Poll::Ready(OneOf2::A(OneOf2::B(Ok(1))))
    );
    assert_eq!(
        poll(pin!(race!(never() | never() || now(1) & now(2)))),
        Poll::Ready(OneOf2::B((Ok(1), Ok(2))))
    );
    assert_eq!(poll(pin!(join!(now(1) && if true { now(2) } else { now(3) }))), Poll::Ready((Ok(1), Ok(2))));
    on_ring(|| {
        let world = World::new();
        let linked = chain!(world.ready("a", 1) >> world.ready("b", 2) >> world.ready("c", 3));
        assert_eq!(poll(pin!(linked)), Poll::Ready((Value(1), Value(2), Value(3))));
    });
}

#[test]
fn a_lifted_future_is_cancelled_by_dropping_it() {
    use millstream::Operation;

    let held = std::rc::Rc::new(());
    let hold = std::rc::Rc::clone(&held);
    let mut lifted = pin!(adapters::future(async move {
        let _hold = hold;
        std::future::pending::<u32>().await
    }));
    assert!(poll(lifted.as_mut()).is_pending());
    assert_eq!(std::rc::Rc::strong_count(&held), 2);
    lifted.as_mut().request_cancel();
    assert_eq!(std::rc::Rc::strong_count(&held), 1, "dropped at once");
    lifted.as_mut().request_cancel();
    assert_eq!(poll(lifted.as_mut()), Poll::Ready(Err(Cancelled)));

    let mut discarded = pin!(never());
    assert!(poll(discarded.as_mut()).is_pending());
    assert!(crate::fake::discard(discarded.as_mut()).is_ready());
}
