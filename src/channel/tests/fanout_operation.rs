//! Oneshots, broadcasts and watches where a runtime polls: the budget, no blocking, arms of races, hostile wakers.

use core::pin::{Pin, pin};
use core::task::{Poll, RawWakerVTable};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream::Stream;

use super::hostile::{Event, hostile};
use super::support::{Bell, poll, poll_with};
use crate::channel::broadcast::Overflow;
use crate::channel::{broadcast, oneshot, watch};
use crate::util::executor::{self, Hooks, Polling};

static NOBODYS: RawWakerVTable = RawWakerVTable::new(|_| unreachable!(), |_| (), |_| (), |_| ());
static HOOKS: Hooks =
    Hooks { wake: |waker| waker.wake(), deliver: || {}, catch_up: || {}, plain: &NOBODYS, clock: None };

/// Runs `f` as a runtime would whose polls may do nothing that does not suspend.
fn without_budget<R>(f: impl FnOnce() -> R) -> R {
    let before = Polling::new(&HOOKS, 0).install();
    executor::begin_poll();
    let result = catch_unwind(AssertUnwindSafe(f));
    before.install();
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[test]
fn the_poll_budget_makes_a_ready_task_yield_before_anything_happens() {
    let (bell, waker) = Bell::new();
    let (tx, mut rx) = broadcast(2, Overflow::Wait);
    let mut stream = tx.subscribe();
    tx.try_push(0).unwrap();
    let (state, mut seen) = watch(0);
    let mut seen_as_stream = seen.clone();
    let (reply, mut answer) = oneshot();
    let (reply_too, mut answer_too) = oneshot();
    assert!(reply.push(0).is_ok() && reply_too.push(0).is_ok());
    let mut push = pin!(tx.push(1));
    without_budget(|| {
        assert!(poll_with(push.as_mut(), &waker).is_pending());
        assert!(poll_with(pin!(rx.pop()), &waker).is_pending());
        assert!(poll_with(pin!(tx.closed()), &waker).is_pending());
        assert!(Pin::new(&mut stream).poll_next(&mut core::task::Context::from_waker(&waker)).is_pending());
        assert!(poll_with(pin!(seen.pop()), &waker).is_pending());
        assert!(poll_with(pin!(state.closed()), &waker).is_pending());
        let mut cx = core::task::Context::from_waker(&waker);
        assert!(Pin::new(&mut seen_as_stream).poll_next(&mut cx).is_pending());
        assert!(poll_with(pin!(answer.pop()), &waker).is_pending());
        assert!(poll_with(Pin::new(&mut answer_too), &waker).is_pending());
    });
    assert_eq!((bell.rings(), tx.len(), rx.len()), (9, 1, 1));
    assert_eq!(poll(push), Poll::Ready(Ok(())));
    assert_eq!(
        (rx.try_pop(), seen.try_pop(), answer.try_pop(), answer_too.try_pop()),
        (Ok(0), Ok(0), Ok(0), Ok(0))
    );
}

#[test]
fn nothing_blocks_where_a_runtime_polls() {
    let (tx, mut rx) = broadcast(2, Overflow::Wait);
    tx.try_push(0).unwrap();
    let (_state, mut seen) = watch(0);
    let (reply, mut answer) = oneshot();
    reply.push(0).unwrap();
    without_budget(|| {
        assert!(catch_unwind(AssertUnwindSafe(|| rx.pop_blocking())).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| tx.push_blocking(1))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| seen.pop_blocking())).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| answer.pop_blocking())).is_err());
    });
    assert_eq!((rx.pop_blocking(), seen.pop_blocking(), answer.pop_blocking()), (Ok(0), Ok(0), Ok(0)));
}

#[test]
fn wakers_may_use_the_broadcast_whatever_is_done_to_them() {
    for overflow in [Overflow::Lag, Overflow::Wait] {
        let (tx, mut rx) = broadcast(1, overflow);
        let mut other = rx.clone();
        let visits = Arc::new(AtomicUsize::new(0));
        let waker = {
            let (tx, visits) = (tx.clone(), visits.clone());
            hostile(move |_| {
                visits.fetch_add(1, Ordering::SeqCst);
                let visitor = tx.subscribe();
                assert!(poll(pin!(visitor.clone().pop())).is_pending());
                drop(tx.push(9));
                assert!(poll(pin!(tx.closed())).is_pending());
            })
        };
        let mut pop = Box::pin(rx.pop());
        let mut second = Box::pin(other.pop());
        for _ in 0..2 {
            assert!(poll_with(pop.as_mut(), &waker).is_pending());
            assert!(poll_with(second.as_mut(), &waker).is_pending());
        }
        tx.try_push(1).unwrap();
        assert_eq!((poll(pop.as_mut()), poll(second.as_mut())), (Poll::Ready(Ok(1)), Poll::Ready(Ok(1))));
        drop((pop, second));
        let mut dropped = Box::pin(rx.pop());
        assert!(poll_with(dropped.as_mut(), &waker).is_pending());
        drop(dropped);
        assert!(visits.load(Ordering::SeqCst) >= 8);
        assert_eq!(tx.receiver_count(), 2);
        tx.audit();
    }
}

#[test]
fn a_waker_may_fill_the_gap_its_pop_is_about_to_sleep_in() {
    let (tx, mut rx) = broadcast(1, Overflow::Lag);
    let sender = tx.clone();
    let waker = hostile(move |event| {
        if event == Event::Clone {
            let _ = sender.try_push(5);
        }
    });
    assert_eq!(poll_with(pin!(rx.pop()), &waker), Poll::Ready(Ok(5)));

    let (tx, mut rx) = watch(0);
    rx.mark_seen();
    let waker = hostile(move |event| {
        if event == Event::Clone {
            let _ = tx.push(5);
        }
    });
    assert_eq!(poll_with(pin!(rx.pop()), &waker), Poll::Ready(Ok(5)));

    let (tx, mut rx) = oneshot();
    let tx = std::sync::Mutex::new(Some(tx));
    let waker = hostile(move |event| {
        if event == Event::Clone
            && let Some(tx) = tx.lock().unwrap().take()
        {
            let _ = tx.push(5);
        }
    });
    assert_eq!(poll_with(pin!(rx.pop()), &waker), Poll::Ready(Ok(5)));
}

#[test]
fn a_panicking_waker_stops_no_other() {
    let bomb = hostile(|event| assert!(event != Event::Wake, "a waker that panics"));
    let (bell, waker) = Bell::new();
    let (tx, rx) = broadcast(1, Overflow::Lag);
    let mut receivers: Vec<_> = (0..40).map(|_| rx.clone()).collect();
    let mut pops: Vec<_> = receivers.iter_mut().map(|rx| Box::pin(rx.pop())).collect();
    for (n, pop) in pops.iter_mut().enumerate() {
        assert!(poll_with(pop.as_mut(), if n % 2 == 0 { &bomb } else { &waker }).is_pending());
    }
    tx.try_push(1).unwrap();
    assert_eq!(bell.rings(), 20);
    assert!(pops.iter_mut().all(|pop| poll(pop.as_mut()) == Poll::Ready(Ok(1))));

    let (tx, mut rx) = watch(0);
    rx.mark_seen();
    let mut receivers: Vec<_> = (0..40).map(|_| rx.clone()).collect();
    let mut pops: Vec<_> = receivers.iter_mut().map(|rx| Box::pin(rx.pop())).collect();
    for (n, pop) in pops.iter_mut().enumerate() {
        assert!(poll_with(pop.as_mut(), if n % 2 == 0 { &bomb } else { &waker }).is_pending());
    }
    drop(tx);
    assert_eq!(bell.rings(), 20);
    assert!(pops.iter_mut().all(|pop| poll(pop.as_mut()).is_ready()));

    let (tx, mut rx) = oneshot();
    let mut pop = Box::pin(rx.pop());
    assert!(poll_with(pop.as_mut(), &bomb).is_pending());
    tx.push(1).unwrap();
    assert_eq!(poll(pop.as_mut()), Poll::Ready(Ok(1)));
}

#[test]
fn a_waker_that_cannot_be_cloned_changes_nothing() {
    let bomb = hostile(|event| assert!(event != Event::Clone, "a waker that cannot be cloned"));
    let (tx, mut rx) = broadcast(1, Overflow::Wait);
    let (state, mut seen) = watch(0);
    seen.mark_seen();
    let (mut reply, mut answer) = oneshot();
    assert!(catch_unwind(AssertUnwindSafe(|| poll_with(pin!(rx.pop()), &bomb))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| poll_with(pin!(seen.pop()), &bomb))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| poll_with(pin!(answer.pop()), &bomb))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| poll_with(pin!(reply.closed()), &bomb))).is_err());
    tx.try_push(1).unwrap();
    {
        let mut push = pin!(tx.push(2));
        assert!(catch_unwind(AssertUnwindSafe(|| poll_with(push.as_mut(), &bomb))).is_err());
        assert_eq!(rx.try_pop(), Ok(1));
        assert_eq!(poll(push), Poll::Ready(Ok(())));
    }
    state.push(1).unwrap();
    reply.push(3).unwrap();
    assert_eq!((rx.try_pop(), seen.try_pop(), answer.try_pop()), (Ok(2), Ok(1), Ok(3)));
    tx.audit();
}
