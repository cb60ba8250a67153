//! Permits: a slot now, the value later.
//!
//! Knows: the engine, the lock, wakes, the poll budget. Does not know: futures, endpoint types.
#![allow(unsafe_code, reason = "hands waiters that live in futures to the engine")]

use core::task::{Context, Poll};

use super::Shared;
use crate::channel::engine::{Closed, Offer, Refused};
use crate::channel::error::{PushError, TryPushError};
use crate::channel::sharing::{Gate, Sharing};
use crate::channel::waiter::{State, Waiter};
use crate::channel::wake::deliver;
use crate::util::executor;

impl<T, S: Sharing> Shared<T, S> {
    /// Takes a slot, which the caller will [redeem](Self::redeem) or [give back](Self::give_back).
    pub(in crate::channel) fn try_reserve(&self) -> Result<(), TryPushError<()>> {
        self.engine.lock().try_reserve().map_err(|refused| match refused {
            Refused::Full => TryPushError::Full(()),
            Refused::Closed => TryPushError::Closed(()),
        })
    }

    /// Pushes into a slot that the caller has; the slot is gone afterwards.
    pub(in crate::channel) fn redeem(&self, value: T) -> Result<(), PushError<T>> {
        let mut slot = Some(value);
        let outcome = self.engine.lock().redeem(&mut slot);
        match (outcome, slot) {
            (Err(Closed), Some(value)) => Err(PushError::Closed(value)),
            (outcome, _) => {
                deliver(outcome.ok().flatten());
                Ok(())
            }
        }
    }

    /// Passes a slot that the caller has on to the next in line.
    pub(in crate::channel) fn give_back(&self) {
        let wakes = self.engine.lock().give_back();
        wakes.deliver();
    }

    /// Polls a reservation. After `Ok` the caller has a slot.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push); the waiter's offer is without a value and `by_poll`.
    pub(in crate::channel) unsafe fn poll_reserve(
        &self,
        waiter: &Waiter<Offer<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PushError<()>>> {
        match waiter.state() {
            State::Idle => {
                if !executor::spend(cx) {
                    return Poll::Pending;
                }
            }
            State::Queued | State::Notified => {}
            state @ (State::Closed | State::Cancelled) => {
                waiter.set(State::Finished);
                let closed = state == State::Closed;
                return Poll::Ready(Err(if closed {
                    PushError::Closed(())
                } else {
                    PushError::Cancelled(())
                }));
            }
            State::Taken | State::Finished => panic!("a reservation was polled after it had resolved"),
        }
        let step = self.attempt(self.engine.lock(), cx, |engine, keep| {
            // SAFETY: (I3) by this function's contract.
            unsafe { engine.poll_reserve(waiter, keep) }
        });
        step.map(|outcome| {
            waiter.set(State::Finished);
            outcome.map_err(|Closed| PushError::Closed(()))
        })
    }
}
