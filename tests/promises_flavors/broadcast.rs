//! What a broadcast promises.
//!
//! Knows: the public API. Does not know: how channels work.

use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::executor::block_on;
use futures::stream::{FusedStream, StreamExt};
use millstream::channel::broadcast::{Lagged, Overflow, PopError, TryPopError};
use millstream::channel::{PushError, TryPushError, broadcast};
use millstream::{Operation, Runtime};

use crate::{Bell, Mine, gone, panics, poll, ready};

#[test]
fn a_lag_counts_exactly_and_goes_on_with_the_oldest() {
    for capacity in [1, 2, 3, 4, 5, 7] {
        for pushed in 0..20_u64 {
            let (tx, mut rx) = broadcast(capacity, Overflow::Lag);
            let mut fast = rx.clone();
            for n in 0..pushed {
                tx.try_push(n).unwrap();
                assert!(!tx.is_full());
                assert_eq!(fast.try_pop(), Ok(n));
            }
            let there = pushed.min(capacity as u64);
            assert_eq!((rx.len() as u64, tx.len() as u64), (there, there));
            if pushed > there {
                assert_eq!(rx.try_pop(), Err(TryPopError::Lagged(pushed - there)));
            }
            for n in pushed - there..pushed {
                assert_eq!(block_on(rx.pop()), Ok(n));
            }
            assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
            assert!(tx.is_empty());
        }
    }
}

#[test]
fn a_lag_is_told_also_behind_a_close_and_as_an_item() {
    let (tx, mut rx) = broadcast(2, Overflow::Lag);
    (1..=5).for_each(|n| tx.try_push(n).unwrap());
    let mut other = rx.clone();
    assert!(tx.close() && !tx.close() && !rx.close());
    assert!(!rx.is_terminated());
    assert_eq!(block_on(rx.by_ref().collect::<Vec<_>>()), [Err(Lagged(3)), Ok(4), Ok(5)]);
    assert!(rx.is_terminated());
    assert_eq!(block_on(rx.next()), None);
    assert_eq!(block_on(rx.pop()), Err(PopError::Closed));
    drop(tx);
    assert_eq!(other.pop_blocking(), Err(PopError::Lagged(3)));
    assert_eq!((other.pop_blocking(), other.pop_blocking()), (Ok(4), Ok(5)));
    assert_eq!((other.pop_blocking(), other.try_pop()), (Err(PopError::Closed), Err(TryPopError::Closed)));
}

#[test]
fn the_slowest_holds_up_and_lets_go_when_it_goes() {
    let bell = Arc::new(Bell::default());
    let (tx, mut fast) = broadcast(2, Overflow::Wait);
    let slow = fast.clone();
    tx.try_push(1).unwrap();
    tx.try_push(2).unwrap();
    assert_eq!((fast.try_pop(), fast.try_pop(), fast.try_pop()), (Ok(1), Ok(2), Err(TryPopError::Empty)));
    assert!(tx.is_full() && tx.len() == 2 && fast.is_empty() && slow.len() == 2);
    assert_eq!(tx.try_push(3), Err(TryPushError::Full(3)));
    {
        let mut push = pin!(tx.push(3));
        assert!(bell.poll(push.as_mut()).is_pending());
        drop(slow);
        assert!(bell.rang());
        assert_eq!(ready(push.as_mut()), Ok(()));
        panics(|| poll(push.as_mut()));
        panics(|| push.as_mut().cancel());
    }
    assert_eq!(fast.try_pop(), Ok(3));
    let mut slow = fast.resubscribe();
    for n in 4..6 {
        tx.try_push(n).unwrap();
        assert_eq!(fast.try_pop(), Ok(n));
    }
    {
        let mut push = pin!(tx.push(6));
        let mut next = pin!(tx.push(7));
        assert!(bell.poll(push.as_mut()).is_pending());
        assert!(poll(next.as_mut()).is_pending());
        assert_eq!(slow.try_pop(), Ok(4));
        assert!(bell.rang());
        assert_eq!(push.as_mut().cancel(), Ok(()), "the pop took it in");
        assert!(fast.close());
        assert_eq!(ready(next), Err(PushError::Closed(7)));
    }
    assert_eq!((slow.try_pop(), slow.try_pop(), slow.try_pop()), (Ok(5), Ok(6), Err(TryPopError::Closed)));
    assert_eq!((fast.try_pop(), fast.try_pop()), (Ok(6), Err(TryPopError::Closed)));
    assert_eq!(tx.push_blocking(8), Err(PushError::Closed(8)));
    ready(pin!(tx.closed()));
    ready(pin!(fast.closed()));
}

#[test]
fn without_receivers_it_is_open_and_everything_goes_at_once() {
    for overflow in [Overflow::Wait, Overflow::Lag] {
        let count = Arc::default();
        let (tx, rx) = broadcast(2, overflow);
        assert!(matches!(
            (tx.overflow(), overflow),
            (Overflow::Wait, Overflow::Wait) | (Overflow::Lag, Overflow::Lag)
        ));
        for _ in 0..2 {
            assert!(tx.try_push(Mine::new(&count)).is_ok());
        }
        let late = tx.subscribe();
        assert_eq!((tx.receiver_count(), tx.sender_count(), late.len()), (2, 1, 0));
        let bell = Arc::new(Bell::default());
        let mut push = Box::pin(tx.push(Mine::new(&count)));
        let waits = bell.poll(push.as_mut()).is_pending();
        assert_eq!(waits, matches!(overflow, Overflow::Wait));
        drop(rx);
        if waits {
            assert!(bell.rang());
            assert!(ready(push.as_mut()).is_ok());
        }
        drop(push);
        drop(late);
        assert_eq!(gone(&count), 3);
        for n in 4..8 {
            assert!(block_on(tx.push(Mine::new(&count))).is_ok());
            assert_eq!((gone(&count), tx.len(), tx.is_full()), (n, 0, false));
        }
        assert!(!tx.is_closed() && tx.receiver_count() == 0);
    }
}

#[test]
fn subscribers_of_a_closed_channel_get_the_close() {
    let (tx, mut rx) = broadcast(4, Overflow::Wait);
    tx.try_push(1).unwrap();
    tx.close();
    let mut late = tx.subscribe();
    assert_eq!(late.try_pop(), Err(TryPopError::Closed));
    assert_eq!(rx.clone().resubscribe().try_pop(), Err(TryPopError::Closed));
    assert_eq!(rx.clone().try_pop(), Ok(1), "a clone begins at the same place");
    assert_eq!(rx.try_pop(), Ok(1));
    drop(tx);
    assert!(rx.is_closed() && rx.sender_count() == 0);
}

#[test]
fn it_refuses_capacities_that_cannot_be() {
    for overflow in [Overflow::Wait, Overflow::Lag] {
        panics(|| broadcast::<u8>(0, overflow));
        panics(|| broadcast::<u8>(usize::MAX, overflow));
        panics(|| broadcast::<()>(isize::MAX as usize, overflow));
        panics(|| broadcast::<[u64; 4]>(isize::MAX as usize / 16, overflow));
    }
}

#[test]
fn dropped_and_stopped_pops_change_nothing() {
    let bell = Arc::new(Bell::default());
    let (tx, mut rx) = broadcast(1, Overflow::Lag);
    {
        let mut pop = pin!(rx.pop());
        assert!(bell.poll(pop.as_mut()).is_pending());
        tx.try_push(1).unwrap();
        assert!(bell.rang());
    }
    tx.try_push(2).unwrap();
    {
        let mut pop = pin!(rx.pop());
        pop.as_mut().request_cancel();
        assert_eq!(ready(pop), Err(PopError::Cancelled));
    }
    let mut forgotten = Box::pin(rx.pop());
    assert_eq!(ready(forgotten.as_mut()), Err(PopError::Lagged(1)));
    panics(|| poll(forgotten.as_mut()));
    drop(forgotten);
    assert_eq!(rx.try_pop(), Ok(2));
    let mut forgotten = Box::pin(rx.pop());
    assert!(poll(forgotten.as_mut()).is_pending());
    mem::forget(forgotten);
    assert!(poll(pin!(rx.next())).is_pending());
    tx.try_push(3).unwrap();
    assert_eq!(ready(pin!(rx.pop())), Ok(3));
    let mut closed = Box::pin(rx.closed());
    assert!(poll(closed.as_mut()).is_pending());
    mem::forget(closed);
    drop(rx);
    assert!(!tx.is_closed());
}

/// Counts its clones, and panics instead when told to.
struct Touchy(Arc<(AtomicUsize, AtomicBool)>);

impl Clone for Touchy {
    fn clone(&self) -> Self {
        assert!(!self.0.1.load(Ordering::SeqCst), "a clone that panics");
        self.0.0.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(&self.0))
    }
}

#[test]
fn a_clone_that_panics_loses_nothing_and_the_last_needs_none() {
    for overflow in [Overflow::Wait, Overflow::Lag] {
        let told = Arc::new((AtomicUsize::new(0), AtomicBool::new(true)));
        let (tx, mut one) = broadcast(2, overflow);
        let mut two = one.clone();
        let mut three = one.clone();
        assert!(tx.try_push(Touchy(Arc::clone(&told))).is_ok());
        panics(|| one.try_pop());
        panics(|| block_on(one.pop()));
        panics(|| block_on(two.next()));
        assert_eq!((one.len(), two.len()), (1, 1), "both keep it");
        told.1.store(false, Ordering::SeqCst);
        assert!(one.try_pop().is_ok() && one.try_pop().is_err());
        assert!(two.try_pop().is_ok() && two.try_pop().is_err());
        assert_eq!(told.0.load(Ordering::SeqCst), 2);
        told.1.store(true, Ordering::SeqCst);
        assert!(three.try_pop().is_ok(), "the last gets the value itself");
        assert_eq!(told.0.load(Ordering::SeqCst), 2);
        assert_eq!(Arc::strong_count(&told), 1, "and nothing of it is left");
    }
}

#[test]
fn a_value_that_panics_when_it_goes_disturbs_nobody() {
    let count = Arc::default();
    let (tx, rx) = broadcast(8, Overflow::Wait);
    for n in 0..6 {
        assert!(tx.try_push(if n == 2 { Mine::explosive(&count) } else { Mine::new(&count) }).is_ok());
    }
    drop(rx);
    assert_eq!(gone(&count), 6);
    assert!(tx.is_empty() && tx.try_push(Mine::new(&count)).is_ok());
    assert_eq!(gone(&count), 7, "pushed to nobody");

    let (tx, rx) = broadcast(1, Overflow::Lag);
    assert!(tx.try_push(Mine::explosive(&count)).is_ok());
    assert!(tx.try_push(Mine::new(&count)).is_ok(), "what it overwrites is no concern of the push");
    assert_eq!((rx.len(), gone(&count)), (1, 8));
    drop((tx, rx));
    assert_eq!(gone(&count), 9);
}

#[test]
fn values_without_a_size_and_large_ones() {
    let (tx, mut rx) = broadcast(3, Overflow::Lag);
    (0..5).for_each(|_| tx.try_push(()).unwrap());
    assert_eq!(rx.try_pop(), Err(TryPopError::Lagged(2)));
    assert_eq!((rx.try_pop(), rx.len()), (Ok(()), 2));
    let (tx, mut one) = broadcast(1, Overflow::Wait);
    let mut two = one.clone();
    for n in 0..3_u8 {
        tx.try_push([n; 4_000]).unwrap();
        assert!(tx.try_push([9; 4_000]).unwrap_err().into_inner()[3_999] == 9);
        assert_eq!((one.try_pop().unwrap()[3_999], two.try_pop().unwrap()[0]), (n, n));
    }
}

#[test]
fn it_does_not_block_a_runtime() {
    let (tx, mut rx) = broadcast(2, Overflow::Lag);
    Runtime::new().unwrap().block_on(async {
        panics(|| tx.push_blocking(1));
        panics(|| rx.pop_blocking());
        tx.push(2).await.unwrap();
        assert_eq!(rx.pop().await, Ok(2));
    });
}
