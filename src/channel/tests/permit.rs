//! Permits and reservations: a slot now, a value later or never.

use core::pin::pin;
use core::task::Poll;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::support::{Bell, Census, audit, channel, on_every_channel, poll, poll_with};
use crate::channel::{PushError, Sharing, TryPopError, TryPushError};
use crate::operation::Operation;

on_every_channel! {
    a_permit_is_a_slot
    a_permit_is_for_a_waiting_pop
    a_dropped_permit_gives_its_slot_on
    reservations_stand_in_line_with_pushes
    a_reservation_that_gives_up_passes_its_slot_on
    a_permit_outlives_the_pop_it_was_given_for
    a_reservation_whose_room_left_keeps_its_place
    a_close_gives_the_value_back
    a_resolved_reservation_panics
}

/// What these tests ask of a poll: that it was ready, and what is then to be done.
trait Then<T> {
    fn ready_then(self, f: impl FnOnce(T)) -> bool;
}

impl<T> Then<T> for Poll<T> {
    fn ready_then(self, f: impl FnOnce(T)) -> bool {
        match self {
            Poll::Ready(value) => f(value),
            Poll::Pending => return false,
        }
        true
    }
}

fn a_permit_is_a_slot<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    let mut permits: Vec<_> = (0..capacity).map(|_| tx.try_reserve().unwrap()).collect();
    assert!(tx.try_reserve().unwrap_err().is_full());
    assert!(tx.is_full() && rx.is_full() && tx.is_empty());
    assert_eq!(tx.try_push(99), Err(TryPushError::Full(99)));
    assert_eq!(audit(&tx).granted, capacity);
    permits.drain(..capacity / 2).enumerate().for_each(|(n, permit)| permit.push(n).unwrap());
    drop(permits);
    (capacity / 2..capacity).for_each(|n| tx.try_push(n).unwrap());
    assert!(rx.try_iter().eq(0..capacity));
    assert_eq!(audit(&tx), Default::default());
}

fn a_permit_is_for_a_waiting_pop<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    let mut pop = pin!(rx.pop());
    let (bell, waker) = Bell::new();
    assert!(poll_with(pop.as_mut(), &waker).is_pending());
    let Poll::Ready(Ok(permit)) = poll(pin!(tx.reserve())) else { panic!("there is room") };
    assert_eq!(bell.rings(), 0);
    permit.push(1).unwrap();
    assert_eq!(bell.rings(), 1);
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty)); // it is the waiter's
    assert_eq!(poll(pop), Poll::Ready(Ok(1)));
    assert_eq!(audit(&tx), Default::default());
}

fn a_dropped_permit_gives_its_slot_on<S: Sharing>(capacity: usize) {
    for to_a_reservation in [false, true] {
        let (tx, rx) = channel::<_, S>(capacity);
        let mut pop = pin!(rx.pop());
        if capacity == 0 {
            assert!(poll(pop.as_mut()).is_pending());
        }
        (1..capacity).for_each(|_| tx.try_push(0).unwrap());
        let permit = tx.try_reserve().unwrap();
        let (bell, waker) = Bell::new();
        if to_a_reservation {
            let mut next = pin!(tx.reserve());
            assert!(poll_with(next.as_mut(), &waker).is_pending());
            drop(permit);
            assert_eq!(bell.rings(), 1);
            assert!(poll(next).ready_then(|permit| permit.unwrap().push(5).unwrap()));
        } else {
            let mut next = pin!(tx.push(5));
            assert!(poll_with(next.as_mut(), &waker).is_pending());
            drop(permit);
            assert_eq!(bell.rings(), 1);
            assert_eq!(poll(next), Poll::Ready(Ok(())));
        }
        let zeros = core::iter::repeat_n(0, capacity.max(1) - 1);
        if capacity == 0 {
            assert_eq!(poll(pop), Poll::Ready(Ok(5)));
        } else {
            assert!(rx.try_iter().eq(zeros.chain([5])));
        }
        assert_eq!(audit(&tx), Default::default());
    }
}

fn reservations_stand_in_line_with_pushes<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    (0..capacity).for_each(|_| tx.try_push(0).unwrap());
    let mut first = pin!(tx.push(1));
    let mut second = pin!(tx.reserve());
    let mut third = pin!(tx.push(3));
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    assert!(poll(third.as_mut()).is_pending());
    let mut got = Vec::new();
    let mut pops = (0..capacity + 3).map(|_| Box::pin(rx.pop())).collect::<Vec<_>>();
    for pop in &mut pops {
        let mut popped = poll(pop.as_mut());
        if popped.is_pending() {
            // All that is before the reservation is out, and what is behind it waits.
            assert!(poll(third.as_mut()).is_pending());
            assert!(poll(second.as_mut()).ready_then(|permit| permit.unwrap().push(2).unwrap()));
            popped = poll(pop.as_mut());
        } else if got.len() + 1 == capacity + 1 && capacity > 0 {
            // The slot of `1` is the reservation's; `3` may have got the one that came free after it.
            assert!(poll(second.as_mut()).ready_then(|permit| permit.unwrap().push(2).unwrap()));
        }
        got.push(popped);
        audit(&tx);
    }
    assert_eq!(poll(first), Poll::Ready(Ok(())));
    assert_eq!(poll(third), Poll::Ready(Ok(())));
    let got: Vec<_> =
        got.into_iter().map(|popped| if let Poll::Ready(Ok(n)) = popped { n } else { -1 }).collect();
    let mut sorted = got.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(core::iter::repeat_n(0, capacity).chain(1..=3)), "{got:?}");
    assert!(got[..=capacity].iter().copied().eq(core::iter::repeat_n(0, capacity).chain([1])), "{got:?}");
}

fn a_reservation_that_gives_up_passes_its_slot_on<S: Sharing>(capacity: usize) {
    for way in 0..3 {
        let (tx, rx) = channel::<_, S>(capacity);
        (0..capacity).for_each(|_| tx.try_push(0).unwrap());
        let mut leaves = Box::pin(tx.reserve());
        assert!(poll(leaves.as_mut()).is_pending());
        let mut next = pin!(tx.push(3));
        let (bell, waker) = Bell::new();
        assert!(poll_with(next.as_mut(), &waker).is_pending());
        let mut pop = pin!(rx.pop());
        assert_eq!(poll(pop.as_mut()).is_pending(), capacity == 0);
        assert_eq!((bell.rings(), audit(&tx).granted), (0, 1));
        match way {
            0 => drop(leaves),
            1 => {
                leaves.as_mut().request_cancel();
                assert!(matches!(poll(leaves.as_mut()), Poll::Ready(Err(PushError::Cancelled(())))));
            }
            _ => {
                let cx = &mut core::task::Context::from_waker(&waker);
                assert!(leaves.as_mut().poll_discard(cx).is_ready());
            }
        }
        assert_eq!((bell.rings(), audit(&tx).granted), (1, 0));
        assert_eq!(poll(next), Poll::Ready(Ok(())));
    }
    // One that waits is out of the line, and its owner is told.
    let (tx, _rx) = channel::<u8, S>(0);
    let mut waits = pin!(tx.reserve());
    let (bell, waker) = Bell::new();
    assert!(poll_with(waits.as_mut(), &waker).is_pending());
    waits.as_mut().request_cancel();
    assert_eq!((bell.rings(), audit(&tx).pushers), (1, 0));
}

fn a_permit_outlives_the_pop_it_was_given_for<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    // Two more than there are slots, on account of two pops that then leave.
    let mut pops: Vec<_> = (0..2).map(|_| Box::pin(rx.pop())).collect();
    pops.iter_mut().for_each(|pop| assert!(poll(pop.as_mut()).is_pending()));
    let permits: Vec<_> = (0..capacity + 2).map(|_| tx.try_reserve().unwrap()).collect();
    drop(pops);
    let mut waits = pin!(tx.push(99));
    assert!(poll(waits.as_mut()).is_pending());
    for (n, permit) in permits.into_iter().enumerate() {
        permit.push(n).unwrap();
        audit(&tx);
    }
    assert_eq!((tx.len(), tx.is_full()), (capacity + 2, true));
    // The two that are too many come out before anybody gets a slot.
    for n in 0..2 {
        assert_eq!(rx.try_pop(), Ok(n));
        assert_eq!(audit(&tx).pushers, 1);
    }
    if capacity > 0 {
        assert_eq!(rx.try_pop(), Ok(2));
        assert_eq!(audit(&tx).pushers, 0);
    }
    assert!(rx.try_iter().eq((3..capacity + 2).chain([99])));
    assert_eq!(poll(waits), Poll::Ready(Ok(())));
}

fn a_reservation_whose_room_left_keeps_its_place<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    (0..capacity).for_each(|_| tx.try_push(0).unwrap());
    let mut first = pin!(tx.reserve());
    let mut later = pin!(tx.push(2));
    assert!(poll(first.as_mut()).is_pending() && poll(later.as_mut()).is_pending());
    if capacity == 0 {
        let mut gone = Box::pin(rx.pop());
        assert!(poll(gone.as_mut()).is_pending());
        drop(gone);
        assert!(poll(first.as_mut()).is_pending());
        assert_eq!(audit(&tx).granted, 0);
    }
    let mut pop = pin!(rx.pop());
    let popped = poll(pop.as_mut());
    assert!(poll(first).ready_then(|permit| permit.unwrap().push(1).unwrap()));
    let popped = if capacity == 0 { poll(pop) } else { popped };
    assert_eq!(popped, Poll::Ready(Ok(usize::from(capacity == 0))));
}

fn a_close_gives_the_value_back<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    let mut pop = pin!(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    let (permit, unused) = (tx.try_reserve().unwrap(), tx.reserve());
    let mut waits: Vec<_> = (0..capacity + 1).map(|_| Box::pin(tx.reserve())).collect();
    let resolved: Vec<_> = waits.iter_mut().map(|wait| poll(wait.as_mut())).collect();
    let kept: Vec<_> = resolved.into_iter().filter(Poll::is_ready).collect();
    assert_eq!(kept.len(), capacity);
    rx.close();
    assert_eq!(permit.push(1), Err(PushError::Closed(1)));
    drop(kept);
    assert!(poll(pin!(unused)).ready_then(|closed| assert!(closed.unwrap_err().is_closed())));
    assert!(tx.try_reserve().unwrap_err().is_closed());
    let last = waits.last_mut().unwrap();
    assert!(poll(last.as_mut()).ready_then(|closed| assert!(closed.unwrap_err().is_closed())));
    assert_eq!(audit(&tx), Default::default());
}

fn a_resolved_reservation_panics<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<u8, S>(capacity);
    rx.close();
    let mut reserve = pin!(tx.reserve());
    assert!(poll(reserve.as_mut()).is_ready());
    assert!(catch_unwind(AssertUnwindSafe(|| poll(reserve).is_ready())).is_err());
}

#[test]
fn a_forgotten_permit_keeps_its_slot_and_breaks_nothing() {
    let census = Census::default();
    let (tx, rx) = crate::channel::bounded(2);
    std::mem::forget(tx.try_reserve().unwrap());
    assert!(tx.try_push(census.token(0)).is_ok());
    assert!(tx.try_push(census.token(1)).is_err());
    drop(rx);
    assert_eq!(census.alive(), 0);
}

#[test]
fn permits_and_reservations_are_send_and_sync() {
    fn send_sync<T: Send + Sync>(_: &T) {}
    let (tx, _rx) = crate::channel::bounded::<core::cell::Cell<u8>>(1);
    send_sync(&tx.reserve());
    send_sync(&tx.try_reserve().unwrap());
}
