//! The end that pushes, once.
//!
//! Knows: the shared state, errors. Does not know: how the state is kept.
#![allow(unsafe_code, reason = "leaves memory that the other end may free")]

use core::fmt;
use core::mem::ManuallyDrop;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::closed::Closed;
use super::state::End;
use crate::channel::error::PushError;
use crate::channel::wake::{deliver_last, discard};

/// The pushing end of a [`oneshot`](super::oneshot()) channel.
///
/// Dropped without a push, it closes the channel: the receiver gets
/// [`PopError::Closed`](crate::channel::PopError::Closed).
#[doc(alias = "Tx")]
pub struct Sender<T> {
    end: End<T>,
}

// Whatever panics while an end is borrowed, the channel is left consistent: no code of the user's runs halfway through
// a change.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

impl<T> Sender<T> {
    pub(super) fn new(end: End<T>) -> Self {
        Self { end }
    }

    /// Puts the value into the channel. It never waits.
    ///
    /// `Ok` means that the receiver had neither closed nor gone away by then. If it goes away later without popping, it
    /// drops the value.
    ///
    /// # Errors
    ///
    /// The value comes back in [`PushError::Closed`] if the receiver has closed or is gone.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel::{PushError, oneshot};
    ///
    /// let (tx, mut rx) = oneshot();
    /// tx.push(1)?;
    /// assert_eq!(rx.try_pop()?, 1);
    ///
    /// let (tx, rx) = oneshot();
    /// drop(rx);
    /// assert_eq!(tx.push(2), Err(PushError::Closed(2)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "send")]
    pub fn push(mut self, value: T) -> Result<(), PushError<T>> {
        discard(self.end.rise()); // of a `closed()` that was forgotten
        let this = ManuallyDrop::new(self);
        // SAFETY: (local) the sender's end; `self` is consumed, so this is its only push, and after `Ok` it is neither
        // used nor dropped.
        match unsafe { this.end.push(value) } {
            Ok(waker) => {
                deliver_last(waker);
                Ok(())
            }
            Err(value) => {
                drop(ManuallyDrop::into_inner(this));
                Err(PushError::Closed(value))
            }
        }
    }

    /// Waits until the receiver has closed or is gone: nobody is interested in a value any more.
    ///
    /// # Cancel safety
    ///
    /// Dropping it at any time changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let (mut tx, rx) = millstream::channel::oneshot::<u8>();
    /// let asker = std::thread::spawn(move || drop(rx));
    /// tx.closed().await; // whoever works on the answer can stop
    /// assert!(tx.is_closed());
    /// asker.join().unwrap();
    /// # });
    /// ```
    pub fn closed(&mut self) -> Closed<'_, T> {
        Closed::new(&mut self.end)
    }

    /// Whether the receiver has closed or is gone.
    #[doc(alias = "is_canceled")]
    pub fn is_closed(&self) -> bool {
        self.end.is_over()
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        discard(self.end.rise());
        // SAFETY: (local) risen, and not used again.
        deliver_last(unsafe { self.end.leave() });
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}
