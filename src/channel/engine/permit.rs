//! Permits: a slot now, the value later.
//!
//! Knows: the engine. Does not know: locks, endpoints, futures.
//!
//! A permit is one unit of `granted` that is its holder's. It stands in for its value in every rule of the engine:
//!
//! ```text
//!   room = capacity + waiting poppers - free - granted
//!
//!   handed out                       granted + 1                         room - 1
//!   used, a popper waits             granted - 1, waiting poppers - 1    room as before
//!   used, no popper waits            granted - 1, free + 1               room as before
//!   dropped                          granted - 1                         room + 1: settle
//!   the popper it counted on leaves  waiting poppers - 1                 room - 1, perhaps below zero
//! ```
//!
//! So using a permit makes room for nobody and takes room from nobody: it needs no look at the line, and cannot fail for
//! want of room. Below zero (at capacity 0, or when values were given back) `room` recovers as pops come; until then
//! every other push waits.
//!
//! A *reservation* that waits does so in the pushers' line with nothing to pull, so it is granted its slot like an arm of
//! a race, and like one goes back to its place if the grant is void by the time of its poll. Only what has been handed
//! out is honoured in any case.
#![allow(unsafe_code, reason = "links waiters, which live in the futures that own them")]

use core::task::Waker;

use super::{Closed, Engine, Offer, Refused, Step, refresh};
use crate::channel::waiter::{State, Waiter};
use crate::channel::wake::{Keep, Wakes};

impl<T> Engine<T> {
    /// Hands out a permit if there is room.
    pub(in crate::channel) fn try_reserve(&mut self) -> Result<(), Refused> {
        if self.closed {
            Err(Refused::Closed)
        } else if !self.has_room(self.granted) {
            Err(Refused::Full)
        } else {
            self.granted += 1;
            Ok(())
        }
    }

    /// Puts the value of a permit at the tail. In a closed channel it stays in `slot`; the permit is used up all the same.
    pub(in crate::channel) fn redeem(&mut self, slot: &mut Option<T>) -> Result<Option<Waker>, Closed> {
        self.granted -= 1;
        if planted!("permit-tells-nobody") {
            self.enqueue(slot);
            return Ok(None);
        }
        if !self.closed {
            return Ok(self.accept(slot));
        }
        if planted!("a-close-eats-the-permits-value") {
            *slot = None;
        }
        Err(Closed)
    }

    /// Takes a permit back; the slot goes to the next in line.
    pub(in crate::channel) fn give_back(&mut self) -> Wakes {
        self.granted -= 1;
        if planted!("permit-dies-with-its-slot") { Wakes::default() } else { self.settle() }
    }

    /// One attempt of a reservation. After `Ok` the caller has a permit.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push); the waiter's offer is without a value and `by_poll`.
    pub(in crate::channel) unsafe fn poll_reserve(
        &mut self,
        waiter: &Waiter<Offer<T>>,
        keep: &mut Keep<'_>,
    ) -> Step<Result<(), Closed>> {
        let state = waiter.state();
        let granted_to_others = match state {
            // SAFETY: (I3) the lock is held.
            State::Queued => return unsafe { refresh(waiter, keep) },
            State::Closed => return Step::Ready(Err(Closed), Wakes::default()),
            State::Notified => self.granted - 1,
            State::Idle | State::Taken | State::Cancelled | State::Finished => self.granted,
        };
        if self.closed {
            self.granted = granted_to_others;
            waiter.set(State::Closed);
            return Step::Ready(Err(Closed), Wakes::default());
        }
        if self.has_room(granted_to_others) {
            self.granted = granted_to_others + 1;
            waiter.set(State::Taken);
            return Step::Ready(Ok(()), Wakes::default());
        }
        let Some(waker) = keep.take() else { return Step::NeedsWaker };
        self.granted = granted_to_others;
        // SAFETY: (I3) the waiter is not linked (`Queued` returned above); the rest is the caller's contract.
        unsafe {
            if state == State::Notified {
                self.pushers.put_back(waiter, waker);
            } else {
                self.pushers.push_back(waiter, waker, self.next_ticket);
                self.next_ticket += 1;
            }
        }
        Step::Parked(Wakes::default())
    }
}
