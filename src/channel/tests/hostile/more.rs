//! The same for batches, permits, and those who wait for the close.

use core::pin::pin;
use core::task::Poll;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::support::{Bell, Census, audit, poll, poll_with};
use super::{Bomb, Event, hostile};
use crate::channel::{PopError, PushError, bounded};

#[test]
fn wakers_may_use_the_channel_while_a_batch_goes_through_it() {
    for capacity in [0, 1, 2, 64] {
        let (tx, rx) = bounded::<u32>(capacity);
        let visits = Arc::new(AtomicUsize::new(0));
        let waker = {
            let (tx, rx, visits) = (tx.clone(), rx.clone(), visits.clone());
            hostile(move |_| {
                visits.fetch_add(1, Ordering::SeqCst);
                drop(tx.try_reserve());
                let _ = (poll(pin!(tx.reserve())), poll(pin!(rx.closed())));
                let _ = poll(pin!(tx.push_many(&mut VecDeque::new())));
                let _ = poll(pin!(rx.pop_many(&mut Vec::new(), 0)));
                let _ = (rx.drain().size_hint(), tx.sender_count(), tx.downgrade().upgrade());
            })
        };
        let mut pops: Vec<_> = (0..40).map(|_| Box::pin(rx.pop())).collect();
        pops.iter_mut().for_each(|pop| assert!(poll_with(pop.as_mut(), &waker).is_pending()));
        let mut values: VecDeque<_> = (0..40).collect();
        assert!(poll_with(pin!(tx.push_many(&mut values)), &waker).is_ready());
        for (n, pop) in (0..).zip(&mut pops) {
            assert_eq!(poll(pop.as_mut()), Poll::Ready(Ok(n)));
        }
        let mut pushes: Vec<_> = (0..capacity as u32 + 40).map(|n| Box::pin(tx.push(n))).collect();
        let waiting =
            pushes.iter_mut().filter_map(|push| poll_with(push.as_mut(), &waker).is_pending().then_some(()));
        assert_eq!(waiting.count(), 40);
        let mut got = Vec::new();
        assert!(poll_with(pin!(rx.pop_many(&mut got, usize::MAX)), &waker).is_ready());
        assert!(got.into_iter().eq(0..capacity as u32 + 40));
        {
            let (mut reserve, mut closed) = (pin!(tx.reserve()), pin!(rx.closed()));
            let slots: Vec<_> = (0..capacity).map(|_| tx.try_reserve()).collect();
            assert!(poll_with(reserve.as_mut(), &waker).is_pending());
            assert!(poll_with(closed.as_mut(), &waker).is_pending());
            drop(slots);
            tx.close();
            assert!(poll(closed).is_ready());
            assert!(matches!(poll(reserve), Poll::Ready(Err(_))));
        }
        assert!(visits.load(Ordering::SeqCst) >= 80);
    }
}

#[test]
fn a_waker_that_closes_the_channel_ends_the_batch_that_woke_it() {
    let (tx, rx) = bounded::<u32>(0);
    let closer = tx.clone();
    let waker = hostile(move |event| {
        if event == Event::Wake {
            closer.close();
        }
    });
    let mut pops: Vec<_> = (0..40).map(|_| Box::pin(rx.pop())).collect();
    pops.iter_mut().for_each(|pop| assert!(poll_with(pop.as_mut(), &waker).is_pending()));
    let mut values: VecDeque<_> = (0..40).collect();
    assert_eq!(poll(pin!(tx.push_many(&mut values))), Poll::Ready(Err(PushError::Closed(()))));
    let pushed = 40 - values.len() as u32;
    assert!(pushed > 0 && values.into_iter().eq(pushed..40));
    for (n, pop) in (0..).zip(&mut pops) {
        let expected = if n < pushed { Ok(n) } else { Err(PopError::Closed) };
        assert_eq!(poll(pop.as_mut()), Poll::Ready(expected));
    }
}

#[test]
fn a_panicking_wake_stops_no_other_of_a_batch() {
    let (tx, rx) = bounded(0);
    let bomb = hostile(|event| assert!(event != Event::Wake, "a waker that panics"));
    let (bell, waker) = Bell::new();
    let mut pops: Vec<_> = (0..40).map(|_| Box::pin(rx.pop())).collect();
    for (n, pop) in pops.iter_mut().enumerate() {
        assert!(poll_with(pop.as_mut(), if n % 2 == 0 { &bomb } else { &waker }).is_pending());
    }
    let mut values: VecDeque<_> = (0..40).collect();
    assert_eq!(poll(pin!(tx.push_many(&mut values))), Poll::Ready(Ok(())));
    assert_eq!(bell.rings(), 20);
    for (n, pop) in pops.iter_mut().enumerate() {
        assert_eq!(poll(pop.as_mut()), Poll::Ready(Ok(n)));
    }
    let mut all: Vec<_> = (0..40).map(|_| Box::pin(rx.closed())).collect();
    for (n, closed) in all.iter_mut().enumerate() {
        assert!(poll_with(closed.as_mut(), if n % 2 == 0 { &bomb } else { &waker }).is_pending());
    }
    tx.close();
    assert_eq!(bell.rings(), 20);
}

#[test]
fn a_panicking_clone_leaves_a_batch_to_be_polled_again() {
    let census = Census::default();
    let (tx, rx) = bounded(2);
    let bomb = hostile(|event| assert!(event != Event::Clone, "a waker that cannot be cloned"));
    let mut values: VecDeque<_> = (0..5).map(|id| census.token(id)).collect();
    let mut push = Box::pin(tx.push_many(&mut values));
    for granted in [false, true] {
        let polled = catch_unwind(AssertUnwindSafe(|| poll_with(push.as_mut(), &bomb).is_ready()));
        assert!(polled.is_err());
        assert_eq!((rx.len(), census.alive()), (2, 5 - 2 * usize::from(granted)));
        if !granted {
            assert!(poll(push.as_mut()).is_pending());
            assert!(rx.try_iter().map(|token| token.id).eq(0..2)); // the first slot is granted
            assert_eq!(audit(&tx).granted, 1);
        }
    }
    assert_eq!(audit(&tx).granted, 0); // it was used before the waker was asked for
    assert!(poll(push.as_mut()).is_pending());
    assert!(rx.try_iter().map(|token| token.id).eq(2..4));
    assert!(poll(push.as_mut()).is_ready());
    drop(push);
    assert_eq!((values.len(), rx.try_iter().map(|token| token.id).sum::<u64>()), (0, 4));

    let mut reserve = Box::pin(tx.reserve());
    let slots = [tx.try_reserve().unwrap(), tx.try_reserve().unwrap()];
    assert!(catch_unwind(AssertUnwindSafe(|| poll_with(reserve.as_mut(), &bomb).is_ready())).is_err());
    assert_eq!((audit(&tx).granted, audit(&tx).pushers), (2, 0));
    drop(slots);
    assert!(poll(reserve.as_mut()).is_ready());
}

#[test]
fn values_that_panic_when_dropped_come_back_whole() {
    let census = Census::default();
    let (tx, rx) = bounded(4);
    let mut values: VecDeque<_> = (0..6).map(|id| Bomb::new(census.token(id))).collect();
    let mut push = Box::pin(tx.push_many(&mut values));
    assert!(poll(push.as_mut()).is_pending());
    drop(rx); // drops the four that are in it
    assert_eq!(census.alive(), 2);
    assert!(poll(push.as_mut()).is_ready());
    drop(push);
    let permit = tx.try_reserve();
    assert!(permit.is_err_and(|error| error.is_closed()));
    for bomb in values {
        assert!(catch_unwind(AssertUnwindSafe(|| drop(bomb))).map_err(std::mem::forget).is_err());
    }
    assert_eq!(census.alive(), 0);
}

#[test]
fn what_is_forgotten_breaks_nothing() {
    let (tx, rx) = bounded(1);
    tx.try_push(Box::new(0)).unwrap();
    let values: &'static mut VecDeque<_> = Box::leak(Box::new(VecDeque::from([Box::new(1), Box::new(2)])));
    let mut push = Box::pin(tx.push_many(values));
    assert!(poll(push.as_mut()).is_pending());
    std::mem::forget(push);
    let mut reserve = Box::pin(tx.reserve());
    assert!(poll(reserve.as_mut()).is_pending());
    std::mem::forget(reserve);
    let mut closed = Box::pin(tx.closed());
    assert!(poll(closed.as_mut()).is_pending());
    std::mem::forget(closed);
    assert_eq!(rx.try_pop().as_deref(), Ok(&0)); // the slot is the forgotten batch's
    assert!(tx.try_push(Box::new(3)).unwrap_err().is_full());
    drop(rx);
    assert!(tx.try_push(Box::new(4)).unwrap_err().is_closed());
}
