//! The future of the value, borrowed from the receiver.
//!
//! Knows: the receiver, the operation contract. Does not know: how the state is kept.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::receiver::Receiver;
use crate::channel::error::PopError;
use crate::operation::Operation;

/// The pop of the value: what [`Receiver::pop`] returns.
///
/// # Errors
///
/// [`PopError::Closed`] if no value comes or it was taken before; [`PopError::Cancelled`] if the pop was asked to stop
/// before the value was there.
///
/// # Cancel safety
///
/// Dropping it at any time leaves the value in the channel.
///
/// # Panics
///
/// When polled after it has resolved.
#[must_use = "a pop does nothing until it is awaited"]
pub struct Pop<'a, T> {
    receiver: &'a mut Receiver<T>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Cancelled,
    Finished,
}

impl<'a, T> Pop<'a, T> {
    pub(super) fn new(receiver: &'a mut Receiver<T>) -> Self {
        Self { receiver, stage: Stage::Waiting }
    }
}

impl<T> Future for Pop<'_, T> {
    type Output = Result<T, PopError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let polled = match this.stage {
            Stage::Waiting => this.receiver.poll_value(cx),
            Stage::Cancelled => Poll::Ready(Err(PopError::Cancelled)),
            Stage::Finished => panic!("a pop was polled after it had resolved"),
        };
        if polled.is_ready() {
            this.stage = Stage::Finished;
        }
        polled
    }
}

impl<T> Operation for Pop<'_, T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.get_mut();
        // With the outcome there it is too late to stop, as for a pop of any channel that has a value counted.
        if this.stage == Stage::Waiting && !this.receiver.is_closed() {
            this.stage = Stage::Cancelled;
            this.receiver.rise(true); // its last poll promised a wake
        }
    }

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.stage = Stage::Finished;
        this.receiver.rise(false);
        Poll::Ready(())
    }

    fn may_resolve(&self) -> bool {
        self.stage != Stage::Waiting || self.receiver.is_closed()
    }

    fn waits(&self) -> bool {
        self.receiver.is_seated() && !self.may_resolve()
    }

    fn may_be_put_off(&self) -> bool {
        !self.receiver.is_seated()
    }

    fn is_inert(&self) -> bool {
        true // its drop leaves the seat
    }
}

impl<T> Drop for Pop<'_, T> {
    fn drop(&mut self) {
        self.receiver.rise(false);
    }
}

impl<T> fmt::Debug for Pop<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pop").field("stage", &self.stage).finish_non_exhaustive()
    }
}
