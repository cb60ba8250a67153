//! The oneshot channel: its promises, and threads that meet in every order.

use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use futures::executor::block_on;

use super::support::{Bell, Census, Rng, Token, poll, poll_with, seed};
use crate::channel::{PopError, PushError, TryPopError, oneshot};
use crate::operation::Operation;

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[test]
fn a_value_crosses_once() {
    let (tx, mut rx) = oneshot();
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    assert!(!rx.is_closed() && rx.is_empty() && !tx.is_closed());
    tx.push(1).unwrap();
    assert!(rx.is_closed() && !rx.is_empty());
    assert_eq!(rx.try_pop(), Ok(1));
    assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
    assert_eq!(block_on(rx.pop()), Err(PopError::Closed));
    assert_eq!(block_on(rx), Err(PopError::Closed));
}

#[test]
fn a_waiting_pop_is_woken_by_its_newest_waker_only() {
    let (tx, mut rx) = oneshot();
    let ((old, first), (new, second)) = (Bell::new(), Bell::new());
    let mut pop = pin!(rx.pop());
    assert!(poll_with(pop.as_mut(), &first).is_pending());
    assert!(poll_with(pop.as_mut(), &first).is_pending());
    assert!(poll_with(pop.as_mut(), &second).is_pending());
    assert_eq!(Arc::strong_count(&old), 2); // not held any more
    tx.push(1).unwrap();
    assert_eq!((old.rings(), new.rings()), (0, 1));
    assert_eq!(poll(pop), Poll::Ready(Ok(1)));
}

#[test]
fn a_sender_dropped_without_a_push_closes() {
    let (tx, mut rx) = oneshot::<u8>();
    let (bell, waker) = Bell::new();
    let mut pop = Box::pin(rx.pop());
    assert!(poll_with(pop.as_mut(), &waker).is_pending());
    drop(tx);
    assert_eq!(bell.rings(), 1);
    assert_eq!(poll(pop.as_mut()), Poll::Ready(Err(PopError::Closed)));
    drop(pop);
    assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
    assert!(rx.is_closed() && !rx.close());
}

#[test]
fn a_closed_channel_gives_the_value_back() {
    let (tx, mut rx) = oneshot();
    assert!(rx.close() && !rx.close());
    assert!(tx.is_closed() && rx.is_closed());
    assert_eq!(tx.push(1), Err(PushError::Closed(1)));
    assert_eq!(rx.try_pop(), Err(TryPopError::Closed));

    let (tx, rx) = oneshot();
    drop(rx);
    assert!(tx.is_closed());
    assert_eq!(tx.push(2), Err(PushError::Closed(2)));

    let (tx, mut rx) = oneshot();
    tx.push(3).unwrap();
    assert!(!rx.close()); // the push has closed it
    assert_eq!(rx.try_pop(), Ok(3));
}

#[test]
fn closed_resolves_on_close_and_on_drop() {
    for close in [false, true] {
        let (mut tx, rx) = oneshot::<u8>();
        let mut rx = Some(rx);
        let (bell, waker) = Bell::new();
        {
            let mut forgotten = tx.closed();
            assert!(poll_with(Pin::new(&mut forgotten), &waker).is_pending());
            std::mem::forget(forgotten);
        }
        let mut closed = Box::pin(tx.closed());
        assert!(poll_with(closed.as_mut(), &waker).is_pending());
        if close {
            rx.as_mut().map(oneshot::Receiver::close)
        } else {
            drop(rx.take());
            None
        };
        assert_eq!(bell.rings(), 1);
        assert_eq!(poll(closed.as_mut()), Poll::Ready(()));
        drop(closed);
        block_on(tx.closed());
        drop(rx);
        assert_eq!(bell.rings(), 0);
        assert_eq!(Arc::strong_count(&bell), 2);
        assert!(tx.push(1).is_err());
    }
}

#[test]
fn what_waits_holds_no_waker_afterwards() {
    let (mut tx, mut rx) = oneshot::<u8>();
    let (bell, waker) = Bell::new();
    {
        let mut pop = rx.pop();
        assert!(poll_with(Pin::new(&mut pop), &waker).is_pending());
        assert_eq!(Arc::strong_count(&bell), 3);
    }
    {
        let mut closed = tx.closed();
        assert!(poll_with(Pin::new(&mut closed), &waker).is_pending());
        assert_eq!(Arc::strong_count(&bell), 3);
    }
    assert_eq!(Arc::strong_count(&bell), 2);
    std::mem::forget(rx.pop());
    let mut closed = tx.closed();
    assert!(poll_with(Pin::new(&mut closed), &waker).is_pending());
    std::mem::forget(closed);
    tx.push(1).unwrap();
    assert_eq!(block_on(&mut rx), Ok(1));
    drop(rx);
    assert_eq!((Arc::strong_count(&bell), bell.rings()), (2, 0));
}

#[test]
fn a_cancelled_pop_leaves_the_value() {
    let (tx, mut rx) = oneshot();
    let (bell, waker) = Bell::new();
    {
        let mut pop = pin!(rx.pop());
        assert!(poll_with(pop.as_mut(), &waker).is_pending());
        pop.as_mut().request_cancel();
        pop.as_mut().request_cancel();
        assert_eq!(bell.rings(), 1);
        tx.push(1).unwrap();
        assert_eq!(poll(pop.as_mut()), Poll::Ready(Err(PopError::Cancelled)));
        assert!(catch_unwind(AssertUnwindSafe(|| poll(pop.as_mut()))).is_err());
    }
    {
        let mut pop = pin!(rx.pop());
        assert!(pop.as_mut().poll_discard(&mut cx()).is_ready());
    }
    assert_eq!(rx.try_pop(), Ok(1));
}

#[test]
fn a_cancelled_receiver_says_so_once_and_goes_on() {
    let (tx, mut rx) = oneshot();
    assert!(poll(Pin::new(&mut rx)).is_pending());
    Pin::new(&mut rx).request_cancel();
    assert_eq!(poll(Pin::new(&mut rx)), Poll::Ready(Err(PopError::Cancelled)));
    assert!(poll(Pin::new(&mut rx)).is_pending());
    tx.push(1).unwrap();
    Pin::new(&mut rx).request_cancel();
    assert_eq!(poll(Pin::new(&mut rx)), Poll::Ready(Ok(1)));
}

#[test]
fn a_cancelled_closed_resolves() {
    let (mut tx, rx) = oneshot::<u8>();
    let (bell, waker) = Bell::new();
    let mut closed = Box::pin(tx.closed());
    assert!(poll_with(closed.as_mut(), &waker).is_pending());
    closed.as_mut().request_cancel();
    assert_eq!(bell.rings(), 1);
    assert!(poll(closed.as_mut()).is_ready());
    drop(closed);
    assert!(!tx.is_closed());
    drop(rx);
}

#[test]
fn a_value_nobody_takes_is_dropped_once() {
    let census = Census::default();
    let (tx, rx) = oneshot();
    assert!(tx.push(census.token(1)).is_ok());
    assert_eq!(census.alive(), 1);
    drop(rx);
    assert_eq!(census.alive(), 0);
}

struct Bomb(#[allow(dead_code, reason = "counted by its drop")] Token);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a value that panics when dropped");
    }
}

#[test]
fn a_value_that_panics_when_dropped_stops_nothing() {
    let census = Census::default();
    let (tx, rx) = oneshot();
    tx.push(Bomb(census.token(1))).unwrap();
    drop(rx);
    assert_eq!(census.alive(), 0);
}

#[test]
fn ends_and_futures_may_be_sent() {
    fn send<T: Send>(_: &T) {}
    fn sync<T: Sync>(_: &T) {}
    let (mut tx, mut rx) = oneshot::<std::cell::Cell<u8>>();
    send(&tx);
    sync(&tx);
    send(&rx);
    sync(&rx);
    send(&tx.closed());
    send(&rx.pop());
}

#[test]
fn zero_sized_and_over_aligned_values_cross() {
    #[derive(Debug, PartialEq)]
    #[repr(align(256))]
    struct Aligned(u8);
    let (tx, mut rx) = oneshot();
    tx.push(Aligned(7)).unwrap();
    assert_eq!(rx.try_pop(), Ok(Aligned(7)));
    let (tx, mut rx) = oneshot();
    tx.push(()).unwrap();
    assert_eq!(rx.try_pop(), Ok(()));
}

/// Two threads that give up, close, cancel and change wakers at random: what was told agrees, nothing leaks.
#[test]
fn threads_agree_on_what_happened() {
    let seed = seed();
    let census = Census::default();
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    let (jobs, inbox) = std::sync::mpsc::sync_channel(8);
    let (answers, told) = std::sync::mpsc::channel();
    let sender = thread::spawn({
        let census = census.clone();
        move || {
            let mut rng = Rng::new(seed);
            for tx in inbox {
                let mut tx: oneshot::Sender<Token> = tx;
                if rng.chance(3) {
                    let _ = poll(pin!(tx.closed()));
                }
                let pushed = (!rng.chance(4)).then(|| tx.push(census.token(0)).is_ok());
                answers.send(pushed).unwrap();
            }
        }
    });
    let mut rng = Rng::new(!seed);
    let (bell, waker) = Bell::new();
    let crossed = AtomicUsize::new(0);
    for round in 0..rounds {
        let (tx, mut rx) = oneshot();
        jobs.send(tx).unwrap();
        let mut got = None;
        match rng.below(6) {
            0 => {}
            1 => got = rx.try_pop().ok(),
            2 => got = rx.pop_blocking().ok(),
            3 => {
                for _ in 0..rng.below(4) {
                    if let (None, Poll::Ready(result)) = (&got, poll_with(pin!(rx.pop()), &waker)) {
                        got = result.ok();
                    }
                }
            }
            4 => {
                rx.close();
                got = rx.try_pop().ok();
            }
            _ => {
                let _ = poll_with(Pin::new(&mut rx), &waker).map(|result| got = result.ok());
                if got.is_none() {
                    got = block_on(&mut rx).ok();
                }
            }
        }
        crossed.fetch_add(usize::from(got.is_some()), Ordering::Relaxed);
        let crossed = got.is_some();
        drop(rx);
        let pushed = told.recv().unwrap();
        assert!(!crossed || pushed == Some(true), "round {round}, MILLSTREAM_SEED={seed}");
    }
    drop(jobs);
    sender.join().unwrap();
    assert!(crossed.into_inner() > rounds / 4);
    assert_eq!((census.alive(), Arc::strong_count(&bell)), (0, 2), "MILLSTREAM_SEED={seed}");
}
