//! Why a pop brought no value, where a slow receiver may miss some.
//!
//! Knows: `core`. Does not know: how channels work.

use core::error::Error;
use core::fmt;

/// The receiver was too slow: this many values were overwritten before it popped them.
///
/// The item of a receiver as a stream in place of the missed values. The next pop goes on with the oldest value that is
/// still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagged(pub u64);

impl fmt::Display for Lagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the receiver was too slow and missed {} values", self.0)
    }
}

impl Error for Lagged {}

/// Why [`pop`](super::Receiver::pop) brought no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PopError {
    /// The channel is closed and this receiver has popped everything.
    Closed,
    /// The pop was asked to stop before a value was there for it.
    Cancelled,
    /// So many values were overwritten before this receiver popped them; the next pop goes on with the oldest that is
    /// still there.
    Lagged(u64),
}

impl PopError {
    /// Whether the channel is closed and drained.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// Whether the pop was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// How many values were missed, if that is what happened.
    pub fn lagged(&self) -> Option<u64> {
        if let Self::Lagged(missed) = self { Some(*missed) } else { None }
    }
}

impl fmt::Display for PopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("pop from a closed and drained channel"),
            Self::Cancelled => f.write_str("the pop was cancelled before a value was there"),
            Self::Lagged(missed) => Lagged(*missed).fmt(f),
        }
    }
}

impl Error for PopError {}

impl From<Lagged> for PopError {
    fn from(Lagged(missed): Lagged) -> Self {
        Self::Lagged(missed)
    }
}

/// Why [`try_pop`](super::Receiver::try_pop) brought no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryPopError {
    /// This receiver has popped everything so far.
    Empty,
    /// The channel is closed and this receiver has popped everything.
    Closed,
    /// So many values were overwritten before this receiver popped them; the next pop goes on with the oldest that is
    /// still there.
    Lagged(u64),
}

impl TryPopError {
    /// Whether there was nothing to take.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Whether the channel is closed and drained.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// How many values were missed, if that is what happened.
    pub fn lagged(&self) -> Option<u64> {
        if let Self::Lagged(missed) = self { Some(*missed) } else { None }
    }
}

impl fmt::Display for TryPopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("pop from an empty channel"),
            Self::Closed => f.write_str("pop from a closed and drained channel"),
            Self::Lagged(missed) => Lagged(*missed).fmt(f),
        }
    }
}

impl Error for TryPopError {}

impl From<Lagged> for TryPopError {
    fn from(Lagged(missed): Lagged) -> Self {
        Self::Lagged(missed)
    }
}
