//! A receiver of instants as an iterator, for plain threads.
//!
//! Knows: the receiver. Does not know: timers.

use std::time::Instant;

use super::receiver::Receiver;

/// The instants as they come due: what [`Receiver::iter`] returns. Asking it for the next one blocks.
///
/// # Cancel safety
///
/// Dropping it loses nothing.
#[derive(Debug)]
pub struct Iter<'a>(&'a mut Receiver);

impl<'a> Iter<'a> {
    pub(super) fn new(receiver: &'a mut Receiver) -> Self {
        Self(receiver)
    }
}

impl Iterator for Iter<'_> {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        self.0.pop_blocking().ok()
    }
}

/// What is due now: what [`Receiver::try_iter`] returns. It never blocks.
///
/// # Cancel safety
///
/// Dropping it loses nothing.
#[derive(Debug)]
pub struct TryIter<'a>(&'a mut Receiver);

impl<'a> TryIter<'a> {
    pub(super) fn new(receiver: &'a mut Receiver) -> Self {
        Self(receiver)
    }
}

impl Iterator for TryIter<'_> {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        self.0.try_pop().ok()
    }
}

/// The instants as they come due, and the receiver with them: what `into_iter` returns. Asking it for the next one blocks.
#[derive(Debug)]
pub struct IntoIter(Receiver);

impl Iterator for IntoIter {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        self.0.pop_blocking().ok()
    }
}

impl IntoIterator for Receiver {
    type Item = Instant;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter(self)
    }
}

impl<'a> IntoIterator for &'a mut Receiver {
    type Item = Instant;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}
