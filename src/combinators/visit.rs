//! What several combinators do with their arms.
//!
//! Knows: [`Operation`]. Does not know: what a combinator waits for.

use core::ops::ControlFlow;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::arms::{Ask, Slots, Visit};
use super::slot::Slot;
use crate::operation::Operation;

/// Asks every arm that has not completed to stop, or only one of them.
pub(super) struct Cancel {
    pub(super) only: Option<usize>,
}

impl Visit for Cancel {
    fn visit<O: Operation>(&mut self, index: usize, arm: Pin<&mut Slot<O>>) -> ControlFlow<()> {
        if self.only.is_none_or(|only| only == index)
            && let Some(op) = arm.op()
        {
            op.request_cancel();
        }
        ControlFlow::Continue(())
    }
}

/// Tells every arm that it is in a race.
pub(super) struct Commit;

impl Visit for Commit {
    #[inline]
    fn visit<O: Operation>(&mut self, _index: usize, arm: Pin<&mut Slot<O>>) -> ControlFlow<()> {
        if let Some(op) = arm.op() {
            op.commit_on_poll();
        }
        ControlFlow::Continue(())
    }
}

/// Polls every arm that has not completed.
pub(super) struct PollAll<'a, 'c> {
    cx: &'a mut Context<'c>,
    /// Every arm has completed.
    pub(super) completed: bool,
    /// Every arm has completed or decided.
    pub(super) settled: bool,
}

impl<'a, 'c> PollAll<'a, 'c> {
    /// One pass over `slots`.
    pub(super) fn pass(slots: Pin<&mut impl Slots>, cx: &'a mut Context<'c>) -> Self {
        let mut pass = Self { cx, completed: true, settled: true };
        let _ = slots.visit(&mut pass);
        pass
    }
}

impl Visit for PollAll<'_, '_> {
    fn visit<O: Operation>(&mut self, _index: usize, mut arm: Pin<&mut Slot<O>>) -> ControlFlow<()> {
        self.completed &= arm.as_mut().poll(self.cx).is_ready();
        self.settled &= arm.is_settled();
        ControlFlow::Continue(())
    }
}

/// Drives arms to their end without wanting their outputs.
pub(super) struct Discard<'a, 'c> {
    cx: &'a mut Context<'c>,
    ended: bool,
}

impl<'a, 'c> Discard<'a, 'c> {
    /// Discards every arm of `slots`.
    pub(super) fn all(slots: Pin<&mut impl Slots>, cx: &'a mut Context<'c>) -> Poll<()> {
        let mut pass = Discard { cx, ended: true };
        let _ = slots.visit(&mut pass);
        if pass.ended { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Visit for Discard<'_, '_> {
    fn visit<O: Operation>(&mut self, _index: usize, arm: Pin<&mut Slot<O>>) -> ControlFlow<()> {
        self.ended &= arm.poll_discard(self.cx).is_ready();
        ControlFlow::Continue(())
    }
}

/// Of an arm that has completed, or may do so if it is polled now.
pub(super) enum MayResolve {}

impl Ask for MayResolve {
    fn ask<O: Operation>(arm: &Slot<O>) -> bool {
        arm.may_resolve()
    }
}

/// Of an arm that cannot complete now.
pub(super) enum MustWait {}

impl Ask for MustWait {
    fn ask<O: Operation>(arm: &Slot<O>) -> bool {
        !arm.may_resolve()
    }
}

/// Of an arm that was begun, and would go on waiting if it were polled now.
pub(super) enum Waits {}

impl Ask for Waits {
    fn ask<O: Operation>(arm: &Slot<O>) -> bool {
        arm.waits()
    }
}

/// Of an arm that something may come of if it is polled now, be it no more than that it begins.
enum Stirs {}

impl Ask for Stirs {
    fn ask<O: Operation>(arm: &Slot<O>) -> bool {
        arm.peek().is_some_and(|op| !op.waits())
    }
}

/// Whether some arm waits, and every other one does or has completed.
pub(super) fn all_wait(slots: &impl Slots) -> bool {
    slots.any::<Waits>() && !slots.any::<Stirs>()
}
