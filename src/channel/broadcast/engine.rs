//! The protocol of a broadcast: which values are kept, who has still to pop them, and whom a change concerns. It
//! decides; it never locks, wakes, or runs code of the user's.
//!
//! Knows: cells, waiters. Does not know: locks, endpoints, futures.

use core::task::Waker;
use std::collections::VecDeque;

use crate::channel::cell::{Held, Spare};
use crate::channel::condition::tell_front;
use crate::channel::waiter::{Line, State};
use crate::channel::wake::Wakes;

/// What a push does when the slowest receiver is a whole capacity behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// It overwrites the oldest value. Receivers that have not popped that one are told, once, how many they missed.
    Lag,
    /// It waits until the slowest receiver has popped.
    Wait,
}

/// What a parked push remembers.
pub(super) struct Offer<T> {
    /// The value, until it is in the channel.
    pub(super) value: Option<T>,
    /// Whether only the push's own poll may put it there: it is granted a slot instead of being pulled.
    pub(super) by_poll: bool,
}

struct Slot<T> {
    value: Held<T>,
    /// How many receivers have this value as their next one.
    readers: usize,
}

/// The state behind the lock.
///
/// Every value has a position, from 0; so has every receiver, the position of its next value.
///
/// ```text
///             head                          tail
///              ▼                             ▼
///   · · · · · [ 7 ][ 8 ][ 9 ][10 ][11 ][12 ] ·       values that somebody has still to pop, at most `capacity`
///               2    0    1    0    0    3   5       receivers whose next value this is; the last number: who has all
///   ▲
///   position 3: this receiver has lagged by head - 3 = 4, and is counted at the head
/// ```
///
/// The head always has a reader: a value that nobody needs any more leaves at once, with the pop of its last reader, or
/// with the receiver. `slots.len() + granted <= capacity`, and a push waits only while these are equal.
///
/// Places for values are made as the ring first fills, and used again: what circulates is what was ever in use at once,
/// at most `capacity` and one for each receiver that looks at a value while the ring has moved on.
pub(super) struct Engine<T> {
    slots: VecDeque<Slot<T>>,
    spares: Vec<Spare<T>>,
    tail: u64,
    /// Receivers at the tail.
    waiting: usize,
    receivers: usize,
    senders: usize,
    capacity: usize,
    overflow: Overflow,
    /// Slots that notified pushes are entitled to.
    granted: usize,
    pub(super) pushers: Line<Offer<T>>,
    /// Receivers that wait for a value, each with its position: never decreasing.
    pub(super) poppers: Line<u64>,
    /// Who waits for the channel to be closed.
    pub(super) closers: Line<u64>,
    closed: bool,
}

/// A value as it leaves the lock.
pub(super) enum Taken<T> {
    /// Nobody else needs it.
    Moved(T),
    /// Others do: to be cloned, and released.
    Shared(Held<T>),
}

/// Why a receiver got no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Empty,
    Closed,
    Lagged(u64),
}

/// Why a push did not take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

/// What is to be done once the lock is released.
#[must_use = "waiters were notified and must be woken"]
pub(super) struct After<T> {
    pub(super) wakes: Wakes,
    /// A value nobody needs any more.
    pub(super) garbage: Option<T>,
    /// Further waiters are to be told, by [`Engine::tell_some`].
    pub(super) more: bool,
    /// Of those who wait for values, the ones below this position.
    pub(super) limit: u64,
}

impl<T> Engine<T> {
    /// An open channel with one sender and one receiver; `None` if there is no memory for that many slots.
    pub(super) fn try_new(capacity: usize, overflow: Overflow) -> Option<Self> {
        let mut slots = VecDeque::new();
        slots.try_reserve_exact(capacity).ok()?;
        Some(Self {
            slots,
            spares: Vec::new(),
            tail: 0,
            waiting: 1,
            receivers: 1,
            senders: 1,
            capacity,
            overflow,
            granted: 0,
            pushers: Line::new(),
            poppers: Line::new(),
            closers: Line::new(),
            closed: false,
        })
    }

    // ---- looking ----

    fn head(&self) -> u64 {
        self.tail - self.slots.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many values lie ahead of a receiver.
    pub(super) fn len_from(&self, position: u64) -> usize {
        (self.tail - position.max(self.head())) as usize
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a receiver at this position will never get anything any more, not even bad news.
    pub(super) fn has_ended(&self, position: u64) -> bool {
        self.closed && position == self.tail
    }

    /// Whether there is something to tell a receiver at this position: a value, that it missed some, or that it was all.
    pub(super) fn has_news(&self, position: u64) -> bool {
        self.closed || position != self.tail
    }

    /// Whether a push would have to wait now.
    pub(super) fn is_full(&self) -> bool {
        !self.pushers.is_empty() || !self.has_room()
    }

    pub(super) fn receivers(&self) -> usize {
        self.receivers
    }

    pub(super) fn senders(&self) -> usize {
        self.senders
    }

    fn has_free_slot(&self) -> bool {
        self.slots.len() + self.granted < self.capacity
    }

    fn has_room(&self) -> bool {
        self.overflow == Overflow::Lag || self.receivers == 0 || self.has_free_slot()
    }

    // ---- push ----

    /// Pushes the value in `slot` if there is room and nobody stands in line; leaves it there otherwise.
    #[inline]
    pub(super) fn try_push(&mut self, slot: &mut Option<T>) -> Result<After<T>, Refused> {
        if self.closed {
            Err(Refused::Closed)
        } else if self.is_full() {
            Err(Refused::Full)
        } else {
            let garbage = slot.take().and_then(|value| self.enqueue(value));
            Ok(self.after(garbage))
        }
    }

    /// One attempt of a push that is not in line, and may have been granted a slot. It takes the value if it takes effect.
    pub(super) fn push(&mut self, slot: &mut Option<T>, granted: bool) -> Result<After<T>, Refused> {
        if !granted {
            return self.try_push(slot);
        }
        self.granted -= 1;
        if self.closed {
            return Err(Refused::Closed);
        }
        let garbage = slot.take().and_then(|value| self.enqueue(value));
        Ok(self.after(garbage))
    }

    /// Puts a value at the tail. Returns one that is needed no more: the overwritten one, or, without receivers, this.
    fn enqueue(&mut self, value: T) -> Option<T> {
        if self.receivers == 0 {
            return Some(value);
        }
        let mut garbage = None;
        if self.slots.len() == self.capacity
            && let Some(oldest) = self.slots.pop_front()
        {
            *self.readers_at(self.head()) += oldest.readers; // they have lagged
            garbage = self.retire(oldest.value);
        }
        let place = self.spares.pop().unwrap_or_else(Spare::new);
        let readers = core::mem::take(&mut self.waiting);
        self.slots.push_back(Slot { value: place.fill(value), readers });
        self.tail += 1;
        garbage
    }

    /// A push has left the line. As an arm it may have waited there for a slot before one that needs none: a push that
    /// nobody receives.
    pub(super) fn leave_line(&mut self) -> After<T> {
        if self.can_settle() { self.after(None) } else { After::nothing() }
    }

    /// A granted slot is given back.
    pub(super) fn return_grant(&mut self) -> After<T> {
        self.granted -= 1;
        let dies = planted!("broadcast-grant-dies-with-its-push");
        if dies { After::nothing() } else { self.after(None) }
    }

    // ---- pop ----

    /// Hands the receiver at `position` its next value and moves it on.
    #[inline]
    pub(super) fn take(&mut self, position: &mut u64) -> Result<(Taken<T>, After<T>), Missing> {
        let head = self.head();
        if *position < head {
            let missed = head - *position - u64::from(planted!("broadcast-lag-forgets-one"));
            *position = head;
            return Err(Missing::Lagged(missed));
        }
        if *position == self.tail {
            return Err(if self.closed { Missing::Closed } else { Missing::Empty });
        }
        let at = (*position - head) as usize;
        *position += 1;
        match self.slots.get_mut(at + 1) {
            Some(next) => next.readers += 1,
            None => self.waiting += 1,
        }
        let slot = &mut self.slots[at];
        slot.readers -= 1;
        if at > 0 || slot.readers > 0 {
            return Ok((Taken::Shared(slot.value.share()), After::nothing()));
        }
        // The last reader of the oldest value: the slot is free.
        let Some(oldest) = self.slots.pop_front() else { unreachable!("there is a value at the head") };
        let taken = match oldest.value.release_if_last() {
            Ok((value, place)) => {
                self.spares.push(place);
                Taken::Moved(value)
            }
            Err(held) => Taken::Shared(held), // somebody is still cloning it
        };
        let forgets = planted!("broadcast-a-free-slot-pulls-nobody");
        Ok((taken, if forgets { After::nothing() } else { self.after(None) }))
    }

    /// The count of receivers at a position from the head to the tail.
    fn readers_at(&mut self, position: u64) -> &mut usize {
        let at = (position - self.head()) as usize;
        self.slots.get_mut(at).map_or(&mut self.waiting, |slot| &mut slot.readers)
    }

    /// Gives up the ring's hold on a value. It comes out if nobody looks at it; who does has to bring the place back.
    fn retire(&mut self, held: Held<T>) -> Option<T> {
        let (value, place) = held.release()?;
        self.spares.push(place);
        Some(value)
    }

    /// A place comes back.
    pub(super) fn put_back(&mut self, place: Spare<T>) {
        self.spares.push(place);
    }

    // ---- ends ----

    pub(super) fn add_sender(&mut self) {
        self.senders += 1;
    }

    /// One sender less; the last closes. Whether this has closed the channel.
    pub(super) fn remove_sender(&mut self) -> (bool, After<T>) {
        self.senders -= 1;
        if self.senders == 0 { self.close() } else { (false, After::nothing()) }
    }

    /// One more receiver: beside one at a position, or from now on. Returns its position.
    pub(super) fn add_receiver(&mut self, beside: Option<u64>) -> u64 {
        let position = beside.unwrap_or(self.tail);
        let counted_at = position.max(self.head());
        *self.readers_at(counted_at) += 1;
        self.receivers += 1;
        position
    }

    /// One receiver less. Returns what nobody needs any more.
    pub(super) fn remove_receiver(&mut self, position: u64) -> (Vec<T>, After<T>) {
        self.receivers -= 1;
        let counted_at = position.max(self.head());
        *self.readers_at(counted_at) -= 1;
        let mut garbage = Vec::new();
        while self.slots.front().is_some_and(|oldest| oldest.readers == 0) {
            let oldest = self.slots.pop_front();
            garbage.extend(oldest.and_then(|oldest| self.retire(oldest.value)));
        }
        let forgets = planted!("broadcast-a-leaving-receiver-pulls-nobody");
        (garbage, if forgets { After::nothing() } else { self.after(None) })
    }

    /// Refuses all further pushes; `false` if that was so already.
    pub(super) fn close(&mut self) -> (bool, After<T>) {
        let first = !core::mem::replace(&mut self.closed, true);
        (first, After { more: first, ..After::nothing() })
    }

    // ---- telling ----

    /// What a change entails: at most one waiter of each kind is notified here, the others by
    /// [`tell_some`](Self::tell_some).
    #[inline]
    fn after(&mut self, mut garbage: Option<T>) -> After<T> {
        let mut wakes = Wakes::default();
        if garbage.is_none() {
            (wakes.pusher, garbage) = self.settle();
        }
        let limit = self.tail;
        wakes.popper = tell_front(&mut self.poppers, limit);
        let more = self.can_settle() || self.poppers.front().is_some_and(|position| *position < limit);
        After { wakes, garbage, more: more && !planted!("broadcast-tells-one"), limit }
    }

    /// Whether the first in the line of pushes may go on.
    fn can_settle(&self) -> bool {
        let may = |offer: &Offer<T>| if offer.by_poll { self.has_free_slot() } else { self.has_room() };
        !self.closed && self.pushers.front().is_some_and(may)
    }

    /// Lets the oldest parked push go on if it may: pulls its value, or grants it a slot. Also returns a value that
    /// nobody needs, which without receivers is the pulled one.
    fn settle(&mut self) -> (Option<Waker>, Option<T>) {
        if !self.can_settle() {
            return (None, None);
        }
        if self.pushers.front().is_some_and(|offer| offer.by_poll) {
            self.granted += 1;
            return (self.pushers.finish_front(State::Notified, |_| ()).map(|((), waker)| waker), None);
        }
        match self.pushers.finish_front(State::Taken, |offer| offer.value.take()) {
            Some((value, waker)) => (Some(waker), value.and_then(|value| self.enqueue(value))),
            None => (None, None),
        }
    }

    /// Tells further waiters, as many as `wakers` has room for, and returns whether that was all. Poppers are told that
    /// wait below `limit`, which moves with what is pulled here: what others push meanwhile, they tell of.
    pub(super) fn tell_some(
        &mut self,
        limit: &mut u64,
        wakers: &mut [Option<Waker>],
        garbage: &mut Option<T>,
    ) -> bool {
        for slot in wakers {
            *slot = if self.closed {
                self.end_one()
            } else if garbage.is_none() && self.can_settle() {
                let (waker, value) = self.settle();
                *garbage = value;
                *limit = self.tail;
                waker
            } else {
                tell_front(&mut self.poppers, *limit)
            };
            if slot.is_none() {
                return !self.can_settle();
            }
        }
        false
    }

    /// Tells one waiter that the channel is closed.
    fn end_one(&mut self) -> Option<Waker> {
        let pusher = self.pushers.finish_front(State::Closed, |_| ());
        let ended = pusher
            .or_else(|| self.poppers.finish_front(State::Notified, |_| ()))
            .or_else(|| self.closers.finish_front(State::Notified, |_| ()));
        ended.map(|((), waker)| waker)
    }
}

impl<T> After<T> {
    fn nothing() -> Self {
        Self { wakes: Wakes::default(), garbage: None, more: false, limit: 0 }
    }
}

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
impl<T> Engine<T> {
    /// What the type's documentation says of the numbers, where nobody is halfway through telling.
    pub(super) fn audit(&self) {
        let readers: usize = self.slots.iter().map(|slot| slot.readers).sum();
        assert_eq!(readers + self.waiting, self.receivers, "a receiver is lost");
        assert!(self.slots.front().is_none_or(|oldest| oldest.readers > 0), "a value is kept for nobody");
        assert!(self.slots.len() + self.granted <= self.capacity, "more values than slots");
        assert!(!self.can_settle(), "a push waits beside room");
        assert!(
            self.poppers.front().is_none_or(|position| *position == self.tail),
            "a pop waits beside a value"
        );
        assert!(
            !self.closed || self.pushers.is_empty() && self.poppers.is_empty() && self.closers.is_empty()
        );
    }

    /// Places for values that lie idle.
    pub(super) fn spare_places(&self) -> usize {
        self.spares.len()
    }
}
