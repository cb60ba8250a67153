//! What several combinators do with their arms.
//!
//! Knows: [`Operation`]. Does not know: what a combinator waits for.

use core::ops::ControlFlow;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::arms::{Slots, Visit};
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
    fn visit<O: Operation>(&mut self, _index: usize, arm: Pin<&mut Slot<O>>) -> ControlFlow<()> {
        if let Some(op) = arm.op() {
            op.commit_on_poll();
        }
        ControlFlow::Continue(())
    }
}

/// Drives arms to their end without wanting their outputs.
pub(super) struct Discard<'a, 'c> {
    cx: &'a mut Context<'c>,
    started: usize,
    ended: bool,
}

impl<'a, 'c> Discard<'a, 'c> {
    /// Discards every arm of `slots`, of which the first `started` were polled.
    pub(super) fn all(slots: Pin<&mut impl Slots>, started: usize, cx: &'a mut Context<'c>) -> Poll<()> {
        let mut pass = Discard { cx, started, ended: true };
        let _ = slots.visit(&mut pass);
        if pass.ended { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Visit for Discard<'_, '_> {
    fn visit<O: Operation>(&mut self, index: usize, arm: Pin<&mut Slot<O>>) -> ControlFlow<()> {
        if index < self.started {
            self.ended &= arm.poll_discard(self.cx).is_ready();
        } else {
            arm.clear(); // never started: there is nothing to wait for
        }
        ControlFlow::Continue(())
    }
}
