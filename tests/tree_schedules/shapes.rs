//! Every arity and every way to give arms: positions, order of starts, the winner's name.
//!
//! Knows: combinators and scripted leaves. Does not know: schedules.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use millstream::Operation;
use millstream::combinators::{hard_link, link, when_all, when_any};

use crate::leaf::{Event, Leaf, Outcome, Stage};
use crate::on_ring;

fn poll<O: Operation>(operation: std::pin::Pin<&mut O>) -> Poll<O::Output> {
    operation.poll(&mut Context::from_waker(Waker::noop()))
}

fn starts(stage: &Stage) -> Vec<usize> {
    let started = |event: &Event| match event {
        Event::Starts(leaf) | Event::Staged(leaf, _) => Some(*leaf),
        _ => None,
    };
    stage.log.take().iter().filter_map(started).collect()
}

/// One arity: everything that takes a tuple of so many.
macro_rules! arity {
    ($count:literal: $($n:tt)+) => {{
        let in_order: Vec<usize> = (0..$count).collect();
        let finish = |stage: &Stage| (0..$count).rev().for_each(|n| stage.end(n, Outcome::Value));

        let stage = Stage::new($count, 0);
        let mut all = pin!(when_all(($(Leaf::new($n, &stage),)+)));
        assert!(poll(all.as_mut()).is_pending());
        assert_eq!(starts(&stage), in_order);
        stage.end($count - 1, Outcome::Cancelled);
        (0..$count - 1).for_each(|n| stage.end(n, Outcome::Value));
        let Poll::Ready(outs) = poll(all.as_mut()) else { panic!("all of {} have ended", $count) };
        let outs = [$(outs.$n),+];
        assert!(outs.iter().enumerate().all(|(n, out)| (*out == Outcome::Cancelled) == (n == $count - 1)));

        for hard in [false, true] {
            let stage = Stage::new($count, 0);
            let arms = ($(Leaf::new($n, &stage),)+);
            if hard {
                let mut chain = pin!(hard_link(arms));
                assert!(poll(chain.as_mut()).is_pending());
                assert_eq!(starts(&stage), in_order);
                finish(&stage);
                assert!(poll(chain.as_mut()).is_ready());
            } else {
                let mut chain = pin!(link(arms));
                assert!(poll(chain.as_mut()).is_pending());
                assert_eq!(starts(&stage), in_order);
                finish(&stage);
                assert!(poll(chain.as_mut()).is_ready());
            }
        }
    }};
}

/// One arity of a race, won by each arm in turn.
macro_rules! race_arity {
    ($count:literal: $($n:tt)+) => {{
        for winner in 0..$count {
            let stage = Stage::new($count, u64::MAX);
            let mut any = pin!(when_any(($(Leaf::new($n, &stage),)+)));
            assert!(poll(any.as_mut()).is_pending());
            assert_eq!(starts(&stage), (0..$count).collect::<Vec<usize>>());
            stage.end(winner, Outcome::Value);
            let Poll::Ready(one) = poll(any.as_mut()) else { panic!("arm {winner} of {} won", $count) };
            assert_eq!((one.index(), one.into_inner()), (winner, Outcome::Value));
            let discarded = stage.log.take().iter().filter(|event| matches!(event, Event::Discarded(_))).count();
            assert_eq!(discarded, $count - 1);

            // Ready at once: what comes after the winner never starts.
            let stage = Stage::new($count, u64::MAX);
            stage.end(winner, Outcome::Value);
            let Poll::Ready(one) = poll(pin!(when_any(($(Leaf::new($n, &stage),)+)))) else { panic!("ready") };
            assert_eq!(one.index(), winner);
            assert_eq!(starts(&stage), (0..=winner).collect::<Vec<usize>>());
        }
    }};
}

#[test]
fn tuples_of_every_arity() {
    on_ring(|| {
        arity!(1: 0);
        arity!(2: 0 1);
        arity!(3: 0 1 2);
        arity!(4: 0 1 2 3);
        arity!(5: 0 1 2 3 4);
        arity!(6: 0 1 2 3 4 5);
        arity!(7: 0 1 2 3 4 5 6);
        arity!(8: 0 1 2 3 4 5 6 7);
        arity!(9: 0 1 2 3 4 5 6 7 8);
        arity!(10: 0 1 2 3 4 5 6 7 8 9);
        arity!(11: 0 1 2 3 4 5 6 7 8 9 10);
        arity!(12: 0 1 2 3 4 5 6 7 8 9 10 11);
        arity!(13: 0 1 2 3 4 5 6 7 8 9 10 11 12);
        arity!(14: 0 1 2 3 4 5 6 7 8 9 10 11 12 13);
        arity!(15: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        arity!(16: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    });
}

#[test]
fn races_of_every_arity_and_every_winner() {
    race_arity!(2: 0 1);
    race_arity!(3: 0 1 2);
    race_arity!(4: 0 1 2 3);
    race_arity!(5: 0 1 2 3 4);
    race_arity!(6: 0 1 2 3 4 5);
    race_arity!(7: 0 1 2 3 4 5 6);
    race_arity!(8: 0 1 2 3 4 5 6 7);
    race_arity!(9: 0 1 2 3 4 5 6 7 8);
    race_arity!(10: 0 1 2 3 4 5 6 7 8 9);
    race_arity!(11: 0 1 2 3 4 5 6 7 8 9 10);
    race_arity!(12: 0 1 2 3 4 5 6 7 8 9 10 11);
    race_arity!(13: 0 1 2 3 4 5 6 7 8 9 10 11 12);
    race_arity!(14: 0 1 2 3 4 5 6 7 8 9 10 11 12 13);
    race_arity!(15: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    race_arity!(16: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

/// Whatever iterates: the arms are taken in its order.
#[test]
fn iterators_of_every_kind() {
    let check =
        |what: &str, expected: &[usize], build: &dyn Fn(&std::rc::Rc<Stage>) -> crate::tree::Built| {
            let stage = Stage::new(8, u64::MAX);
            let mut all = build(&stage);
            assert!(all.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(), "{what}");
            assert_eq!(starts(&stage), expected, "{what}");
        };
    macro_rules! iterator {
        ($what:literal, $expected:expr, |$leaf:ident| $iterator:expr) => {
            check($what, &$expected, &|stage| {
                let stage = std::rc::Rc::clone(stage);
                let $leaf = move |n: usize| Leaf::new(n, &stage);
                crate::tree::mapped(when_all($iterator), |_| crate::tree::Out::All(vec![]))
            });
        };
    }
    iterator!("map", [0, 1, 2], |leaf| (0..3).map(leaf));
    iterator!("rev", [2, 1, 0], |leaf| (0..3).map(leaf).rev());
    iterator!("take and skip", [1, 2], |leaf| (0..9).map(leaf).take(3).skip(1));
    iterator!("filter_map", [0, 2], |leaf| [Some(0), None, Some(2)]
        .into_iter()
        .filter_map(move |n| n.map(&leaf)));
    iterator!("filter", [0, 2], |leaf| (0..3).map(leaf).filter(|leaf| leaf.number != 1));
    iterator!("take_while", [0, 1], |leaf| (0..8).map(leaf).take_while(|leaf| leaf.number < 2));
    iterator!("chain", [0, 1, 7, 6], |leaf| {
        let arms: Vec<Leaf> = [0, 1, 7, 6].into_iter().map(leaf).collect();
        let (mut front, back) = (arms, 2);
        let back = front.split_off(back);
        front.into_iter().chain(back)
    });
    iterator!("flat_map", [0, 1, 2, 3], |leaf| {
        let mut arms = (0..4).map(leaf).collect::<Vec<_>>().into_iter();
        (0..2).flat_map(move |_| arms.by_ref().take(2).collect::<Vec<_>>())
    });
    iterator!("flatten", [0, 1, 2], |leaf| {
        (0..3).map(leaf).map(Some).collect::<Vec<_>>().into_iter().flatten()
    });
    iterator!("from_fn", [3, 4], |leaf| {
        let mut next = 2;
        std::iter::from_fn(move || {
            next += 1;
            (next < 5).then(|| leaf(next))
        })
    });
    iterator!("repeat_with and take", [5], |leaf| std::iter::repeat_with(move || leaf(5)).take(1));
    iterator!("a vector's iterator", [0, 1], |leaf| (0..2).map(leaf).collect::<Vec<_>>().into_iter());
}
