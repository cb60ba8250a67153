//! The end that pushes.
//!
//! Knows: the shared channel, its futures. Does not know: the protocol, locks.

use core::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::closed::Closed;
use super::engine::Overflow;
use super::push::Push;
use super::receiver::Receiver;
use super::shared::Shared;
use crate::channel::blocking;
use crate::channel::error::{PushError, TryPushError};
use crate::sync::Arc;

/// The pushing end of a [`broadcast`](super::broadcast()) channel.
///
/// Clones are ends of the same channel. When the last one is dropped the channel closes: receivers get what is in it,
/// then [`PopError::Closed`](super::PopError::Closed).
#[doc(alias = "Tx")]
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

// Whatever panics while an end is borrowed, the channel is left consistent: no code of the user's runs halfway through
// a change.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

impl<T> Sender<T> {
    /// The one sender that `shared` counts from the start.
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Puts `value` into the channel, for every receiver there is.
    ///
    /// With [`Overflow::Lag`] it resolves at its first poll; if the channel is full, the oldest value is overwritten. With
    /// [`Overflow::Wait`] and a full channel it waits, in line behind earlier pushes, until the slowest receiver has
    /// popped or is dropped. Without receivers there is always room, and the value is dropped.
    ///
    /// # Errors
    ///
    /// The value comes back in [`PushError::Closed`] if the channel is closed, or is closed while the push waits.
    ///
    /// # Cancel safety
    ///
    /// A dropped push was either pushed or its value dropped, exactly once. [`Push::cancel`] tells which and gives
    /// the value back.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use millstream::channel::{broadcast, broadcast::Overflow};
    ///
    /// let (tx, mut one) = broadcast(8, Overflow::Wait);
    /// let mut two = tx.subscribe();
    /// tx.push("all").await?;
    /// assert_eq!((one.pop().await?, two.pop().await?), ("all", "all"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "send")]
    pub fn push(&self, value: T) -> Push<'_, T> {
        Push::new(&self.shared, value)
    }

    /// Puts `value` into the channel if that needs no waiting. A push that waits in line is never overtaken.
    ///
    /// # Errors
    ///
    /// The value comes back in [`TryPushError::Full`] (only with [`Overflow::Wait`]) or [`TryPushError::Closed`].
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel::{TryPushError, broadcast, broadcast::Overflow};
    ///
    /// let (tx, mut rx) = broadcast(1, Overflow::Wait);
    /// tx.try_push(1)?;
    /// assert_eq!(tx.try_push(2), Err(TryPushError::Full(2)));
    /// assert_eq!(rx.try_pop()?, 1);
    /// tx.try_push(3)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "try_send")]
    pub fn try_push(&self, value: T) -> Result<(), TryPushError<T>> {
        self.shared.try_push(value)
    }

    /// As [`push`](Self::push), but blocks the calling thread: for plain threads beside a runtime.
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push).
    ///
    /// # Cancel safety
    ///
    /// It cannot be cancelled, but closing the channel ends it.
    ///
    /// # Panics
    ///
    /// On a thread where a runtime is polling, since blocking it would stop every task there.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel::{broadcast, broadcast::Overflow};
    ///
    /// let (tx, mut rx) = broadcast(1, Overflow::Wait);
    /// let producer = std::thread::spawn(move || (0..3).try_for_each(|n| tx.push_blocking(n)));
    /// assert_eq!((rx.pop_blocking()?, rx.pop_blocking()?, rx.pop_blocking()?), (0, 1, 2));
    /// producer.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "blocking_send")]
    pub fn push_blocking(&self, value: T) -> Result<(), PushError<T>> {
        blocking::assert_plain_thread("push_blocking", "push(..).await");
        match self.try_push(value) {
            Ok(()) => Ok(()),
            Err(TryPushError::Closed(value)) => Err(PushError::Closed(value)),
            Err(TryPushError::Full(value)) => blocking::wait(self.push(value)),
        }
    }

    /// One more receiver. It gets what is pushed from now on.
    ///
    /// Of a closed channel, it gets [`PopError::Closed`](super::PopError::Closed).
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel::{broadcast, broadcast::Overflow};
    ///
    /// let (tx, early) = broadcast(8, Overflow::Lag);
    /// tx.try_push(1)?;
    /// let mut late = tx.subscribe();
    /// tx.try_push(2)?;
    /// assert_eq!((early.len(), late.try_pop()?), (2, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe(&self) -> Receiver<T> {
        let position = self.shared.add_receiver(None);
        Receiver::new(self.shared.clone(), position)
    }

    /// Closes the channel: pushes fail from now on, also those that wait; what is in it can still be popped.
    ///
    /// Returns whether this call closed it.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel::{broadcast, broadcast::Overflow};
    ///
    /// let (tx, mut rx) = broadcast(8, Overflow::Lag);
    /// tx.try_push(1)?;
    /// assert!(tx.close());
    /// assert!(tx.try_push(2).unwrap_err().is_closed());
    /// assert_eq!(rx.try_pop()?, 1);
    /// assert!(rx.try_pop().unwrap_err().is_closed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(&self) -> bool {
        self.shared.close()
    }

    /// Whether the channel is closed: explicitly, or because the last sender is gone.
    ///
    /// The last receiver's going does not close it: another may [`subscribe`](Self::subscribe).
    pub fn is_closed(&self) -> bool {
        self.shared.look(|engine| engine.is_closed())
    }

    /// Waits until the channel is closed.
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
    /// rx.close();
    /// tx.closed().await;
    /// # });
    /// ```
    pub fn closed(&self) -> Closed<'_, T> {
        Closed::new(&self.shared)
    }

    /// How many values are in the channel, because at least one receiver has still to pop them.
    pub fn len(&self) -> usize {
        self.shared.look(|engine| engine.len())
    }

    /// Whether every receiver has popped everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a push would have to wait now. Never so with [`Overflow::Lag`].
    pub fn is_full(&self) -> bool {
        self.shared.look(|engine| engine.is_full())
    }

    /// The capacity the channel was made with.
    #[doc(alias = "max_capacity")]
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }

    /// What a push does when the channel is full.
    pub fn overflow(&self) -> Overflow {
        self.shared.overflow()
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
}

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
impl<T> Sender<T> {
    pub(in crate::channel) fn audit(&self) {
        self.shared.look(|engine| engine.audit());
    }

    /// Places for values that lie idle.
    pub(in crate::channel) fn spare_places(&self) -> usize {
        self.shared.look(|engine| engine.spare_places())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.add_sender();
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.remove_sender();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe("Sender", f)
    }
}
