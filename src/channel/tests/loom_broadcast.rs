//! Every interleaving of two or three threads around one broadcast. Each model names the planted bug under which it must
//! fail.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

use crate::channel::broadcast::{Overflow, PopError, TryPopError};
use crate::channel::{PushError, broadcast};
use crate::operation::Operation;

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A push beside two pops on their way to sleep: `condition-parks-on-an-old-look`, `broadcast-tells-one`.
#[test]
fn a_push_wakes_every_pop() {
    loom::model(|| {
        let (tx, mut rx) = broadcast(1, Overflow::Lag);
        let mut other = rx.clone();
        let second = thread::spawn(move || block_on(other.pop()));
        let pusher = thread::spawn(move || {
            tx.try_push(7).unwrap();
            tx // a close would wake the other one
        });
        assert_eq!(block_on(rx.pop()), Ok(7));
        assert_eq!(second.join().unwrap(), Ok(7));
        pusher.join().unwrap();
    });
}

/// Both sleep before the push: the one that is told by the second hold of the lock is told, too. `broadcast-tells-one`.
#[test]
fn a_push_wakes_all_who_sleep() {
    loom::model(|| {
        let (tx, mut rx) = broadcast(1, Overflow::Lag);
        let mut other = rx.clone();
        let mut first = Box::pin(other.pop());
        assert!(poll(first.as_mut()).is_pending());
        let sleeper = thread::spawn(move || block_on(rx.pop()));
        tx.try_push(7).unwrap();
        assert_eq!(sleeper.join().unwrap(), Ok(7));
        assert_eq!(block_on(first), Ok(7));
    });
}

/// Pushes that overwrite while a receiver pops: it sees what it sees in order, and the count of the missed makes up for
/// the rest. `broadcast-lag-forgets-one`.
#[test]
fn lag_is_counted_exactly_beside_a_push() {
    loom::model(|| {
        let (tx, mut rx) = broadcast(1, Overflow::Lag);
        let pusher = thread::spawn(move || {
            for n in 0..3_u64 {
                tx.try_push(n).unwrap();
            }
        });
        let mut next = 0;
        loop {
            match block_on(rx.pop()) {
                Ok(n) => {
                    assert_eq!(n, next);
                    next += 1;
                }
                Err(PopError::Lagged(missed)) => next += missed,
                Err(error) => {
                    assert_eq!(error, PopError::Closed);
                    break;
                }
            }
        }
        assert_eq!(next, 3);
        pusher.join().unwrap();
    });
}

/// The same without the end, and with no more pushes than it takes to overwrite one: few enough steps for all of it to be
/// explored. `broadcast-lag-forgets-one`.
#[test]
fn a_value_is_popped_or_counted_as_missed() {
    loom::model(|| {
        let (tx, mut rx) = broadcast(1, Overflow::Lag);
        let pusher = thread::spawn(move || {
            for n in 0..2_u64 {
                tx.try_push(n).unwrap();
            }
            tx // a close would wake as well
        });
        let mut next = 0;
        while next < 2 {
            match block_on(rx.pop()) {
                Ok(n) => {
                    assert_eq!(n, next);
                    next += 1;
                }
                Err(error) => {
                    assert_eq!(error, PopError::Lagged(1));
                    next += 1;
                }
            }
        }
        let _tx = pusher.join().unwrap();
        assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    });
}

/// With `Wait`, every value reaches both receivers: a slot that the slower one frees lets the parked push go on.
/// `broadcast-a-free-slot-pulls-nobody`.
#[test]
fn a_free_slot_wakes_the_push() {
    loom::model(|| {
        let (tx, mut rx) = broadcast(1, Overflow::Wait);
        let pusher = thread::spawn(move || {
            for n in 0..2 {
                block_on(tx.push(n)).unwrap();
            }
        });
        assert_eq!(block_on(rx.pop()), Ok(0));
        assert_eq!(block_on(rx.pop()), Ok(1));
        pusher.join().unwrap();
    });
}

/// Two receivers pop the value that a push waits behind: `broadcast-a-free-slot-pulls-nobody`.
#[test]
fn the_slower_of_two_frees_the_slot() {
    loom::model(|| {
        let (tx, mut rx) = broadcast(1, Overflow::Wait);
        let mut other = rx.clone();
        tx.try_push(0).unwrap();
        let second = thread::spawn(move || {
            assert_eq!(other.try_pop(), Ok(0));
            other // its drop would free the slot as well
        });
        let pusher = thread::spawn(move || block_on(tx.push(1)).map(|()| tx));
        assert_eq!(rx.try_pop(), Ok(0));
        let mut other = second.join().unwrap();
        pusher.join().unwrap().unwrap();
        assert_eq!((rx.try_pop(), other.try_pop()), (Ok(1), Ok(1)));
    });
}

/// The slowest receiver goes while a push waits for it: `broadcast-a-leaving-receiver-pulls-nobody`.
#[test]
fn the_slowest_receivers_drop_wakes_the_push() {
    loom::model(|| {
        let (tx, rx) = broadcast(1, Overflow::Wait);
        tx.try_push(0).unwrap();
        let mut fast = tx.subscribe();
        let pusher = thread::spawn(move || block_on(tx.push(1)).map(|()| tx));
        drop(rx);
        assert_eq!(block_on(fast.pop()), Ok(1));
        pusher.join().unwrap().unwrap();
    });
}

/// An arm of a race that may be granted a slot at the moment it is dropped: `broadcast-grant-dies-with-its-push`.
#[test]
fn a_dropped_arm_passes_its_slot_on() {
    loom::model(|| {
        let (tx, mut rx) = broadcast(1, Overflow::Wait);
        tx.try_push(0).unwrap();
        let mut leaves = Box::pin(tx.push(1));
        leaves.as_mut().commit_on_poll();
        assert!(poll(leaves.as_mut()).is_pending());
        let other = tx.clone();
        let stays = thread::spawn(move || block_on(other.push(2)));
        let popper = thread::spawn(move || {
            assert_eq!(rx.try_pop(), Ok(0));
            rx // its drop would make room for all
        });
        drop(leaves);
        stays.join().unwrap().unwrap();
        assert_eq!(popper.join().unwrap().try_pop(), Ok(2));
    });
}

/// A push answers exactly while it is being pulled.
#[test]
fn a_cancelled_push_is_in_or_comes_back() {
    loom::model(|| {
        let (tx, mut rx) = broadcast(1, Overflow::Wait);
        tx.try_push(0).unwrap();
        let mut push = Box::pin(tx.push(1));
        assert!(poll(push.as_mut()).is_pending());
        let popper = thread::spawn(move || (rx.try_pop(), rx));
        let pushed = push.as_mut().cancel();
        let (first, mut rx) = popper.join().unwrap();
        assert_eq!(first, Ok(0));
        match pushed {
            Ok(()) => assert_eq!(rx.try_pop(), Ok(1)),
            Err(error) => {
                assert_eq!(error, PushError::Cancelled(1));
                assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
            }
        }
    });
}

/// A close beside a pop and a push on their way to sleep: `condition-parks-on-an-old-look`.
#[test]
fn close_wakes_both_sides() {
    loom::model(|| {
        let (tx, rx) = broadcast(1, Overflow::Wait);
        tx.try_push(0).unwrap();
        let mut drained = tx.subscribe();
        let popper = thread::spawn(move || block_on(drained.pop()));
        let pusher = thread::spawn(move || block_on(tx.push(1)));
        rx.close();
        assert_eq!(popper.join().unwrap(), Err(PopError::Closed));
        assert_eq!(pusher.join().unwrap(), Err(PushError::Closed(1)));
    });
}

/// One receiver clones a value that is overwritten meanwhile; the places are counted right and the value dropped once
/// (loom counts the `Arc`s). `cell-moves-before-all-have-looked`.
#[test]
fn a_value_is_dropped_once_however_it_is_left() {
    loom::model(|| {
        let value = Arc::new(());
        let (tx, mut rx) = broadcast(1, Overflow::Lag);
        let mut other = rx.clone();
        assert!(tx.try_push(value.clone()).is_ok());
        let popper = thread::spawn(move || drop(rx.try_pop()));
        let second = thread::spawn(move || drop(other.try_pop()));
        assert!(tx.try_push(value.clone()).is_ok());
        popper.join().unwrap();
        second.join().unwrap();
        assert_eq!(tx.len(), 0);
        assert_eq!(Arc::strong_count(&value), 1);
    });
}
