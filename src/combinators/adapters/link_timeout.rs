//! An op and the kernel's timer for it, queued as a pair.
//!
//! Knows: [`RingOperation`], the entry of the timer. Does not know: what the op is.
//!
//! The kernel limits the one entry that stands before a timer's, from when it starts it. So the two are staged side by
//! side, wherever in a chain that is; and without the op's entry the timer's is not staged, since it would limit another.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;

use pin_project_lite::pin_project;

use super::timeout::Elapsed;
use crate::combinators::limit::Limitable;
use crate::combinators::link::{Linked, Soft, link};
use crate::combinators::operators::impl_operators;
use crate::combinators::slot::Slot;
use crate::operation::Operation;
use crate::ops::{Chain, EntryFlags, Link, LinkTimer, Op, Request, RingOperation, link_timer};

pin_project! {
    /// The operation that [`link_timeout`](crate::combinators::RingOperationExt::link_timeout) makes of an op.
    #[must_use = "nothing starts until it is awaited"]
    pub struct LinkTimeout<O: RingOperation> {
        // A chain of one member, which knows when there is room for both entries.
        #[pin]
        chain: Linked<(Pair<O>,), Soft>,
    }
}

impl<R: Request> Limitable for Op<R> {
    type Limited = LinkTimeout<Self>;

    fn limited(self, after: Duration) -> LinkTimeout<Self> {
        LinkTimeout::new(self, after)
    }
}

impl<O: RingOperation> LinkTimeout<O> {
    /// `op` is one entry.
    pub(super) fn new(op: O, after: Duration) -> Self {
        let pair = Pair { op: Slot::new(op), timer: Slot::new(link_timer(after)), staged: false };
        Self { chain: link((pair,)) }
    }
}

impl<O: RingOperation> Future for LinkTimeout<O> {
    type Output = Result<O::Output, Elapsed<O::Output>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().chain.poll(cx).map(|(outcome,)| outcome)
    }
}

impl<O: RingOperation> Operation for LinkTimeout<O> {
    fn request_cancel(self: Pin<&mut Self>) {
        self.project().chain.request_cancel();
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().chain.poll_discard(cx)
    }

    fn may_resolve(&self) -> bool {
        self.chain.may_resolve()
    }

    fn waits(&self) -> bool {
        self.chain.waits()
    }
}

impl<O: RingOperation> RingOperation for LinkTimeout<O> {
    fn entries(&self) -> usize {
        self.chain.entries()
    }

    fn poll_prepare(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().chain.poll_prepare(cx)
    }

    fn stage(self: Pin<&mut Self>, chain: &mut Chain<'_>, tail: Option<Link>) {
        self.project().chain.stage(chain, tail);
    }

    fn poll_ended(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().chain.poll_ended(cx)
    }

    fn refuse(self: Pin<&mut Self>, error: &dyn Fn() -> io::Error) {
        self.project().chain.refuse(error);
    }

    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
        RingOperation::add_flags(self.project().chain, flags);
    }

    fn drains(self: Pin<&mut Self>) -> bool {
        self.project().chain.drains()
    }
}

impl_operators! { all any then: [O: RingOperation,] LinkTimeout<O>; }

impl<O: RingOperation> fmt::Debug for LinkTimeout<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkTimeout").field("chain", &self.chain).finish()
    }
}

pin_project! {
    /// The op and its timer, as a member of a chain. Never polled before it was staged, or refused, or asked to stop.
    struct Pair<O: RingOperation> {
        #[pin]
        op: Slot<O>,
        #[pin]
        timer: Slot<Op<LinkTimer>>,
        // Both are queued. Otherwise neither is, and the op resolves by itself.
        staged: bool,
    }
}

impl<O: RingOperation> Future for Pair<O> {
    type Output = Result<O::Output, Elapsed<O::Output>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // The timer first, in case the op cannot tell whether it has ended: its output is the one that matters.
        if *this.staged {
            ready!(this.timer.as_mut().poll(cx));
        }
        ready!(this.op.as_mut().poll(cx));
        let ran_out = *this.staged && this.timer.take();
        let outcome = this.op.take();
        Poll::Ready(if ran_out { Err(Elapsed { outcome }) } else { Ok(outcome) })
    }
}

impl<O: RingOperation> Operation for Pair<O> {
    /// The kernel ends the timer when the op has ended.
    fn request_cancel(self: Pin<&mut Self>) {
        if let Some(op) = self.project().op.op() {
            op.request_cancel();
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let op = this.op.poll_discard(cx);
        if *this.staged {
            ready!(this.timer.poll(cx));
        }
        op
    }

    fn may_resolve(&self) -> bool {
        self.op.may_resolve() && !self.waits()
    }

    fn waits(&self) -> bool {
        self.staged && (self.op.waits() || self.timer.waits())
    }
}

impl<O: RingOperation> RingOperation for Pair<O> {
    fn entries(&self) -> usize {
        match self.op.peek().map_or(0, RingOperation::entries) {
            0 => 0,
            entries => entries + 1,
        }
    }

    fn poll_prepare(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().op.op().map_or(Poll::Ready(()), |op| op.poll_prepare(cx))
    }

    fn stage(self: Pin<&mut Self>, chain: &mut Chain<'_>, tail: Option<Link>) {
        if self.entries() == 0 {
            return;
        }
        let this = self.project();
        if let (Some(op), Some(timer)) = (this.op.op(), this.timer.op()) {
            *this.staged = true;
            // A timer that runs out fails the op. What is tied to the pair by a hard link starts all the same, and so must
            // the tie between the two be.
            op.stage(chain, tail.or(Some(Link::Soft)));
            timer.stage(chain, tail);
        }
    }

    fn poll_ended(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let timer = match this.timer.op() {
            Some(timer) if *this.staged => timer.poll_ended(cx),
            _ => Poll::Ready(()),
        };
        let Some(mut op) = this.op.op() else { return timer };
        match op.as_mut().poll_ended(cx) {
            Poll::Ready(()) => timer,
            Poll::Pending => {
                // The timer has run out, or the kernel could not take it together with the op: nothing limits the op now.
                if *this.staged && timer.is_ready() {
                    op.request_cancel();
                }
                Poll::Pending
            }
        }
    }

    fn refuse(self: Pin<&mut Self>, error: &dyn Fn() -> io::Error) {
        if let Some(op) = self.project().op.op() {
            op.refuse(error);
        }
    }

    /// On the op alone: the timer starts nothing of its own.
    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
        if let Some(op) = self.project().op.op() {
            op.add_flags(flags);
        }
    }

    fn drains(self: Pin<&mut Self>) -> bool {
        self.project().op.op().is_some_and(|op| op.drains())
    }
}
