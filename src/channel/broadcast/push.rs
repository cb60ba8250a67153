//! The future of a push.
//!
//! Knows: the shared channel, waiters, the operation contract. Does not know: endpoints.
#![allow(unsafe_code, reason = "owns a waiter that the channel links to")]

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::engine::Offer;
use super::shared::{Shared, resolve};
use crate::channel::error::PushError;
use crate::channel::waiter::{State, Waiter};
use crate::channel::wake::{deliver, discard};
use crate::operation::Operation;

/// The push of one value: what [`Sender::push`](super::Sender::push) returns.
///
/// Nothing happens before the first poll. With [`Overflow::Lag`](super::Overflow::Lag) that resolves it. With
/// [`Overflow::Wait`](super::Overflow::Wait) and a full channel it stands in line, first come, first served, with the
/// value still its own; the pop that frees a slot takes the oldest push's value into the channel, so a waiting push may
/// take effect before it is polled again.
///
/// # Errors
///
/// [`PushError::Closed`] with the value if the channel is or becomes closed before the value is in it;
/// [`PushError::Cancelled`] with the value if the push was asked to stop before.
///
/// # Cancel safety
///
/// Dropping it is safe, and leaves one of two things: the value was pushed, or it is dropped with the future. To know
/// which, and to get the value back, use [`cancel`](Self::cancel); every combinator of this crate does. As an arm of a
/// race it takes effect only inside its own poll, so the arm that loses has not pushed.
///
/// # Panics
///
/// When polled after it has resolved.
#[must_use = "a push does nothing until it is awaited"]
pub struct Push<'a, T> {
    shared: &'a Shared<T>,
    waiter: Waiter<Offer<T>>,
}

impl<'a, T> Push<'a, T> {
    pub(super) fn new(shared: &'a Shared<T>, value: T) -> Self {
        Self { shared, waiter: Waiter::new(Offer { value: Some(value), by_poll: false }) }
    }

    /// Ends the push now and says exactly what became of it: `Ok` if the value is in the channel, the value otherwise.
    ///
    /// # Errors
    ///
    /// [`PushError::Cancelled`] with the value if the push had not taken effect, [`PushError::Closed`] with the value
    /// if the channel was closed while the push waited.
    ///
    /// # Cancel safety
    ///
    /// This is how to cancel: nothing is in doubt afterwards.
    ///
    /// # Panics
    ///
    /// If the push has resolved already: its value is in the channel or was given back then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    /// use std::task::{Context, Waker};
    ///
    /// use millstream::channel::{broadcast, broadcast::Overflow};
    ///
    /// let (tx, _rx) = broadcast(1, Overflow::Wait);
    /// tx.try_push("first")?;
    /// let mut second = pin!(tx.push("second"));
    /// assert!(second.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    /// assert_eq!(second.as_mut().cancel().unwrap_err().into_inner(), "second");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(self: Pin<&mut Self>) -> Result<(), PushError<T>> {
        let this = self.into_ref().get_ref();
        match this.waiter.state() {
            State::Finished => panic!("a push was cancelled after it had resolved"),
            State::Idle => this.waiter.set(State::Cancelled),
            _ => {}
        }
        // SAFETY: (I3) the waiter is pinned in the future and withdrawn by its `Drop`.
        discard(unsafe { this.shared.withdraw_push(&this.waiter) });
        // SAFETY: (I3) `Finished` panicked above, and a withdrawn push is not in line.
        unsafe { resolve(&this.waiter) }
    }
}

impl<T> Future for Push<'_, T> {
    type Output = Result<(), PushError<T>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.into_ref().get_ref();
        // SAFETY: (I3) the waiter is pinned in the future and withdrawn by its `Drop`.
        unsafe { this.shared.poll_push(&this.waiter, cx) }
    }
}

impl<T> Operation for Push<'_, T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.into_ref().get_ref();
        if this.waiter.state() == State::Idle {
            this.waiter.set(State::Cancelled);
        }
        // SAFETY: (I3) as in `poll`.
        deliver(unsafe { this.shared.withdraw_push(&this.waiter) }); // its last poll promised a wake
    }

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        if self.waiter.state() != State::Finished {
            drop(self.cancel());
        }
        Poll::Ready(())
    }

    fn commit_on_poll(self: Pin<&mut Self>) {
        let this = self.into_ref().get_ref();
        // SAFETY: (I3) as in `poll`.
        unsafe { this.shared.commit_push_on_poll(&this.waiter) }
    }

    fn may_resolve(&self) -> bool {
        self.waiter.state() != State::Queued
    }

    fn waits(&self) -> bool {
        self.waiter.state() == State::Queued
    }

    fn is_inert(&self) -> bool {
        true // its drop withdraws it
    }
}

impl<T> Drop for Push<'_, T> {
    fn drop(&mut self) {
        // SAFETY: (I3) this is the withdrawal that `poll` promises. The value, if it is still here, and the waker are
        // dropped afterwards, outside the lock (I7).
        discard(unsafe { self.shared.withdraw_push(&self.waiter) });
    }
}

impl<T> fmt::Debug for Push<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").field("state", &self.waiter.state()).finish_non_exhaustive()
    }
}
