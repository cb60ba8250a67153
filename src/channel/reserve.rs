//! A slot now, the value later.
//!
//! Knows: the shared channel, waiters, the operation contract. Does not know: the protocol, locks.
#![allow(unsafe_code, reason = "owns a waiter that the channel links to")]

use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll};

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
    /// Waits for room and takes it, without a value: the [`Permit`] it resolves to pushes one later, without waiting.
    ///
    /// A reservation waits in the same line as a [`push`](Self::push). At capacity 0 there is room for each receiver that
    /// waits. Use it where the value must not be made, or given up, before there is room for it; under a `select!` that
    /// is not of this crate it is the exact form of a push.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] if the channel is closed, or is closed while the reservation waits.
    ///
    /// # Cancel safety
    ///
    /// A dropped reservation has taken nothing: a slot that it was granted goes to the next in line.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let (tx, rx) = millstream::channel::bounded(1);
    /// let permit = tx.reserve().await?;
    /// assert!(tx.try_push("no room").is_err());
    /// permit.push("made when its place was sure")?;
    /// assert_eq!(rx.pop().await?, "made when its place was sure");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "permit")]
    pub fn reserve(&self) -> Reserve<'_, T, S> {
        Reserve { shared: self.shared(), waiter: Waiter::new(Offer { value: None, by_poll: true }) }
    }

    /// Takes a slot if there is room now.
    ///
    /// # Errors
    ///
    /// [`TryPushError::Full`] or [`TryPushError::Closed`].
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = millstream::channel::bounded(1);
    /// let permit = tx.try_reserve()?;
    /// assert!(tx.try_reserve().unwrap_err().is_full());
    /// drop(permit); // gives the slot back
    /// tx.try_reserve()?.push(7)?;
    /// assert_eq!(rx.try_pop()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_reserve(&self) -> Result<Permit<'_, T, S>, TryPushError<()>> {
        let shared = self.shared();
        shared.try_reserve().map(|()| Permit { shared })
    }
}

/// A slot in a channel, for one value: from [`Sender::reserve`](super::Sender::reserve) or
/// [`Sender::try_reserve`](super::Sender::try_reserve).
///
/// It counts against the capacity like a value, so nobody else can have the slot until the permit is used or dropped.
/// A permit that is kept for long keeps others waiting for as long.
///
/// Its value goes in at the end, behind all that were pushed since.
#[must_use = "a permit keeps its slot from others until it is used or dropped"]
pub struct Permit<'a, T, S: Sharing = Threads> {
    shared: &'a Shared<T, S>,
}

impl<T, S: Sharing> Permit<'_, T, S> {
    /// Puts `value` at the end of the channel. Never waits.
    ///
    /// The permit is honoured even when the waiting receiver on whose account it was given (at capacity 0) has left:
    /// the channel then holds a value more than its capacity until somebody pops.
    ///
    /// # Errors
    ///
    /// The value comes back in [`PushError::Closed`] if the channel was closed meanwhile.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = millstream::channel::bounded(1);
    /// let permit = tx.try_reserve()?;
    /// drop(rx);
    /// assert_eq!(permit.push("back").unwrap_err().into_inner(), "back");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "send")]
    pub fn push(self, value: T) -> Result<(), PushError<T>> {
        let shared = self.shared;
        mem::forget(self); // the slot is used up
        shared.redeem(value)
    }
}

impl<T, S: Sharing> Drop for Permit<'_, T, S> {
    fn drop(&mut self) {
        self.shared.give_back();
    }
}

impl<T, S: Sharing> fmt::Debug for Permit<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

/// The wait for a slot: what [`Sender::reserve`](super::Sender::reserve) returns.
///
/// Nothing happens before the first poll. A reservation that finds no room stands in line with the pushes, first come,
/// first served, and takes effect only in its own poll.
///
/// # Errors
///
/// [`PushError::Closed`] if the channel is or becomes closed before there is a slot; [`PushError::Cancelled`] if the
/// reservation was asked to stop before it resolved, also if a slot was granted to it by then: that goes to the next in
/// line.
///
/// # Cancel safety
///
/// Dropping it at any time is as if it had never been: a slot that it was granted goes to the next in line. While one that
/// was granted a slot is neither polled nor dropped, that slot waits with it.
///
/// # Panics
///
/// When polled after it has resolved.
#[must_use = "a reservation does nothing until it is awaited"]
pub struct Reserve<'a, T, S: Sharing = Threads> {
    shared: &'a Shared<T, S>,
    waiter: Waiter<Offer<T>>,
}

impl<'a, T, S: Sharing> Future for Reserve<'a, T, S> {
    type Output = Result<Permit<'a, T, S>, PushError<()>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.into_ref().get_ref();
        let shared = this.shared;
        // SAFETY: (I3) the waiter is pinned in the future and withdrawn by its `Drop`.
        unsafe { shared.poll_reserve(&this.waiter, cx) }.map_ok(|()| Permit { shared })
    }
}

impl<T, S: Sharing> Operation for Reserve<'_, T, S> {
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
        self.shared.may_push(&self.waiter)
    }

    #[inline]
    fn waits(&self) -> bool {
        self.waiter.state() == State::Queued
    }

    fn try_now(&mut self) -> Option<Self::Output> {
        if !self.waiter.is_idle() || !executor::try_spend() {
            return None;
        }
        let shared = self.shared;
        let outcome = match shared.try_reserve() {
            Ok(()) => Ok(Permit { shared }),
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

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
impl<T, S: Sharing> Reserve<'_, T, S> {
    pub(super) fn state(&self) -> State {
        self.waiter.state()
    }
}

impl<T, S: Sharing> Drop for Reserve<'_, T, S> {
    fn drop(&mut self) {
        // SAFETY: (I3) this is the withdrawal that `poll` promises.
        discard(unsafe { self.shared.withdraw_push(&self.waiter) });
    }
}

impl<T, S: Sharing> fmt::Debug for Reserve<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserve").field("state", &self.waiter.state()).finish_non_exhaustive()
    }
}
