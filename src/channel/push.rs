//! The future of a push.
//!
//! Knows: the shared channel, waiters, the operation contract. Does not know: endpoints.
#![allow(unsafe_code, reason = "owns a waiter that the channel links to")]

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::engine::Offer;
use super::error::PushError;
use super::shared::{Shared, resolve};
use super::sharing::{Sharing, Threads};
use super::waiter::{State, Waiter};
use super::wake::{deliver, discard};
use crate::operation::Operation;

/// The push of one value: what [`Sender::push`](super::Sender::push) returns.
///
/// Nothing happens before the first poll. A push that finds no room stands in line, first come, first served, with
/// the value still its own; the pop that makes room takes the oldest push's value into the channel, so a waiting push
/// may take effect before it is polled again.
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
pub struct Push<'a, T, S: Sharing = Threads> {
    shared: &'a Shared<T, S>,
    waiter: Waiter<Offer<T>>,
}

impl<'a, T, S: Sharing> Push<'a, T, S> {
    pub(super) fn new(shared: &'a Shared<T, S>, value: T) -> Self {
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
    /// let (tx, rx) = millstream::channel::bounded(1);
    /// tx.try_push("first")?;
    /// let mut second = pin!(tx.push("second"));
    /// assert!(second.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    /// assert_eq!(second.as_mut().cancel().unwrap_err().into_inner(), "second");
    /// assert_eq!(rx.try_pop()?, "first");
    /// assert!(rx.is_empty());
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

impl<T, S: Sharing> Future for Push<'_, T, S> {
    type Output = Result<(), PushError<T>>;

    #[inline(always)] // what is likely is short; the rest is not inlined
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.into_ref().get_ref();
        // SAFETY: (I3) the waiter is pinned in the future and withdrawn by its `Drop`.
        unsafe { this.shared.poll_push(&this.waiter, cx) }
    }
}

impl<T, S: Sharing> Operation for Push<'_, T, S> {
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

    #[inline]
    fn may_resolve(&self) -> bool {
        self.shared.may_push(&self.waiter)
    }

    #[inline]
    fn waits(&self) -> bool {
        self.waiter.state() == State::Queued
    }

    #[inline]
    fn is_inert(&self) -> bool {
        true // its drop withdraws it
    }
}

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
impl<T, S: Sharing> Push<'_, T, S> {
    pub(super) fn state(&self) -> State {
        self.waiter.state()
    }

    /// Whether the value is still here. For tests on one thread.
    pub(super) fn has_value(&self) -> bool {
        // SAFETY: (I3) nobody else uses the channel meanwhile.
        unsafe { self.waiter.payload() }.value.is_some()
    }
}

impl<T, S: Sharing> Drop for Push<'_, T, S> {
    fn drop(&mut self) {
        // SAFETY: (I3) this is the withdrawal that `poll` promises. The value, if it is still here, and the waker are
        // dropped afterwards, outside the lock (I7).
        discard(unsafe { self.shared.withdraw_push(&self.waiter) });
    }
}

impl<T, S: Sharing> fmt::Debug for Push<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").field("state", &self.waiter.state()).finish_non_exhaustive()
    }
}
