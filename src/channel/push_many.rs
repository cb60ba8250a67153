//! Pushing many values with one hold of the lock.
//!
//! Knows: the shared channel, waiters, the operation contract. Does not know: the protocol, locks.
#![allow(unsafe_code, reason = "owns a waiter that the channel links to")]

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::VecDeque;

use super::blocking;
use super::engine::Offer;
use super::error::{PushError, TryPushError};
use super::sender::Sender;
use super::shared::Shared;
use super::sharing::{Sharing, Threads};
use super::waiter::{State, Waiter};
use super::wake::{deliver, discard};
use crate::operation::Operation;

impl<T, S: Sharing> Sender<T, S> {
    /// Puts all of `values` at the end of the channel, front first, waiting for room as often as it takes.
    ///
    /// It resolves once `values` is empty; at once if it is so from the start, also when the channel is closed. As many
    /// values as there is room for go in together, under one hold of the lock. What is not in the channel is in `values`,
    /// in order, at any time.
    ///
    /// The values stay in order, and those of others come between them only where the push had to wait, or has just
    /// woken a whole batch of waiting receivers (some dozen). When it waits it stands in line as one push, and keeps its
    /// place until all values are in. At capacity 0 each value needs a receiver that waits.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] if the channel is closed, or is closed while the push waits; what had not been pushed is
    /// still in `values`.
    ///
    /// # Cancel safety
    ///
    /// A dropped push leaves what it has not pushed in `values`: nothing is lost, and nothing is in doubt.
    ///
    /// # Cost
    ///
    /// A few nanoseconds per value where a single [`push`](Self::push) pays for a lock. A batch that waits is not pulled
    /// from, but woken for each slot that comes free while it waits; it pays when there is room for many.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::collections::VecDeque;
    ///
    /// let (tx, rx) = millstream::channel::bounded(16);
    /// let mut values = VecDeque::from([1, 2, 3]);
    /// tx.push_many(&mut values).await?;
    /// assert!(values.is_empty());
    ///
    /// let mut got = Vec::new();
    /// assert_eq!(rx.pop_many(&mut got, 10).await?, 3);
    /// assert_eq!(got, [1, 2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "send_many")]
    #[doc(alias = "send_all")]
    #[doc(alias = "reserve_many")]
    pub fn push_many<'a>(&'a self, values: &'a mut VecDeque<T>) -> PushMany<'a, T, S> {
        PushMany {
            shared: self.shared(),
            waiter: Waiter::new(Offer { value: None, by_poll: true }),
            ticket: false,
            values,
        }
    }

    /// Puts as many of `values` as there is room for at the end of the channel, front first, and returns how many.
    ///
    /// Nothing to push is `Ok(0)`.
    ///
    /// # Errors
    ///
    /// [`TryPushError::Full`] or [`TryPushError::Closed`] if not even one was pushed.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::VecDeque;
    ///
    /// let (tx, _rx) = millstream::channel::bounded(2);
    /// let mut values = VecDeque::from(['a', 'b', 'c']);
    /// assert_eq!(tx.try_push_many(&mut values)?, 2);
    /// assert_eq!(values, ['c']);
    /// assert!(tx.try_push_many(&mut values).unwrap_err().is_full());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_push_many(&self, values: &mut VecDeque<T>) -> Result<usize, TryPushError<()>> {
        self.shared().try_push_many(values)
    }

    /// As [`push_many`](Self::push_many), but blocks the calling thread: for plain threads beside a runtime.
    ///
    /// # Errors
    ///
    /// As for [`push_many`](Self::push_many).
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
    /// use std::collections::VecDeque;
    ///
    /// let (tx, rx) = millstream::channel::bounded(2);
    /// let producer = std::thread::spawn(move || tx.push_many_blocking(&mut VecDeque::from_iter(0..100)));
    /// assert!(rx.iter().eq(0..100));
    /// producer.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn push_many_blocking(&self, values: &mut VecDeque<T>) -> Result<(), PushError<()>> {
        blocking::assert_plain_thread("push_many_blocking", "push_many(..).await");
        match self.try_push_many(values) {
            Err(TryPushError::Closed(())) => return Err(PushError::Closed(())),
            Ok(_) | Err(TryPushError::Full(())) => {}
        }
        if values.is_empty() {
            return Ok(());
        }
        blocking::assert_not_alone::<S>("push_many_blocking");
        blocking::wait(self.push_many(values))
    }
}

/// The push of many values: what [`Sender::push_many`](super::Sender::push_many) returns.
///
/// Nothing happens before the first poll. A push that has to wait stands in line, first come, first served, as one push,
/// and takes effect only in its own polls.
///
/// # Errors
///
/// [`PushError::Closed`] if the channel is or becomes closed before all values are in it; [`PushError::Cancelled`] if the
/// push was asked to stop before. What was not pushed is in the caller's buffer.
///
/// # Cancel safety
///
/// Dropping it is safe, and leaves what was not pushed in the caller's buffer. As an arm of a race it may have pushed some
/// of its values in one poll and lose in a later one: the buffer tells.
///
/// # Panics
///
/// When polled after it has resolved.
#[must_use = "a push does nothing until it is awaited"]
pub struct PushMany<'a, T, S: Sharing = Threads> {
    shared: &'a Shared<T, S>,
    waiter: Waiter<Offer<T>>,
    /// Whether the waiter has been in line, so that it has a place there.
    ticket: bool,
    values: &'a mut VecDeque<T>,
}

impl<T, S: Sharing> Future for PushMany<'_, T, S> {
    type Output = Result<(), PushError<()>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: (I3) the waiter is not moved; the other fields need not be pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: (I3) the waiter is pinned in the future and withdrawn by its `Drop`.
        unsafe { this.shared.poll_push_many(&this.waiter, this.values, &mut this.ticket, cx) }
    }
}

impl<T, S: Sharing> Operation for PushMany<'_, T, S> {
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

    fn may_resolve(&self) -> bool {
        self.values.is_empty() || self.shared.may_push(&self.waiter)
    }

    fn waits(&self) -> bool {
        self.waiter.state() == State::Queued
    }

    fn is_inert(&self) -> bool {
        true // its drop withdraws it
    }
}

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
impl<T, S: Sharing> PushMany<'_, T, S> {
    pub(super) fn state(&self) -> State {
        self.waiter.state()
    }

    /// How many values the caller still has.
    pub(super) fn left(&self) -> usize {
        self.values.len()
    }
}

impl<T, S: Sharing> Drop for PushMany<'_, T, S> {
    fn drop(&mut self) {
        // SAFETY: (I3) this is the withdrawal that `poll` promises.
        discard(unsafe { self.shared.withdraw_push(&self.waiter) });
    }
}

impl<T, S: Sharing> fmt::Debug for PushMany<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushMany")
            .field("state", &self.waiter.state())
            .field("left", &self.values.len())
            .finish_non_exhaustive()
    }
}
