//! Consumers as iterators: over what is there now, and for plain threads over what is still to come.
//!
//! Knows: consumers. Does not know: how values and wakes travel, futures.

use core::fmt;
use core::iter::FusedIterator;

use super::consumer::Consumer;

impl<T> Consumer<T> {
    /// Takes out what is in the channel now, oldest first, one value per step of the iterator.
    ///
    /// What is pushed later stays. At capacity 0 there is nothing to drain.
    ///
    /// # Cancel safety
    ///
    /// Dropping the iterator leaves the rest in the channel.
    ///
    /// # Examples
    ///
    /// ```
    /// let (mut tx, mut rx) = millstream::channel::spsc(4);
    /// for n in 0..4 {
    ///     tx.try_push(n)?;
    /// }
    /// assert!(rx.drain().take(2).eq([0, 1]));
    /// assert_eq!(rx.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain(&mut self) -> Drain<'_, T> {
        Drain { left: self.len(), consumer: self }
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
    /// Its steps do, as [`pop_blocking`](Self::pop_blocking), on a thread where a runtime is polling.
    ///
    /// # Examples
    ///
    /// ```
    /// let (mut tx, mut rx) = millstream::channel::spsc(1);
    /// let producer = std::thread::spawn(move || (1..=4).try_for_each(|n| tx.push_blocking(n)));
    /// assert_eq!(rx.iter().sum::<i32>(), 10);
    /// producer.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&mut self) -> Iter<'_, T> {
        Iter { consumer: self }
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
    /// let (mut tx, mut rx) = millstream::channel::spsc(2);
    /// tx.try_push('a')?;
    /// tx.try_push('b')?;
    /// assert_eq!(rx.try_iter().collect::<String>(), "ab");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_iter(&mut self) -> TryIter<'_, T> {
        TryIter { consumer: self }
    }
}

/// Over what was in a channel: what [`Consumer::drain`](super::Consumer::drain) returns.
#[must_use = "takes nothing out until it is asked to"]
pub struct Drain<'a, T> {
    consumer: &'a mut Consumer<T>,
    left: usize,
}

/// Over the values to come, blocking: what [`Consumer::iter`](super::Consumer::iter) returns.
#[must_use = "takes nothing out until it is asked to"]
pub struct Iter<'a, T> {
    consumer: &'a mut Consumer<T>,
}

/// Over the values that are there: what [`Consumer::try_iter`](super::Consumer::try_iter) returns.
#[must_use = "takes nothing out until it is asked to"]
pub struct TryIter<'a, T> {
    consumer: &'a mut Consumer<T>,
}

/// Over the values to come, blocking, with the consumer in it: what its [`IntoIterator`] makes.
pub struct IntoIter<T> {
    consumer: Consumer<T>,
}

impl<T> Iterator for Drain<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        self.consumer.try_pop().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left)) // nobody else takes any
    }
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.consumer.pop_blocking().ok()
    }
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.consumer.try_pop().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.consumer.pop_blocking().ok()
    }
}

impl<T> ExactSizeIterator for Drain<'_, T> {}
impl<T> FusedIterator for Drain<'_, T> {}
impl<T> FusedIterator for Iter<'_, T> {}
impl<T> FusedIterator for IntoIter<T> {}

/// As [`Consumer::iter`], which see.
impl<'a, T> IntoIterator for &'a mut Consumer<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// As [`Consumer::iter`], which see; the consumer lives as long as the iterator.
impl<T> IntoIterator for Consumer<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { consumer: self }
    }
}

macro_rules! debug {
    ($($name:literal for $iterator:ty),*) => {$(
        impl<T> fmt::Debug for $iterator {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct($name).field("consumer", &self.consumer).finish_non_exhaustive()
            }
        }
    )*};
}

debug!("Drain" for Drain<'_, T>, "Iter" for Iter<'_, T>, "TryIter" for TryIter<'_, T>, "IntoIter" for IntoIter<T>);
