//! Every interleaving of the two ends of a oneshot. Each model names the planted bug under which it must fail.

use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

use crate::channel::{PopError, TryPopError, oneshot};

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A push beside a pop on its way to sleep: `oneshot-parks-on-an-old-look`.
#[test]
fn a_push_wakes_a_pop() {
    loom::model(|| {
        let (tx, mut rx) = oneshot();
        let sender = thread::spawn(move || tx.push(Arc::new(7)).unwrap());
        assert_eq!(*block_on(rx.pop()).unwrap(), 7);
        sender.join().unwrap();
    });
}

/// What was written before the push is seen after the pop: `oneshot-publishes-nothing`.
#[test]
fn a_value_arrives_whole() {
    loom::model(|| {
        let (tx, mut rx) = oneshot();
        let sender = thread::spawn(move || drop(tx.push(7)));
        match rx.try_pop() {
            Ok(value) => assert_eq!(value, 7),
            Err(error) => assert_eq!(error, TryPopError::Empty),
        }
        drop(rx);
        sender.join().unwrap();
    });
}

/// A push beside the receiver's drop: the value is dropped or comes back (loom counts the `Arc`s).
/// `oneshot-pushes-into-a-closed-channel`.
#[test]
fn a_push_beside_a_drop_loses_nothing() {
    loom::model(|| {
        let value = Arc::new(());
        let (tx, rx) = oneshot();
        let sent = value.clone();
        let sender = thread::spawn(move || tx.push(sent).map_err(drop));
        drop(rx);
        let _ = sender.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

/// A push beside a close: either the value comes back, or it can still be popped.
/// `oneshot-pushes-into-a-closed-channel`.
#[test]
fn a_push_beside_a_close_is_popped_or_comes_back() {
    loom::model(|| {
        let (tx, mut rx) = oneshot();
        let sender = thread::spawn(move || tx.push(Arc::new(7)).is_ok());
        rx.close();
        let popped = rx.try_pop();
        let pushed = sender.join().unwrap();
        assert_eq!(popped.is_ok(), pushed);
    });
}

/// A pop is polled with another waker while it is being told: `oneshot-sits-beside-the-sender`.
#[test]
fn a_new_waker_misses_nothing() {
    loom::model(|| {
        let (tx, mut rx) = oneshot();
        let sender = thread::spawn(move || tx.push(7).unwrap());
        let first = poll(pin!(rx.pop()));
        match first {
            Poll::Ready(result) => assert_eq!(result, Ok(7)),
            Poll::Pending => assert_eq!(block_on(rx), Ok(7)),
        }
        sender.join().unwrap();
    });
}

/// The seat is left while the sender goes for the waker in it: `oneshot-takes-its-waker-twice`.
#[test]
fn a_waker_has_one_owner() {
    loom::model(|| {
        let (tx, mut rx) = oneshot::<u8>();
        let told = Arc::new(());
        let waker = counting(told.clone());
        let mut pop = Box::pin(rx.pop());
        let parked = pop.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
        assert!(parked);
        let sender = thread::spawn(move || drop(tx));
        drop(pop);
        sender.join().unwrap();
        drop((rx, waker));
        assert_eq!(Arc::strong_count(&told), 1);
    });
}

/// A waker that holds `told`: taken twice or never dropped, the count shows it.
fn counting(told: Arc<()>) -> Waker {
    struct Held(#[allow(dead_code, reason = "counted by its drop")] Arc<()>);
    impl std::task::Wake for Held {
        fn wake(self: std::sync::Arc<Self>) {}
    }
    Waker::from(std::sync::Arc::new(Held(told)))
}

/// The sender goes beside a pop on its way to sleep: `oneshot-parks-on-an-old-look`.
#[test]
fn the_senders_end_wakes_a_pop() {
    loom::model(|| {
        let (tx, mut rx) = oneshot::<u8>();
        let sender = thread::spawn(move || drop(tx));
        assert_eq!(block_on(rx.pop()), Err(PopError::Closed));
        sender.join().unwrap();
    });
}

/// The receiver goes beside a `closed()` on its way to sleep: `oneshot-parks-on-an-old-look`.
#[test]
fn the_receivers_end_wakes_closed() {
    loom::model(|| {
        let (mut tx, rx) = oneshot::<u8>();
        let receiver = thread::spawn(move || drop(rx));
        block_on(tx.closed());
        assert!(tx.push(1).is_err());
        receiver.join().unwrap();
    });
}

/// Both ends wait for each other, and both leave at once: memory and wakers are freed once:
/// `oneshot-frees-at-the-first-look`.
#[test]
fn both_ends_leave_at_once() {
    loom::model(|| {
        let (mut tx, mut rx) = oneshot::<u8>();
        assert!(poll(pin!(rx.pop())).is_pending());
        let sender = thread::spawn(move || {
            let _ = poll(pin!(tx.closed()));
            drop(tx);
        });
        let _ = poll(pin!(rx.pop()));
        drop(rx);
        sender.join().unwrap();
    });
}
