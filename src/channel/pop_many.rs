//! Popping many values with one hold of the lock.
//!
//! Knows: the shared channel, waiters, the operation contract. Does not know: the protocol, locks.
#![allow(unsafe_code, reason = "owns a waiter that the channel links to")]

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::blocking;
use super::error::{PopError, TryPopError};
use super::receiver::Receiver;
use super::shared::Shared;
use super::sharing::{Sharing, Threads};
use super::waiter::{State, Waiter};
use super::wake::discard;
use crate::operation::Operation;

impl<T, S: Sharing> Receiver<T, S> {
    /// Takes up to `max` of the oldest values, waiting for the first one only, and appends them to `out`; returns how
    /// many.
    ///
    /// It waits in line as a [`pop`](Self::pop) does, and then takes what is there beside its first value: no value that
    /// another waiting pop is entitled to. As slots come free, pushes that wait get them, and their values may be taken
    /// as well. `max` of 0 resolves to 0 at once.
    ///
    /// # Errors
    ///
    /// [`PopError::Closed`] once the channel is closed and drained.
    ///
    /// # Cancel safety
    ///
    /// Nothing is appended before it resolves, and a dropped one leaves everything in the channel.
    ///
    /// # Cost
    ///
    /// One lock for all values if `out` has room for them; otherwise it grows, outside the lock, and the lock is taken
    /// again.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let (tx, rx) = millstream::channel::bounded(4);
    /// for n in 0..4 {
    ///     tx.push(n).await?;
    /// }
    /// let mut got = Vec::with_capacity(3);
    /// assert_eq!(rx.pop_many(&mut got, 3).await?, 3);
    /// assert_eq!(rx.pop_many(&mut got, 3).await?, 1);
    /// assert_eq!(got, [0, 1, 2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "recv_many")]
    #[doc(alias = "drain_into")]
    pub fn pop_many<'a>(&'a self, out: &'a mut Vec<T>, max: usize) -> PopMany<'a, T, S> {
        PopMany { shared: self.shared(), waiter: Waiter::new(()), max, out }
    }

    /// Takes up to `max` of the oldest values that no waiting pop is entitled to, and appends them to `out`; returns how
    /// many.
    ///
    /// As many times a [`try_pop`](Self::try_pop), so it also takes the values of pushes that wait. `max` of 0 is `Ok(0)`.
    ///
    /// # Errors
    ///
    /// [`TryPopError::Empty`], or [`TryPopError::Closed`] once the channel is closed and drained, if there was not even
    /// one.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = millstream::channel::bounded(2);
    /// tx.try_push('a')?;
    /// tx.try_push('b')?;
    /// let mut got = Vec::new();
    /// assert_eq!(rx.try_pop_many(&mut got, usize::MAX)?, 2);
    /// assert_eq!(got, ['a', 'b']);
    /// assert!(rx.try_pop_many(&mut got, 1).unwrap_err().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_pop_many(&self, out: &mut Vec<T>, max: usize) -> Result<usize, TryPopError> {
        self.shared().try_pop_many(out, max)
    }

    /// As [`pop_many`](Self::pop_many), but blocks the calling thread: for plain threads beside a runtime.
    ///
    /// # Errors
    ///
    /// As for [`pop_many`](Self::pop_many).
    ///
    /// # Cancel safety
    ///
    /// It cannot be cancelled, but closing the channel ends it.
    ///
    /// # Panics
    ///
    /// On a thread where a runtime is polling, since blocking it would stop every task there; and on a local channel if it
    /// would have to wait.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = millstream::channel::bounded(8);
    /// let producer = std::thread::spawn(move || (0..100).try_for_each(|n| tx.push_blocking(n)));
    /// let mut got = Vec::new();
    /// while rx.pop_many_blocking(&mut got, 8).is_ok() {}
    /// assert!(got.into_iter().eq(0..100));
    /// producer.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pop_many_blocking(&self, out: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        blocking::assert_plain_thread("pop_many_blocking", "pop_many(..).await");
        match self.try_pop_many(out, max) {
            Ok(popped) => Ok(popped),
            Err(TryPopError::Closed) => Err(PopError::Closed),
            Err(TryPopError::Empty) => {
                blocking::assert_not_alone::<S>("pop_many_blocking");
                blocking::wait(self.pop_many(out, max))
            }
        }
    }
}

/// The pop of many values: what [`Receiver::pop_many`](super::Receiver::pop_many) returns.
///
/// Nothing happens before the first poll. It waits as a [`Pop`](super::Pop) does, for its first value only.
///
/// # Errors
///
/// [`PopError::Closed`] once the channel is closed and drained; [`PopError::Cancelled`] if it was asked to stop before a
/// value was there for it.
///
/// # Cancel safety
///
/// Dropping it at any time loses nothing: values go to the caller's buffer in the poll that resolves, and not before. A
/// value that was counted for it goes to the next pop in line, or stays in the channel.
///
/// # Panics
///
/// When polled after it has resolved; or if the buffer cannot grow: the values it has then are in it, the others still in
/// the channel.
#[must_use = "a pop does nothing until it is awaited"]
pub struct PopMany<'a, T, S: Sharing = Threads> {
    shared: &'a Shared<T, S>,
    waiter: Waiter<()>,
    max: usize,
    out: &'a mut Vec<T>,
}

impl<T, S: Sharing> Future for PopMany<'_, T, S> {
    type Output = Result<usize, PopError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: (I3) the waiter is not moved; the other fields need not be pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: (I3) the waiter is pinned in the future and withdrawn by its `Drop`.
        unsafe { this.shared.poll_pop_many(&this.waiter, this.out, this.max, cx) }
    }
}

impl<T, S: Sharing> Operation for PopMany<'_, T, S> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.into_ref().get_ref();
        // SAFETY: (I3) as in `poll`.
        unsafe { this.shared.cancel_pop(&this.waiter) }
    }

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref().get_ref();
        // SAFETY: (I3) as in `poll`.
        discard(unsafe { this.shared.withdraw_pop(&this.waiter) });
        this.waiter.set(State::Finished);
        Poll::Ready(())
    }

    fn may_resolve(&self) -> bool {
        self.max == 0 || self.shared.may_pop(&self.waiter)
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
impl<T, S: Sharing> PopMany<'_, T, S> {
    pub(super) fn state(&self) -> State {
        self.waiter.state()
    }
}

impl<T, S: Sharing> Drop for PopMany<'_, T, S> {
    fn drop(&mut self) {
        // SAFETY: (I3) this is the withdrawal that `poll` promises.
        discard(unsafe { self.shared.withdraw_pop(&self.waiter) });
    }
}

impl<T, S: Sharing> fmt::Debug for PopMany<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PopMany")
            .field("state", &self.waiter.state())
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}
