//! An operation whose outcome is kept when it loses a race.
//!
//! Knows: [`Operation`]. Does not know: the race.

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
    /// The operation that [`lost_into`](super::OperationExt::lost_into) returns.
    #[must_use = "nothing starts until it is awaited"]
    pub struct LostInto<'a, O: Operation> {
        #[pin]
        op: Slot<O>,
        place: &'a mut Option<O::Output>,
        asked_to_stop: bool,
    }
}

impl<'a, O: Operation> LostInto<'a, O> {
    pub(super) fn new(op: O, place: &'a mut Option<O::Output>) -> Self {
        *place = None;
        Self { op: Slot::new(op), place, asked_to_stop: false }
    }
}

impl<O: Operation> Future for LostInto<'_, O> {
    type Output = O::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O::Output> {
        let mut op = self.project().op;
        ready!(op.as_mut().poll(cx));
        Poll::Ready(op.take())
    }
}

impl<O: Operation> Operation for LostInto<'_, O> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.project();
        if !core::mem::replace(this.asked_to_stop, true)
            && let Some(op) = this.op.op()
        {
            op.request_cancel();
        }
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.as_mut().request_cancel();
        let mut this = self.project();
        ready!(this.op.as_mut().poll(cx));
        if this.op.output().is_some() {
            **this.place = Some(this.op.take());
        }
        Poll::Ready(())
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
        self.op.may_resolve()
    }

    fn waits(&self) -> bool {
        self.op.waits()
    }
}

impl<O: Flaggable> Flaggable for LostInto<'_, O> {
    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
        if let Some(op) = self.project().op.op() {
            op.add_flags(flags);
        }
    }
}

impl_operators! { all any: ['a, O: Operation,] LostInto<'a, O>; }

impl<O: Operation> fmt::Debug for LostInto<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LostInto").field("asked_to_stop", &self.asked_to_stop).finish_non_exhaustive()
    }
}
