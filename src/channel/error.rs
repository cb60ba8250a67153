//! What can go wrong at either end of a channel; every failed push gives its value back.
//!
//! Knows: `core`, what a `select!` may leave out. Does not know: how channels work.

use core::error::Error;
use core::fmt;

use crate::operation::{self, EndOfChannel};

/// Why [`push`](super::Sender::push) did not put its value into the channel, with the value.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushError<T> {
    /// The channel is closed: nobody will pop this value.
    Closed(T),
    /// The push was asked to stop before it took effect.
    Cancelled(T),
}

impl<T> PushError<T> {
    /// The value that was not pushed.
    pub fn into_inner(self) -> T {
        match self {
            Self::Closed(value) | Self::Cancelled(value) => value,
        }
    }

    /// Whether the channel is closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    /// Whether the push was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled(_))
    }
}

// The value is left out of `Debug`, so that `?` and `unwrap` work whatever the channel carries.
impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed(_) => "Closed(..)",
            Self::Cancelled(_) => "Cancelled(..)",
        })
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed(_) => "push into a closed channel",
            Self::Cancelled(_) => "the push was cancelled before it took effect",
        })
    }
}

impl<T> Error for PushError<T> {}

/// Why [`try_push`](super::Sender::try_push) did not put its value into the channel, with the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TryPushError<T> {
    /// No room now; at capacity 0, no receiver is waiting.
    Full(T),
    /// The channel is closed: nobody will pop this value.
    Closed(T),
}

impl<T> TryPushError<T> {
    /// The value that was not pushed.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }

    /// Whether there was no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether the channel is closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

impl<T> fmt::Debug for TryPushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TryPushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "push into a full channel",
            Self::Closed(_) => "push into a closed channel",
        })
    }
}

impl<T> Error for TryPushError<T> {}

/// Why [`pop`](super::Receiver::pop) brought no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
// As large as a word, it begins where most values do in the result of a pop. A byte would lie before them, and from there
// on the compiler takes it and the value for one piece: it copies a large value once more for each enum around it.
#[repr(usize)]
pub enum PopError {
    /// The channel is closed and everything in it has been popped.
    Closed,
    /// The pop was asked to stop before a value was there for it.
    Cancelled,
}

impl operation::sealed::EndOfChannel for PopError {}
impl EndOfChannel for PopError {}

impl PopError {
    /// Whether the channel is closed and drained.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// Whether the pop was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }
}

impl fmt::Display for PopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "pop from a closed and drained channel",
            Self::Cancelled => "the pop was cancelled before a value was there",
        })
    }
}

impl Error for PopError {}

/// Why [`try_pop`](super::Receiver::try_pop) brought no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)] // as `PopError`
pub enum TryPopError {
    /// Nothing to take now; at capacity 0, no push is waiting.
    Empty,
    /// The channel is closed and everything in it has been popped.
    Closed,
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
}

impl fmt::Display for TryPopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "pop from an empty channel",
            Self::Closed => "pop from a closed and drained channel",
        })
    }
}

impl Error for TryPopError {}
