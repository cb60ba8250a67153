//! The future of the receiver's going away.
//!
//! Knows: the sender's end of the shared state, the operation contract. Does not know: how the state is kept.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::state::End;
use crate::channel::wake::{deliver, discard};
use crate::operation::Operation;
use crate::util::executor;

/// Resolves when the receiver has closed or is gone: what [`Sender::closed`](super::Sender::closed) returns.
///
/// Asked to stop, it resolves although that has not happened.
///
/// # Cancel safety
///
/// Dropping it at any time changes nothing.
///
/// # Panics
///
/// When polled after it has resolved.
#[must_use = "it waits for nothing until it is awaited"]
pub struct Closed<'a, T> {
    end: &'a mut End<T>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Cancelled,
    Finished,
}

impl<'a, T> Closed<'a, T> {
    pub(super) fn new(end: &'a mut End<T>) -> Self {
        Self { end, stage: Stage::Waiting }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.end.is_seated() && !executor::spend(cx) {
            return Poll::Pending;
        }
        if !self.end.is_over() && self.end.wait(cx).is_pending() {
            return Poll::Pending;
        }
        discard(self.end.rise());
        Poll::Ready(())
    }
}

impl<T> Future for Closed<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let polled = match this.stage {
            Stage::Waiting => this.poll_end(cx),
            Stage::Cancelled => Poll::Ready(()),
            Stage::Finished => panic!("`closed()` was polled after it had resolved"),
        };
        if polled.is_ready() {
            this.stage = Stage::Finished;
        }
        polled
    }
}

impl<T> Operation for Closed<'_, T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.get_mut();
        if this.stage == Stage::Waiting {
            this.stage = Stage::Cancelled;
            deliver(this.end.rise()); // its last poll promised a wake
        }
    }

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.stage = Stage::Finished;
        discard(this.end.rise());
        Poll::Ready(())
    }

    fn may_resolve(&self) -> bool {
        self.stage != Stage::Waiting || self.end.is_over()
    }

    fn waits(&self) -> bool {
        self.end.is_seated() && !self.may_resolve()
    }

    fn may_be_put_off(&self) -> bool {
        !self.end.is_seated()
    }

    fn is_inert(&self) -> bool {
        true // its drop leaves the seat
    }
}

impl<T> Drop for Closed<'_, T> {
    fn drop(&mut self) {
        discard(self.end.rise());
    }
}

impl<T> fmt::Debug for Closed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed").field("stage", &self.stage).finish_non_exhaustive()
    }
}
