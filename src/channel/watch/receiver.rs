//! The end that pops.
//!
//! Knows: the shared value, its futures, waiters. Does not know: locks.
#![allow(unsafe_code, reason = "owns a waiter that the channel links to")]

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::panic::{RefUnwindSafe, UnwindSafe};

use futures_core::{FusedStream, Stream};

use super::closed::Closed;
use super::pop::Pop;
use super::shared::Shared;
use crate::channel::blocking;
use crate::channel::error::{PopError, TryPopError};
use crate::channel::waiter::{State, Waiter};
use crate::channel::wake::discard;
use crate::sync::Arc;

/// The popping end of a [`watch`](super::watch()) channel; also a [`Stream`].
///
/// It remembers which version of the value it has seen. A clone has seen the same.
#[doc(alias = "Rx")]
pub struct Receiver<T> {
    /// The version of the value it has returned last; 0 for none.
    seen: u64,
    waiter: Pin<Box<Waiter<u64>>>,
    shared: Arc<Shared<T>>,
}

// As for senders.
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Receiver<T> {
    /// A receiver that `shared` counts.
    pub(super) fn new(shared: Arc<Shared<T>>, seen: u64) -> Self {
        Self { seen, waiter: Box::pin(Waiter::new(0)), shared }
    }

    /// Waits for a value that this receiver has not seen, and returns a clone of the latest.
    ///
    /// Values that were replaced before it looked are skipped. After a close it gets the last value if it has not seen
    /// that, then fails.
    ///
    /// # Errors
    ///
    /// [`PopError::Closed`] once the channel is closed and the last value seen.
    ///
    /// # Cancel safety
    ///
    /// A dropped pop has seen nothing.
    ///
    /// # Panics
    ///
    /// If `T::clone` does. The value counts as not seen.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use millstream::channel::{PopError, watch};
    ///
    /// let (tx, mut rx) = watch(1);
    /// assert_eq!(rx.pop().await, Ok(1));
    /// tx.push(2)?;
    /// tx.push(3)?;
    /// drop(tx);
    /// assert_eq!(rx.pop().await, Ok(3));
    /// assert_eq!(rx.pop().await, Err(PopError::Closed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "changed")]
    #[doc(alias = "recv")]
    pub fn pop(&mut self) -> Pop<'_, T> {
        Pop::new(self)
    }

    /// A clone of the value if this receiver has not seen it.
    ///
    /// # Errors
    ///
    /// [`TryPopError::Empty`] if it has, [`TryPopError::Closed`] if it has and the channel is closed.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Panics
    ///
    /// If `T::clone` does. The value counts as not seen.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel::{TryPopError, watch};
    ///
    /// let (tx, mut rx) = watch(1);
    /// assert_eq!(rx.try_pop(), Ok(1));
    /// assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    /// tx.push(2)?;
    /// assert_eq!(rx.try_pop(), Ok(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_pop(&mut self) -> Result<T, TryPopError>
    where
        T: Clone,
    {
        discard(self.leave_line()); // of a stream, or of a pop that was forgotten
        match self.shared.try_borrow(self.seen) {
            Poll::Pending => Err(TryPopError::Empty),
            Poll::Ready(None) => Err(TryPopError::Closed),
            Poll::Ready(Some(loan)) => {
                let value = loan.with(T::clone);
                self.seen = loan.version;
                Ok(value)
            }
        }
    }

    /// As [`pop`](Self::pop), but blocks the calling thread: for plain threads beside a runtime.
    ///
    /// # Errors
    ///
    /// As for [`pop`](Self::pop).
    ///
    /// # Cancel safety
    ///
    /// It cannot be cancelled, but closing the channel ends it.
    ///
    /// # Panics
    ///
    /// On a thread where a runtime is polling, since blocking it would stop every task there. If `T::clone` does, as for
    /// [`pop`](Self::pop).
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, mut rx) = millstream::channel::watch(0);
    /// rx.mark_seen();
    /// let waiting = std::thread::spawn(move || rx.pop_blocking());
    /// tx.push(1)?;
    /// assert_eq!(waiting.join().unwrap()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "blocking_recv")]
    pub fn pop_blocking(&mut self) -> Result<T, PopError>
    where
        T: Clone,
    {
        blocking::assert_plain_thread("pop_blocking", "pop().await");
        blocking::wait(self.pop())
    }

    /// A clone of the value, seen or not, and also of a closed channel. It does not count as seen by this.
    ///
    /// # Examples
    ///
    /// ```
    /// let (_tx, mut rx) = millstream::channel::watch(1);
    /// assert_eq!((rx.get(), rx.try_pop()?), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "borrow")]
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.shared.borrow().with(T::clone)
    }

    /// Whether there is a value that this receiver has not seen, also after a close.
    pub fn has_changed(&self) -> bool {
        self.shared.version() > self.seen
    }

    /// Counts the current value as seen: the next pop waits for another one.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, mut rx) = millstream::channel::watch(1);
    /// rx.mark_seen();
    /// assert!(!rx.has_changed());
    /// tx.push(2)?;
    /// assert!(rx.has_changed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "mark_unchanged")]
    pub fn mark_seen(&mut self) {
        discard(self.leave_line()); // it would wait there for a version that does not count any more
        self.seen = self.shared.version();
    }

    /// Closes the channel, for all its ends: pushes fail from now on. Receivers still get the last value.
    ///
    /// Returns whether this call closed it.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = millstream::channel::watch(1);
    /// assert!(rx.close());
    /// assert_eq!(tx.push(2).unwrap_err().into_inner(), 2);
    /// ```
    pub fn close(&self) -> bool {
        self.shared.close()
    }

    /// Whether the channel is closed: explicitly, or because the last sender is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Waits until the channel is closed. The last value can still be popped then.
    ///
    /// # Cancel safety
    ///
    /// Dropping it at any time changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let (tx, rx) = millstream::channel::watch(1);
    /// drop(tx);
    /// rx.closed().await;
    /// # });
    /// ```
    pub fn closed(&self) -> Closed<'_, T> {
        Closed::new(&self.shared)
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.shared.receivers()
    }

    /// How many senders there are.
    pub fn sender_count(&self) -> usize {
        self.shared.senders()
    }

    /// Whether both are ends of one channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Polls for a value not seen; `None` at the end.
    pub(super) fn poll_pop(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>>
    where
        T: Clone,
    {
        // SAFETY: (I3) the waiter is pinned in its box, used with this receiver's channel only, and withdrawn by `Drop`.
        let polled = unsafe { self.shared.poll_borrow(self.seen, &self.waiter, cx) };
        polled.map(|loan| {
            let loan = loan?;
            let value = loan.with(T::clone);
            self.seen = loan.version; // not before the clone: that may panic
            Some(value)
        })
    }

    /// Whether a pop would not have to wait.
    pub(super) fn has_news(&self) -> bool {
        self.shared.has_news(self.seen)
    }

    /// Whether a pop waits here.
    pub(super) fn is_in_line(&self) -> bool {
        self.waiter.state() == State::Queued
    }

    /// Stops waiting; returns the waker, if one was there, to be called or dropped.
    pub(super) fn leave_line(&self) -> Option<Waker> {
        // SAFETY: (I3) as in `poll_pop`.
        unsafe { self.shared.withdraw_pop(&self.waiter) }
    }
}

impl<T> Clone for Receiver<T> {
    /// A receiver that has seen what this one has seen.
    fn clone(&self) -> Self {
        self.shared.add_receiver();
        Self::new(self.shared.clone(), self.seen)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        discard(self.leave_line());
        self.shared.remove_receiver();
    }
}

/// The values, as [`pop`](Receiver::pop) returns them; ends when the channel is closed and the last one seen.
///
/// # Cancel safety
///
/// Nothing is seen that was not returned.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use futures::StreamExt;
///
/// let (tx, rx) = millstream::channel::watch(1);
/// tx.push(2)?;
/// drop(tx);
/// assert_eq!(rx.collect::<Vec<_>>().await, [2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
impl<T: Clone> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.get_mut().poll_pop(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.is_terminated() { (0, Some(0)) } else { (usize::from(self.has_changed()), None) }
    }
}

impl<T: Clone> FusedStream for Receiver<T> {
    /// Whether the channel is closed and the last value seen.
    fn is_terminated(&self) -> bool {
        self.shared.has_ended(self.seen)
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe("Receiver", f)
    }
}
