//! The end that pops, once.
//!
//! Knows: the shared state, errors, the poll budget. Does not know: how the state is kept.
#![allow(unsafe_code, reason = "takes the value out of memory that it shares")]

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::pop::Pop;
use super::state::{End, Stage};
use crate::channel::blocking;
use crate::channel::error::{PopError, TryPopError};
use crate::channel::wake::{contain, deliver, deliver_last, discard};
use crate::operation::Operation;
use crate::util::executor;

/// The popping end of a [`oneshot`](super::oneshot()) channel; also the future of its value.
///
/// Awaiting it by value is the usual way. [`pop`](Self::pop) borrows it, so that it can be raced and awaited again.
///
/// # Cancel safety
///
/// A pop that is dropped leaves the value in the channel. Dropping the receiver closes the channel and drops a value
/// that is in it; so a race that is given the receiver itself, and not `&mut` of it, drops the value if another arm
/// wins.
#[doc(alias = "Rx")]
#[must_use = "a value pushed for a dropped receiver comes back to its sender"]
pub struct Receiver<T> {
    end: End<T>,
    taken: bool,
    cancelled: bool,
}

// As for senders.
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Receiver<T> {
    pub(super) fn new(end: End<T>) -> Self {
        Self { end, taken: false, cancelled: false }
    }

    /// Takes the value, waiting for it first.
    ///
    /// # Errors
    ///
    /// [`PopError::Closed`] if the sender is gone without a push, if the channel was closed before a push, or if the
    /// value was taken already.
    ///
    /// # Cancel safety
    ///
    /// A dropped pop leaves the value in the channel.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use millstream::channel::{PopError, oneshot};
    ///
    /// let (tx, mut rx) = oneshot();
    /// tx.push(1)?;
    /// assert_eq!(rx.pop().await, Ok(1));
    /// assert_eq!(rx.pop().await, Err(PopError::Closed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "recv")]
    pub fn pop(&mut self) -> Pop<'_, T> {
        Pop::new(self)
    }

    /// Takes the value if it is there.
    ///
    /// # Errors
    ///
    /// [`TryPopError::Empty`] if it may still come, [`TryPopError::Closed`] if not.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel::{TryPopError, oneshot};
    ///
    /// let (tx, mut rx) = oneshot();
    /// assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    /// tx.push(1)?;
    /// assert_eq!(rx.try_pop(), Ok(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "try_recv")]
    pub fn try_pop(&mut self) -> Result<T, TryPopError> {
        match self.take() {
            Some(result) => result.map_err(|_| TryPopError::Closed),
            None => Err(TryPopError::Empty),
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
    /// It cannot be cancelled; the sender's push or drop ends it.
    ///
    /// # Panics
    ///
    /// On a thread where a runtime is polling, since blocking it would stop every task there.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, mut rx) = millstream::channel::oneshot();
    /// let worker = std::thread::spawn(move || tx.push("done"));
    /// assert_eq!(rx.pop_blocking()?, "done");
    /// worker.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "blocking_recv")]
    pub fn pop_blocking(&mut self) -> Result<T, PopError> {
        blocking::assert_plain_thread("pop_blocking", "pop().await");
        match self.take() {
            Some(result) => result,
            None => blocking::wait(self.pop()),
        }
    }

    /// Closes the channel: a push fails from now on. A value that is in it already can still be popped.
    ///
    /// Returns whether this call closed it.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, mut rx) = millstream::channel::oneshot();
    /// assert!(rx.close());
    /// assert_eq!(tx.push(1).unwrap_err().into_inner(), 1);
    /// assert!(rx.try_pop().unwrap_err().is_closed());
    /// ```
    pub fn close(&mut self) -> bool {
        let (first, waker) = self.end.close();
        deliver_last(waker);
        first
    }

    /// Whether nothing can be pushed any more: the channel was closed, the value is in it or was, or the sender is gone.
    pub fn is_closed(&self) -> bool {
        self.end.stage() != Stage::Open
    }

    /// Whether no value is there to be popped now.
    pub fn is_empty(&self) -> bool {
        self.taken || self.end.stage() != Stage::Pushed
    }

    /// What there is to say without waiting; `None` if the value may still come.
    fn take(&mut self) -> Option<Result<T, PopError>> {
        match self.end.stage() {
            Stage::Open => None,
            Stage::Pushed if !self.taken => {
                self.taken = true;
                // SAFETY: (local) pushed, and `taken` says that it has just been handed out.
                Some(Ok(unsafe { self.end.take_value() }))
            }
            Stage::Pushed | Stage::Closed => Some(Err(PopError::Closed)),
        }
    }

    /// Polls for the value.
    pub(super) fn poll_value(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, PopError>> {
        if !self.end.is_seated() && !executor::spend(cx) {
            return Poll::Pending;
        }
        loop {
            if let Some(result) = self.take() {
                discard(self.end.rise());
                return Poll::Ready(result);
            }
            if self.end.wait(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Whether a poll has left its waker here.
    pub(super) fn is_seated(&self) -> bool {
        self.end.is_seated()
    }

    /// Stops waiting; calls the waker if there was one, or only drops it.
    pub(super) fn rise(&mut self, wake: bool) {
        let waker = self.end.rise();
        if wake { deliver(waker) } else { discard(waker) }
    }
}

/// Resolves to the value. Polled again after that, it says [`PopError::Closed`].
impl<T> Future for Receiver<T> {
    type Output = Result<T, PopError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if core::mem::take(&mut this.cancelled) {
            return Poll::Ready(this.take().unwrap_or(Err(PopError::Cancelled)));
        }
        this.poll_value(cx)
    }
}

/// Asked to stop, it resolves to the value if that is there, to [`PopError::Cancelled`] otherwise.
impl<T> Operation for Receiver<T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.get_mut();
        this.cancelled = true;
        this.rise(true); // its last poll promised a wake
    }

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().rise(false);
        Poll::Ready(())
    }

    fn may_resolve(&self) -> bool {
        self.cancelled || self.is_closed()
    }

    fn waits(&self) -> bool {
        self.is_seated() && !self.may_resolve()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        discard(self.end.rise());
        let told = if self.end.is_over() { None } else { self.end.close().1 };
        if let Some(Ok(value)) = self.take() {
            contain(|| drop(value));
        }
        // SAFETY: (local) risen, and not used again.
        let waker = unsafe { self.end.leave() };
        deliver_last(told.or(waker));
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("closed", &self.is_closed())
            .field("empty", &self.is_empty())
            .finish_non_exhaustive()
    }
}
