//! Every interleaving of two or three threads around one watched value. Each model names the planted bug under which it
//! must fail.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

use crate::channel::{PopError, watch};

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The last value arrives, whatever was skipped before it and however the close falls: `condition-parks-on-an-old-look`,
/// `watch-close-hides-the-last-value`.
#[test]
fn the_last_value_is_never_missed() {
    loom::model(|| {
        let (tx, mut rx) = watch(0);
        let pusher = thread::spawn(move || {
            tx.push(1).unwrap();
            tx.push(2).unwrap();
        });
        let mut last = None;
        loop {
            match block_on(rx.pop()) {
                Ok(value) => {
                    assert!(last < Some(value));
                    last = Some(value);
                }
                Err(error) => {
                    assert_eq!(error, PopError::Closed);
                    break;
                }
            }
        }
        assert_eq!(last, Some(2));
        pusher.join().unwrap();
    });
}

/// A push beside receivers that sleep or are about to: `watch-tells-one`.
#[test]
fn a_push_wakes_all_who_sleep() {
    loom::model(|| {
        let (tx, mut rx) = watch(0);
        rx.mark_seen();
        let mut other = rx.clone();
        let mut first = Box::pin(other.pop());
        assert!(poll(first.as_mut()).is_pending());
        let sleeper = thread::spawn(move || block_on(rx.pop()));
        tx.push(7).unwrap();
        assert_eq!(sleeper.join().unwrap(), Ok(7));
        assert_eq!(block_on(first), Ok(7));
    });
}

/// A close beside a pop and a `closed()` on their way to sleep: `condition-parks-on-an-old-look`,
/// `watch-close-forgets-poppers`.
#[test]
fn close_wakes_a_pop() {
    loom::model(|| {
        let (tx, mut rx) = watch(0);
        rx.mark_seen();
        let other = tx.clone();
        let waiting = thread::spawn(move || block_on(other.closed()));
        let closer = thread::spawn(move || {
            tx.close();
            tx
        });
        assert_eq!(block_on(rx.pop()), Err(PopError::Closed));
        waiting.join().unwrap();
        closer.join().unwrap();
    });
}

/// Two updates at once: neither is lost. `watch-update-overwrites`.
#[test]
fn updates_add_up() {
    loom::model(|| {
        let (tx, rx) = watch(0);
        let other = tx.clone();
        let second = thread::spawn(move || other.update(|n| n + 1).unwrap());
        tx.update(|n| n + 1).unwrap();
        second.join().unwrap();
        assert_eq!(rx.get(), 2);
    });
}

/// A value that is replaced while it is cloned is dropped once (loom counts the `Arc`s).
/// `cell-moves-before-all-have-looked`.
#[test]
fn a_value_is_dropped_once_however_it_is_left() {
    loom::model(|| {
        let value = Arc::new(());
        let (tx, rx) = watch(value.clone());
        let other = rx.clone();
        let reader = thread::spawn(move || drop(rx.get()));
        let second = thread::spawn(move || drop(other.get()));
        assert!(tx.push(Arc::new(())).is_ok());
        reader.join().unwrap();
        second.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1);
    });
}
