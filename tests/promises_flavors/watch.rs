//! What a watch promises.
//!
//! Knows: the public API. Does not know: how channels work.

use std::cell::RefCell;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::executor::block_on;
use futures::stream::{FusedStream, StreamExt};
use millstream::channel::{PopError, PushError, TryPopError, watch};
use millstream::{Operation, Runtime};

use crate::{Bell, Mine, gone, panics, poll, ready};

#[test]
fn the_latest_is_seen_once() {
    let (tx, mut rx) = watch(0);
    assert!(rx.has_changed());
    let mut other = rx.clone();
    assert_eq!((rx.try_pop(), rx.try_pop()), (Ok(0), Err(TryPopError::Empty)));
    assert!(!rx.has_changed() && other.has_changed());
    assert_eq!(rx.clone().try_pop(), Err(TryPopError::Empty), "a clone has seen the same");
    assert_eq!(tx.subscribe().try_pop(), Ok(0), "a subscriber has seen nothing");
    for n in 1..=3 {
        tx.push(n).unwrap();
    }
    assert_eq!((tx.get(), rx.get(), rx.get()), (3, 3, 3));
    assert_eq!((block_on(rx.pop()), rx.try_pop()), (Ok(3), Err(TryPopError::Empty)));
    other.mark_seen();
    assert_eq!(other.try_pop(), Err(TryPopError::Empty));
    tx.push(3).unwrap();
    assert_eq!((rx.try_pop(), other.try_pop()), (Ok(3), Ok(3)), "an equal value is a new one");
    assert!(tx.same_channel(&tx.clone()) && rx.same_channel(&other));
    assert_eq!((tx.sender_count(), rx.receiver_count()), (1, 2));
}

#[test]
fn a_close_leaves_the_last_value() {
    let bell = Arc::new(Bell::default());
    for by in 0..3 {
        let (tx, mut rx) = watch(1);
        let mut late = rx.clone();
        rx.mark_seen();
        {
            let mut pop = pin!(rx.pop());
            let mut closed = pin!(late.closed());
            assert!(bell.poll(pop.as_mut()).is_pending());
            assert!(poll(closed.as_mut()).is_pending());
            match by {
                0 => assert!(tx.close() && !tx.close()),
                1 => assert!(late.close() && !late.close() && !tx.close()),
                _ => drop(tx.clone()),
            }
            if by < 2 {
                assert_eq!(tx.push(2), Err(PushError::Closed(2)));
                assert_eq!(tx.update(|n| n + 2), Err(PushError::Closed(3)));
                assert_eq!((tx.get(), tx.subscribe().try_pop()), (1, Ok(1)));
                ready(pin!(tx.closed()));
            }
            assert_eq!(bell.rang(), by < 2);
            drop(tx);
            ready(closed.as_mut());
            panics(|| poll(closed.as_mut()));
            assert_eq!(ready(pop.as_mut()), Err(PopError::Closed));
            panics(|| poll(pop.as_mut()));
        }
        assert!(late.has_changed() && !late.is_terminated() && rx.is_terminated());
        assert_eq!(block_on(late.next()), Some(1));
        assert_eq!((block_on(late.next()), block_on(late.next())), (None, None));
        assert_eq!((late.pop_blocking(), late.try_pop()), (Err(PopError::Closed), Err(TryPopError::Closed)));
        assert_eq!((late.get(), late.has_changed()), (1, false));
        assert!(late.is_terminated());
    }
}

#[test]
fn it_stays_open_without_receivers() {
    let (tx, rx) = watch(1);
    drop(rx);
    assert!(!tx.is_closed() && tx.receiver_count() == 0);
    tx.push(2).unwrap();
    assert!(poll(pin!(tx.closed())).is_pending());
    assert_eq!(tx.subscribe().try_pop(), Ok(2));
    let other = tx.clone();
    drop(tx);
    assert!(!other.is_closed());
}

#[test]
fn dropped_stopped_and_forgotten_pops_have_seen_nothing() {
    let bell = Arc::new(Bell::default());
    let (tx, mut rx) = watch(0);
    rx.mark_seen();
    {
        let mut pop = pin!(rx.pop());
        assert!(bell.poll(pop.as_mut()).is_pending());
        tx.push(1).unwrap();
        assert!(bell.rang());
    }
    {
        let mut pop = pin!(rx.pop());
        pop.as_mut().request_cancel();
        assert_eq!(ready(pop), Err(PopError::Cancelled));
    }
    assert_eq!(rx.try_pop(), Ok(1));
    let mut pop = Box::pin(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    mem::forget(pop);
    let mut closed = Box::pin(tx.closed());
    assert!(poll(closed.as_mut()).is_pending());
    mem::forget(closed);
    assert!(bell.poll(pin!(rx.next())).is_pending());
    tx.push(2).unwrap();
    assert!(bell.rang());
    drop(tx);
    assert_eq!((rx.try_pop(), rx.try_pop()), (Ok(2), Err(TryPopError::Closed)));
}

/// Panics when it is cloned, as long as it is told to.
struct Touchy(u8, Arc<AtomicBool>);

impl Clone for Touchy {
    fn clone(&self) -> Self {
        assert!(!self.1.load(Ordering::SeqCst), "a clone that panics");
        Self(self.0, Arc::clone(&self.1))
    }
}

#[test]
fn a_clone_that_panics_has_shown_nothing() {
    let touchy = Arc::new(AtomicBool::new(true));
    let (tx, mut rx) = watch(Touchy(1, Arc::clone(&touchy)));
    panics(|| rx.try_pop());
    panics(|| block_on(rx.pop()));
    panics(|| block_on(rx.next()));
    panics(|| rx.pop_blocking());
    panics(|| rx.get());
    panics(|| tx.get());
    assert!(rx.has_changed());
    assert!(tx.push(Touchy(2, Arc::clone(&touchy))).is_ok(), "nothing is held");
    touchy.store(false, Ordering::SeqCst);
    assert!(rx.try_pop().is_ok_and(|value| value.0 == 2));
    drop((tx, rx));
    assert_eq!(Arc::strong_count(&touchy), 1);
}

thread_local! {
    static ON_CLONE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

struct Meddling(u8);

impl Clone for Meddling {
    fn clone(&self) -> Self {
        if let Some(meddle) = ON_CLONE.take() {
            meddle();
        }
        Self(self.0)
    }
}

#[test]
fn a_clone_may_use_the_channel() {
    let (tx, mut rx) = watch(Meddling(1));
    let within = tx.clone();
    ON_CLONE.set(Some(Box::new(move || {
        assert!(within.push(Meddling(2)).is_ok());
        assert!(within.push(Meddling(3)).is_ok());
        assert!(within.close());
    })));
    let first = rx.try_pop().map(|value| value.0).unwrap();
    assert!(first == 1 || first == 3);
    if first == 1 {
        assert!(rx.has_changed());
        assert!(rx.try_pop().is_ok_and(|value| value.0 == 3), "what was pushed meanwhile is still to see");
    }
    assert!(matches!(rx.try_pop(), Err(TryPopError::Closed)));
}

#[test]
fn an_update_is_made_of_the_latest_or_not_at_all() {
    let (tx, mut rx) = watch(1);
    rx.mark_seen();
    panics(|| tx.update(|_| panic!("no next value")));
    assert_eq!((tx.get(), rx.has_changed()), (1, false), "the value is as before");
    let mut calls = Vec::new();
    tx.update(|&n| {
        calls.push(n);
        if calls.len() < 3 {
            tx.push(n * 10).unwrap();
        }
        n + 1
    })
    .unwrap();
    assert_eq!((calls, tx.get()), (vec![1, 10, 100], 101), "called again with the newer value");
    assert_eq!(
        tx.update(|&n| {
            tx.close();
            n + 1
        }),
        Err(PushError::Closed(102))
    );
    assert_eq!(rx.try_pop(), Ok(101));
}

#[test]
fn the_old_value_goes_at_the_push_whatever_its_drop_does() {
    let bell = Arc::new(Bell::default());
    let count = Arc::default();
    let (tx, rx) = watch(Mine::new(&count));
    tx.push(Mine::explosive(&count)).unwrap();
    assert_eq!(gone(&count), 1);
    let mut closed = Box::pin(rx.closed());
    assert!(bell.poll(closed.as_mut()).is_pending());
    assert!(tx.push(Mine::new(&count)).is_ok(), "it was replaced all the same");
    assert_eq!(gone(&count), 2);
    assert!(tx.push(Mine::explosive(&count)).is_ok());
    drop(tx);
    assert!(bell.rang());
    drop(closed);
    drop(rx);
    assert_eq!(gone(&count), 4);
}

#[test]
fn values_without_a_size_and_large_ones() {
    let (tx, mut rx) = watch(());
    rx.mark_seen();
    tx.push(()).unwrap();
    assert_eq!((rx.try_pop(), rx.try_pop()), (Ok(()), Err(TryPopError::Empty)));
    let (tx, mut rx) = watch([0_u8; 8_000]);
    tx.push([1; 8_000]).unwrap();
    assert_eq!(rx.try_pop().unwrap()[7_999], 1);
}

#[test]
fn it_does_not_block_a_runtime() {
    let (tx, mut rx) = watch(1);
    Runtime::new().unwrap().block_on(async {
        panics(|| rx.pop_blocking());
        assert_eq!(rx.pop().await, Ok(1));
        tx.push(2).unwrap();
        assert_eq!(rx.pop().await, Ok(2));
    });
}
