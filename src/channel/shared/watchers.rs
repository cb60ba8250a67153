//! Waiting for the close.
//!
//! Knows: the engine, the lock. Does not know: futures, endpoint types.
#![allow(unsafe_code, reason = "hands waiters that live in futures to the engine")]

use core::task::{Context, Poll, Waker};

use super::Shared;
use crate::channel::sharing::{Gate, Sharing};
use crate::channel::waiter::{State, Waiter};

impl<T, S: Sharing> Shared<T, S> {
    /// Polls a future that waits for the close.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push), with [`withdraw_closed`](Self::withdraw_closed).
    pub(in crate::channel) unsafe fn poll_closed(
        &self,
        waiter: &Waiter<()>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        match waiter.state() {
            State::Idle | State::Queued => {}
            State::Closed | State::Cancelled => {
                waiter.set(State::Finished);
                return Poll::Ready(());
            }
            State::Notified | State::Taken | State::Finished => {
                panic!("`closed` was polled after it had resolved")
            }
        }
        let step = self.attempt(self.engine.lock(), cx, |engine, keep| {
            // SAFETY: (I3) by this function's contract.
            unsafe { engine.poll_closed(waiter, keep) }
        });
        step.map(|()| waiter.set(State::Finished))
    }

    /// Takes a waiter out of the line; its waker, for the caller to wake or to drop.
    ///
    /// # Safety
    /// As for [`poll_closed`](Self::poll_closed).
    pub(in crate::channel) unsafe fn withdraw_closed(&self, waiter: &Waiter<()>) -> Option<Waker> {
        if waiter.state() != State::Queued {
            return None;
        }
        // SAFETY: (I3) by this function's contract.
        unsafe { self.engine.lock().withdraw_closed(waiter) }
    }
}
