//! Batches: many pushes or pops under one hold of the lock.
//!
//! Knows: the engine. Does not know: locks, endpoints, futures.
//!
//! A batch is as many single steps as fit, and keeps the rules of the engine after each of them; only where nobody waits
//! on the other side, so that nobody has to be told, values move in one go. A hold of the lock ends early when there are
//! more waiters to wake than a [`Batch`] has room for.
//!
//! A batch of pushes waits as one waiter. Its values are its caller's until they are in the ring, so it cannot be pulled
//! from: it is granted a slot, and its own poll fills this slot and whatever room there is beyond. (There is none as
//! long as others wait.) With values left it goes back to its place in line, before all who came later.
#![allow(unsafe_code, reason = "links and reads waiters, which live in the futures that own them")]

use std::collections::VecDeque;

use super::{Closed, Engine, HAND_OVER, Offer, Refused, Step, refresh};
use crate::channel::waiter::{State, Waiter};
use crate::channel::wake::{Batch, Keep, Wakes};

/// What one hold of the lock did for a batch of pushes.
pub(in crate::channel) enum Progress {
    /// All values are in, or the channel is closed.
    Over(Result<(), Closed>),
    /// In line.
    Parked,
    /// It would have to park: come again with a clone of the waker, which must not be made under the lock.
    NeedsWaker,
    /// There is room for more values, but not for more wakes: deliver these and come again.
    Again,
}

impl<T> Engine<T> {
    // ---- push ----

    /// Pushes values, front first, until there is no room or no place in `wakes`; whether it stopped for the latter.
    fn push_some(&mut self, values: &mut VecDeque<T>, wakes: &mut Batch) -> bool {
        while !values.is_empty() && self.has_room(self.granted) {
            if self.poppers.is_empty() {
                // Room that no popper brings with it is part of the capacity, so this does not overflow.
                self.enqueue_many(values, self.capacity - self.free() - self.granted);
            } else if wakes.is_full() {
                return true;
            } else {
                let popper = self.accept(&mut values.pop_front());
                wakes.add(Wakes { popper, pusher: None });
            }
        }
        false
    }

    /// Moves up to `most` values to the tail.
    fn enqueue_many(&mut self, values: &mut VecDeque<T>, most: usize) {
        let count = values.len().min(most);
        if self.ring.vacant() < count {
            self.ring.grow(count.max(HAND_OVER)); // only counted values come on top of the capacity
        }
        self.ring.push_many(values, count);
    }

    /// Pushes what there is room for. The flag says to come again, as with [`Progress::Again`].
    pub(in crate::channel) fn try_push_many(
        &mut self,
        values: &mut VecDeque<T>,
        wakes: &mut Batch,
    ) -> Result<bool, Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        let before = values.len();
        let again = self.push_some(values, wakes);
        if values.len() == before { Err(Refused::Full) } else { Ok(again) }
    }

    /// One attempt of a batch of pushes, which has `values` left. `ticket` says whether it has been in line before.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push).
    pub(in crate::channel) unsafe fn poll_push_many(
        &mut self,
        waiter: &Waiter<Offer<T>>,
        values: &mut VecDeque<T>,
        ticket: &mut bool,
        keep: &mut Keep<'_>,
        wakes: &mut Batch,
    ) -> Progress {
        let granted_to_others = match waiter.state() {
            State::Queued => {
                // SAFETY: (I3) the lock is held.
                let refreshed: Step<()> = unsafe { refresh(waiter, keep) };
                return if let Step::NeedsWaker = refreshed {
                    Progress::NeedsWaker
                } else {
                    Progress::Parked
                };
            }
            State::Closed => return Progress::Over(Err(Closed)),
            State::Notified => self.granted - 1,
            State::Idle | State::Taken | State::Cancelled | State::Finished => self.granted,
        };
        if self.closed {
            self.granted = granted_to_others;
            waiter.set(State::Closed);
            return Progress::Over(Err(Closed));
        }
        if self.has_room(granted_to_others) {
            // The granted slot, if it had one, is used up by the first value; so from here on it is as if new.
            self.granted = granted_to_others;
            waiter.set(State::Idle);
            let again = self.push_some(values, wakes);
            if values.is_empty() {
                waiter.set(State::Taken);
                return Progress::Over(Ok(()));
            }
            if again {
                return Progress::Again;
            }
        }
        let Some(waker) = keep.take() else { return Progress::NeedsWaker };
        if waiter.state() == State::Notified {
            self.granted -= 1; // void
        }
        // SAFETY: (I3) the waiter is not linked (`Queued` returned above); the rest is the caller's contract, and who
        // has a ticket was linked before.
        unsafe {
            if core::mem::replace(ticket, true) {
                self.pushers.put_back(waiter, waker);
            } else {
                self.pushers.push_back(waiter, waker, self.next_ticket);
                self.next_ticket += 1;
            }
        }
        Progress::Parked
    }

    // ---- pop ----

    /// Pops into `out`, which has room for `most` values, as long as `pop` finds one and `wakes` has place. Returns how
    /// many more there may be if it stopped for another reason than that there was nothing left.
    pub(in crate::channel) fn pop_some(
        &mut self,
        out: &mut Vec<T>,
        mut most: usize,
        wakes: &mut Batch,
        pop: impl Fn(&mut Self) -> Option<(T, Wakes)>,
    ) -> usize {
        loop {
            if self.pushers.is_empty() || planted!("a-batch-pulls-nobody") {
                let count = self.free().min(most); // nobody waits for the slots
                self.ring.pop_many(out, count);
                most -= count;
            }
            if most == 0 || wakes.is_full() {
                return self.free() + self.pushers.len();
            }
            let Some((value, woken)) = pop(self) else { return 0 };
            out.push(value);
            most -= 1;
            wakes.add(woken);
        }
    }
}
