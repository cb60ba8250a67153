//! Pushes and pops as arms: cancelled, discarded, and committed only by their own poll.

use core::pin::pin;
use core::task::{Context, Poll, RawWakerVTable, Waker};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::support::{Bell, Census, poll, poll_with};
use crate::channel::{PopError, PushError, TryPopError, bounded};
use crate::operation::Operation;
use crate::util::executor::{self, Hooks, Polling};

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[test]
fn a_cancelled_pop_resolves_and_is_woken() {
    let (tx, rx) = bounded(1);
    let mut pop = pin!(rx.pop());
    let (bell, waker) = Bell::new();
    assert!(poll_with(pop.as_mut(), &waker).is_pending());
    pop.as_mut().request_cancel();
    pop.as_mut().request_cancel();
    assert_eq!(bell.rings(), 1);
    tx.try_push(1).unwrap();
    assert_eq!(poll(pop.as_mut()), Poll::Ready(Err(PopError::Cancelled)));
    assert_eq!(rx.try_pop(), Ok(1));
}

#[test]
fn a_cancelled_pop_with_a_counted_value_delivers_it() {
    let (tx, rx) = bounded(1);
    let mut pop = pin!(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    tx.try_push(1).unwrap();
    pop.as_mut().request_cancel();
    assert_eq!(poll(pop.as_mut()), Poll::Ready(Ok(1)));
}

#[test]
fn what_is_cancelled_before_its_first_poll_never_starts() {
    let (tx, rx) = bounded(1);
    let mut push = pin!(tx.push(1));
    push.as_mut().request_cancel();
    assert_eq!(poll(push), Poll::Ready(Err(PushError::Cancelled(1))));
    tx.try_push(2).unwrap();
    let mut pop = pin!(rx.pop());
    pop.as_mut().request_cancel();
    assert_eq!(poll(pop), Poll::Ready(Err(PopError::Cancelled)));
    assert_eq!(rx.len(), 1);
}

#[test]
fn a_cancelled_push_answers_exactly() {
    let (tx, rx) = bounded(1);
    tx.try_push(0).unwrap();
    let (bell, waker) = Bell::new();
    let mut lost = pin!(tx.push(1));
    assert!(poll_with(lost.as_mut(), &waker).is_pending());
    lost.as_mut().request_cancel();
    assert_eq!(bell.rings(), 1);
    assert_eq!(poll(lost), Poll::Ready(Err(PushError::Cancelled(1))));

    let mut pushed = pin!(tx.push(2));
    assert!(poll(pushed.as_mut()).is_pending());
    assert_eq!(rx.try_pop(), Ok(0));
    pushed.as_mut().request_cancel();
    assert_eq!(poll(pushed), Poll::Ready(Ok(())));
    assert_eq!(rx.try_pop(), Ok(2));
}

#[test]
fn cancel_says_pushed_or_gives_the_value_back() {
    let (tx, rx) = bounded(1);
    assert_eq!(pin!(tx.push(0)).cancel(), Err(PushError::Cancelled(0))); // never polled
    tx.try_push(1).unwrap();
    let mut push = pin!(tx.push(2));
    assert!(poll(push.as_mut()).is_pending());
    assert_eq!(rx.try_pop(), Ok(1));
    assert_eq!(push.cancel(), Ok(()));
    let mut push = pin!(tx.push(3));
    assert!(poll(push.as_mut()).is_pending());
    tx.close();
    assert_eq!(push.as_mut().cancel(), Err(PushError::Closed(3)));
    assert!(catch_unwind(AssertUnwindSafe(|| push.cancel())).is_err());
}

#[test]
fn a_discarded_pop_gives_its_counted_value_up() {
    let (tx, rx) = bounded(1);
    let mut first = pin!(rx.pop());
    let mut second = pin!(rx.pop());
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    tx.try_push(1).unwrap();
    assert!(first.as_mut().poll_discard(&mut cx()).is_ready());
    assert!(first.poll_discard(&mut cx()).is_ready());
    assert_eq!(poll(second), Poll::Ready(Ok(1)));
}

#[test]
fn a_discarded_push_drops_its_value_at_once_or_was_pushed() {
    let census = Census::default();
    let (tx, rx) = bounded(1);
    assert!(tx.try_push(census.token(0)).is_ok());
    let mut push = pin!(tx.push(census.token(1)));
    assert!(poll(push.as_mut()).is_pending());
    assert!(push.as_mut().poll_discard(&mut cx()).is_ready());
    assert_eq!(census.alive(), 1);
    assert!(push.poll_discard(&mut cx()).is_ready());

    let mut push = pin!(tx.push(census.token(2)));
    assert!(poll(push.as_mut()).is_pending());
    drop(rx.try_pop());
    assert!(push.poll_discard(&mut cx()).is_ready());
    assert_eq!(rx.try_pop().ok().map(|token| token.id), Some(2));
    assert_eq!(census.alive(), 0);
}

#[test]
fn polling_after_the_end_panics_and_harms_nobody() {
    let (tx, rx) = bounded(1);
    let mut push = pin!(tx.push(1));
    assert!(poll(push.as_mut()).is_ready());
    assert!(catch_unwind(AssertUnwindSafe(|| poll(push))).is_err());
    let mut pop = pin!(rx.pop());
    assert_eq!(poll(pop.as_mut()), Poll::Ready(Ok(1)));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(pop))).is_err());
    tx.try_push(2).unwrap();
    assert_eq!(rx.try_pop(), Ok(2));
}

// ---- committed by their own poll ----

#[test]
fn an_arm_is_granted_the_slot_and_pushes_in_its_own_poll() {
    let (tx, rx) = bounded(1);
    tx.try_push(0).unwrap();
    let (bell, waker) = Bell::new();
    let mut arm = pin!(tx.push(1));
    arm.as_mut().commit_on_poll();
    assert!(poll_with(arm.as_mut(), &waker).is_pending());
    assert_eq!(rx.try_pop(), Ok(0));
    assert_eq!((bell.rings(), rx.len()), (1, 0));
    assert_eq!(tx.try_push(9), Err(crate::channel::TryPushError::Full(9))); // the slot is spoken for
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    assert_eq!(poll(arm), Poll::Ready(Ok(())));
    assert_eq!(rx.try_pop(), Ok(1));
}

#[test]
fn of_two_arms_that_both_find_room_only_the_polled_one_is_pushed() {
    let (a, a_out) = bounded(1);
    let (b, b_out) = bounded(1);
    a.try_push(0).unwrap();
    b.try_push(0).unwrap();
    let (mut left, mut right) = (pin!(a.push(1)), pin!(b.push(2)));
    left.as_mut().commit_on_poll();
    right.as_mut().commit_on_poll();
    assert!(poll(left.as_mut()).is_pending() && poll(right.as_mut()).is_pending());
    assert!(a_out.try_pop().is_ok() && b_out.try_pop().is_ok()); // both granted
    assert_eq!(poll(left), Poll::Ready(Ok(())));
    assert!(right.poll_discard(&mut cx()).is_ready());
    assert_eq!((a_out.len(), b_out.len()), (1, 0));
    b.try_push(3).unwrap(); // the slot came back
}

#[test]
fn a_dropped_grant_passes_on() {
    for next_is_arm in [false, true] {
        let (tx, rx) = bounded(1);
        tx.try_push(0).unwrap();
        let (bell, waker) = Bell::new();
        let mut granted = Box::pin(tx.push(1));
        let mut next = pin!(tx.push(2));
        granted.as_mut().commit_on_poll();
        if next_is_arm {
            next.as_mut().commit_on_poll();
        }
        assert!(poll(granted.as_mut()).is_pending());
        assert!(poll_with(next.as_mut(), &waker).is_pending());
        assert_eq!(rx.try_pop(), Ok(0));
        assert_eq!(bell.rings(), 0);
        drop(granted);
        assert_eq!(bell.rings(), 1);
        assert_eq!(poll(next), Poll::Ready(Ok(())));
        assert_eq!(rx.try_pop(), Ok(2));
    }
}

#[test]
fn at_capacity_zero_a_waiting_pop_grants() {
    let (tx, rx) = bounded(0);
    let (push_bell, push_waker) = Bell::new();
    let (pop_bell, pop_waker) = Bell::new();
    let mut arm = pin!(tx.push(1));
    arm.as_mut().commit_on_poll();
    assert!(poll_with(arm.as_mut(), &push_waker).is_pending());
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty)); // nobody waits: no grant
    let mut pop = pin!(rx.pop());
    assert!(poll_with(pop.as_mut(), &pop_waker).is_pending());
    assert_eq!((push_bell.rings(), pop_bell.rings()), (1, 0));
    assert_eq!(tx.try_push(9).map_err(|error| error.is_full()), Err(true)); // that pop is the arm's
    assert_eq!(poll(arm), Poll::Ready(Ok(())));
    assert_eq!(pop_bell.rings(), 1);
    assert_eq!(poll(pop), Poll::Ready(Ok(1)));
}

#[test]
fn a_grant_whose_pop_left_is_void_and_keeps_its_place() {
    let (tx, rx) = bounded(0);
    let mut pops = [Box::pin(rx.pop()), Box::pin(rx.pop())];
    let (mut first, mut second) = (pin!(tx.push(1)), pin!(tx.push(2)));
    for arm in [&mut first, &mut second] {
        arm.as_mut().commit_on_poll();
        assert!(poll(arm.as_mut()).is_pending());
    }
    pops.iter_mut().for_each(|pop| assert!(poll(pop.as_mut()).is_pending()));
    drop(pops);
    // Both grants are void; whichever finds out first, the line is what it was.
    assert!(poll(second.as_mut()).is_pending());
    assert!(poll(first.as_mut()).is_pending());
    let mut pop = pin!(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    assert_eq!(poll(first), Poll::Ready(Ok(())));
    assert_eq!(poll(pop), Poll::Ready(Ok(1)));
    assert!(poll(second).is_pending());
}

#[test]
fn a_void_grant_is_not_overtaken_by_a_later_push() {
    let (tx, rx) = bounded(0);
    let (mut arm, mut plain) = (pin!(tx.push(1)), pin!(tx.push(2)));
    arm.as_mut().commit_on_poll();
    assert!(poll(arm.as_mut()).is_pending());
    {
        let mut gone = pin!(rx.pop());
        assert!(poll(gone.as_mut()).is_pending());
    }
    assert!(poll(plain.as_mut()).is_pending());
    let mut pop = pin!(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    assert_eq!(poll(arm), Poll::Ready(Ok(())));
    assert_eq!(poll(pop), Poll::Ready(Ok(1)));
}

#[test]
fn a_pop_that_waits_for_an_arm_is_served_first_by_a_push_behind_it() {
    let (tx, rx) = bounded(0);
    let (mut arm, mut plain) = (pin!(tx.push(1)), pin!(tx.push(2)));
    arm.as_mut().commit_on_poll();
    assert!(poll(arm.as_mut()).is_pending() && poll(plain.as_mut()).is_pending());
    let (mut first, mut second) = (pin!(rx.pop()), pin!(rx.pop()));
    assert!(poll(first.as_mut()).is_pending());
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    assert!(poll(second.as_mut()).is_pending());
    assert_eq!(poll(first), Poll::Ready(Ok(2)));
    assert_eq!(poll(arm), Poll::Ready(Ok(())));
    assert_eq!(poll(second), Poll::Ready(Ok(1)));
}

#[test]
fn a_granted_push_of_a_closed_channel_gets_its_value_back() {
    let (tx, rx) = bounded(1);
    tx.try_push(0).unwrap();
    let mut arm = pin!(tx.push(1));
    arm.as_mut().commit_on_poll();
    assert!(poll(arm.as_mut()).is_pending());
    assert_eq!(rx.try_pop(), Ok(0));
    rx.close();
    assert_eq!(poll(arm), Poll::Ready(Err(PushError::Closed(1))));
    assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
}

#[test]
fn try_pop_looks_behind_an_arm() {
    let (tx, rx) = bounded(0);
    let (mut arm, mut plain) = (pin!(tx.push(1)), pin!(tx.push(2)));
    arm.as_mut().commit_on_poll();
    assert!(poll(arm.as_mut()).is_pending() && poll(plain.as_mut()).is_pending());
    assert_eq!(rx.try_pop(), Ok(2));
    assert_eq!(poll(plain), Poll::Ready(Ok(())));
}

// ---- the executor's hooks ----

#[test]
fn the_poll_budget_makes_a_ready_task_yield_before_anything_happens() {
    static NOBODYS: RawWakerVTable = RawWakerVTable::new(|_| unreachable!(), |_| (), |_| (), |_| ());
    static HOOKS: Hooks =
        Hooks { wake: |waker| waker.wake(), deliver: || {}, catch_up: || {}, plain: &NOBODYS, clock: None };
    let (tx, rx) = bounded(2);
    tx.try_push(0).unwrap();
    let (bell, waker) = Bell::new();
    let (mut push, mut pop) = (pin!(tx.push(1)), pin!(rx.pop()));
    let before = Polling::new(&HOOKS, 0).install();
    executor::begin_poll();
    let polled =
        (poll_with(push.as_mut(), &waker).is_pending(), poll_with(pop.as_mut(), &waker).is_pending());
    let refused = catch_unwind(|| rx.pop_blocking()).and(catch_unwind(|| tx.push_blocking(1)));
    before.install();
    assert_eq!(polled, (true, true));
    assert_eq!((bell.rings(), rx.len()), (2, 1));
    assert!(refused.is_err()); // no blocking where a runtime polls
    assert_eq!(poll(pop), Poll::Ready(Ok(0)));
    assert_eq!(poll(push), Poll::Ready(Ok(())));
}
