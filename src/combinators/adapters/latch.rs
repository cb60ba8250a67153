//! An operation that stays resolved.
//!
//! Knows: [`Operation`]. Does not know: what the operation is, who looks at it.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::combinators::operators::impl_operators;
use crate::combinators::slot::Slot;
use crate::operation::Operation;

pin_project! {
    /// The operation that [`latch`](super::OperationExt::latch) returns.
    #[must_use = "nothing starts until it is awaited"]
    pub struct Latch<O: Operation> {
        #[pin]
        slot: Slot<O>,
    }
}

impl<O: Operation> Latch<O> {
    pub(super) fn new(op: O) -> Self {
        Self { slot: Slot::new(op) }
    }

    /// What the operation resolved to; `None` before, and once it was taken.
    pub fn output(&self) -> Option<&O::Output> {
        self.slot.output()
    }

    /// Takes what the operation resolved to. The latch stays as it is: resolved, or not yet.
    pub fn take(self: Pin<&mut Self>) -> Option<O::Output> {
        self.output()?;
        Some(self.project().slot.take())
    }

    /// Whether the operation has resolved.
    pub fn is_set(&self) -> bool {
        self.slot.peek().is_none()
    }
}

impl<O: Operation> Future for Latch<O> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().slot.poll(cx)
    }
}

impl<O: Operation> Operation for Latch<O> {
    fn request_cancel(self: Pin<&mut Self>) {
        if let Some(op) = self.project().slot.op() {
            op.request_cancel();
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().slot.poll_discard(cx)
    }

    fn commit_on_poll(self: Pin<&mut Self>) {
        if let Some(op) = self.project().slot.op() {
            op.commit_on_poll();
        }
    }

    fn is_decided(&self) -> bool {
        self.slot.is_settled()
    }

    fn may_resolve(&self) -> bool {
        self.slot.may_resolve()
    }

    fn waits(&self) -> bool {
        self.slot.waits()
    }
}

impl_operators! { all any: [O: Operation,] Latch<O>; }

impl<O: Operation> fmt::Debug for Latch<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latch").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}
