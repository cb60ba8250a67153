//! The end that pops.
//!
//! Knows: the shared channel, its futures, waiters. Does not know: the protocol, locks.
#![allow(unsafe_code, reason = "owns a waiter that the channel links to")]

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::panic::{RefUnwindSafe, UnwindSafe};

use futures_core::{FusedStream, Stream};

use super::closed::Closed;
use super::engine::{Missing, Taken};
use super::error::{Lagged, PopError, TryPopError};
use super::pop::Pop;
use super::shared::Shared;
use crate::channel::blocking;
use crate::channel::cell::Held;
use crate::channel::waiter::{State, Waiter};
use crate::channel::wake::discard;
use crate::sync::Arc;

/// The popping end of a [`broadcast`](super::broadcast()) channel; also a [`Stream`].
///
/// It has its own place in the channel: what it pops, the others get all the same. A clone begins at the same place;
/// [`resubscribe`](Self::resubscribe) makes a receiver of what is pushed from now on. What a dropped receiver had still to
/// pop does not hold up the others.
#[doc(alias = "Rx")]
pub struct Receiver<T> {
    /// Where its next value is.
    position: u64,
    /// A value that it has taken, and that could not be cloned yet.
    kept: Option<Held<T>>,
    waiter: Pin<Box<Waiter<u64>>>,
    shared: Arc<Shared<T>>,
}

// As for senders.
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Receiver<T> {
    /// A receiver that `shared` counts at `position`.
    pub(super) fn new(shared: Arc<Shared<T>>, position: u64) -> Self {
        Self { position, kept: None, waiter: Box::pin(Waiter::new(0)), shared }
    }

    /// Takes this receiver's next value, waiting for one first.
    ///
    /// After a close it gets what is left, then fails.
    ///
    /// # Errors
    ///
    /// [`PopError::Lagged`] with the number of values that this receiver has missed because they were overwritten, once;
    /// the next pop goes on with the oldest value that is still there. [`PopError::Closed`] once the channel is closed and
    /// this receiver has everything.
    ///
    /// # Cancel safety
    ///
    /// A dropped pop changes nothing: the next one gets what this one would have got.
    ///
    /// # Panics
    ///
    /// If `T::clone` does. The receiver keeps the value, and its next pop tries again.
    ///
    /// # Cost
    ///
    /// One clone of the value; none for the last receiver that pops it.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use millstream::channel::broadcast::{Overflow, PopError};
    /// use millstream::channel::{self, broadcast};
    ///
    /// let (tx, mut rx) = channel::broadcast(8, Overflow::Lag);
    /// tx.push(1).await?;
    /// drop(tx);
    /// assert_eq!(rx.pop().await, Ok(1));
    /// assert_eq!(rx.pop().await, Err(PopError::Closed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "recv")]
    pub fn pop(&mut self) -> Pop<'_, T> {
        Pop::new(self)
    }

    /// Takes this receiver's next value if there is one.
    ///
    /// # Errors
    ///
    /// [`TryPopError::Empty`], [`TryPopError::Closed`], or [`TryPopError::Lagged`] as for [`pop`](Self::pop).
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Panics
    ///
    /// If `T::clone` does, as for [`pop`](Self::pop).
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel::broadcast::{Overflow, TryPopError};
    /// use millstream::channel::{self, broadcast};
    ///
    /// let (tx, mut rx) = channel::broadcast(1, Overflow::Lag);
    /// assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    /// tx.try_push(1)?;
    /// tx.try_push(2)?;
    /// assert_eq!(rx.try_pop(), Err(TryPopError::Lagged(1)));
    /// assert_eq!(rx.try_pop(), Ok(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "try_recv")]
    pub fn try_pop(&mut self) -> Result<T, TryPopError>
    where
        T: Clone,
    {
        discard(self.leave_line()); // of a stream, or of a pop that was forgotten
        if let Some(value) = self.clone_kept() {
            return Ok(value);
        }
        match self.shared.try_take(&mut self.position) {
            Ok(taken) => Ok(self.claim(taken)),
            Err(Missing::Empty) => Err(TryPopError::Empty),
            Err(Missing::Closed) => Err(TryPopError::Closed),
            Err(Missing::Lagged(missed)) => Err(TryPopError::Lagged(missed)),
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
    /// use millstream::channel::{broadcast, broadcast::Overflow};
    ///
    /// let (tx, mut rx) = broadcast(4, Overflow::Wait);
    /// let listener = std::thread::spawn(move || rx.pop_blocking());
    /// tx.push_blocking("heard")?;
    /// assert_eq!(listener.join().unwrap()?, "heard");
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

    /// A receiver of what is pushed from now on.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel::{broadcast, broadcast::Overflow};
    ///
    /// let (tx, rx) = broadcast(8, Overflow::Lag);
    /// tx.try_push(1)?;
    /// assert_eq!((rx.clone().len(), rx.resubscribe().len()), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "a receiver that is dropped gets nothing"]
    pub fn resubscribe(&self) -> Self {
        let position = self.shared.add_receiver(None);
        Self::new(self.shared.clone(), position)
    }

    /// Closes the channel, for all its ends: pushes fail from now on, also those that wait; what is in it can still be
    /// popped.
    ///
    /// Returns whether this call closed it.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel::{broadcast, broadcast::Overflow};
    ///
    /// let (tx, rx) = broadcast(8, Overflow::Lag);
    /// assert!(rx.close());
    /// assert_eq!(tx.try_push(1).unwrap_err().into_inner(), 1);
    /// ```
    pub fn close(&self) -> bool {
        self.shared.close()
    }

    /// Whether the channel is closed: explicitly, or because the last sender is gone.
    ///
    /// What is in it can still be popped.
    pub fn is_closed(&self) -> bool {
        self.shared.look(|engine| engine.is_closed())
    }

    /// Waits until the channel is closed. What is in it then can still be popped.
    ///
    /// # Cancel safety
    ///
    /// Dropping it at any time changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use millstream::channel::{broadcast, broadcast::Overflow};
    ///
    /// let (tx, rx) = broadcast::<u8>(8, Overflow::Lag);
    /// drop(tx);
    /// rx.closed().await;
    /// # });
    /// ```
    pub fn closed(&self) -> Closed<'_, T> {
        Closed::new(&self.shared)
    }

    /// How many values wait for this receiver. Those that it has missed do not count.
    pub fn len(&self) -> usize {
        usize::from(self.kept.is_some()) + self.shared.look(|engine| engine.len_from(self.position))
    }

    /// Whether no value waits for this receiver.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The capacity the channel was made with.
    #[doc(alias = "max_capacity")]
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.shared.look(|engine| engine.receivers())
    }

    /// How many senders there are.
    pub fn sender_count(&self) -> usize {
        self.shared.look(|engine| engine.senders())
    }

    /// Whether both are ends of one channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Polls for the next value.
    pub(super) fn poll_pop(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, PopError>>
    where
        T: Clone,
    {
        if let Some(value) = self.clone_kept() {
            return Poll::Ready(Ok(value));
        }
        // SAFETY: (I3) the waiter is pinned in its box, used with this receiver's channel only, and withdrawn by `Drop`.
        let polled = unsafe { self.shared.poll_take(&mut self.position, &self.waiter, cx) };
        polled.map(|outcome| match outcome {
            Ok(taken) => Ok(self.claim(taken)),
            Err(Missing::Lagged(missed)) => Err(PopError::Lagged(missed)),
            Err(Missing::Closed | Missing::Empty) => Err(PopError::Closed),
        })
    }

    /// Whether a pop would not have to wait.
    pub(super) fn has_news(&self) -> bool {
        self.kept.is_some() || self.shared.look(|engine| engine.has_news(self.position))
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

    fn claim(&mut self, taken: Taken<T>) -> T
    where
        T: Clone,
    {
        match taken {
            Taken::Moved(value) => value,
            Taken::Shared(held) => self.clone_held(held),
        }
    }

    fn clone_kept(&mut self) -> Option<T>
    where
        T: Clone,
    {
        let held = self.kept.take()?;
        Some(self.clone_held(held))
    }

    /// Clones the value outside the lock, and keeps it if that panics. If nobody else needs it any more, it is moved.
    fn clone_held(&mut self, held: Held<T>) -> T
    where
        T: Clone,
    {
        let held = match held.release_if_last() {
            Ok((value, place)) => {
                self.shared.put_back(place);
                return value;
            }
            Err(held) => self.kept.insert(held),
        };
        let value = held.with(T::clone);
        if let Some(held) = self.kept.take() {
            self.shared.release(held);
        }
        value
    }
}

impl<T> Clone for Receiver<T> {
    /// A receiver at the same place: it gets the same values as this one from here on, and misses the same.
    fn clone(&self) -> Self {
        let position = self.shared.add_receiver(Some(self.position));
        let mut other = Self::new(self.shared.clone(), position);
        other.kept = self.kept.as_ref().map(Held::share);
        other
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        discard(self.leave_line());
        if let Some(held) = self.kept.take() {
            self.shared.release(held);
        }
        self.shared.remove_receiver(self.position);
    }
}

/// The values in order, and [`Lagged`] in place of those that were missed; ends when the channel is closed and drained.
///
/// # Cancel safety
///
/// Nothing is lost by not polling it again.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use futures::StreamExt;
/// use millstream::channel::broadcast::{Lagged, Overflow};
/// use millstream::channel::{self, broadcast};
///
/// let (tx, rx) = channel::broadcast(2, Overflow::Lag);
/// for n in 0..3 {
///     tx.push(n).await?;
/// }
/// drop(tx);
/// assert_eq!(rx.collect::<Vec<_>>().await, [Err(Lagged(1)), Ok(1), Ok(2)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
impl<T: Clone> Stream for Receiver<T> {
    type Item = Result<T, Lagged>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_pop(cx).map(|outcome| match outcome {
            Ok(value) => Some(Ok(value)),
            Err(PopError::Lagged(missed)) => Some(Err(Lagged(missed))),
            Err(PopError::Closed | PopError::Cancelled) => None,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.is_terminated() { (0, Some(0)) } else { (self.len(), None) }
    }
}

impl<T: Clone> FusedStream for Receiver<T> {
    /// Whether the channel is closed and this receiver has everything.
    fn is_terminated(&self) -> bool {
        self.kept.is_none() && self.shared.look(|engine| engine.has_ended(self.position))
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe("Receiver", f)
    }
}
