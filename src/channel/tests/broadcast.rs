//! What the documentation of the broadcast promises, one promise a test; hostile values and wakers.

use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::executor::block_on;
use futures::stream::{FusedStream, Stream, StreamExt};

use super::support::{Bell, Census, Token, poll, poll_with};
use crate::channel::broadcast::{Lagged, Overflow, PopError, Receiver, TryPopError};
use crate::channel::{PushError, TryPushError, broadcast};
use crate::operation::Operation;

fn drain<T: Clone>(rx: &mut Receiver<T>) -> Vec<T> {
    core::iter::from_fn(|| rx.try_pop().ok()).collect()
}

#[test]
fn every_receiver_gets_everything_pushed_since_it_subscribed() {
    for overflow in [Overflow::Lag, Overflow::Wait] {
        let (tx, mut first) = broadcast(4, overflow);
        tx.try_push(1).unwrap();
        let mut second = tx.subscribe();
        tx.try_push(2).unwrap();
        let mut third = first.clone();
        let mut fourth = first.resubscribe();
        tx.try_push(3).unwrap();
        assert_eq!((tx.len(), tx.receiver_count(), tx.sender_count()), (3, 4, 1));
        assert_eq!((first.len(), second.len(), third.len(), fourth.len()), (3, 2, 3, 1));
        assert_eq!(drain(&mut first), [1, 2, 3]);
        assert_eq!(drain(&mut second), [2, 3]);
        assert_eq!(drain(&mut third), [1, 2, 3]);
        assert_eq!(tx.len(), 1);
        assert_eq!(drain(&mut fourth), [3]);
        assert!(tx.is_empty() && first.is_empty());
        assert_eq!(first.try_pop(), Err(TryPopError::Empty));
        tx.audit();
    }
}

#[test]
fn lag_is_counted_exactly_and_told_once() {
    for capacity in 1..5 {
        let (tx, mut rx) = broadcast(capacity, Overflow::Lag);
        let mut fast = rx.clone();
        for n in 0..10 {
            tx.try_push(n).unwrap();
            assert_eq!(fast.try_pop(), Ok(n));
        }
        assert!(!tx.is_full());
        assert_eq!((tx.len(), rx.len()), (capacity, capacity));
        let mut clone = rx.clone();
        for rx in [&mut rx, &mut clone] {
            let missed = 10 - capacity;
            assert_eq!(rx.try_pop(), Err(TryPopError::Lagged(missed as u64)));
            assert_eq!(drain(rx), (missed..10).collect::<Vec<_>>());
        }
        // Between the report and the next pop, more is missed: that is reported, too.
        for n in 0..=capacity {
            tx.try_push(n).unwrap();
        }
        assert_eq!(rx.try_pop(), Err(TryPopError::Lagged(1)));
        tx.try_push(0).unwrap();
        assert_eq!(block_on(rx.pop()), Err(PopError::Lagged(1)));
        tx.audit();
    }
}

#[test]
fn a_value_leaves_with_its_last_reader() {
    let census = Census::default();
    let (tx, mut rx) = broadcast(4, Overflow::Lag);
    let other = tx.subscribe();
    for id in 0..3 {
        assert!(tx.try_push(Arc::new(census.token(id))).is_ok());
    }
    drop(drain(&mut rx));
    assert_eq!((census.alive(), tx.len()), (3, 3));
    drop(other);
    assert_eq!((census.alive(), tx.len()), (0, 0));
}

#[test]
fn the_last_reader_clones_nothing() {
    #[derive(Debug)]
    struct Counted(Arc<AtomicUsize>);
    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Ordering::SeqCst);
            Self(self.0.clone())
        }
    }
    let clones = Arc::new(AtomicUsize::new(0));
    let (tx, mut first) = broadcast(4, Overflow::Wait);
    let mut second = tx.subscribe();
    tx.try_push(Counted(clones.clone())).unwrap();
    drop(first.try_pop().unwrap());
    assert_eq!(clones.load(Ordering::SeqCst), 1);
    drop(second.try_pop().unwrap());
    assert_eq!(clones.load(Ordering::SeqCst), 1);
}

#[test]
fn with_wait_a_push_waits_for_the_slowest() {
    let (tx, mut slow) = broadcast(2, Overflow::Wait);
    let mut fast = tx.subscribe();
    tx.try_push(0).unwrap();
    tx.try_push(1).unwrap();
    assert!(tx.is_full());
    assert_eq!(tx.try_push(9), Err(TryPushError::Full(9)));
    let (bell, waker) = Bell::new();
    let mut first = pin!(tx.push(2));
    let mut second = pin!(tx.push(3));
    assert!(poll_with(first.as_mut(), &waker).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    assert_eq!(drain(&mut fast), [0, 1]);
    assert_eq!((bell.rings(), tx.len()), (0, 2));
    assert_eq!(slow.try_pop(), Ok(0));
    assert_eq!((bell.rings(), tx.len()), (1, 2)); // pulled
    assert_eq!(fast.try_pop(), Ok(2));
    assert_eq!(poll(first), Poll::Ready(Ok(())));
    assert_eq!(tx.try_push(9), Err(TryPushError::Full(9)));
    assert_eq!(drain(&mut slow), [1, 2, 3]);
    assert_eq!(poll(second), Poll::Ready(Ok(())));
    assert_eq!(drain(&mut fast), [3]);
}

#[test]
fn the_slowest_receivers_going_lets_pushes_go_on() {
    let (tx, slow) = broadcast(2, Overflow::Wait);
    let mut fast = tx.subscribe();
    tx.try_push(0).unwrap();
    tx.try_push(1).unwrap();
    let mut pushes: Vec<_> = (2..40).map(|n| Box::pin(tx.push(n))).collect();
    let (bell, waker) = Bell::new();
    for push in &mut pushes {
        assert!(poll_with(push.as_mut(), &waker).is_pending());
    }
    assert_eq!(drain(&mut fast), [0, 1]);
    drop(slow);
    assert_eq!((bell.rings(), tx.len()), (2, 2));
    assert_eq!(fast.try_pop(), Ok(2));
    assert_eq!(bell.rings(), 1);
    // Without receivers, nobody has to be waited for.
    drop(fast);
    assert_eq!((bell.rings(), tx.len()), (35, 0));
    assert!(pushes.iter_mut().all(|push| poll(push.as_mut()) == Poll::Ready(Ok(()))));
    tx.try_push(99).unwrap();
    assert!(tx.subscribe().is_empty());
    tx.audit();
}

#[test]
fn one_push_wakes_every_waiting_pop() {
    for overflow in [Overflow::Lag, Overflow::Wait] {
        let (tx, rx) = broadcast(2, overflow);
        let mut receivers: Vec<_> = (0..40).map(|_| rx.clone()).collect();
        let mut pops: Vec<_> = receivers.iter_mut().map(|rx| Box::pin(rx.pop())).collect();
        let (bell, waker) = Bell::new();
        for pop in &mut pops {
            assert!(poll_with(pop.as_mut(), &waker).is_pending());
        }
        tx.try_push(7).unwrap();
        assert_eq!(bell.rings(), 40);
        tx.audit();
        for pop in &mut pops {
            assert_eq!(poll(pop.as_mut()), Poll::Ready(Ok(7)));
        }
    }
}

#[test]
fn close_drains_then_fails() {
    let (tx, mut rx) = broadcast(2, Overflow::Wait);
    let mut idle = tx.subscribe();
    tx.try_push(1).unwrap();
    assert_eq!(idle.try_pop(), Ok(1));
    tx.try_push(2).unwrap();
    assert_eq!(idle.try_pop(), Ok(2));
    let (bell, waker) = Bell::new();
    let mut parked = pin!(tx.push(3));
    assert!(poll_with(parked.as_mut(), &waker).is_pending());
    let mut waiting = Box::pin(idle.pop());
    assert!(poll_with(waiting.as_mut(), &waker).is_pending());
    let mut closed = pin!(tx.closed());
    assert!(poll_with(closed.as_mut(), &waker).is_pending());
    let mut closed_too = Box::pin(rx.closed());
    assert!(poll_with(closed_too.as_mut(), &waker).is_pending());
    assert!(rx.close() && !tx.close());
    assert_eq!(bell.rings(), 4);
    tx.audit();
    assert!(poll(closed).is_ready() && poll(closed_too.as_mut()).is_ready());
    drop(closed_too);
    assert!(tx.is_closed() && rx.is_closed());
    assert_eq!(poll(parked), Poll::Ready(Err(PushError::Closed(3))));
    assert_eq!(poll(waiting.as_mut()), Poll::Ready(Err(PopError::Closed)));
    assert_eq!(block_on(tx.push(4)), Err(PushError::Closed(4)));
    assert_eq!(tx.try_push(5), Err(TryPushError::Closed(5)));
    assert_eq!(block_on(rx.pop()), Ok(1));
    assert!(!rx.is_terminated());
    assert_eq!(rx.try_pop(), Ok(2));
    assert!(rx.is_terminated());
    assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
    assert_eq!(block_on(tx.subscribe().pop()), Err(PopError::Closed));
    block_on(tx.closed());
}

#[test]
fn the_last_sender_closes_and_the_last_receiver_does_not() {
    let (tx, mut rx) = broadcast(2, Overflow::Lag);
    let other = tx.clone();
    assert!(tx.same_channel(&other) && rx.same_channel(&other.subscribe()));
    assert_eq!((tx.sender_count(), rx.sender_count(), rx.receiver_count()), (2, 2, 1));
    drop(tx);
    other.try_push(1).unwrap();
    assert!(!rx.is_closed());
    drop(other);
    assert_eq!((rx.try_pop(), rx.try_pop()), (Ok(1), Err(TryPopError::Closed)));

    let (tx, rx) = broadcast(1, Overflow::Wait);
    drop(rx);
    assert!(!tx.is_closed());
    (0..5).for_each(|n| tx.try_push(n).unwrap());
    let mut late = tx.subscribe();
    tx.try_push(5).unwrap();
    assert_eq!(late.try_pop(), Ok(5));
}

#[test]
fn a_stream_gives_values_and_what_was_missed() {
    let (tx, mut rx) = broadcast(2, Overflow::Lag);
    assert!(poll(pin!(rx.next())).is_pending());
    (0..5).for_each(|n| tx.try_push(n).unwrap());
    assert_eq!(rx.size_hint(), (2, None));
    drop(tx);
    let all: Vec<_> = block_on(rx.by_ref().collect());
    assert_eq!(all, [Err(Lagged(3)), Ok(3), Ok(4)]);
    assert_eq!((rx.size_hint(), rx.is_terminated()), ((0, Some(0)), true));
}

#[test]
fn a_stream_keeps_its_place_and_leaves_it_for_other_pops() {
    let (tx, mut rx) = broadcast(2, Overflow::Lag);
    let (bell, waker) = Bell::new();
    assert!(Pin::new(&mut rx).poll_next(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(Arc::strong_count(&bell), 3);
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    assert_eq!(Arc::strong_count(&bell), 2);
    std::mem::forget(rx.pop());
    let mut forgotten = rx.pop();
    assert!(poll_with(Pin::new(&mut forgotten), &waker).is_pending());
    std::mem::forget(forgotten);
    assert_eq!(
        block_on(async {
            tx.push(1).await.unwrap();
            rx.pop().await
        }),
        Ok(1)
    );
    assert_eq!((bell.rings(), Arc::strong_count(&bell)), (1, 2));
    drop(rx);
    tx.audit();
}

#[test]
fn a_cancelled_pop_that_waits_beside_a_value_delivers_it() {
    let (tx, mut rx) = broadcast(2, Overflow::Lag);
    let mut pop = Box::pin(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    tx.try_push(1).unwrap();
    pop.as_mut().request_cancel();
    assert_eq!(poll(pop.as_mut()), Poll::Ready(Ok(1)));
    drop(pop);
    tx.try_push(2).unwrap();
    let mut pop = Box::pin(rx.pop());
    pop.as_mut().request_cancel();
    assert_eq!(poll(pop.as_mut()), Poll::Ready(Err(PopError::Cancelled)), "it never started");
    drop(pop);
    assert_eq!(rx.try_pop(), Ok(2));
}

#[test]
fn a_cancelled_pop_changes_nothing() {
    let (tx, mut rx) = broadcast(2, Overflow::Lag);
    let (bell, waker) = Bell::new();
    let mut pop = Box::pin(rx.pop());
    assert!(poll_with(pop.as_mut(), &waker).is_pending());
    pop.as_mut().request_cancel();
    pop.as_mut().request_cancel();
    assert_eq!(bell.rings(), 1);
    tx.try_push(1).unwrap();
    assert_eq!(bell.rings(), 0);
    assert_eq!(poll(pop.as_mut()), Poll::Ready(Err(PopError::Cancelled)));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(pop.as_mut()))).is_err());
    drop(pop);
    let mut notified = Box::pin(rx.pop());
    assert!(notified.as_mut().poll_discard(&mut Context::from_waker(Waker::noop())).is_ready());
    drop(notified);
    assert_eq!(rx.try_pop(), Ok(1));
}

#[test]
fn a_cancelled_push_answers_exactly() {
    let (tx, mut rx) = broadcast(1, Overflow::Wait);
    tx.try_push(0).unwrap();
    let (bell, waker) = Bell::new();
    let mut lost = pin!(tx.push(1));
    assert!(poll_with(lost.as_mut(), &waker).is_pending());
    lost.as_mut().request_cancel();
    assert_eq!(bell.rings(), 1);
    assert_eq!(poll(lost), Poll::Ready(Err(PushError::Cancelled(1))));

    let mut pulled = pin!(tx.push(2));
    assert!(poll(pulled.as_mut()).is_pending());
    assert_eq!(rx.try_pop(), Ok(0));
    pulled.as_mut().request_cancel();
    assert_eq!(pulled.as_mut().cancel(), Ok(()));

    let mut unpolled = pin!(tx.push(3));
    assert_eq!(unpolled.as_mut().cancel(), Err(PushError::Cancelled(3)));
    assert!(catch_unwind(AssertUnwindSafe(|| unpolled.as_mut().cancel())).is_err());
    assert_eq!(drain(&mut rx), [2]);
}

#[test]
fn an_arm_pushes_only_in_its_own_poll_and_passes_its_slot_on() {
    let (tx, mut rx) = broadcast(1, Overflow::Wait);
    tx.try_push(0).unwrap();
    let (bell, waker) = Bell::new();
    let mut arm = Box::pin(tx.push(1));
    arm.as_mut().commit_on_poll();
    assert!(poll_with(arm.as_mut(), &waker).is_pending());
    let mut next = pin!(tx.push(2));
    assert!(poll(next.as_mut()).is_pending());
    assert_eq!(rx.try_pop(), Ok(0));
    assert_eq!((bell.rings(), tx.len(), tx.is_full()), (1, 0, true));
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    assert_eq!(tx.try_push(9), Err(TryPushError::Full(9)));
    tx.audit();
    drop(arm);
    assert_eq!(drain(&mut rx), [2]);
    assert_eq!(poll(next), Poll::Ready(Ok(())));

    tx.try_push(3).unwrap();
    let mut arm = pin!(tx.push(4));
    arm.as_mut().commit_on_poll();
    assert!(poll(arm.as_mut()).is_pending());
    assert_eq!(rx.try_pop(), Ok(3));
    assert_eq!(poll(arm), Poll::Ready(Ok(())));
    assert_eq!(drain(&mut rx), [4]);
}

#[test]
fn granted_arms_keep_to_the_capacity_when_receivers_come_and_go() {
    let (tx, rx) = broadcast(1, Overflow::Wait);
    tx.try_push(0).unwrap();
    let mut arms: Vec<_> = (1..5).map(|n| Box::pin(tx.push(n))).collect();
    for arm in &mut arms {
        arm.as_mut().commit_on_poll();
        assert!(poll(arm.as_mut()).is_pending());
    }
    drop(rx);
    tx.audit();
    let mut late = tx.subscribe();
    assert_eq!(poll(arms[0].as_mut()), Poll::Ready(Ok(())));
    assert!(poll(arms[1].as_mut()).is_pending());
    tx.audit();
    assert_eq!(drain(&mut late), [1]);
    assert_eq!(poll(arms[1].as_mut()), Poll::Ready(Ok(())));
    drop(arms.remove(2)); // in line: nothing to pass on
    assert_eq!(drain(&mut late), [2]);
    assert_eq!(poll(arms[2].as_mut()), Poll::Ready(Ok(())));
    tx.audit();
}

#[test]
fn capacities_that_make_no_sense_are_refused() {
    assert!(catch_unwind(|| broadcast::<u8>(0, Overflow::Lag)).is_err());
    assert!(catch_unwind(|| broadcast::<u8>(0, Overflow::Wait)).is_err());
    assert!(catch_unwind(|| broadcast::<u8>(usize::MAX, Overflow::Wait)).is_err());
}

#[test]
fn places_are_used_again() {
    let (tx, mut rx) = broadcast(8, Overflow::Lag);
    let mut slow = tx.subscribe();
    for n in 0..100 {
        tx.try_push(n).unwrap();
        let _ = rx.try_pop();
    }
    let _ = drain(&mut slow);
    let _ = drain(&mut slow);
    assert_eq!(tx.spare_places(), 8);
}

#[test]
fn ends_and_futures_may_be_sent() {
    fn send<T: Send>(_: &T) {}
    fn sync<T: Sync>(_: &T) {}
    let (tx, mut rx) = broadcast::<u8>(1, Overflow::Lag);
    send(&tx);
    sync(&tx);
    send(&rx);
    sync(&rx);
    send(&tx.push(1));
    send(&tx.closed());
    send(&rx.pop());
}

/// A value whose clone panics while it is armed.
struct Touchy(Token, Arc<AtomicBool>);

impl Clone for Touchy {
    fn clone(&self) -> Self {
        assert!(!self.1.swap(false, Ordering::SeqCst), "a value that cannot be cloned now");
        Self(self.0.census().token(self.0.id), self.1.clone())
    }
}

#[test]
fn a_panicking_clone_loses_nothing_for_anybody() {
    for overflow in [Overflow::Lag, Overflow::Wait] {
        let census = Census::default();
        let armed = Arc::new(AtomicBool::new(false));
        let (tx, mut first) = broadcast(1, overflow);
        let mut second = tx.subscribe();
        assert!(tx.try_push(Touchy(census.token(7), armed.clone())).is_ok());
        armed.store(true, Ordering::SeqCst);
        assert!(catch_unwind(AssertUnwindSafe(|| first.try_pop().is_ok())).is_err());
        assert_eq!((first.len(), second.len(), census.alive()), (1, 1, 1));
        let mut third = first.clone();
        // The others take it meanwhile, and the ring moves on.
        assert_eq!(second.try_pop().ok().map(|value| value.0.id), Some(7));
        assert!(tx.try_push(Touchy(census.token(8), armed.clone())).is_ok());
        assert_eq!((first.len(), third.len()), (2, 2));
        armed.store(true, Ordering::SeqCst);
        assert!(catch_unwind(AssertUnwindSafe(|| block_on(first.pop()).is_ok())).is_err());
        for rx in [&mut first, &mut third] {
            assert_eq!(drain(rx).iter().map(|value| value.0.id).collect::<Vec<_>>(), [7, 8]);
        }
        assert_eq!(drain(&mut second).len(), 1);
        assert_eq!(census.alive(), 0);
        tx.audit();
    }
}

/// A value whose drop panics.
struct Bomb(#[allow(dead_code, reason = "counted by its drop")] Token);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a value that panics when dropped");
    }
}

#[test]
fn panicking_drops_are_contained_and_every_value_dropped_once() {
    let census = Census::default();
    let (tx, rx) = broadcast(4, Overflow::Lag);
    let slow = tx.subscribe();
    for id in 0..10 {
        assert!(tx.try_push(Bomb(census.token(id))).is_ok());
    }
    assert_eq!(census.alive(), 4);
    drop((rx, slow));
    assert_eq!(census.alive(), 0);
    assert!(tx.try_push(Bomb(census.token(11))).is_ok());
    assert_eq!(census.alive(), 0);
}

/// A value that uses its own channel when it is cloned and when it is dropped.
struct Loop(crate::channel::broadcast::Sender<Loop>, Arc<AtomicUsize>);

impl Clone for Loop {
    fn clone(&self) -> Self {
        self.1.fetch_add(self.0.len(), Ordering::SeqCst);
        Self(self.0.clone(), self.1.clone())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.1.fetch_add(self.0.receiver_count(), Ordering::SeqCst);
    }
}

#[test]
fn values_may_use_the_channel_they_are_in() {
    let visits = Arc::new(AtomicUsize::new(0));
    let (tx, mut rx) = broadcast(1, Overflow::Lag);
    let other = tx.subscribe();
    for _ in 0..3 {
        assert!(tx.try_push(Loop(tx.clone(), visits.clone())).is_ok());
    }
    assert!(rx.try_pop().is_err_and(|error| error == TryPopError::Lagged(2)));
    drop(rx.try_pop());
    drop((rx, other));
    assert!(visits.load(Ordering::SeqCst) >= 6);
    assert_eq!(tx.sender_count(), 1);
}
