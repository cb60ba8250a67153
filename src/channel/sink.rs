//! A sender as a sink.
//!
//! Knows: senders, waiters. Does not know: the protocol, locks.
#![allow(unsafe_code, reason = "owns a waiter that the channel links to")]

use core::pin::Pin;
use core::task::{Context, Poll};

use futures_sink::Sink;

use super::engine::Offer;
use super::error::{PushError, TryPushError};
use super::sender::Sender;
use super::shared::Shared;
use super::sharing::Sharing;
use super::waiter::{State, Waiter};
use super::wake::discard;

/// The place in line, and then the slot, that a sender keeps between its polls as a sink.
///
/// ```text
///   waiter.state      poll_ready                   start_send
///   Idle, final ────▶ Queued ──▶ Notified, held ──▶ Finished
///                       └──── leave ────┴─────────▶ Cancelled
/// ```
///
/// The waiter is allocated when the sender is first polled as a sink, once: the sender may move, the waiter may not. It is
/// put in line and polled through `&mut`; through `&` one can only leave the line or give up the slot.
pub(super) struct Seat<T> {
    waiter: Option<Pin<Box<Waiter<Offer<T>>>>>,
    /// Whether `Notified` means that `poll_ready` was ready: the slot is not granted only, but held.
    held: bool,
    /// Whether the sink was closed, and its sender is counted no more.
    pub(super) left: bool,
}

impl<T> Seat<T> {
    /// For a sender that is counted, or, if `left`, is not.
    pub(super) const fn new(left: bool) -> Self {
        Self { waiter: None, held: false, left }
    }

    /// Gives up the place or the slot: the sender is about to push in another way, or goes away. The slot goes to the
    /// next in line.
    #[inline]
    pub(super) fn leave<S: Sharing>(&self, shared: &Shared<T, S>) {
        if let Some(waiter) = &self.waiter {
            // SAFETY: (I3) the waiter is used with its sender's channel only. Several threads may do this at once; the
            // state decides under the lock who finds it still in line, or with a slot.
            discard(unsafe { shared.withdraw_push(waiter) });
        }
    }

    fn poll_ready<S: Sharing>(&mut self, shared: &Shared<T, S>, cx: &mut Context<'_>) -> Poll<()> {
        let new = || Box::pin(Waiter::new(Offer { value: None, by_poll: true }));
        let waiter = self.waiter.get_or_insert_with(new).as_ref().get_ref();
        match waiter.state() {
            State::Notified if self.held => return Poll::Ready(()),
            State::Queued | State::Notified => {}
            _ => waiter.set(State::Idle), // the place it had before was used or given up
        }
        self.held = false;
        // SAFETY: (I3) the waiter is pinned in its box, used with its sender's channel only, and withdrawn by `leave`,
        // which the sender's `Drop` calls.
        unsafe { shared.poll_reserve(waiter, cx) }.map(|reserved| {
            if reserved.is_ok() {
                waiter.set(State::Notified); // not linked: a slot to use or to give up
                self.held = true;
            }
        })
    }

    /// Whether the slot is still there; then it is the caller's.
    fn take_slot(&mut self) -> bool {
        let Some(waiter) = &self.waiter else { return false };
        let has_slot = self.held && waiter.state() == State::Notified;
        if has_slot {
            Waiter::set(waiter, State::Finished);
        }
        has_slot
    }
}

/// Values go in at the end, each after its `poll_ready` was ready.
///
/// A sink waits in the same line as a [`push`](Sender::push), and once `poll_ready` was ready it holds a slot, as a
/// [`Permit`](super::Permit) does, until `start_send`, until the sender is used in another way, or is dropped. Flushing is
/// immediate: what was sent is in the channel.
///
/// Closing the sink gives up this end only: it is counted no more, and the channel closes if it was the last. Use
/// [`Sender::close`] to close the channel for all.
///
/// # Errors
///
/// `poll_ready` has none: it is ready when the channel is closed, and `start_send` then gives the value back in
/// [`PushError::Closed`]. So whatever drives the sink loses no value to an error.
///
/// # Cancel safety
///
/// Nothing is lost by not polling it again, but the slot or the place in line is kept until the sender is used in another
/// way or dropped.
///
/// # Panics
///
/// `start_send` does if `poll_ready` was not ready before it and there is no room.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use futures::{SinkExt, StreamExt, stream};
///
/// let (mut tx, rx) = millstream::channel::bounded(8);
/// tx.send_all(&mut stream::iter([1, 2, 3]).map(Ok)).await?;
/// drop(tx);
/// assert_eq!(rx.collect::<Vec<_>>().await, [1, 2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
impl<T, S: Sharing> Sink<T> for Sender<T, S> {
    type Error = PushError<T>;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let (seat, shared) = self.get_mut().seat_and_shared();
        if seat.left { Poll::Ready(Ok(())) } else { seat.poll_ready(shared, cx).map(Ok) }
    }

    fn start_send(self: Pin<&mut Self>, value: T) -> Result<(), Self::Error> {
        let (seat, shared) = self.get_mut().seat_and_shared();
        if seat.take_slot() {
            return shared.redeem(value);
        }
        if seat.left {
            return Err(PushError::Closed(value));
        }
        match shared.try_push(value) {
            Ok(()) => Ok(()),
            Err(TryPushError::Closed(value)) => Err(PushError::Closed(value)),
            Err(TryPushError::Full(_)) => {
                panic!("`start_send` without a `poll_ready` that was ready before it")
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let (seat, shared) = self.get_mut().seat_and_shared();
        seat.leave(shared);
        if !core::mem::replace(&mut seat.left, true) {
            shared.remove_sender();
        }
        Poll::Ready(Ok(()))
    }
}
