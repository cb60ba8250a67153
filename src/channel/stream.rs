//! A receiver as a stream.
//!
//! Knows: receivers, waiters. Does not know: the protocol, locks.
#![allow(unsafe_code, reason = "owns a waiter that the channel links to")]

use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::{FusedStream, Stream};

use super::receiver::Receiver;
use super::shared::Shared;
use super::sharing::Sharing;
use super::waiter::{State, Waiter};
use super::wake::discard;

/// The place in line that a receiver keeps between its polls as a stream.
///
/// The waiter is allocated when the receiver is first polled as a stream, once: the receiver may move, the waiter may
/// not. It is put there and polled through `&mut`; through `&` one can only leave the line.
pub(super) struct Place {
    waiter: Option<Pin<Box<Waiter<()>>>>,
}

impl Place {
    pub(super) const fn new() -> Self {
        Self { waiter: None }
    }

    /// Gives the place up: the receiver is about to pop in another way, or goes away. A value that was counted for it
    /// stays in the channel.
    #[inline]
    pub(super) fn leave<T, S: Sharing>(&self, shared: &Shared<T, S>) {
        if let Some(waiter) = &self.waiter {
            Self::leave_line(waiter, shared);
        }
    }

    #[cold] // most receivers are never streams
    fn leave_line<T, S: Sharing>(waiter: &Waiter<()>, shared: &Shared<T, S>) {
        // SAFETY: (I3) the waiter is used with its receiver's channel only. Several threads may do this at once;
        // the state decides under the lock who finds it still in line.
        discard(unsafe { shared.withdraw_pop(waiter) });
    }

    fn poll<T, S: Sharing>(&mut self, shared: &Shared<T, S>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let waiter = self.waiter.get_or_insert_with(|| Box::pin(Waiter::new(()))).as_ref().get_ref();
        // One that has only looked so far goes on where it is: it would look for ever otherwise.
        if !matches!(waiter.state(), State::Idle | State::Queued | State::Notified) {
            waiter.set(State::Idle); // the place it had before was used or given up
        }
        // SAFETY: (I3) the waiter is pinned in its box, used with its receiver's channel only, and withdrawn by
        // `leave`, which the receiver's `Drop` calls.
        unsafe { shared.poll_pop(waiter, cx) }.map(Result::ok)
    }
}

/// The values in order; ends when the channel is closed and drained.
///
/// # Cancel safety
///
/// Nothing is lost by not polling it again. The receiver keeps its place in line, and a value that was counted for it
/// stays with it, until it is polled again, popped from in another way, or dropped.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use futures::StreamExt;
///
/// let (tx, rx) = millstream::channel::bounded(8);
/// for n in 0..3 {
///     tx.push(n).await?;
/// }
/// drop(tx);
/// assert_eq!(rx.collect::<Vec<_>>().await, [0, 1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
impl<T, S: Sharing> Stream for Receiver<T, S> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let (place, shared) = self.get_mut().place_and_shared();
        place.poll(shared, cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Other receivers may take what is there, so nothing is promised, except at the end.
        (0, self.has_ended().then_some(0))
    }
}

impl<T, S: Sharing> FusedStream for Receiver<T, S> {
    /// Whether the channel is closed and drained.
    fn is_terminated(&self) -> bool {
        self.has_ended()
    }
}
