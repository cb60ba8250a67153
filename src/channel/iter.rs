//! Receivers as iterators: over what is there now, and for plain threads over what is still to come.
//!
//! Knows: receivers. Does not know: the protocol, locks, futures.

use core::fmt;
use core::iter::FusedIterator;

use super::receiver::Receiver;
use super::sharing::{Sharing, Threads};

impl<T, S: Sharing> Receiver<T, S> {
    /// Takes out what is in the channel now, oldest first, one value per step of the iterator.
    ///
    /// It ends after as many values as there were free to take when it was made, or earlier if others take some meanwhile.
    /// What is pushed later, also by pushes that get the slots that come free, stays. At capacity 0 there is nothing to
    /// drain.
    ///
    /// # Cancel safety
    ///
    /// Dropping the iterator leaves the rest in the channel.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = millstream::channel::bounded(4);
    /// for n in 0..4 {
    ///     tx.try_push(n)?;
    /// }
    /// assert!(rx.drain().take(2).eq([0, 1]));
    /// assert_eq!(rx.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain(&self) -> Drain<'_, T, S> {
        Drain { left: self.shared().look(|engine| engine.free()), receiver: self }
    }

    /// The values to come, in order, blocking the calling thread for each: for plain threads beside a runtime.
    ///
    /// It ends when the channel is closed and drained.
    ///
    /// # Cancel safety
    ///
    /// Dropping the iterator loses nothing.
    ///
    /// # Panics
    ///
    /// Its steps do, as [`pop_blocking`](Self::pop_blocking), on a thread where a runtime is polling; and on a local
    /// channel where one would have to wait.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = millstream::channel::bounded(1);
    /// let producer = std::thread::spawn(move || (1..=4).try_for_each(|n| tx.push_blocking(n)));
    /// assert_eq!(rx.iter().sum::<i32>(), 10);
    /// producer.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&self) -> Iter<'_, T, S> {
        Iter { receiver: self }
    }

    /// The values that are there without waiting, in order: each step is a [`try_pop`](Self::try_pop).
    ///
    /// Other than [`drain`](Self::drain) it goes on with what is pushed meanwhile, and after it has ended it may find
    /// values again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the iterator loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = millstream::channel::bounded(2);
    /// tx.try_push('a')?;
    /// tx.try_push('b')?;
    /// assert_eq!(rx.try_iter().collect::<String>(), "ab");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T, S> {
        TryIter { receiver: self }
    }
}

/// Over what was in a channel: what [`Receiver::drain`](super::Receiver::drain) returns.
#[must_use = "takes nothing out until it is asked to"]
pub struct Drain<'a, T, S: Sharing = Threads> {
    receiver: &'a Receiver<T, S>,
    left: usize,
}

/// Over the values to come, blocking: what [`Receiver::iter`](super::Receiver::iter) returns.
#[must_use = "takes nothing out until it is asked to"]
pub struct Iter<'a, T, S: Sharing = Threads> {
    receiver: &'a Receiver<T, S>,
}

/// Over the values that are there: what [`Receiver::try_iter`](super::Receiver::try_iter) returns.
#[must_use = "takes nothing out until it is asked to"]
pub struct TryIter<'a, T, S: Sharing = Threads> {
    receiver: &'a Receiver<T, S>,
}

/// Over the values to come, blocking, with the receiver in it: what its [`IntoIterator`] makes.
pub struct IntoIter<T, S: Sharing = Threads> {
    receiver: Receiver<T, S>,
}

impl<T, S: Sharing> Iterator for Drain<'_, T, S> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        let value = self.receiver.try_pop().ok();
        if value.is_none() {
            self.left = 0;
        }
        value
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left)) // others may take some
    }
}

impl<T, S: Sharing> Iterator for Iter<'_, T, S> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.pop_blocking().ok()
    }
}

impl<T, S: Sharing> Iterator for TryIter<'_, T, S> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.try_pop().ok()
    }
}

impl<T, S: Sharing> Iterator for IntoIter<T, S> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.pop_blocking().ok()
    }
}

impl<T, S: Sharing> FusedIterator for Drain<'_, T, S> {}
impl<T, S: Sharing> FusedIterator for Iter<'_, T, S> {}
impl<T, S: Sharing> FusedIterator for IntoIter<T, S> {}

/// As [`Receiver::iter`], which see.
impl<'a, T, S: Sharing> IntoIterator for &'a Receiver<T, S> {
    type Item = T;
    type IntoIter = Iter<'a, T, S>;

    fn into_iter(self) -> Iter<'a, T, S> {
        self.iter()
    }
}

/// As [`Receiver::iter`], which see; the receiver lives as long as the iterator.
impl<T, S: Sharing> IntoIterator for Receiver<T, S> {
    type Item = T;
    type IntoIter = IntoIter<T, S>;

    fn into_iter(self) -> IntoIter<T, S> {
        IntoIter { receiver: self }
    }
}

macro_rules! debug {
    ($($name:literal for $iterator:ty),*) => {$(
        impl<T, S: Sharing> fmt::Debug for $iterator {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct($name).field("receiver", &self.receiver).finish_non_exhaustive()
            }
        }
    )*};
}

debug!(
    "Drain" for Drain<'_, T, S>,
    "Iter" for Iter<'_, T, S>,
    "TryIter" for TryIter<'_, T, S>,
    "IntoIter" for IntoIter<T, S>
);
