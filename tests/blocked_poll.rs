//! A task that says its last word and then blocks its thread: whoever waited for the word has been told, though the poll that
//! said it does not end. What wakes a thread, and every close, is not put off.

use std::future::Future;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use millstream::channel::{self, PopError, broadcast};
use millstream::{Runtime, yield_now};

/// Long enough for a thread that has begun to wait; with less, a test would only be more lenient.
const SETTLED: Duration = Duration::from_millis(30);

/// What runs on the other thread.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Waits {
    /// In a blocking call.
    Plainly,
    /// In a task of another runtime.
    InARuntime,
    /// Polled by somebody else's executor.
    Elsewhere,
}

const ALL: [Waits; 3] = [Waits::Plainly, Waits::InARuntime, Waits::Elsewhere];

impl Waits {
    fn wait<T>(self, blocking: impl FnOnce() -> T, future: impl Future<Output = T>) -> T {
        match self {
            Self::Plainly => blocking(),
            Self::InARuntime => Runtime::new().expect("a ring").block_on(future),
            Self::Elsewhere => futures::executor::block_on(future),
        }
    }
}

/// Runs `wait` on a thread until it waits, then, in one poll of a task here, `word` and a wait for the end of that thread.
#[track_caller]
fn told<T: Send + 'static, R>(
    what: &str,
    wait: impl FnOnce() -> T + Send + 'static,
    word: impl FnOnce() -> R,
) -> T {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || done.send(wait()));
    let outcome = Runtime::new().expect("a ring").block_on(async {
        yield_now().await; // so that what follows is no first poll
        thread::sleep(SETTLED);
        let _kept = word();
        is_done.recv_timeout(Duration::from_secs(20))
    });
    outcome.unwrap_or_else(|_| panic!("{what}: not told while the poll went on"))
}

#[test]
fn the_end_of_the_senders_is_told_at_once() {
    for waits in ALL {
        let (tx, rx) = channel::bounded::<u8>(1);
        let popped = told(
            &format!("bounded, {waits:?}"),
            move || waits.wait(|| rx.pop_blocking(), rx.pop()),
            || drop(tx),
        );
        assert_eq!(popped, Err(PopError::Closed));

        let (tx, rx) = channel::bounded::<u8>(0);
        let popped = told(
            &format!("rendezvous, {waits:?}"),
            move || waits.wait(|| rx.pop_blocking(), rx.pop()),
            || tx.close(),
        );
        assert_eq!(popped, Err(PopError::Closed));

        let (tx, mut rx) = channel::spsc::<u8>(1);
        let popped = told(
            &format!("spsc, {waits:?}"),
            move || match waits {
                Waits::Plainly => rx.pop_blocking(),
                _ => waits.wait(|| unreachable!(), rx.pop()),
            },
            || drop(tx),
        );
        assert_eq!(popped, Err(PopError::Closed));

        let (tx, mut rx) = channel::oneshot::<u8>();
        let popped = told(
            &format!("oneshot, {waits:?}"),
            move || match waits {
                Waits::Plainly => rx.pop_blocking(),
                _ => waits.wait(|| unreachable!(), rx),
            },
            || drop(tx),
        );
        assert_eq!(popped, Err(PopError::Closed));
    }
}

#[test]
fn the_end_of_the_receivers_is_told_at_once() {
    for waits in ALL {
        let (tx, rx) = channel::bounded(1);
        tx.try_push(1).unwrap();
        let pushed = told(
            &format!("bounded, {waits:?}"),
            move || waits.wait(|| tx.push_blocking(2), tx.push(2)),
            || drop(rx),
        );
        assert_eq!(pushed.map_err(|error| error.into_inner()), Err(2));

        let (tx, rx) = channel::bounded::<u8>(1);
        told(
            &format!("closed(), {waits:?}"),
            move || waits.wait(|| futures::executor::block_on(tx.closed()), tx.closed()),
            || rx.close(),
        );

        let (mut tx, rx) = channel::oneshot::<u8>();
        told(
            &format!("closed() of a oneshot, {waits:?}"),
            move || futures::executor::block_on(tx.closed()),
            || drop(rx),
        );
    }
}

#[test]
fn one_value_and_the_end_are_told_at_once() {
    for waits in ALL {
        let (tx, rx) = channel::bounded(2);
        let popped = told(
            &format!("bounded, {waits:?}"),
            move || waits.wait(|| rx.pop_blocking(), rx.pop()),
            || {
                tx.try_push(7).unwrap(); // it is this that wakes, and the wake of a task is put off
                drop(tx);
            },
        );
        assert_eq!(popped, Ok(7));

        let (tx, mut rx) = channel::oneshot();
        let popped = told(
            &format!("oneshot, {waits:?}"),
            move || match waits {
                Waits::Plainly => rx.pop_blocking(),
                _ => waits.wait(|| unreachable!(), rx),
            },
            || tx.push(7).unwrap(),
        );
        assert_eq!(popped, Ok(7));
    }
}

#[test]
fn a_blocked_thread_is_told_of_every_value_at_once() {
    let (tx, rx) = channel::bounded(2);
    assert_eq!(told("bounded", move || rx.pop_blocking(), || tx.try_push(7).map(|()| tx)), Ok(7));

    let (tx, rx) = channel::bounded(1);
    tx.try_push(1).unwrap();
    assert!(told("room in bounded", move || tx.push_blocking(2).is_ok(), || rx.try_pop().map(|_| rx)));

    let (mut tx, mut rx) = channel::spsc(2);
    assert_eq!(told("spsc", move || rx.pop_blocking(), || tx.try_push(7).map(|()| tx)), Ok(7));

    let (tx, rx) = channel::broadcast(2, broadcast::Overflow::Lag);
    let mut rx = rx;
    assert_eq!(told("broadcast", move || rx.pop_blocking().ok(), || tx.try_push(7).map(|()| tx)), Some(7));
}

#[test]
fn the_end_of_a_fan_out_is_told_at_once() {
    for waits in [Waits::InARuntime, Waits::Elsewhere] {
        let (tx, mut rx) = channel::broadcast::<u8>(2, broadcast::Overflow::Lag);
        let popped = told(
            &format!("broadcast, {waits:?}"),
            move || waits.wait(|| unreachable!(), rx.pop()),
            || drop(tx),
        );
        assert!(popped.is_err());

        let (tx, mut rx) = channel::watch(1);
        rx.mark_seen();
        let seen =
            told(&format!("watch, {waits:?}"), move || waits.wait(|| unreachable!(), rx.pop()), || drop(tx));
        assert_eq!(seen, Err(PopError::Closed));
    }
}
