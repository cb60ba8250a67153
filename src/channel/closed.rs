//! Waiting for the close.
//!
//! Knows: the shared channel, waiters, the operation contract. Does not know: the protocol, locks.
#![allow(unsafe_code, reason = "owns a waiter that the channel links to")]

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::receiver::Receiver;
use super::sender::Sender;
use super::shared::Shared;
use super::sharing::{Sharing, Threads};
use super::waiter::{State, Waiter};
use super::wake::{deliver, discard};
use crate::operation::Operation;

impl<T, S: Sharing> Sender<T, S> {
    /// Waits until the channel is closed: explicitly, or because the last receiver is gone.
    ///
    /// Resolves at once if it is closed already. For a producer that should stop when nobody wants its values.
    ///
    /// # Cancel safety
    ///
    /// It only looks: dropping it changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let (tx, rx) = millstream::channel::bounded::<u8>(1);
    /// let wait = tx.closed();
    /// drop(rx);
    /// wait.await;
    /// assert!(tx.is_closed());
    /// # });
    /// ```
    pub fn closed(&self) -> Closed<'_, T, S> {
        Closed { shared: self.pointer(), waiter: Waiter::new(()) }
    }
}

impl<T, S: Sharing> Receiver<T, S> {
    /// Waits until the channel is closed: explicitly, or because the last sender is gone.
    ///
    /// Resolves at once if it is closed already. What is in the channel can still be popped; it is
    /// [`pop`](Self::pop) that says when there is nothing left.
    ///
    /// # Cancel safety
    ///
    /// It only looks: dropping it changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let (tx, rx) = millstream::channel::bounded(1);
    /// tx.push("the last").await?;
    /// drop(tx);
    /// rx.closed().await;
    /// assert_eq!(rx.pop().await?, "the last");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn closed(&self) -> Closed<'_, T, S> {
        Closed { shared: self.pointer(), waiter: Waiter::new(()) }
    }
}

/// The wait for the close of a channel: what [`Sender::closed`](super::Sender::closed) and
/// [`Receiver::closed`](super::Receiver::closed) return.
///
/// As an operation that is asked to stop it resolves at once, whether the channel is closed or not.
///
/// # Cancel safety
///
/// It only looks: dropping it changes nothing.
///
/// # Panics
///
/// When polled after it has resolved.
#[must_use = "waits for nothing until it is awaited"]
pub struct Closed<'a, T, S: Sharing = Threads> {
    shared: &'a Shared<T, S>,
    waiter: Waiter<()>,
}

impl<T, S: Sharing> Future for Closed<'_, T, S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref().get_ref();
        // SAFETY: (I3) the waiter is pinned in the future and withdrawn by its `Drop`.
        unsafe { this.shared.poll_closed(&this.waiter, cx) }
    }
}

impl<T, S: Sharing> Operation for Closed<'_, T, S> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.into_ref().get_ref();
        if this.waiter.state() == State::Idle {
            this.waiter.set(State::Cancelled);
        }
        // SAFETY: (I3) as in `poll`.
        deliver(unsafe { this.shared.withdraw_closed(&this.waiter) }); // its last poll promised a wake
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
            State::Idle => self.shared.look(|engine| engine.is_closed()),
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

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
impl<T, S: Sharing> Closed<'_, T, S> {
    pub(super) fn state(&self) -> State {
        self.waiter.state()
    }
}

impl<T, S: Sharing> Drop for Closed<'_, T, S> {
    fn drop(&mut self) {
        // SAFETY: (I3) this is the withdrawal that `poll` promises.
        discard(unsafe { self.shared.withdraw_closed(&self.waiter) });
    }
}

impl<T, S: Sharing> fmt::Debug for Closed<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed").field("state", &self.waiter.state()).finish_non_exhaustive()
    }
}
