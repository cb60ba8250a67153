//! The future of a pop.
//!
//! Knows: the receiver, the operation contract. Does not know: the protocol, waiters.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::error::PopError;
use super::receiver::Receiver;
use crate::channel::wake::{deliver, discard};
use crate::operation::Operation;

/// The pop of one value: what [`Receiver::pop`] returns.
///
/// # Errors
///
/// [`PopError::Lagged`] with the number of values that were overwritten since this receiver's last pop;
/// [`PopError::Closed`] once the channel is closed and this receiver has everything; [`PopError::Cancelled`] if the pop
/// was asked to stop before its first poll, or while it waited and no value was there.
///
/// # Cancel safety
///
/// Dropping it at any time changes nothing for the receiver: it takes effect only in the poll that resolves it.
///
/// # Panics
///
/// When polled after it has resolved. A panic of `T::clone` comes out of the poll; the receiver keeps the value.
#[must_use = "a pop does nothing until it is awaited"]
pub struct Pop<'a, T> {
    receiver: &'a mut Receiver<T>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Never polled.
    Fresh,
    Waiting,
    Cancelled,
    Finished,
}

impl<'a, T> Pop<'a, T> {
    pub(super) fn new(receiver: &'a mut Receiver<T>) -> Self {
        Self { receiver, stage: Stage::Fresh }
    }
}

impl<T: Clone> Future for Pop<'_, T> {
    type Output = Result<T, PopError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let polled = match this.stage {
            Stage::Fresh | Stage::Waiting => this.receiver.poll_pop(cx),
            Stage::Cancelled => Poll::Ready(Err(PopError::Cancelled)),
            Stage::Finished => panic!("a pop was polled after it had resolved"),
        };
        this.stage = if polled.is_ready() { Stage::Finished } else { Stage::Waiting };
        polled
    }
}

impl<T: Clone> Operation for Pop<'_, T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.get_mut();
        // With a value there it is too late to stop, as for a pop of any channel that waits and has a value counted.
        if this.stage == Stage::Fresh || this.stage == Stage::Waiting && this.receiver.is_empty() {
            this.stage = Stage::Cancelled;
            deliver(this.receiver.leave_line()); // its last poll promised a wake
        }
    }

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.stage = Stage::Finished;
        discard(this.receiver.leave_line());
        Poll::Ready(())
    }

    fn may_resolve(&self) -> bool {
        match self.stage {
            Stage::Fresh => self.receiver.has_news(),
            Stage::Waiting => !self.receiver.is_in_line(),
            Stage::Cancelled | Stage::Finished => true,
        }
    }

    fn waits(&self) -> bool {
        self.stage == Stage::Waiting && self.receiver.is_in_line()
    }

    fn may_be_put_off(&self) -> bool {
        self.stage == Stage::Fresh
    }

    fn is_inert(&self) -> bool {
        true // its drop leaves the line
    }
}

impl<T> Drop for Pop<'_, T> {
    fn drop(&mut self) {
        discard(self.receiver.leave_line());
    }
}

impl<T> fmt::Debug for Pop<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pop").field("stage", &self.stage).finish_non_exhaustive()
    }
}
