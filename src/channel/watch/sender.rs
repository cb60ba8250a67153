//! The end that pushes.
//!
//! Knows: the shared value, errors. Does not know: locks, waiters.

use core::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::closed::Closed;
use super::receiver::Receiver;
use super::shared::{Refused, Shared};
use crate::channel::error::PushError;
use crate::sync::Arc;

/// The pushing end of a [`watch`](super::watch()) channel.
///
/// Clones are ends of the same channel. When the last one is dropped the channel closes: receivers that have not seen
/// the last value get it, then [`PopError::Closed`](crate::channel::PopError::Closed).
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

    /// Replaces the value, and tells every receiver that waits. It never waits, also without receivers.
    ///
    /// The old value is dropped, here or by the last receiver that is cloning it.
    ///
    /// # Errors
    ///
    /// The value comes back in [`PushError::Closed`] if the channel is closed.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = millstream::channel::watch(1);
    /// tx.push(2)?;
    /// assert_eq!(rx.get(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "send")]
    #[doc(alias = "send_replace")]
    pub fn push(&self, value: T) -> Result<(), PushError<T>> {
        match self.shared.push(value, None) {
            Ok(()) => Ok(()),
            Err(Refused::Closed(value) | Refused::Replaced(value)) => Err(PushError::Closed(value)),
        }
    }

    /// Replaces the value by what `next` makes of it.
    ///
    /// No other push comes between: if one does, `next` is called again, with the newer value. It runs outside the lock
    /// and may use the channel; but it should be quick and have no other effect.
    ///
    /// # Errors
    ///
    /// What `next` made comes back in [`PushError::Closed`] if the channel is closed.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Panics
    ///
    /// If `next` does; the value is then as before.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = millstream::channel::watch(20);
    /// tx.update(|n| n + 1)?;
    /// tx.update(|n| n * 2)?;
    /// assert_eq!(rx.get(), 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "send_modify")]
    pub fn update(&self, mut next: impl FnMut(&T) -> T) -> Result<(), PushError<T>> {
        loop {
            let current = self.shared.borrow();
            let value = current.with(&mut next);
            let version = current.version;
            drop(current);
            let replacing = (!planted!("watch-update-overwrites")).then_some(version);
            match self.shared.push(value, replacing) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(value)) => return Err(PushError::Closed(value)),
                Err(Refused::Replaced(_)) => {}
            }
        }
    }

    /// A clone of the value, also of a closed channel.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, _rx) = millstream::channel::watch("here");
    /// assert_eq!(tx.get(), "here");
    /// ```
    #[doc(alias = "borrow")]
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.shared.borrow().with(T::clone)
    }

    /// One more receiver. It has not seen the current value.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, _rx) = millstream::channel::watch(1);
    /// assert_eq!(tx.subscribe().try_pop()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe(&self) -> Receiver<T> {
        self.shared.add_receiver();
        Receiver::new(self.shared.clone(), 0)
    }

    /// Closes the channel: pushes fail from now on. Receivers still get the last value.
    ///
    /// Returns whether this call closed it.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, mut rx) = millstream::channel::watch(1);
    /// assert!(tx.close());
    /// assert_eq!(tx.push(2).unwrap_err().into_inner(), 2);
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
        self.shared.is_closed()
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
    /// let (tx, rx) = millstream::channel::watch(1);
    /// rx.close();
    /// tx.closed().await;
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

    #[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
    pub(in crate::channel) fn spare_places(&self) -> usize {
        self.shared.spare_places()
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
