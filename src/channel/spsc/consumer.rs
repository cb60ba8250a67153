//! The end that pops.
//!
//! Knows: the ring's head, the channel with a lock. Does not know: how values and wakes travel.

use core::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::either::Kind;
use super::head::Head;
use super::pop::Pop;
use super::producer::Producer;
use crate::channel::blocking;
use crate::channel::error::{PopError, TryPopError};
use crate::channel::receiver::Receiver;
use crate::util::level::{Side, Want};

/// The popping end of an [`spsc`](crate::channel::spsc()) channel; also a [`Stream`](futures_core::Stream).
///
/// There is one. When it is dropped the channel closes and what is still in it is dropped.
#[doc(alias = "Rx")]
#[doc(alias = "Receiver")]
pub struct Consumer<T> {
    pub(super) kind: Kind<Head<T>, Receiver<T>>,
}

// As for producers.
impl<T> UnwindSafe for Consumer<T> {}
impl<T> RefUnwindSafe for Consumer<T> {}

impl<T> Consumer<T> {
    /// What an operation borrows.
    #[inline]
    pub(super) fn end(&mut self) -> Kind<&mut Head<T>, &Receiver<T>> {
        match &mut self.kind {
            Kind::Ring(head) => Kind::Ring(head),
            Kind::Meet(receiver) => Kind::Meet(receiver),
        }
    }

    /// Takes the oldest value, waiting for one first.
    ///
    /// With a value there it resolves at its first poll. After a close it gets what is left, then fails.
    ///
    /// # Errors
    ///
    /// [`PopError::Closed`] once the channel is closed and drained.
    ///
    /// # Cancel safety
    ///
    /// A dropped pop has taken nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use millstream::channel::{PopError, spsc};
    ///
    /// let (mut tx, mut rx) = spsc(8);
    /// tx.push(1).await?;
    /// drop(tx);
    /// assert_eq!(rx.pop().await, Ok(1));
    /// assert_eq!(rx.pop().await, Err(PopError::Closed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "recv")]
    #[inline]
    pub fn pop(&mut self) -> Pop<'_, T> {
        Pop::new(self.end())
    }

    /// Takes the oldest value if there is one.
    ///
    /// At capacity 0 it takes the value of a waiting push; not of one that is an arm of a race, which has to decide by
    /// itself.
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
    /// use millstream::channel::{TryPopError, spsc};
    ///
    /// let (mut tx, mut rx) = spsc(1);
    /// assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    /// tx.try_push(1)?;
    /// assert_eq!(rx.try_pop(), Ok(1));
    /// drop(tx);
    /// assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "try_recv")]
    #[inline]
    pub fn try_pop(&mut self) -> Result<T, TryPopError> {
        match &mut self.kind {
            Kind::Ring(head) => head.try_pop(),
            Kind::Meet(receiver) => receiver.try_pop(),
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
    /// On a thread where a runtime is polling, since blocking it would stop every task there.
    ///
    /// # Examples
    ///
    /// ```
    /// let (mut tx, mut rx) = millstream::channel::spsc(4);
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
    pub fn pop_blocking(&mut self) -> Result<T, PopError> {
        blocking::assert_plain_thread("pop_blocking", "pop().await");
        let head = match &mut self.kind {
            Kind::Ring(head) => head,
            Kind::Meet(receiver) => return receiver.pop_blocking(),
        };
        head.post().wait_heavily();
        loop {
            match head.try_pop() {
                Ok(value) => return Ok(value),
                Err(TryPopError::Closed) => return Err(PopError::Closed),
                Err(TryPopError::Empty) => {}
            }
            // Awake, it need not be woken: the producer's thread goes on without a system call.
            if !blocking::spin_at(head.level().capacity(), || {
                head.level().is_ready(Side::Popper, Want::Progress)
            }) {
                return blocking::wait(Pop::new(Kind::Ring(head)));
            }
        }
    }

    /// Closes the channel: pushes fail from now on, also one that waits; what is in it can still be popped.
    ///
    /// Returns whether this call closed it.
    ///
    /// # Cost
    ///
    /// Some microseconds: every thread of the process that runs at this moment passes a barrier, so that a push does not
    /// have to pass one. The same when the consumer is dropped before the channel is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// let (mut tx, mut rx) = millstream::channel::spsc(1);
    /// tx.try_push(1)?;
    /// assert!(rx.close());
    /// assert!(!tx.close()); // it was closed
    /// assert_eq!(rx.try_pop()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(&mut self) -> bool {
        match &mut self.kind {
            Kind::Ring(head) => head.close(),
            Kind::Meet(receiver) => receiver.close(),
        }
    }

    /// Whether the channel is closed: explicitly, or because the producer is gone.
    ///
    /// What is in it can still be popped.
    pub fn is_closed(&self) -> bool {
        match &self.kind {
            Kind::Ring(head) => head.level().is_closed(),
            Kind::Meet(receiver) => receiver.is_closed(),
        }
    }

    /// How many values are in the channel. The producer may be putting some in.
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::Ring(head) => head.len(),
            Kind::Meet(receiver) => receiver.len(),
        }
    }

    /// The capacity the channel was made with.
    #[doc(alias = "max_capacity")]
    pub fn capacity(&self) -> usize {
        match &self.kind {
            Kind::Ring(head) => head.level().capacity(),
            Kind::Meet(receiver) => receiver.capacity(),
        }
    }

    /// Whether no value is in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a push would find no room now.
    pub fn is_full(&self) -> bool {
        match &self.kind {
            Kind::Ring(head) => head.len() == head.level().capacity(),
            Kind::Meet(receiver) => receiver.is_full(),
        }
    }

    /// Whether `producer` is the other end of this channel.
    pub fn same_channel(&self, producer: &Producer<T>) -> bool {
        producer.same_channel(self)
    }

    /// Whether the producer is there: 1 or 0. It cannot be cloned, and there is no weak end to make another from.
    #[doc(alias = "strong_count")]
    pub fn sender_count(&self) -> usize {
        match &self.kind {
            Kind::Ring(head) => usize::from(!head.level().has_left(Side::Pusher)),
            Kind::Meet(receiver) => receiver.sender_count(),
        }
    }

    /// Whether the consumer is there: 1 or 0. It cannot be cloned, and there is no weak end to make another from.
    #[doc(alias = "strong_count")]
    pub fn receiver_count(&self) -> usize {
        match &self.kind {
            Kind::Ring(head) => usize::from(!head.level().has_left(Side::Popper)),
            Kind::Meet(receiver) => receiver.receiver_count(),
        }
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("capacity", &self.capacity())
            .field("len", &self.len())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
