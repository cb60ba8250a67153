//! The future of a pop of an instant.
//!
//! Knows: the receiver, the operation contract. Does not know: who keeps a timer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::receiver::Receiver;
use crate::channel::error::PopError;
use crate::channel::wake::{deliver, discard};
use crate::operation::Operation;

/// The pop of one instant: what [`Receiver::pop`] returns.
///
/// Nothing happens before the first poll. With a value due it resolves there; otherwise a timer is armed where it is
/// polled.
///
/// # Errors
///
/// [`PopError::Closed`] once the channel is closed and nothing is due; [`PopError::Cancelled`] if the pop was asked to
/// stop before its first poll, or while it waited and no value was due.
///
/// # Cancel safety
///
/// Dropping it at any time loses nothing and disarms its timer. A value is taken only by the poll that returns it.
///
/// # Panics
///
/// When polled after it has resolved. Also when a timer is needed, no runtime of this crate polls it, and the thread for
/// such timers cannot be started.
#[must_use = "a pop does nothing until it is awaited"]
#[derive(Debug)]
pub struct Pop<'a> {
    receiver: &'a mut Receiver,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Never polled.
    Fresh,
    Waiting,
    Cancelled,
    Finished,
}

impl<'a> Pop<'a> {
    pub(super) fn new(receiver: &'a mut Receiver) -> Self {
        Self { receiver, state: State::Fresh }
    }
}

impl Future for Pop<'_> {
    type Output = Result<Instant, PopError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let popped = match self.state {
            State::Fresh | State::Waiting => {
                self.state = State::Waiting;
                std::task::ready!(self.receiver.poll_pop(cx))
            }
            State::Cancelled => Err(PopError::Cancelled),
            State::Finished => panic!("a pop was polled after it had resolved"),
        };
        self.state = State::Finished;
        Poll::Ready(popped)
    }
}

impl Operation for Pop<'_> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        // With an instant that has come it is too late to stop, as for a pop of any channel that waits and has a value counted.
        if self.state == State::Fresh || self.state == State::Waiting && !self.receiver.is_due() {
            self.state = State::Cancelled;
            deliver(self.receiver.leave()); // its last poll promised a wake
        }
    }

    fn poll_discard(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        self.state = State::Finished;
        discard(self.receiver.leave());
        Poll::Ready(())
    }

    fn may_resolve(&self) -> bool {
        match self.state {
            State::Fresh | State::Waiting => self.receiver.is_due() || self.receiver.is_closed(),
            State::Cancelled | State::Finished => true,
        }
    }

    fn waits(&self) -> bool {
        self.state == State::Waiting && !self.may_resolve()
    }

    fn may_be_put_off(&self) -> bool {
        self.state == State::Fresh
    }

    fn is_inert(&self) -> bool {
        true // its drop disarms the timer
    }
}

impl Drop for Pop<'_> {
    fn drop(&mut self) {
        discard(self.receiver.leave());
    }
}
