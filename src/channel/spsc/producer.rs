//! The end that pushes.
//!
//! Knows: the ring's tail, the channel with a lock. Does not know: how values and wakes travel.

use core::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::consumer::Consumer;
use super::either::Kind;
use super::push::Push;
use super::tail::Tail;
use crate::channel::blocking;
use crate::channel::error::{PushError, TryPushError};
use crate::channel::sender::Sender;
use crate::channel::sharing::Pointer;
use crate::util::level::{Side, Want};

/// The pushing end of an [`spsc`](crate::channel::spsc()) channel.
///
/// There is one. When it is dropped the channel closes: the consumer gets what is in it, then
/// [`PopError::Closed`](crate::channel::PopError::Closed).
#[doc(alias = "Tx")]
#[doc(alias = "Sender")]
pub struct Producer<T> {
    pub(super) kind: Kind<Tail<T>, Sender<T>>,
}

// Whatever panics while an end is borrowed, the channel is left consistent: no code of the user's runs halfway through
// a change.
impl<T> UnwindSafe for Producer<T> {}
impl<T> RefUnwindSafe for Producer<T> {}

impl<T> Producer<T> {
    /// What an operation borrows.
    #[inline]
    pub(super) fn end(&mut self) -> Kind<&mut Tail<T>, &Sender<T>> {
        match &mut self.kind {
            Kind::Ring(tail) => Kind::Ring(tail),
            Kind::Meet(sender) => Kind::Meet(sender),
        }
    }

    /// Puts `value` at the end of the channel, waiting for room first.
    ///
    /// It resolves once the value is in the channel, with room at its first poll. At capacity 0 there is room when the
    /// consumer waits.
    ///
    /// # Errors
    ///
    /// The value comes back in [`PushError::Closed`] if the channel is closed, or is closed while the push waits.
    ///
    /// # Cancel safety
    ///
    /// A dropped push has not pushed, and its value is dropped with it. [`Push::cancel`] gives the value back, and at
    /// capacity 0, where a dropped one may have pushed, tells which.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let (mut tx, mut rx) = millstream::channel::spsc(2);
    /// tx.push('a').await?;
    /// tx.push('b').await?;
    /// assert_eq!(rx.pop().await?, 'a');
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "send")]
    #[inline]
    pub fn push(&mut self, value: T) -> Push<'_, T> {
        Push::new(self.end(), value)
    }

    /// Puts `value` at the end of the channel if there is room now.
    ///
    /// At capacity 0 there is room exactly when the consumer waits.
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
    /// use millstream::channel::{TryPushError, spsc};
    ///
    /// let (mut tx, rx) = spsc(1);
    /// tx.try_push(1)?;
    /// assert_eq!(tx.try_push(2), Err(TryPushError::Full(2)));
    /// drop(rx);
    /// assert_eq!(tx.try_push(3), Err(TryPushError::Closed(3)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "try_send")]
    #[inline]
    pub fn try_push(&mut self, value: T) -> Result<(), TryPushError<T>> {
        match &mut self.kind {
            Kind::Ring(tail) => tail.try_push(value),
            Kind::Meet(sender) => sender.try_push(value),
        }
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
    /// let (mut tx, mut rx) = millstream::channel::spsc(0);
    /// let producer = std::thread::spawn(move || tx.push_blocking("over"));
    /// assert_eq!(rx.pop_blocking()?, "over");
    /// producer.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "blocking_send")]
    pub fn push_blocking(&mut self, mut value: T) -> Result<(), PushError<T>> {
        blocking::assert_plain_thread("push_blocking", "push(..).await");
        let tail = match &mut self.kind {
            Kind::Ring(tail) => tail,
            Kind::Meet(sender) => return sender.push_blocking(value),
        };
        tail.post().wait_heavily();
        loop {
            match tail.try_push(value) {
                Ok(()) => return Ok(()),
                Err(TryPushError::Closed(back)) => return Err(PushError::Closed(back)),
                Err(TryPushError::Full(back)) => value = back,
            }
            // Awake, it need not be woken: the consumer's thread goes on without a system call.
            if !blocking::spin_at(tail.level().capacity(), || {
                tail.level().is_ready(Side::Pusher, Want::Progress)
            }) {
                return blocking::wait(Push::new(Kind::Ring(tail), value));
            }
        }
    }

    /// Closes the channel: pushes fail from now on; what is in it can still be popped.
    ///
    /// Returns whether this call closed it.
    ///
    /// # Examples
    ///
    /// ```
    /// let (mut tx, mut rx) = millstream::channel::spsc(1);
    /// tx.try_push(1)?;
    /// assert!(tx.close());
    /// assert!(tx.try_push(2).unwrap_err().is_closed());
    /// assert_eq!(rx.try_pop()?, 1);
    /// assert!(rx.try_pop().unwrap_err().is_closed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(&mut self) -> bool {
        match &mut self.kind {
            Kind::Ring(tail) => tail.close(),
            Kind::Meet(sender) => sender.close(),
        }
    }

    /// Whether the channel is closed: explicitly, or because the consumer is gone.
    pub fn is_closed(&self) -> bool {
        match &self.kind {
            Kind::Ring(tail) => tail.level().is_closed(),
            Kind::Meet(sender) => sender.is_closed(),
        }
    }

    /// How many values are in the channel. The consumer may be taking some out.
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::Ring(tail) => tail.len(),
            Kind::Meet(sender) => sender.len(),
        }
    }

    /// The capacity the channel was made with.
    #[doc(alias = "max_capacity")]
    pub fn capacity(&self) -> usize {
        match &self.kind {
            Kind::Ring(tail) => tail.level().capacity(),
            Kind::Meet(sender) => sender.capacity(),
        }
    }

    /// Whether no value is in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a push would find no room now.
    pub fn is_full(&self) -> bool {
        match &self.kind {
            Kind::Ring(tail) => tail.len() == tail.level().capacity(),
            Kind::Meet(sender) => sender.is_full(),
        }
    }

    /// Whether `consumer` is the other end of this channel.
    pub fn same_channel(&self, consumer: &Consumer<T>) -> bool {
        match (&self.kind, &consumer.kind) {
            (Kind::Ring(tail), Kind::Ring(head)) => core::ptr::eq(tail.level(), head.level()),
            (Kind::Meet(sender), Kind::Meet(receiver)) => sender.pointer().same(receiver.pointer()),
            _ => false,
        }
    }

    /// Whether the producer is there: 1 or 0. It cannot be cloned, and there is no weak end to make another from.
    #[doc(alias = "strong_count")]
    pub fn sender_count(&self) -> usize {
        match &self.kind {
            Kind::Ring(tail) => usize::from(!tail.level().has_left(Side::Pusher)),
            Kind::Meet(sender) => sender.sender_count(),
        }
    }

    /// Whether the consumer is there: 1 or 0. It cannot be cloned, and there is no weak end to make another from.
    #[doc(alias = "strong_count")]
    pub fn receiver_count(&self) -> usize {
        match &self.kind {
            Kind::Ring(tail) => usize::from(!tail.level().has_left(Side::Popper)),
            Kind::Meet(sender) => sender.receiver_count(),
        }
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("capacity", &self.capacity())
            .field("len", &self.len())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
