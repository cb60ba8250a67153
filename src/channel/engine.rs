//! The protocol of a channel with waiters: what a push, a pop, a dropped waiter and a close do to the ring and to the
//! two lines. It decides; it never locks, wakes, or runs code of the user's.
//!
//! Knows: waiters. Does not know: locks, endpoints, futures.
#![allow(unsafe_code, reason = "links and reads waiters, which live in the futures that own them")]

mod divide;
mod many;
mod permit;
mod watchers;

pub(super) use divide::Terms;
pub(super) use many::Progress;

use core::task::Waker;

use super::ring::{Leaving, Ring};
use super::waiter::{Line, State, Waiter};
use super::wake::{Keep, Wakes};
use crate::util::prefetch;

/// Slots allocated beyond the capacity: values on their way to waiting receivers lie there. More are allocated if that
/// many receivers wait at once.
pub(super) const HAND_OVER: usize = if cfg!(millstream_loom) { 0 } else { 4 }; // models go round sooner without

/// What a parked push remembers.
pub(super) struct Offer<T> {
    /// The value, until it is in the channel.
    pub(super) value: Option<T>,
    /// Whether only the push's own poll may put it there: it is granted a slot instead of being pulled. So it is for an
    /// arm of a race, and for whoever has no value here: a batch, a reservation.
    pub(super) by_poll: bool,
}

/// The outcome of one attempt to complete an operation.
pub(super) enum Step<R> {
    /// Done; wake these.
    Ready(R, Wakes),
    /// In line; wake these.
    Parked(Wakes),
    /// It would have to park: come again with a clone of the waker, which must not be made under the lock.
    NeedsWaker,
}

/// What is to be done after a waiter was withdrawn.
#[derive(Default)]
pub(super) struct Withdrawn {
    /// Its own waker, if it was in line.
    pub(super) own: Option<Waker>,
    /// Who got what it was entitled to.
    pub(super) wakes: Wakes,
}

/// The channel is closed: what a push or a pop is told.
pub(super) struct Closed;

/// The state behind the lock.
///
/// The numbers, of which every rule below is a consequence:
///
/// ```text
///   len        values in the ring, oldest first
///   assigned   of those, how many notified poppers are entitled to one (to the head, whichever it is by then)
///   free       = len - assigned: what a newcomer may pop
///   granted    slots that notified pushes are entitled to, and slots that permits hold
///   room       = capacity + waiting poppers - free - granted: how many pushes may take effect now
///
///   free > 0   =>  no popper waits        (a value goes to the waiter, or to the next comer)
///   room > 0   =>  no push waits          (a slot goes to the waiter, or to the next comer)
/// ```
///
/// A value may be given back by a notified popper that is dropped: `free` then exceeds the capacity for a while and
/// `room` is negative until pops have made up for it. A waiting popper that leaves takes the room it brought with it: a
/// grant that was given on its account is void, and the granted push goes back to its place in line when it finds out.
/// A permit is never void: it was handed out, so its value goes in all the same, and again `free` exceeds the capacity
/// until pops have made up for it (see [`permit`]).
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    reason = "public only as far as a sealed trait names it"
)]
#[repr(C)] // what changes while nobody waits is on one cache line
pub struct Engine<T> {
    ring: Ring<T>,
    assigned: usize,
    granted: usize,
    closed: bool,
    capacity: usize,
    pushers: Line<Offer<T>>,
    poppers: Line<()>,
    next_ticket: u64,
    watchers: Line<()>,
}

impl<T> Engine<T> {
    /// An open channel around an empty ring, which the caller has allocated.
    pub(super) fn new(ring: Ring<T>, capacity: usize) -> Self {
        Self {
            ring,
            capacity,
            assigned: 0,
            granted: 0,
            pushers: Line::new(),
            poppers: Line::new(),
            watchers: Line::new(),
            next_ticket: 0,
            closed: false,
        }
    }

    /// Has the processor bring what is not yet here of an engine that is about to be used. It may be in use elsewhere.
    #[inline(always)]
    pub(super) fn fetch(engine: *const Self) {
        const LINE: usize = 64;
        prefetch::to_write(engine);
        prefetch::to_write(engine.wrapping_byte_add(LINE));
    }

    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a push would find no room now.
    pub(super) fn is_full(&self) -> bool {
        !self.has_room(self.granted)
    }

    /// Whether a pop that comes now would have to wait for a value.
    pub(super) fn has_nothing(&self) -> bool {
        self.free() == 0 && !self.has_ended()
    }

    /// Whether a push that comes now might resolve at once.
    #[inline]
    pub(super) fn may_push(&self) -> bool {
        self.closed || !self.is_full()
    }

    /// Whether a pop that comes now might resolve at once. (A parked push that may not be pulled counts too.)
    #[inline]
    pub(super) fn may_pop(&self) -> bool {
        self.free() > 0 || !self.pushers.is_empty() || self.has_ended()
    }

    /// Whether a pop that comes now takes the last value, and none follows it.
    #[inline(always)]
    pub(super) fn has_one(&self) -> bool {
        self.free() == 1 && self.pushers.is_empty() && !self.closed
    }

    /// How many values a newcomer may pop.
    pub(super) fn free(&self) -> usize {
        self.ring.len() - self.assigned
    }

    /// Whether one more push may take effect when `granted` slots are spoken for. (The capacity is at most
    /// `isize::MAX`, so neither side overflows.)
    fn has_room(&self, granted: usize) -> bool {
        self.capacity + self.poppers.len() > self.free() + granted
    }

    // ---- push ----

    /// Pushes the value in `slot` if there is room; leaves it there otherwise.
    pub(super) fn try_push(&mut self, slot: &mut Option<T>) -> Result<Option<Waker>, Refused> {
        self.push_now(slot).ok_or(if self.closed { Refused::Closed } else { Refused::Full })
    }

    /// As [`try_push`](Self::try_push), for who does not ask why not.
    #[inline]
    pub(super) fn push_now(&mut self, slot: &mut Option<T>) -> Option<Option<Waker>> {
        (!self.closed && self.has_room(self.granted)).then(|| self.accept(slot))
    }

    /// Puts the value at the tail. If a popper waits, one value is now counted as the first one's.
    #[inline]
    fn accept(&mut self, slot: &mut Option<T>) -> Option<Waker> {
        self.enqueue(slot);
        self.assign()
    }

    /// Moves the value in `slot`, if there is one, to the tail.
    #[inline]
    fn enqueue(&mut self, slot: &mut Option<T>) {
        // Only counted values come on top of the capacity, so the ring grows with their number, not by doubling.
        self.ring.push_from(slot, || HAND_OVER.max(self.assigned));
    }

    /// Counts one free value as the first waiting popper's, if one waits.
    #[inline]
    fn assign(&mut self) -> Option<Waker> {
        if self.poppers.is_empty() { None } else { self.assign_one() }
    }

    #[inline(never)]
    fn assign_one(&mut self) -> Option<Waker> {
        let ((), waker) = self.poppers.finish_front(State::Notified, |()| ())?;
        self.assigned += 1;
        Some(waker)
    }

    /// One attempt of a push future. The value stays in the waiter unless the push takes effect.
    ///
    /// # Safety
    /// The caller owns the waiter, which belongs to this channel and fulfils the contract of `Line::push_back`.
    #[inline]
    pub(super) unsafe fn poll_push(
        &mut self,
        waiter: &Waiter<Offer<T>>,
        keep: &mut Keep<'_>,
    ) -> Step<Result<(), Closed>> {
        let state = waiter.state();
        let granted_to_others = match state {
            // SAFETY: (I3) the lock is held.
            State::Queued => return unsafe { refresh(waiter, keep) },
            State::Taken => return Step::Ready(Ok(()), Wakes::default()),
            State::Closed => return Step::Ready(Err(Closed), Wakes::default()),
            State::Notified => self.granted - 1,
            State::Idle | State::Cancelled | State::Finished => self.granted,
        };
        if self.closed {
            self.granted = granted_to_others;
            waiter.set(State::Closed);
            return Step::Ready(Err(Closed), Wakes::default());
        }
        if self.has_room(granted_to_others) {
            self.granted = granted_to_others;
            // SAFETY: (I3) the lock is held, and nothing else refers to the payload.
            let popper = self.accept(&mut unsafe { waiter.payload() }.value);
            waiter.set(State::Taken);
            return Step::Ready(Ok(()), Wakes { popper, pusher: None });
        }
        let Some(waker) = keep.take() else { return Step::NeedsWaker };
        self.granted = granted_to_others;
        // SAFETY: (I3) the waiter is not linked (`Queued` returned above); the rest is the caller's contract.
        unsafe {
            if state == State::Notified {
                self.pushers.put_back(waiter, waker);
            } else {
                self.park_push(waiter, waker);
            }
        }
        Step::Parked(Wakes::default())
    }

    /// Puts a push that found no room in line.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push), and the waiter is not in line.
    #[inline]
    pub(super) unsafe fn park_push(&mut self, waiter: &Waiter<Offer<T>>, waker: Waker) {
        // SAFETY: (I3) the caller's contract.
        unsafe { self.pushers.push_back(waiter, waker, self.next_ticket) };
        self.next_ticket += 1;
    }

    /// Takes a push that will not be polled to its end out of everything. Afterwards it is `Taken` if it took effect;
    /// in any other state its value is still in the waiter.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push).
    pub(super) unsafe fn withdraw_push(&mut self, waiter: &Waiter<Offer<T>>) -> Withdrawn {
        match waiter.state() {
            State::Queued => {
                // SAFETY: (I3) `Queued` under the lock is linked here.
                let own = unsafe { self.pushers.remove(waiter) };
                waiter.set(State::Cancelled);
                Withdrawn { own: Some(own), wakes: Wakes::default() }
            }
            State::Notified => {
                self.granted -= 1;
                waiter.set(State::Cancelled);
                let dies = planted!("grant-dies-with-its-push");
                Withdrawn { own: None, wakes: if dies { Wakes::default() } else { self.settle() } }
            }
            _ => Withdrawn::default(),
        }
    }

    // ---- pop ----

    /// One pop that does not wait.
    pub(super) fn try_pop(&mut self) -> Result<(T, Wakes), Refused> {
        if let Some(popped) = self.pop_free() {
            return Ok(popped);
        }
        if self.closed && self.ring.is_empty() {
            return Err(Refused::Closed);
        }
        // Nobody waits on behalf of this call, so a push that must be polled is not an obstacle: look behind it.
        if self.poppers.is_empty()
            && let Some(popped) = self.pull_through(|offer| !offer.by_poll)
        {
            return Ok(popped);
        }
        Err(Refused::Full)
    }

    /// Pops a value that no notified popper is entitled to; the freed slot goes to the oldest parked push.
    #[inline]
    fn pop_free(&mut self) -> Option<(T, Wakes)> {
        if self.free() == 0 {
            return None;
        }
        let value = self.ring.pop_front()?;
        Some((value, self.settle()))
    }

    /// Pops a free value if no push waits for its slot: the common case, which wakes nobody.
    #[inline(always)]
    pub(super) fn pop_now(&mut self) -> Option<Leaving<'_, T>> {
        if self.free() > 0 && self.pushers.is_empty() { self.ring.pop_slot() } else { None }
    }

    /// Pops the value that was counted for a notified popper, or another that is the oldest by now.
    #[inline(always)]
    pub(super) fn pop_counted(&mut self) -> Option<Leaving<'_, T>> {
        let value = self.ring.pop_slot();
        self.assigned -= usize::from(value.is_some());
        value
    }

    /// Pops the oldest value of an engine that has free ones. Its slot is to be given away with
    /// [`settle`](Self::settle).
    #[inline(always)]
    pub(super) fn pop_unsettled(&mut self) -> Leaving<'_, T> {
        self.ring.pop_slot().expect("what is free is in the ring")
    }

    /// Pops for a popper that would otherwise wait: a free value, or the one the oldest parked push is due to give.
    #[inline(always)]
    pub(super) fn pop_due(&mut self) -> Option<(T, Wakes)> {
        self.pop_free().or_else(|| self.pull_due())
    }

    /// With no free value: pops the one the oldest parked push is due to give.
    #[inline(always)]
    pub(super) fn pull_due(&mut self) -> Option<(T, Wakes)> {
        // By waiting, this popper would make room for the oldest push, and be the first in line for its value: a popper
        // that waits already does so for a granted push, and then, as with a void grant, the comparison does not hold.
        let due =
            self.pushers.front().is_some_and(|offer| !offer.by_poll) && self.capacity + 1 > self.granted;
        if due { self.pull_through(|_| true) } else { None }
    }

    /// With no free value and no room (capacity 0, or every slot granted): takes the value of the first parked push
    /// that may be pulled. It goes through the ring, behind the values that are counted for others, and the head
    /// comes out: taken past them, it would overtake them if one of those poppers gave up.
    fn pull_through(&mut self, accept: impl Fn(&Offer<T>) -> bool) -> Option<(T, Wakes)> {
        if self.closed {
            return None; // the parked pushes are about to be told
        }
        let (mut pulled, pusher) =
            self.pushers.finish_first(State::Taken, accept, |offer| offer.value.take())?;
        let value = if self.ring.is_empty() {
            pulled?
        } else {
            self.enqueue(&mut pulled);
            self.ring.pop_front()?
        };
        Some((value, Wakes { pusher: Some(pusher), popper: None }))
    }

    /// One attempt of a pop future. The flag says that waiting poppers have to be told that the channel has ended.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push).
    pub(super) unsafe fn poll_pop(
        &mut self,
        waiter: &Waiter<()>,
        keep: &mut Keep<'_>,
    ) -> Step<Result<(T, bool), Closed>> {
        match waiter.state() {
            // SAFETY: (I3) the lock is held.
            State::Queued => return unsafe { refresh(waiter, keep) },
            State::Closed => return Step::Ready(Err(Closed), Wakes::default()),
            State::Notified => {
                if let Some(value) = self.pop_counted().map(Leaving::value) {
                    waiter.set(State::Taken);
                    return Step::Ready(
                        Ok((value, self.has_ended() && !self.poppers.is_empty())),
                        Wakes::default(),
                    );
                }
            }
            State::Idle | State::Taken | State::Cancelled | State::Finished => {}
        }
        if planted!("parks-on-an-old-look")
            && let Some(waker) = keep.take()
        {
            // SAFETY: (I3) as below.
            return Step::Parked(unsafe { self.park_pop(waiter, waker) });
        }
        if let Some((value, wakes)) = self.pop_due() {
            waiter.set(State::Taken);
            return Step::Ready(Ok((value, false)), wakes);
        }
        if self.has_ended() {
            waiter.set(State::Closed);
            return Step::Ready(Err(Closed), Wakes::default());
        }
        let Some(waker) = keep.take() else { return Step::NeedsWaker };
        // SAFETY: (I3) the waiter is not linked (`Queued` returned above); the rest is the caller's contract.
        Step::Parked(unsafe { self.park_pop(waiter, waker) })
    }

    /// Puts a pop that found nothing in line. A waiting popper is room for one push, so there may be one to wake.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push), and the waiter is not in line.
    #[inline]
    pub(super) unsafe fn park_pop(&mut self, waiter: &Waiter<()>, waker: Waker) -> Wakes {
        // SAFETY: (I3) the caller's contract.
        unsafe { self.poppers.push_back(waiter, waker, 0) };
        self.settle()
    }

    /// Whether the channel is open and no push waits for room: a pop that found no free value has to wait, and nobody has
    /// waited for it to come.
    #[inline]
    pub(super) fn nobody_pushes(&self) -> bool {
        self.pushers.is_empty() && !self.closed
    }

    /// Whether the channel is open and nobody waits on either side: who finds nothing to do may look again before he waits,
    /// and overtakes nobody.
    #[inline]
    pub(super) fn nobody_waits(&self) -> bool {
        self.pushers.is_empty() && self.poppers.is_empty() && !self.closed
    }

    /// [`park_pop`](Self::park_pop) where [nobody pushes](Self::nobody_pushes): there is nobody to wake.
    ///
    /// # Safety
    /// As for [`park_pop`](Self::park_pop).
    #[inline]
    pub(super) unsafe fn park_pop_alone(&mut self, waiter: &Waiter<()>, waker: Waker) {
        debug_assert!(self.nobody_pushes() && self.free() == 0);
        // SAFETY: (I3) the caller's contract.
        unsafe { self.poppers.push_back(waiter, waker, 0) };
    }

    /// Takes a pop that will not be polled to its end out of everything. A value that was counted for it goes to the
    /// next waiting popper, or is free.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push).
    pub(super) unsafe fn withdraw_pop(&mut self, waiter: &Waiter<()>) -> Withdrawn {
        match waiter.state() {
            State::Queued => {
                // SAFETY: (I3) `Queued` under the lock is linked here.
                let own = unsafe { self.poppers.remove(waiter) };
                waiter.set(State::Cancelled);
                Withdrawn { own: Some(own), wakes: Wakes::default() }
            }
            State::Notified => {
                self.assigned -= 1;
                waiter.set(State::Cancelled);
                let dies = planted!("value-dies-with-its-pop");
                Withdrawn {
                    own: None,
                    wakes: Wakes { popper: if dies { None } else { self.assign() }, pusher: None },
                }
            }
            _ => Withdrawn::default(),
        }
    }

    // ---- room and end ----

    /// Gives one unit of room, if there is any, to the oldest parked push: pulls its value, or grants it the slot.
    /// Every change makes at most one unit, so once is enough.
    #[inline]
    pub(super) fn settle(&mut self) -> Wakes {
        if self.pushers.is_empty() || self.closed || !self.has_room(self.granted) {
            return Wakes::default();
        }
        self.give_room()
    }

    #[inline(never)]
    fn give_room(&mut self) -> Wakes {
        match self.pushers.front() {
            None => Wakes::default(),
            Some(offer) if offer.by_poll => {
                self.granted += 1;
                let pusher = self.pushers.finish_front(State::Notified, |_| ()).map(|((), waker)| waker);
                Wakes { pusher, popper: None }
            }
            Some(_) => {
                let (ring, more) = (&mut self.ring, HAND_OVER.max(self.assigned));
                let pulled = self
                    .pushers
                    .finish_front(State::Taken, |offer| ring.push_from(&mut offer.value, || more));
                let pusher = pulled.map(|(_, waker)| waker);
                Wakes { pusher, popper: self.assign() }
            }
        }
    }

    /// Refuses all further pushes; `false` if that was so already. Waiters are told by [`end_some`](Self::end_some).
    pub(super) fn close(&mut self) -> bool {
        !core::mem::replace(&mut self.closed, true)
    }

    /// Nothing more will ever be popped.
    pub(super) fn has_ended(&self) -> bool {
        self.closed && self.ring.is_empty()
    }

    /// Tells waiters that the channel is closed, as many as `wakers` has room for, and returns whether that was all.
    /// Poppers are told only when the ring is empty: before, a counted value may still be given back to them.
    pub(super) fn end_some(&mut self, wakers: &mut [Option<Waker>]) -> bool {
        for slot in wakers {
            *slot = if self.closed { self.end_one() } else { None };
            if slot.is_none() {
                return true;
            }
        }
        false
    }

    fn end_one(&mut self) -> Option<Waker> {
        if !planted!("close-forgets-pushers")
            && let Some(((), waker)) = self.pushers.finish_front(State::Closed, |_| ())
        {
            return Some(waker);
        }
        if self.ring.is_empty()
            && !planted!("close-forgets-poppers")
            && let Some(((), waker)) = self.poppers.finish_front(State::Closed, |()| ())
        {
            return Some(waker);
        }
        if planted!("close-forgets-watchers") {
            return None;
        }
        self.watchers.finish_front(State::Closed, |()| ()).map(|((), waker)| waker)
    }

    /// Takes everything that is queued, for the last receiver to drop outside the lock.
    pub(super) fn take_ring(&mut self) -> Ring<T> {
        self.assigned = 0; // only pops that were leaked can have had a claim
        core::mem::take(&mut self.ring)
    }
}

/// Why an immediate attempt did not take effect. (`Full` is a popper's `Empty`.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

/// A waiter in line was polled again: its newest waker counts. The old one leaves through `keep`.
///
/// # Safety
/// The caller owns the waiter, which is `Queued`, and holds the lock.
unsafe fn refresh<P, R>(waiter: &Waiter<P>, keep: &mut Keep<'_>) -> Step<R> {
    // SAFETY: (I3) the lock is held.
    let current = unsafe { waiter.waker() };
    if !current.will_wake(keep.waker) {
        let Some(newer) = keep.take() else { return Step::NeedsWaker };
        if !planted!("keeps-its-first-waker") {
            keep.clone = Some(core::mem::replace(current, newer));
        }
    }
    Step::Parked(Wakes::default())
}

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
impl<T> Engine<T> {
    /// The two implications of the type's documentation, and that the counts make sense.
    pub(super) fn audit(&self) {
        assert!(self.assigned <= self.ring.len(), "more values assigned than there are");
        assert!(self.free() == 0 || self.poppers.is_empty(), "a popper waits beside a free value");
        assert!(
            self.closed || self.pushers.is_empty() || !self.has_room(self.granted),
            "a push waits beside room: cap {} poppers {} free {} granted {}",
            self.capacity,
            self.poppers.len(),
            self.free(),
            self.granted
        );
        assert!(!self.has_ended() || self.poppers.is_empty(), "a popper waits at the end");
        assert!(!self.closed || self.pushers.is_empty(), "a push waits at a closed channel");
        assert!(!self.closed || self.watchers.is_empty(), "the close was not told to all");
    }

    /// How far room is below zero: by how much values and grants exceed the slots and the waiting pops.
    pub(super) fn overdrawn(&self) -> usize {
        (self.free() + self.granted).saturating_sub(self.capacity + self.poppers.len())
    }

    /// Values counted for poppers, slots granted, waiting pushes, waiting pops.
    pub(super) fn counts(&self) -> (usize, usize, usize, usize) {
        (self.assigned, self.granted, self.pushers.len(), self.poppers.len())
    }
}
