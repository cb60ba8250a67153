//! An end that pushes, as the place where the results of something else go, one after the other.
//!
//! Knows: senders, waiters. Does not know: the protocol, locks, where values come from.
#![allow(unsafe_code, reason = "owns waiters that the channel links to")]

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use super::engine::Offer;
use super::error::TryPushError;
use super::sender::Sender;
use super::sharing::Sharing;
use super::waiter::{State, Waiter};
use super::wake::discard;
use crate::util::executor;

/// An end of a channel that results can be pushed into: a [`Sender`] of a [`bounded`](super::bounded) or
/// [`local`](super::local()) channel, or the [`Producer`](super::spsc::Producer) of an [`spsc`](super::spsc()) channel. Sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the pushing end of a channel of `{T}`",
    label = "every result goes into a channel, by value",
    note = "pass a `Sender<{T}>` of a bounded or local channel, or the `Producer<{T}>` of an spsc channel"
)]
pub trait Destination<T>: Sized {
    /// The end, and what it needs to wait.
    #[doc(hidden)]
    type Inlet: Inlet<T>;

    #[doc(hidden)]
    fn into_inlet(self) -> Self::Inlet;
}

/// What a [`Destination`] becomes.
#[doc(hidden)]
pub trait Inlet<T>: Unpin {
    /// Pushes if there is room now.
    fn try_push(&mut self, value: T) -> Result<(), TryPushError<T>>;

    /// Pushes what is in `slot` as soon as there is room, in line with all other pushes. `false` when the channel is closed:
    /// the value is still in `slot`.
    fn poll_push(&mut self, slot: &mut Option<T>, cx: &mut Context<'_>) -> Poll<bool>;

    /// Waits for the close.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A sender, its place in line, and its place among those who wait for the close.
///
/// Both places are allocated when they are first needed: the end may move, a waiter may not.
#[doc(hidden)]
pub struct SenderInlet<T, S: Sharing> {
    sender: Sender<T, S>,
    room: Option<Pin<Box<Waiter<Offer<T>>>>>,
    close: Option<Pin<Box<Waiter<()>>>>,
}

impl<T, S: Sharing> Destination<T> for Sender<T, S> {
    type Inlet = SenderInlet<T, S>;

    fn into_inlet(self) -> SenderInlet<T, S> {
        SenderInlet { sender: self, room: None, close: None }
    }
}

impl<T, S: Sharing> SenderInlet<T, S> {
    /// Whether it stands in line, or has got its turn.
    fn stands(&self) -> bool {
        self.room.as_ref().is_some_and(|waiter| waiter.waits())
    }

    /// Takes a place in line, or looks from there.
    fn poll_line(&mut self, slot: &mut Option<T>, cx: &mut Context<'_>) -> Poll<bool> {
        let new = || Box::pin(Waiter::new(Offer { value: None, by_poll: true }));
        let waiter = self.room.get_or_insert_with(new).as_ref().get_ref();
        if !waiter.waits() {
            waiter.set(State::Idle); // the place it had before was used
        }
        let shared = self.sender.shared();
        // SAFETY: (I3) the waiter is pinned in its box, used with its sender's channel only, and withdrawn by `drop`.
        let reserved = ready!(unsafe { shared.poll_reserve(waiter, cx) });
        let pushed = reserved.is_ok() && slot.take().is_none_or(|value| keep(slot, shared.redeem(value)));
        Poll::Ready(pushed)
    }
}

/// Whether a value went in; one that came back is in `slot` again.
fn keep<T>(slot: &mut Option<T>, pushed: Result<(), super::PushError<T>>) -> bool {
    *slot = pushed.err().map(super::PushError::into_inner);
    slot.is_none()
}

impl<T, S: Sharing> Unpin for SenderInlet<T, S> {}

impl<T, S: Sharing> Inlet<T> for SenderInlet<T, S> {
    fn try_push(&mut self, value: T) -> Result<(), TryPushError<T>> {
        self.leave_line(); // a turn it has got there goes to the next in line, if there is one
        self.sender.try_push(value)
    }

    #[inline]
    fn poll_push(&mut self, slot: &mut Option<T>, cx: &mut Context<'_>) -> Poll<bool> {
        if !self.stands() {
            if !executor::spend(cx) {
                return Poll::Pending;
            }
            let Some(value) = slot.take() else { return Poll::Ready(true) };
            match self.sender.try_push(value) {
                Ok(()) => return Poll::Ready(true),
                Err(TryPushError::Closed(value)) => {
                    *slot = Some(value);
                    return Poll::Ready(false);
                }
                Err(TryPushError::Full(value)) => *slot = Some(value),
            }
        }
        self.poll_line(slot, cx)
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.sender.is_closed() {
            return Poll::Ready(());
        }
        let waiter = self.close.get_or_insert_with(|| Box::pin(Waiter::new(()))).as_ref().get_ref();
        if waiter.state() == State::Finished {
            return Poll::Ready(());
        }
        // SAFETY: (I3) as in `poll_line`.
        unsafe { self.sender.pointer().poll_closed(waiter, cx) }
    }
}

impl<T, S: Sharing> SenderInlet<T, S> {
    fn leave_line(&self) {
        if let Some(waiter) = &self.room {
            // SAFETY: (I3) the waiter is used with this channel only.
            discard(unsafe { self.sender.shared().withdraw_push(waiter) });
        }
    }
}

impl<T, S: Sharing> Drop for SenderInlet<T, S> {
    fn drop(&mut self) {
        self.leave_line();
        if let Some(waiter) = &self.close {
            // SAFETY: (I3) this is the withdrawal that `poll_closed` promises.
            discard(unsafe { self.sender.pointer().withdraw_closed(waiter) });
        }
    }
}

impl<T, S: Sharing> fmt::Debug for SenderInlet<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderInlet").field("stands_in_line", &self.stands()).finish_non_exhaustive()
    }
}
