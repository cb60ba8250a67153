//! The arms of a `select!` as one pinned value: a tree of pairs, so that one projection serves any number of arms.
//!
//! Knows: [`Operation`]. Does not know: what decides, what an arm's output becomes.

use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::operation::Operation;

/// Arms in order, of which arm `n` is bit `n` of every mask.
pub trait Tree {
    /// How many arms there are.
    const COUNT: u32;

    /// Which of the arms may resolve if they are polled now.
    fn look(&self) -> u64;

    /// Whether all arms of the mask wait, or may be put off.
    fn may_be_put_off(&self, arms: u64) -> bool;

    /// Tells the arms of the mask that they race.
    fn commit(self: Pin<&mut Self>, arms: u64);

    /// Discards the arms of the mask, and returns those that have not ended.
    fn discard(self: Pin<&mut Self>, arms: u64, cx: &mut Context<'_>) -> u64;

    /// The arm of the mask, of which there is one, has decided but not completed.
    fn is_decided(&self, arms: u64) -> bool;
}

pin_project! {
    /// Two trees, the arms of the left one first.
    #[derive(Debug)]
    #[allow(missing_docs, reason = "the macro's own, and pin-project-lite takes no docs beside `#[pin]`")]
    pub struct Pair<L, R> {
        #[pin]
        pub left: L,
        #[pin]
        pub right: R,
    }
}

impl<L, R> Pair<L, R> {
    /// The left tree.
    #[inline(always)]
    pub fn left(self: Pin<&mut Self>) -> Pin<&mut L> {
        self.project().left
    }

    /// The right tree.
    #[inline(always)]
    pub fn right(self: Pin<&mut Self>) -> Pin<&mut R> {
        self.project().right
    }
}

impl<L: Tree, R: Tree> Tree for Pair<L, R> {
    const COUNT: u32 = L::COUNT + R::COUNT;

    #[inline(always)]
    fn look(&self) -> u64 {
        self.left.look() | self.right.look() << L::COUNT
    }

    fn may_be_put_off(&self, arms: u64) -> bool {
        self.left.may_be_put_off(arms) && self.right.may_be_put_off(arms >> L::COUNT)
    }

    #[inline(always)]
    fn commit(self: Pin<&mut Self>, arms: u64) {
        let this = self.project();
        this.left.commit(arms);
        this.right.commit(arms >> L::COUNT);
    }

    fn discard(self: Pin<&mut Self>, arms: u64, cx: &mut Context<'_>) -> u64 {
        let this = self.project();
        this.left.discard(arms, cx) | this.right.discard(arms >> L::COUNT, cx) << L::COUNT
    }

    fn is_decided(&self, arms: u64) -> bool {
        self.left.is_decided(arms) || self.right.is_decided(arms >> L::COUNT)
    }
}

pin_project! {
    /// One arm.
    #[derive(Debug)]
    #[allow(missing_docs, reason = "the macro's own, and pin-project-lite takes no docs beside `#[pin]`")]
    pub struct Leaf<O> {
        #[pin]
        pub op: O,
    }
}

impl<O: Operation> Leaf<O> {
    /// Polls the arm.
    #[inline(always)]
    pub fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O::Output> {
        self.project().op.poll(cx)
    }
}

impl<O: Operation> Tree for Leaf<O> {
    const COUNT: u32 = 1;

    #[inline(always)]
    fn look(&self) -> u64 {
        u64::from(self.op.may_resolve())
    }

    #[inline]
    fn may_be_put_off(&self, arms: u64) -> bool {
        arms & 1 == 0 || self.op.may_be_put_off() || self.op.waits()
    }

    #[inline(always)]
    fn commit(self: Pin<&mut Self>, arms: u64) {
        if arms & 1 != 0 {
            self.project().op.commit_on_poll();
        }
    }

    #[inline(always)]
    fn discard(self: Pin<&mut Self>, arms: u64, cx: &mut Context<'_>) -> u64 {
        if arms & 1 == 0 {
            return 0;
        }
        u64::from(self.project().op.poll_discard(cx).is_pending())
    }

    #[inline(always)]
    fn is_decided(&self, arms: u64) -> bool {
        arms & 1 != 0 && self.op.is_decided()
    }
}

pin_project! {
    /// One arm with a guard. Where the guard was false there is none, and nobody asks for it.
    #[derive(Debug)]
    #[allow(missing_docs, reason = "the macro's own, and pin-project-lite takes no docs beside `#[pin]`")]
    pub struct Guarded<O> {
        #[pin]
        pub op: Option<O>,
    }
}

impl<O: Operation> Guarded<O> {
    /// Polls the arm, whose guard was true.
    pub fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O::Output> {
        self.project().op.as_pin_mut().map_or(Poll::Pending, |op| op.poll(cx))
    }
}

impl<O: Operation> Tree for Guarded<O> {
    const COUNT: u32 = 1;

    #[inline]
    fn look(&self) -> u64 {
        u64::from(self.op.as_ref().is_some_and(Operation::may_resolve))
    }

    fn may_be_put_off(&self, arms: u64) -> bool {
        arms & 1 == 0 || self.op.as_ref().is_none_or(|op| op.may_be_put_off() || op.waits())
    }

    fn commit(self: Pin<&mut Self>, arms: u64) {
        if arms & 1 != 0
            && let Some(op) = self.project().op.as_pin_mut()
        {
            op.commit_on_poll();
        }
    }

    fn discard(self: Pin<&mut Self>, arms: u64, cx: &mut Context<'_>) -> u64 {
        if arms & 1 != 0
            && let Some(op) = self.project().op.as_pin_mut()
        {
            return u64::from(op.poll_discard(cx).is_pending());
        }
        0
    }

    fn is_decided(&self, arms: u64) -> bool {
        arms & 1 != 0 && self.op.as_ref().is_some_and(Operation::is_decided)
    }
}
