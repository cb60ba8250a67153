//! Who waits for the close, and for nothing else.
//!
//! Knows: the engine. Does not know: locks, endpoints, futures.
//!
//! They stand in a line of their own, which takes part in no other rule; [`end_some`](Engine::end_some) tells them
//! after the pushers and poppers.
#![allow(unsafe_code, reason = "links and reads waiters, which live in the futures that own them")]

use core::task::Waker;

use super::{Engine, Step, refresh};
use crate::channel::waiter::{State, Waiter};
use crate::channel::wake::{Keep, Wakes};

impl<T> Engine<T> {
    /// One look of a future that waits for the close.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push), with [`withdraw_closed`](Self::withdraw_closed).
    pub(in crate::channel) unsafe fn poll_closed(
        &mut self,
        waiter: &Waiter<()>,
        keep: &mut Keep<'_>,
    ) -> Step<()> {
        match waiter.state() {
            // SAFETY: (I3) the lock is held.
            State::Queued => return unsafe { refresh(waiter, keep) },
            State::Closed => return Step::Ready((), Wakes::default()),
            _ => {}
        }
        if self.closed {
            waiter.set(State::Closed);
            return Step::Ready((), Wakes::default());
        }
        let Some(waker) = keep.take() else { return Step::NeedsWaker };
        // SAFETY: (I3) the waiter is not linked (`Queued` returned above); the rest is the caller's contract.
        unsafe { self.watchers.push_back(waiter, waker, 0) };
        Step::Parked(Wakes::default())
    }

    /// Takes a waiter out of the line if it is still there; then it is `Cancelled`, and its waker comes back.
    ///
    /// # Safety
    /// As for [`poll_closed`](Self::poll_closed).
    pub(in crate::channel) unsafe fn withdraw_closed(&mut self, waiter: &Waiter<()>) -> Option<Waker> {
        (waiter.state() == State::Queued).then(|| {
            // SAFETY: (I3) `Queued` under the lock is linked here.
            let own = unsafe { self.watchers.remove(waiter) };
            waiter.set(State::Cancelled);
            own
        })
    }
}
