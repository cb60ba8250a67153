//! What a oneshot promises.
//!
//! Knows: the public API. Does not know: how channels work.

use std::future::ready as ready_now;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::thread;

use futures::executor::block_on;
use millstream::channel::{PopError, PushError, TryPopError, oneshot};
use millstream::combinators::{OneOf2, adapters};
use millstream::{Operation, Runtime, race, time};

use crate::{Bell, Mine, begin, gone, panics, poll, ready};

#[test]
fn one_value_and_then_no_more() {
    let (tx, mut rx) = oneshot();
    assert!(!tx.is_closed() && !rx.is_closed() && rx.is_empty());
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    assert_eq!(tx.push(1), Ok(()));
    assert!(rx.is_closed() && !rx.is_empty(), "nothing more can be pushed");
    assert!(!rx.close(), "it was closed by the push");
    assert_eq!(block_on(rx.pop()), Ok(1));
    for _ in 0..2 {
        assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
        assert_eq!(block_on(rx.pop()), Err(PopError::Closed));
        assert_eq!(rx.pop_blocking(), Err(PopError::Closed));
    }
    assert!(rx.is_empty() && rx.is_closed());
    assert_eq!(block_on(rx), Err(PopError::Closed), "the value was taken");
}

#[test]
fn a_sender_that_goes_and_a_receiver_that_goes() {
    let bell = Arc::new(Bell::default());
    let (tx, mut rx) = oneshot::<u8>();
    {
        let mut pop = pin!(rx.pop());
        assert!(bell.poll(pop.as_mut()).is_pending());
        drop(tx);
        assert!(bell.rang());
        assert_eq!(ready(pop.as_mut()), Err(PopError::Closed));
        panics(|| poll(pop.as_mut()));
    }
    assert!(rx.is_closed() && !rx.close());

    let (mut tx, mut rx) = oneshot::<u8>();
    {
        let mut closed = pin!(tx.closed());
        assert!(bell.poll(closed.as_mut()).is_pending());
        assert!(rx.close());
        assert!(bell.rang());
        ready(closed.as_mut());
        panics(|| poll(closed.as_mut()));
    }
    assert!(!rx.close() && tx.is_closed());
    assert_eq!(tx.push(1), Err(PushError::Closed(1)));
    assert_eq!(rx.try_pop(), Err(TryPopError::Closed));

    let (mut tx, rx) = oneshot::<u8>();
    {
        let mut closed = pin!(tx.closed());
        closed.as_mut().request_cancel();
        ready(closed);
    }
    assert!(!tx.is_closed());
    drop(rx);
    ready(pin!(tx.closed()));
    assert_eq!(tx.push(1), Err(PushError::Closed(1)));
}

#[test]
fn a_pop_that_goes_takes_nothing_and_the_receiver_takes_its_value() {
    let count = Arc::default();
    let (tx, mut rx) = oneshot();
    assert!(poll(pin!(rx.pop())).is_pending());
    let mut pop = Box::pin(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    mem::forget(pop);
    tx.push(Mine::new(&count)).unwrap();
    {
        let mut pop = pin!(rx.pop());
        pop.as_mut().request_cancel();
        let _ = ready(pop).map(drop);
    }
    drop(rx);
    assert_eq!(gone(&count), 1, "once, wherever it went");

    let (tx, mut rx) = oneshot();
    {
        let mut pop = pin!(rx.pop());
        assert!(poll(pop.as_mut()).is_pending());
        pop.as_mut().request_cancel();
        assert!(matches!(ready(pop), Err(PopError::Cancelled)));
    }
    tx.push(Mine::explosive(&count)).unwrap();
    drop(rx);
    assert_eq!(gone(&count), 2);

    let (tx, rx) = oneshot();
    drop(rx);
    drop(tx.push(Mine::new(&count)));
    assert_eq!(gone(&count), 3);
}

#[test]
fn a_race_that_borrows_it_keeps_the_answer() {
    let _watchdog = begin();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let (tx, mut answer) = oneshot();
        let deadline = std::time::Duration::from_millis(1);
        assert!(matches!(race!(answer.pop() || time::sleep(deadline)).await, OneOf2::B(())));
        assert!(matches!(race!(&mut answer || time::sleep(deadline)).await, OneOf2::B(())));
        tx.push(5).unwrap();
        assert!(matches!(
            race!(time::sleep(std::time::Duration::ZERO) || answer.pop()).await,
            OneOf2::A(()) | OneOf2::B(Ok(5))
        ));
        let _ = answer.try_pop();
        let (tx, mut answer) = oneshot::<u8>();
        panics(|| answer.pop_blocking());
        drop(tx);
        panics(|| answer.pop_blocking());
        assert_eq!(answer.await, Err(PopError::Closed));
        let (tx, answer) = oneshot();
        assert!(matches!(race!(adapters::future(ready_now(())) || answer).await, OneOf2::A(_)));
        assert_eq!(tx.push(1), Err(PushError::Closed(1)), "the receiver itself was the arm, and is gone");
    });
}

#[test]
fn a_receiver_polled_here_is_awaited_there() {
    let _watchdog = begin();
    for _ in 0..200 {
        let (tx, mut rx) = oneshot();
        Runtime::new().unwrap().block_on(async { assert!(futures::poll!(&mut rx).is_pending()) });
        let sender = thread::spawn(move || tx.push([1_u8; 5000]).is_ok());
        let got = thread::spawn(move || block_on(rx)).join().unwrap();
        assert_eq!(got, Ok([1; 5000]));
        assert!(sender.join().unwrap());
    }
}

#[test]
fn nothing_is_a_value_too() {
    let (tx, rx) = oneshot();
    tx.push(()).unwrap();
    assert_eq!(block_on(rx), Ok(()));
}
