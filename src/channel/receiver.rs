//! The end that pops.
//!
//! Knows: the shared channel, its futures. Does not know: the protocol, locks.

use core::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::blocking;
use super::error::{PopError, TryPopError};
use super::pop::Pop;
use super::shared::Shared;
use super::sharing::{Pointer, Sharing, Threads};
use super::stream::Place;

/// The popping end of a [`bounded`](super::bounded) channel; also a [`Stream`](futures_core::Stream).
///
/// Clones are ends of the same channel: each value goes to one of them. When the last one is dropped the channel closes
/// and what is still in it is dropped.
///
/// As a stream it keeps its place in line between polls: a receiver whose `poll_next` was pending is a waiting
/// receiver until it is polled again, popped from by [`pop`](Self::pop) and the like, or dropped.
#[doc(alias = "Rx")]
pub struct Receiver<T, S: Sharing = Threads> {
    place: Place,
    shared: S::Pointer<Shared<T, S>>,
}

// As for senders.
impl<T, S: Sharing> UnwindSafe for Receiver<T, S> {}
impl<T, S: Sharing> RefUnwindSafe for Receiver<T, S> {}

impl<T, S: Sharing> Receiver<T, S> {
    /// A receiver that `shared` counts already.
    pub(super) fn new(shared: S::Pointer<Shared<T, S>>) -> Self {
        Self { place: Place::new(), shared }
    }

    /// Takes the oldest value, waiting for one first.
    ///
    /// With a value there it resolves at its first poll; otherwise it waits in line behind earlier pops. After a close
    /// it gets what is left, then fails.
    ///
    /// # Errors
    ///
    /// [`PopError::Closed`] once the channel is closed and drained.
    ///
    /// # Cancel safety
    ///
    /// A dropped pop loses nothing: a value already counted for it goes to the next pop, in order.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use millstream::channel::{PopError, bounded};
    ///
    /// let (tx, rx) = bounded(8);
    /// tx.push(1).await?;
    /// drop(tx);
    /// assert_eq!(rx.pop().await, Ok(1));
    /// assert_eq!(rx.pop().await, Err(PopError::Closed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "recv")]
    pub fn pop(&self) -> Pop<'_, T, S> {
        self.place.leave(&self.shared);
        Pop::new(&self.shared)
    }

    /// Takes the oldest value if there is one that no waiting pop is entitled to.
    ///
    /// At capacity 0 it takes the value of a waiting push; not of one that is an arm of a race or a batch, or of a
    /// reservation, which act by themselves once a receiver waits.
    ///
    /// # Errors
    ///
    /// [`TryPopError::Empty`], or [`TryPopError::Closed`] once the channel is closed and drained.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel::{TryPopError, bounded};
    ///
    /// let (tx, rx) = bounded(1);
    /// assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    /// tx.try_push(1)?;
    /// assert_eq!(rx.try_pop(), Ok(1));
    /// drop(tx);
    /// assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "try_recv")]
    pub fn try_pop(&self) -> Result<T, TryPopError> {
        self.place.leave(&self.shared);
        self.shared.try_pop()
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
    /// On a thread where a runtime is polling, since blocking it would stop every task there.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = millstream::channel::bounded(4);
    /// let consumer = std::thread::spawn(move || {
    ///     let mut sum = 0;
    ///     while let Ok(n) = rx.pop_blocking() {
    ///         sum += n;
    ///     }
    ///     sum
    /// });
    /// for n in 1..=10 {
    ///     tx.push_blocking(n)?;
    /// }
    /// drop(tx);
    /// assert_eq!(consumer.join().unwrap(), 55);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "blocking_recv")]
    pub fn pop_blocking(&self) -> Result<T, PopError> {
        blocking::assert_plain_thread("pop_blocking", "pop().await");
        for _ in 0..blocking::TRIES {
            match self.shared().try_pop_or_look() {
                Ok(value) => return Ok(value),
                Err(Some(closed)) => return Err(closed),
                Err(None) => blocking::assert_not_alone::<S>("pop_blocking"),
            }
            // Where values pass from hand to hand, two that only look never meet.
            if self.capacity() <= 1 || !blocking::spin_at(self.capacity(), || !self.shared.looks_empty()) {
                break;
            }
        }
        blocking::wait(self.pop())
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
    /// assert!(rx.close());
    /// assert!(!tx.close()); // it was closed
    /// assert_eq!(rx.try_pop()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(&self) -> bool {
        self.shared.close()
    }

    /// Whether the channel is closed: explicitly, or because the last end of either kind is gone.
    ///
    /// What is in it can still be popped.
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

    /// How many senders there are, weak ones left out. Others may come and go at any time.
    #[doc(alias = "strong_count")]
    pub fn sender_count(&self) -> usize {
        self.shared.senders()
    }

    /// How many receivers there are: this one and its clones, weak ones left out. Others may come and go at any time.
    #[doc(alias = "strong_count")]
    pub fn receiver_count(&self) -> usize {
        self.shared.receivers()
    }

    /// The channel, to pop from it in another way than as a stream.
    pub(super) fn shared(&self) -> &Shared<T, S> {
        self.place.leave(&self.shared);
        &self.shared
    }

    /// The pointer to the channel, for another end.
    pub(super) fn pointer(&self) -> &S::Pointer<Shared<T, S>> {
        &self.shared
    }

    /// The place in line as a stream, and the channel to use it with.
    pub(super) fn place_and_shared(&mut self) -> (&mut Place, &Shared<T, S>) {
        (&mut self.place, &self.shared)
    }

    /// Nothing will ever come out again.
    pub(super) fn has_ended(&self) -> bool {
        self.shared.look(|engine| engine.has_ended())
    }
}

impl<T, S: Sharing> Clone for Receiver<T, S> {
    fn clone(&self) -> Self {
        let shared = self.shared.clone();
        shared.add_receiver();
        Self { place: Place::new(), shared }
    }
}

impl<T, S: Sharing> Drop for Receiver<T, S> {
    fn drop(&mut self) {
        self.place.leave(&self.shared);
        self.shared.remove_receiver();
    }
}

impl<T, S: Sharing> fmt::Debug for Receiver<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe("Receiver", f)
    }
}
