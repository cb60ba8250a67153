//! Trees of combinators as data, and the operations they stand for.
//!
//! Knows: every combinator. Does not know: what they should do; that is the model's.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use millstream::Operation;
use millstream::combinators::{
    OperationExt, hard_link, link, parallel_all, parallel_any, when_all, when_any,
};

use crate::leaf::{Leaf, Outcome, Stage};

/// How the arms are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Tuple,
    Array,
    Vec,
    Iterator,
}

pub(crate) const SHAPES: [Shape; 4] = [Shape::Tuple, Shape::Array, Shape::Vec, Shape::Iterator];

/// A tree. Leaves are numbered from the left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    Leaf(usize),
    All(Shape, Vec<Tree>),
    Any(Shape, Vec<Tree>),
    ParallelAll(Shape, Vec<Tree>),
    ParallelAny(Shape, Vec<Tree>),
    /// An operation, and the slot that stops it.
    WithCancel(Box<Tree>, Box<Tree>),
    /// A chain of leaves, hard or soft.
    Chain(bool, Vec<usize>),
    /// With a deadline that has passed at the first poll (`true`), or that never does.
    Deadline(bool, Box<Tree>),
    /// By reference: its owner is somebody else.
    Lent(Box<Tree>),
}

/// What a tree resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    Leaf(usize, Outcome),
    All(Vec<Out>),
    Any(usize, Box<Out>),
    /// Every output, and the order of completion; of a race the winner too.
    Ordered(Option<usize>, Vec<usize>, Vec<Out>),
    InTime(Box<Out>),
    Late(Box<Out>),
}

impl Out {
    /// The leaves whose outcome is in here.
    pub(crate) fn leaves(&self, into: &mut Vec<(usize, Outcome)>) {
        match self {
            Self::Leaf(number, outcome) => into.push((*number, *outcome)),
            Self::All(outs) | Self::Ordered(_, _, outs) => outs.iter().for_each(|out| out.leaves(into)),
            Self::Any(_, out) | Self::InTime(out) | Self::Late(out) => out.leaves(into),
        }
    }
}

impl Tree {
    /// What is directly below, in the order in which it starts.
    pub(crate) fn arms(&self) -> Vec<&Tree> {
        match self {
            Self::Leaf(_) | Self::Chain(..) => vec![],
            Self::All(_, arms)
            | Self::Any(_, arms)
            | Self::ParallelAll(_, arms)
            | Self::ParallelAny(_, arms) => arms.iter().collect(),
            Self::WithCancel(op, slot) => vec![slot, op],
            Self::Deadline(_, tree) | Self::Lent(tree) => vec![tree],
        }
    }

    pub(crate) fn arms_mut(&mut self) -> Vec<&mut Tree> {
        match self {
            Self::Leaf(_) | Self::Chain(..) => vec![],
            Self::All(_, arms)
            | Self::Any(_, arms)
            | Self::ParallelAll(_, arms)
            | Self::ParallelAny(_, arms) => arms.iter_mut().collect(),
            Self::WithCancel(op, slot) => vec![slot, op],
            Self::Deadline(_, tree) | Self::Lent(tree) => vec![tree],
        }
    }

    pub(crate) fn leaves(&self) -> usize {
        match self {
            Self::Leaf(_) => 1,
            Self::Chain(_, members) => members.len(),
            _ => self.arms().into_iter().map(Self::leaves).sum(),
        }
    }

    pub(crate) fn has_lent(&self) -> bool {
        matches!(self, Self::Lent(_)) || self.arms().into_iter().any(Self::has_lent)
    }

    /// Numbers the leaves from the left, beginning with `next`.
    pub(crate) fn number(&mut self, next: &mut usize) {
        let mut take = || {
            *next += 1;
            *next - 1
        };
        match self {
            Self::Leaf(number) => *number = take(),
            Self::Chain(_, members) => members.iter_mut().for_each(|number| *number = take()),
            _ => self.arms_mut().into_iter().for_each(|arm| arm.number(next)),
        }
    }
}

pub(crate) type Built = Pin<Box<dyn Operation<Output = Out>>>;

/// The operation that a tree stands for.
pub(crate) fn build(tree: &Tree, stage: &Rc<Stage>) -> Built {
    let all = |arms: &[Tree]| -> Vec<Built> { arms.iter().map(|arm| build(arm, stage)).collect() };
    match tree {
        Tree::Leaf(number) => {
            let number = *number;
            mapped(Leaf::new(number, stage), move |outcome| Out::Leaf(number, outcome))
        }
        Tree::All(shape, arms) => build_all(*shape, all(arms)),
        Tree::Any(shape, arms) => build_any(*shape, all(arms)),
        Tree::ParallelAll(shape, arms) => build_parallel_all(*shape, all(arms)),
        Tree::ParallelAny(shape, arms) => build_parallel_any(*shape, all(arms)),
        Tree::WithCancel(op, slot) => mapped(build(op, stage).with_cancel(build(slot, stage)), |out| out),
        Tree::Chain(hard, members) => {
            let leaves = members.iter().map(|number| Leaf::new(*number, stage)).collect::<Vec<_>>();
            let members = members.clone();
            let outs = move |outcomes: Vec<Outcome>| {
                Out::All(
                    members
                        .iter()
                        .zip(outcomes)
                        .map(|(number, outcome)| Out::Leaf(*number, outcome))
                        .collect(),
                )
            };
            if *hard { mapped(hard_link(leaves), outs) } else { mapped(link(leaves), outs) }
        }
        Tree::Deadline(passed, tree) => {
            let limit = if *passed { Duration::ZERO } else { Duration::MAX };
            mapped(build(tree, stage).timeout(limit), |result| match result {
                Ok(out) => Out::InTime(Box::new(out)),
                Err(late) => Out::Late(Box::new(late.into_outcome())),
            })
        }
        Tree::Lent(tree) => Box::pin(Lent(build(tree, stage))),
    }
}

/// An array of `N` arms, from a `Vec` of as many.
fn array<const N: usize>(arms: Vec<Built>) -> [Built; N] {
    arms.try_into().ok().expect("as many arms as the match said")
}

fn build_all(shape: Shape, arms: Vec<Built>) -> Built {
    let count = arms.len();
    match (shape, count) {
        (Shape::Tuple, 0) => mapped(when_all(()), |()| Out::All(vec![])),
        (Shape::Tuple, 1) => {
            let [a] = array(arms);
            mapped(when_all((a,)), |(a,)| Out::All(vec![a]))
        }
        (Shape::Tuple, 2) => {
            let [a, b] = array(arms);
            mapped(when_all((a, b)), |(a, b)| Out::All(vec![a, b]))
        }
        (Shape::Tuple, 3) => {
            let [a, b, c] = array(arms);
            mapped(when_all((a, b, c)), |(a, b, c)| Out::All(vec![a, b, c]))
        }
        (Shape::Array, 1) => mapped(when_all(array::<1>(arms)), |outs| Out::All(outs.into())),
        (Shape::Array, 2) => mapped(when_all(array::<2>(arms)), |outs| Out::All(outs.into())),
        (Shape::Array, 3) => mapped(when_all(array::<3>(arms)), |outs| Out::All(outs.into())),
        (Shape::Iterator, _) => mapped(when_all(arms.into_iter()), Out::All),
        _ => mapped(when_all(arms), Out::All),
    }
}

fn build_any(shape: Shape, arms: Vec<Built>) -> Built {
    let indexed = |(index, out)| Out::Any(index, Box::new(out));
    match (shape, arms.len()) {
        (Shape::Tuple, 2) => {
            let [a, b] = array(arms);
            mapped(when_any((a, b)), |one| Out::Any(one.index(), Box::new(one.into_inner())))
        }
        (Shape::Tuple, 3) => {
            let [a, b, c] = array(arms);
            mapped(when_any((a, b, c)), |one| Out::Any(one.index(), Box::new(one.into_inner())))
        }
        (Shape::Array, 1) => mapped(when_any(array::<1>(arms)), indexed),
        (Shape::Array, 2) => mapped(when_any(array::<2>(arms)), indexed),
        (Shape::Array, 3) => mapped(when_any(array::<3>(arms)), indexed),
        (Shape::Iterator, _) => mapped(when_any(arms.into_iter()), indexed),
        _ => mapped(when_any(arms), indexed),
    }
}

fn build_parallel_all(shape: Shape, arms: Vec<Built>) -> Built {
    match (shape, arms.len()) {
        (Shape::Tuple, 2) => {
            let [a, b] = array(arms);
            mapped(parallel_all((a, b)), |done| {
                Out::Ordered(None, done.order.into(), vec![done.outputs.0, done.outputs.1])
            })
        }
        (Shape::Array, 3) => mapped(parallel_all(array::<3>(arms)), |done| {
            Out::Ordered(None, done.order.into(), done.outputs.into())
        }),
        (Shape::Iterator, _) => {
            mapped(parallel_all(arms.into_iter()), |done| Out::Ordered(None, done.order, done.outputs))
        }
        _ => mapped(parallel_all(arms), |done| Out::Ordered(None, done.order, done.outputs)),
    }
}

fn build_parallel_any(shape: Shape, arms: Vec<Built>) -> Built {
    match (shape, arms.len()) {
        (Shape::Tuple, 2) => {
            let [a, b] = array(arms);
            mapped(parallel_any((a, b)), |raced| {
                Out::Ordered(Some(raced.winner), raced.order.into(), vec![raced.outputs.0, raced.outputs.1])
            })
        }
        (Shape::Array, 3) => mapped(parallel_any(array::<3>(arms)), |raced| {
            Out::Ordered(Some(raced.winner), raced.order.into(), raced.outputs.into())
        }),
        (Shape::Iterator, _) => mapped(parallel_any(arms.into_iter()), |raced| {
            Out::Ordered(Some(raced.winner), raced.order, raced.outputs)
        }),
        _ => mapped(parallel_any(arms), |raced| Out::Ordered(Some(raced.winner), raced.order, raced.outputs)),
    }
}

/// An operation with its output translated.
struct Mapped<O, F> {
    op: Pin<Box<O>>,
    map: F,
}

pub(crate) fn mapped<O: Operation + 'static>(
    op: O,
    map: impl Fn(O::Output) -> Out + Unpin + 'static,
) -> Built {
    Box::pin(Mapped { op: Box::pin(op), map })
}

impl<O: Operation, F: Fn(O::Output) -> Out + Unpin> Future for Mapped<O, F> {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Out> {
        self.op.as_mut().poll(cx).map(&self.map)
    }
}

impl<O: Operation, F: Fn(O::Output) -> Out + Unpin> Operation for Mapped<O, F> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        self.op.as_mut().request_cancel();
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.op.as_mut().poll_discard(cx)
    }

    fn commit_on_poll(mut self: Pin<&mut Self>) {
        self.op.as_mut().commit_on_poll();
    }

    fn is_decided(&self) -> bool {
        self.op.is_decided()
    }
}

/// Owner and borrower in one: everything goes through `Pin<&mut …>`, as if somebody else owned the operation.
struct Lent(Built);

impl Future for Lent {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Out> {
        Pin::new(&mut self.0.as_mut()).poll(cx)
    }
}

impl Operation for Lent {
    fn request_cancel(mut self: Pin<&mut Self>) {
        Pin::new(&mut self.0.as_mut()).request_cancel();
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0.as_mut()).poll_discard(cx)
    }

    fn commit_on_poll(mut self: Pin<&mut Self>) {
        Pin::new(&mut self.0.as_mut()).commit_on_poll();
    }

    fn is_decided(&self) -> bool {
        self.0.is_decided()
    }
}
