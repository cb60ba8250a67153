//! What every channel's sending end can do, so that an adapter may be given any of them.
//!
//! Knows: the channels. Does not know: what is pushed, or why.

use crate::channel::PushError;
use crate::channel::{self, Push, Sharing, TryPushError, spsc};
use crate::operation::Operation;

/// A channel's sending end, of whichever flavor: [`Sender`](channel::Sender) (shared and local),
/// [`Producer`](spsc::Producer). Sealed.
pub trait SendingEnd<T>: sealed::Sealed + 'static {
    /// The operation that waits for room.
    type Push<'a>: Operation<Output = Result<(), PushError<T>>>
    where
        Self: 'a;

    /// Pushes if there is room now.
    ///
    /// # Errors
    ///
    /// Gives the value back when there is none, or the channel is closed.
    fn try_push(&mut self, value: T) -> Result<(), TryPushError<T>>;

    /// Pushes as soon as there is room.
    fn push(&mut self, value: T) -> Self::Push<'_>;
}

mod sealed {
    pub trait Sealed {}
}

impl<T, S: Sharing> sealed::Sealed for channel::Sender<T, S> {}

impl<T: 'static, S: Sharing + 'static> SendingEnd<T> for channel::Sender<T, S> {
    type Push<'a> = Push<'a, T, S>;

    fn try_push(&mut self, value: T) -> Result<(), TryPushError<T>> {
        Self::try_push(self, value)
    }

    fn push(&mut self, value: T) -> Self::Push<'_> {
        Self::push(self, value)
    }
}

impl<T> sealed::Sealed for spsc::Producer<T> {}

impl<T: 'static> SendingEnd<T> for spsc::Producer<T> {
    type Push<'a> = spsc::Push<'a, T>;

    fn try_push(&mut self, value: T) -> Result<(), TryPushError<T>> {
        Self::try_push(self, value)
    }

    fn push(&mut self, value: T) -> Self::Push<'_> {
        Self::push(self, value)
    }
}
