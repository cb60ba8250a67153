//! An operation and a signal that stops it.
//!
//! Knows: [`Operation`]. Does not know: what the operation is, what the signal is.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::combinators::Flaggable;
use crate::combinators::operators::impl_operators;
use crate::combinators::slot::Slot;
use crate::operation::Operation;
use crate::ops::EntryFlags;

pin_project! {
    /// The operation that [`with_cancel`](super::OperationExt::with_cancel) returns.
    ///
    /// ```text
    /// Fresh ──polled, the slot still open──▶ Watching ──the slot resolves, or asked to stop──▶ Asked
    ///   └──the slot resolved already, or asked to stop────────────────────────────────────────▶ Asked
    /// ```
    #[must_use = "nothing starts until it is awaited"]
    pub struct WithCancel<O: Operation, C: Operation> {
        #[pin]
        op: Slot<O>,
        #[pin]
        slot: Slot<C>,
        phase: Phase,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Never polled: the slot does not know that it races.
    Fresh,
    /// Nobody has asked the operation to stop.
    Watching,
    /// It was asked to stop, and the slot no longer matters.
    Asked,
}

impl<O: Operation, C: Operation> WithCancel<O, C> {
    pub(super) fn new(op: O, slot: C) -> Self {
        Self { op: Slot::new(op), slot: Slot::new(slot), phase: Phase::Fresh }
    }
}

impl<O: Operation, C: Operation> Future for WithCancel<O, C> {
    type Output = O::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O::Output> {
        let mut this = self.project();
        if *this.phase == Phase::Fresh {
            if let Some(slot) = this.slot.as_mut().op() {
                slot.commit_on_poll(); // should the operation come first, the slot has taken no effect
            }
            *this.phase = Phase::Watching; // Fresh -> Watching
        }
        // The slot first: an operation that is always ready must not keep it from being seen. Not once the operation has
        // completed, when the slot is being waited out.
        if *this.phase == Phase::Watching
            && this.op.peek().is_some()
            && this.slot.as_mut().poll(cx).is_ready()
        {
            *this.phase = Phase::Asked; // Watching -> Asked
            if let Some(op) = this.op.as_mut().op() {
                op.request_cancel();
            }
        }
        ready!(this.op.as_mut().poll(cx));
        ready!(this.slot.poll_discard(cx));
        Poll::Ready(this.op.take())
    }
}

impl<O: Operation, C: Operation> Operation for WithCancel<O, C> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.project();
        if *this.phase != Phase::Asked {
            *this.phase = Phase::Asked; // Fresh, Watching -> Asked
            if let Some(op) = this.op.op() {
                op.request_cancel();
            }
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        // Both in any case: neither waits for the other before it is asked.
        let (op, slot) = (this.op.poll_discard(cx), this.slot.poll_discard(cx));
        ready!(op);
        slot
    }

    fn commit_on_poll(self: Pin<&mut Self>) {
        if let Some(op) = self.project().op.op() {
            op.commit_on_poll();
        }
    }

    fn is_decided(&self) -> bool {
        self.op.is_settled()
    }

    fn may_resolve(&self) -> bool {
        self.op.may_resolve() || self.phase != Phase::Asked && self.slot.may_resolve()
    }

    fn waits(&self) -> bool {
        self.op.waits() && (self.phase == Phase::Asked || self.slot.waits())
    }
}

impl<O: Flaggable, C: Operation> Flaggable for WithCancel<O, C> {
    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
        if let Some(op) = self.project().op.op() {
            op.add_flags(flags);
        }
    }
}

impl_operators! { all any: [O: Operation, C: Operation,] WithCancel<O, C>; }

impl<O: Operation, C: Operation> fmt::Debug for WithCancel<O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithCancel").field("phase", &self.phase).finish_non_exhaustive()
    }
}
