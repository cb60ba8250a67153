//! The end that pushes.
//!
//! Knows: the shared channel, its futures. Does not know: the protocol, locks.

use core::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::blocking;
use super::error::{PushError, TryPushError};
use super::push::Push;
use super::shared::Shared;
use super::sharing::{Pointer, Sharing, Threads};
#[cfg(feature = "sink")]
use super::sink::Seat;

/// The pushing end of a [`bounded`](super::bounded) channel.
///
/// Clones are ends of the same channel. When the last one is dropped the channel closes: receivers get what is in it,
/// then [`PopError::Closed`](super::PopError::Closed).
#[doc(alias = "Tx")]
pub struct Sender<T, S: Sharing = Threads> {
    shared: S::Pointer<Shared<T, S>>,
    #[cfg(feature = "sink")]
    seat: Seat<T>,
}

// Whatever panics while an end is borrowed, the channel is left consistent: no code of the user's runs halfway through
// a change.
impl<T, S: Sharing> UnwindSafe for Sender<T, S> {}
impl<T, S: Sharing> RefUnwindSafe for Sender<T, S> {}

impl<T, S: Sharing> Sender<T, S> {
    /// A sender that `shared` counts already.
    pub(super) fn new(shared: S::Pointer<Shared<T, S>>) -> Self {
        Self {
            shared,
            #[cfg(feature = "sink")]
            seat: Seat::new(false),
        }
    }

    /// Puts `value` at the end of the channel, waiting for room first.
    ///
    /// It resolves once the value is in the channel. With room it does so at its first poll; when the channel is full
    /// it waits in line behind earlier pushes. At capacity 0 there is room for each receiver that waits.
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
    /// let (tx, rx) = millstream::channel::bounded(2);
    /// tx.push('a').await?;
    /// tx.push('b').await?;
    /// assert_eq!(rx.pop().await?, 'a');
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "send")]
    pub fn push(&self, value: T) -> Push<'_, T, S> {
        Push::new(self.shared(), value)
    }

    /// Puts `value` at the end of the channel if there is room now.
    ///
    /// At capacity 0 there is room exactly when a receiver waits. A push that waits in line is never overtaken.
    ///
    /// # Errors
    ///
    /// The value comes back in [`TryPushError::Full`] or [`TryPushError::Closed`].
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel::{TryPushError, bounded};
    ///
    /// let (tx, rx) = bounded(1);
    /// tx.try_push(1)?;
    /// assert_eq!(tx.try_push(2), Err(TryPushError::Full(2)));
    /// drop(rx);
    /// assert_eq!(tx.try_push(3), Err(TryPushError::Closed(3)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "try_send")]
    pub fn try_push(&self, value: T) -> Result<(), TryPushError<T>> {
        self.shared().try_push(value)
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
    /// let (tx, rx) = millstream::channel::bounded(0);
    /// let producer = std::thread::spawn(move || tx.push_blocking("over"));
    /// assert_eq!(rx.pop_blocking()?, "over");
    /// producer.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "blocking_send")]
    pub fn push_blocking(&self, value: T) -> Result<(), PushError<T>> {
        blocking::assert_plain_thread("push_blocking", "push(..).await");
        let mut value = Some(value);
        for _ in 0..blocking::TRIES {
            let outcome = self.shared().try_push_or_look(&mut value);
            match (outcome, value.take()) {
                (Err(Some(_)), Some(left)) => return Err(PushError::Closed(left)),
                (Err(None), Some(left)) => value = Some(left),
                (_, _) => return Ok(()),
            }
            blocking::assert_not_alone::<S>("push_blocking");
            // As for pops.
            if self.capacity() <= 1 || !blocking::spin_at(self.capacity(), || !self.shared().looks_full()) {
                break;
            }
        }
        let Some(value) = value else { return Ok(()) };
        blocking::wait(self.push(value))
    }

    /// Closes the channel: pushes fail from now on, also those that wait; what is in it can still be popped.
    ///
    /// Returns whether this call closed it.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = millstream::channel::bounded(1);
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

    /// Whether the channel is closed: explicitly, or because the last end of either kind is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.look(|engine| engine.is_closed())
    }

    /// How many values are in the channel.
    ///
    /// Values on their way to a waiting receiver count until it takes them, so this may exceed the capacity by as many;
    /// in particular at capacity 0. It may do so until the next pops, too, if such a receiver gave up meanwhile.
    pub fn len(&self) -> usize {
        self.shared.look(|engine| engine.len())
    }

    /// The capacity the channel was made with.
    #[doc(alias = "max_capacity")]
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }

    /// Whether no value is in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a push would find no room now. Slots that [permits](super::Permit) hold are taken.
    pub fn is_full(&self) -> bool {
        self.shared.look(|engine| engine.is_full())
    }

    /// Whether both are ends of one channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        self.shared.same(&other.shared)
    }

    /// How many senders there are: this one and its clones, weak ones left out. Others may come and go at any time.
    #[doc(alias = "strong_count")]
    pub fn sender_count(&self) -> usize {
        self.shared.senders()
    }

    /// How many receivers there are, weak ones left out. Others may come and go at any time.
    #[doc(alias = "strong_count")]
    pub fn receiver_count(&self) -> usize {
        self.shared.receivers()
    }

    /// The channel, to push into it in another way than as a sink.
    #[inline]
    pub(super) fn shared(&self) -> &Shared<T, S> {
        #[cfg(feature = "sink")]
        self.seat.leave(&self.shared);
        &self.shared
    }

    /// The pointer to the channel, for another end.
    pub(super) fn pointer(&self) -> &S::Pointer<Shared<T, S>> {
        &self.shared
    }
}

/// What a sender is as a sink; without the feature it is none.
impl<T, S: Sharing> Sender<T, S> {
    /// The place as a sink, and the channel to use it with.
    #[cfg(feature = "sink")]
    pub(super) fn seat_and_shared(&mut self) -> (&mut Seat<T>, &Shared<T, S>) {
        (&mut self.seat, &self.shared)
    }

    /// Whether it counts as a sender: all do that were not closed as sinks.
    fn is_counted(&self) -> bool {
        #[cfg(feature = "sink")]
        return !self.seat.left;
        #[cfg(not(feature = "sink"))]
        true
    }
}

impl<T, S: Sharing> Clone for Sender<T, S> {
    fn clone(&self) -> Self {
        let shared = self.shared.clone();
        if self.is_counted() {
            shared.add_sender();
        }
        Self {
            shared,
            #[cfg(feature = "sink")]
            seat: Seat::new(self.seat.left),
        }
    }
}

impl<T, S: Sharing> Drop for Sender<T, S> {
    fn drop(&mut self) {
        let shared = self.shared();
        if self.is_counted() {
            shared.remove_sender();
        }
    }
}

impl<T, S: Sharing> fmt::Debug for Sender<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe("Sender", f)
    }
}
