//! The future of the channel's close.
//!
//! Knows: the shared channel, waiters, the operation contract. Does not know: endpoints, the protocol.
#![allow(unsafe_code, reason = "owns a waiter that the channel links to")]

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::shared::Shared;
use crate::channel::waiter::{State, Waiter};
use crate::channel::wake::{deliver, discard};
use crate::operation::Operation;

/// Resolves when the channel is closed: what [`Sender::closed`](super::Sender::closed) and
/// [`Receiver::closed`](super::Receiver::closed) return.
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
    shared: &'a Shared<T>,
    waiter: Waiter<u64>,
}

impl<'a, T> Closed<'a, T> {
    pub(super) fn new(shared: &'a Shared<T>) -> Self {
        Self { shared, waiter: Waiter::new(0) }
    }
}

impl<T> Future for Closed<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref().get_ref();
        let polled = match this.waiter.state() {
            State::Cancelled => Poll::Ready(()),
            State::Finished => panic!("`closed()` was polled after it had resolved"),
            // SAFETY: (I3) the waiter is pinned in the future and withdrawn by its `Drop`.
            _ => unsafe { this.shared.poll_closed(&this.waiter, cx) },
        };
        if polled.is_ready() {
            this.waiter.set(State::Finished);
        }
        polled
    }
}

impl<T> Operation for Closed<'_, T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.into_ref().get_ref();
        // SAFETY: (I3) as in `poll`.
        let own = unsafe { this.shared.withdraw_closed(&this.waiter) };
        if this.waiter.state() == State::Idle {
            this.waiter.set(State::Cancelled);
        }
        deliver(own); // its last poll promised a wake
    }

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref().get_ref();
        // SAFETY: (I3) as in `poll`.
        discard(unsafe { this.shared.withdraw_closed(&this.waiter) });
        this.waiter.set(State::Finished);
        Poll::Ready(())
    }

    fn may_resolve(&self) -> bool {
        match self.waiter.state() {
            State::Idle => self.shared.is_closed(),
            state => state != State::Queued,
        }
    }

    fn waits(&self) -> bool {
        self.waiter.state() == State::Queued
    }

    fn may_be_put_off(&self) -> bool {
        self.waiter.is_idle()
    }

    fn is_inert(&self) -> bool {
        true // its drop withdraws it
    }
}

impl<T> Drop for Closed<'_, T> {
    fn drop(&mut self) {
        // SAFETY: (I3) this is the withdrawal that `poll` promises.
        discard(unsafe { self.shared.withdraw_closed(&self.waiter) });
    }
}

impl<T> fmt::Debug for Closed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed").field("state", &self.waiter.state()).finish_non_exhaustive()
    }
}
