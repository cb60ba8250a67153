//! The record of a parked push or pop, and the line it stands in.
//!
//! Knows: `sync`, `Waker`. Does not know: values, capacities, what being notified means to its owner.
#![allow(unsafe_code, reason = "an intrusive list: the records stay inside the pinned futures that own them")]

use core::cell::UnsafeCell;
use core::marker::PhantomPinned;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::task::Waker;

use crate::sync::atomic::{AtomicU8, Ordering};

/// Where a waiter is between its first poll and its result.
///
/// ```text
///            park                      by a peer, under the lock
///   Idle ───────────▶ Queued ─┬─▶ Notified   pop: a value is counted as this waiter's
///    │                  ▲     │              push: a slot is granted to it
///    │                  └─────┼── (a grant that has become void goes back to its place in line)
///    │                        ├─▶ Taken      push: pulled, its value is in the channel
///    │                        ├─▶ Closed     the channel ended the wait
///    │  request_cancel        │
///    ├────────────────────────┴─▶ Cancelled  by the owner; the value, if any, is still in the waiter
///    └── any of these ──────────▶ Finished   by the owner: the outcome has been handed out
/// ```
///
/// Only `Queued` is linked. A peer changes the state last, with the lock held, and touches nothing of the waiter
/// afterwards: at `Taken` and `Closed` the owner may free it without taking the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    Idle,
    Queued,
    Notified,
    Taken,
    Closed,
    Cancelled,
    Finished,
}

/// An `Idle` one that has looked so many times less this.
const LOOKED: u8 = 15;

impl State {
    fn from_u8(raw: u8) -> Self {
        match raw {
            0 => Self::Idle,
            1 => Self::Queued,
            2 => Self::Notified,
            3 => Self::Taken,
            4 => Self::Closed,
            5 => Self::Cancelled,
            6 => Self::Finished,
            _ => Self::Idle, // looked before
        }
    }
}

/// One parked operation with what its side needs to remember (`P`: a push keeps its value here, a pop nothing).
pub(super) struct Waiter<P> {
    state: AtomicU8,
    body: UnsafeCell<Body<P>>,
    _pinned: PhantomPinned,
}

/// What only the lock's holder may touch while the waiter is `Queued`, and only the owner otherwise.
#[repr(C)] // `place` before the payload: after it, the compiler clears it in one go with the payload's last byte, in
// overlapping stores that the move into the task then waits for (4 ns, as much as the rest of a push)
struct Body<P> {
    /// Initialised when the waiter first parks; its waker is there only while the waiter is `Queued`. An operation that
    /// never waits writes none of it, and what was not written need not be copied when the future moves.
    place: MaybeUninit<Place<P>>,
    payload: P,
}

struct Place<P> {
    previous: Link<P>,
    next: Link<P>,
    /// When this waiter first parked; keeps its place if it has to go back into the line.
    ticket: u64,
    waker: MaybeUninit<Waker>,
}

type Link<P> = Option<NonNull<Waiter<P>>>;

// SAFETY: (I5) the links are followed only under the channel's lock, whichever thread the owner is on; what the body
// owns besides them is a `Waker` and the payload.
unsafe impl<P: Send> Send for Waiter<P> {}
// SAFETY: (I5) a shared waiter gives safe access to its atomic state only; the body is reached through unsafe
// functions that ask for the lock or for the owner's exclusive use.
unsafe impl<P: Send> Sync for Waiter<P> {}

impl<P> Waiter<P> {
    #[inline]
    pub(super) fn new(payload: P) -> Self {
        let mut waiter = MaybeUninit::<Self>::uninit();
        // SAFETY: (local) all that has to be initialised is. In parts, since of a constant the compiler would also write
        // what is not initialised.
        unsafe {
            (&raw mut (*waiter.as_mut_ptr()).state).write(AtomicU8::new(State::Idle as u8));
            (&raw mut (*UnsafeCell::raw_get(&raw const (*waiter.as_ptr()).body)).payload).write(payload);
            waiter.assume_init()
        }
    }

    pub(super) fn state(&self) -> State {
        // ORDERING: pairs with the `Release` store in `set`: whoever sees `Taken` or `Closed` without the lock also
        // sees what the peer did to the body before.
        State::from_u8(self.state.load(Ordering::Acquire))
    }

    /// Whether the waiter stands in line or was notified: it has something to give up.
    #[inline]
    pub(super) fn waits(&self) -> bool {
        const QUEUED: u8 = State::Queued as u8;
        const NOTIFIED: u8 = State::Notified as u8;
        // ORDERING: as in `state`; compared as it is, because every operation ends with this look.
        matches!(self.state.load(Ordering::Acquire), QUEUED | NOTIFIED)
    }

    /// Whether the operation has not begun: the first look of most polls.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.state.load(Ordering::Relaxed) == State::Idle as u8 // ORDERING: only its owner makes and ends this state
    }

    /// Counts how often an operation that has not begun to wait has looked; `false`: `most` times before.
    pub(super) fn look_again(&self, most: u8) -> bool {
        let raw = self.state.load(Ordering::Relaxed); // ORDERING: as in `is_idle`
        let looks = raw.saturating_sub(LOOKED);
        if looks >= most {
            return false;
        }
        self.state.store(LOOKED + looks + 1, Ordering::Relaxed); // ORDERING: as above
        true
    }

    /// Moves to `state`. Called by the owner of a waiter that is not linked, or under the lock.
    pub(super) fn set(&self, state: State) {
        // ORDERING: pairs with `state`.
        self.state.store(state as u8, Ordering::Release);
    }

    /// What the waiter's side remembers.
    ///
    /// # Safety
    /// The caller holds the channel's lock, or is the owner of a waiter that is not `Queued`; and no other reference
    /// to the payload is alive.
    #[allow(
        clippy::mut_from_ref,
        reason = "the exclusion comes from the lock or the state, as the contract says"
    )]
    pub(super) unsafe fn payload(&self) -> &mut P {
        // SAFETY: (I3) exclusive by this function's contract.
        unsafe { &mut (*self.body.get()).payload }
    }

    /// The waker that will be told.
    ///
    /// # Safety
    /// The caller holds the channel's lock, the waiter is `Queued`, and no other reference to the waker is alive.
    #[allow(clippy::mut_from_ref, reason = "as for `payload`")]
    pub(super) unsafe fn waker(&self) -> &mut Waker {
        // SAFETY: (I3) exclusive by this function's contract, and `Queued`, hence initialised.
        unsafe { (*self.place()).waker.assume_init_mut() }
    }

    /// Where the place is; initialised once the waiter has parked.
    fn place(&self) -> *mut Place<P> {
        // SAFETY: (I3) only an address is made.
        unsafe { (&raw mut (*self.body.get()).place).cast() }
    }
}

/// A first-in, first-out line of waiters. It owns none of them: whoever is linked stays pinned until unlinked.
///
/// Having a `&mut Line` is having the channel's lock, because the line lives behind it.
pub(super) struct Line<P> {
    head: Link<P>,
    tail: Link<P>,
    len: usize,
}

impl<P> Line<P> {
    pub(super) const fn new() -> Self {
        Self { head: None, tail: None, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Links `waiter` at the end and makes it `Queued`.
    ///
    /// # Safety
    /// The waiter is not linked, is used with this line only, stays where it is in memory, and its owner unlinks it
    /// (with [`remove`](Self::remove), under the lock) before freeing it as long as it is `Queued`.
    pub(super) unsafe fn push_back(&mut self, waiter: &Waiter<P>, waker: Waker, ticket: u64) {
        // SAFETY: (I3) by this function's contract.
        unsafe { self.link_before(None, waiter, waker, ticket) }
    }

    /// Links a waiter that was linked before, at the place its ticket gives it, and makes it `Queued`.
    ///
    /// # Safety
    /// As for [`push_back`](Self::push_back), and the waiter was linked before.
    pub(super) unsafe fn put_back(&mut self, waiter: &Waiter<P>, waker: Waker) {
        // SAFETY: (I3) the lock is held; linked waiters are alive, and whoever was linked once has a ticket.
        unsafe {
            let ticket = (*waiter.place()).ticket;
            let mut at = self.head;
            while let Some(other) = at {
                let place = other.as_ref().place();
                if (*place).ticket > ticket {
                    break;
                }
                at = (*place).next;
            }
            self.link_before(at, waiter, waker, ticket);
        }
    }

    /// # Safety
    /// As for [`push_back`](Self::push_back); `successor`, if any, is linked here.
    unsafe fn link_before(&mut self, successor: Link<P>, waiter: &Waiter<P>, waker: Waker, ticket: u64) {
        let this = Some(NonNull::from(waiter));
        // SAFETY: (I3) the lock is held; linked waiters are alive and `waiter` is not linked. It has no waker that this
        // would overwrite, because it is not `Queued`.
        unsafe {
            let previous = match successor {
                None => core::mem::replace(&mut self.tail, this),
                Some(next) => core::mem::replace(&mut (*next.as_ref().place()).previous, this),
            };
            match previous {
                None => self.head = this,
                Some(previous) => (*previous.as_ref().place()).next = this,
            }
            waiter.place().write(Place { previous, next: successor, ticket, waker: MaybeUninit::new(waker) });
        }
        self.len += 1;
        waiter.set(State::Queued);
    }

    /// Unlinks a waiter that is `Queued` and returns its waker; its state is for the caller to set.
    ///
    /// # Safety
    /// The waiter is linked in this line, and is moved to another state before the lock is released.
    pub(super) unsafe fn remove(&mut self, waiter: &Waiter<P>) -> Waker {
        self.len -= 1;
        // SAFETY: (I3) the lock is held; the waiter and its neighbours are linked, hence alive, and it has its waker,
        // which nobody reads again since the waiter is no longer `Queued`.
        unsafe {
            let place = waiter.place();
            let (previous, next) = ((*place).previous, (*place).next);
            match previous {
                None => self.head = next,
                Some(previous) => (*previous.as_ref().place()).next = next,
            }
            match next {
                None => self.tail = previous,
                Some(next) => (*next.as_ref().place()).previous = previous,
            }
            (*place).waker.assume_init_read()
        }
    }

    /// The payload of the first in line.
    pub(super) fn front(&self) -> Option<&P> {
        // SAFETY: (I3) linked, hence alive; the lock is held as long as `self` is borrowed.
        self.head.map(|waiter| unsafe { &(*waiter.as_ref().body.get()).payload })
    }

    /// Unlinks the first in line, lets `take` have what it needs of the payload, moves it to `outcome`, and returns
    /// the waker to call once the lock is released.
    pub(super) fn finish_front<R>(
        &mut self,
        outcome: State,
        take: impl FnOnce(&mut P) -> R,
    ) -> Option<(R, Waker)> {
        self.finish_first(outcome, |_| true, take)
    }

    /// As [`finish_front`](Self::finish_front), for the first in line that `accept` approves of.
    pub(super) fn finish_first<R>(
        &mut self,
        outcome: State,
        accept: impl Fn(&P) -> bool,
        take: impl FnOnce(&mut P) -> R,
    ) -> Option<(R, Waker)> {
        let mut at = self.head;
        while let Some(waiter) = at {
            // SAFETY: (I3) linked, hence alive until it is moved to `outcome`, which is the last thing done to it:
            // from then on its owner may free it without the lock.
            unsafe {
                let body = waiter.as_ref().body.get();
                if accept(&(*body).payload) {
                    let waker = self.remove(waiter.as_ref());
                    if planted!("told-before-pulled") {
                        waiter.as_ref().set(outcome);
                        crate::sync::thread::yield_now();
                    }
                    let taken = take(&mut (*body).payload);
                    waiter.as_ref().set(outcome);
                    return Some((taken, waker));
                }
                at = (*waiter.as_ref().place()).next;
            }
        }
        None
    }
}
