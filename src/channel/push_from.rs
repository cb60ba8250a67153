//! A push whose value stays with the caller until it is pushed.
//!
//! Knows: the shared channel, waiters, the operation contract. Does not know: the protocol, locks.
#![allow(unsafe_code, reason = "owns a waiter that the channel links to")]

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use super::engine::Offer;
use super::error::{PushError, TryPushError};
use super::sender::Sender;
use super::shared::Shared;
use super::sharing::{Sharing, Threads};
use super::waiter::{State, Waiter};
use super::wake::{deliver, discard};
use crate::operation::Operation;
use crate::util::executor;

impl<T, S: Sharing> Sender<T, S> {
    /// Pushes the value in `slot`, which stays there until there is room: the push for an arm of a race.
    ///
    /// The value is taken out of `slot` in the very poll that resolves this with `Ok`. In any other case, it is still there:
    /// when another arm won, on an error, after a drop. As an arm of a `select!` in a loop it is tried again each turn, and
    /// with nothing in `slot` it is an arm that is never ready, like a send to a nil channel in Go.
    ///
    /// It waits in the same line as a [`push`](Self::push), and acts only in its own polls: at capacity 0, once a receiver
    /// waits.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] if the channel is closed, or is closed while the push waits. The value is in `slot`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it has taken nothing: what is in `slot` was not pushed, and a place that it was granted goes to the next in
    /// line. So it is exact under any `select!`, of this crate or another.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use millstream::channel::bounded;
    ///
    /// let (tx, rx) = bounded(1);
    /// let mut slot = Some("first");
    /// tx.push_from(&mut slot).await?;
    /// assert_eq!(slot, None);
    ///
    /// slot = Some("second");
    /// futures::select_biased! {
    ///     _ = futures::FutureExt::fuse(tx.push_from(&mut slot)) => unreachable!("there is no room"),
    ///     first = futures::FutureExt::fuse(rx.pop()) => assert_eq!(first, Ok("first")),
    /// }
    /// assert_eq!(slot, Some("second"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn push_from<'a>(&'a self, slot: &'a mut Option<T>) -> PushFrom<'a, T, S> {
        PushFrom { shared: self.shared(), waiter: Waiter::new(Offer { value: None, by_poll: true }), slot }
    }
}

/// The push of a value that its caller keeps: what [`Sender::push_from`](super::Sender::push_from) returns.
///
/// Nothing happens before the first poll, and nothing at all as long as there is no value.
///
/// # Errors
///
/// [`PushError::Closed`] if the channel is or becomes closed before the value is in it; [`PushError::Cancelled`] if the push
/// was asked to stop before. The value stays where it was.
///
/// # Cancel safety
///
/// Dropping it at any time is as if it had never been, and the value stays where it was.
///
/// # Panics
///
/// When polled after it has resolved.
#[must_use = "a push does nothing until it is awaited"]
pub struct PushFrom<'a, T, S: Sharing = Threads> {
    shared: &'a Shared<T, S>,
    waiter: Waiter<Offer<T>>,
    slot: &'a mut Option<T>,
}

impl<T, S: Sharing> Future for PushFrom<'_, T, S> {
    type Output = Result<(), PushError<()>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: (I3) the waiter is not moved; the other fields need not be pinned.
        let this = unsafe { self.get_unchecked_mut() };
        if this.slot.is_none() && matches!(this.waiter.state(), State::Idle) {
            return Poll::Pending;
        }
        // SAFETY: (I3) the waiter is pinned in the future and withdrawn by its `Drop`.
        ready!(unsafe { this.shared.poll_reserve(&this.waiter, cx) })?;
        Poll::Ready(this.redeem())
    }
}

impl<T, S: Sharing> PushFrom<'_, T, S> {
    /// Puts the value into the place that this has in the channel. There is a value: it is borrowed since there was one.
    fn redeem(&mut self) -> Result<(), PushError<()>> {
        match self.slot.take().map(|value| self.shared.redeem(value)) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(closed)) => {
                *self.slot = Some(closed.into_inner());
                Err(PushError::Closed(()))
            }
        }
    }
}

impl<T, S: Sharing> Operation for PushFrom<'_, T, S> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.into_ref().get_ref();
        if this.waiter.state() == State::Idle {
            this.waiter.set(State::Cancelled);
        }
        // SAFETY: (I3) as in `poll`.
        deliver(unsafe { this.shared.withdraw_push(&this.waiter) }); // its last poll promised a wake
    }

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref().get_ref();
        // SAFETY: (I3) as in `poll`.
        discard(unsafe { this.shared.withdraw_push(&this.waiter) });
        this.waiter.set(State::Finished);
        Poll::Ready(())
    }

    #[inline]
    fn may_resolve(&self) -> bool {
        (self.slot.is_some() || !self.waiter.is_idle()) && self.shared.may_push(&self.waiter)
    }

    #[inline]
    fn waits(&self) -> bool {
        self.waiter.state() == State::Queued
    }

    fn try_now(&mut self) -> Option<Self::Output> {
        if !self.waiter.is_idle() || self.slot.is_none() || !executor::try_spend() {
            return None;
        }
        let outcome = match self.shared.try_reserve() {
            Ok(()) => self.redeem(),
            Err(TryPushError::Closed(())) => Err(PushError::Closed(())),
            Err(TryPushError::Full(())) => return None,
        };
        self.waiter.set(State::Finished);
        Some(outcome)
    }

    #[inline]
    fn is_inert(&self) -> bool {
        true // its drop withdraws it
    }
}

impl<T, S: Sharing> Drop for PushFrom<'_, T, S> {
    fn drop(&mut self) {
        // SAFETY: (I3) this is the withdrawal that `poll` promises.
        discard(unsafe { self.shared.withdraw_push(&self.waiter) });
    }
}

impl<T, S: Sharing> fmt::Debug for PushFrom<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushFrom")
            .field("state", &self.waiter.state())
            .field("has_value", &self.slot.is_some())
            .finish_non_exhaustive()
    }
}
