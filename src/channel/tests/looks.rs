//! Operations that look before they wait: how often, for whom, and that nobody looks away from what is there.

use core::future::Future;
use core::pin::{Pin, pin};
use core::task::Poll;
use std::thread;
use std::time::Duration;

use futures::future::poll_fn;

use super::support::poll;
use crate::Runtime;
use crate::channel::waiter::State;
use crate::channel::{Pop, PopError, Receiver, Sender, bounded};

/// More often than anybody looks.
const ENOUGH: usize = 100;

fn run(test: impl Future<Output = ()>) {
    let microsecond = Duration::from_micros(1);
    Runtime::builder().spin(microsecond).build().expect("a ring").block_on(test);
}

/// Polls once, with the waker of the task it is in.
async fn once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// On a thread of its own.
fn elsewhere<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| scope.spawn(work).join().expect("the thread panicked"))
}

/// How often the pop of an empty channel is polled before it stands in line.
async fn looks(mut pop: Pin<&mut Pop<'_, u32>>) -> usize {
    for polls in 1..ENOUGH {
        assert!(once(pop.as_mut()).await.is_pending());
        if pop.state() != State::Idle {
            return polls;
        }
    }
    panic!("it looks for ever");
}

/// A channel of one slot, empty, whose values come from another thread.
fn from_elsewhere() -> (Sender<u32>, Receiver<u32>) {
    let (tx, rx) = bounded(1);
    elsewhere(|| tx.try_push(0)).unwrap();
    assert_eq!(rx.try_pop(), Ok(0));
    (tx, rx)
}

#[test]
fn a_pop_looks_some_times_and_then_stands_in_line() {
    run(async {
        let (tx, rx) = from_elsewhere();
        let mut pop = pin!(rx.pop());
        assert!(looks(pop.as_mut()).await > 1, "it stands in line at once");
        assert_eq!(pop.state(), State::Queued);
        elsewhere(|| tx.try_push(1)).unwrap();
        assert_eq!(pop.await, Ok(1));
    });
}

#[test]
fn who_looks_finds_what_comes_and_the_end() {
    run(async {
        let (tx, rx) = from_elsewhere();
        for value in 1..10 {
            let mut pop = pin!(rx.pop());
            assert!(once(pop.as_mut()).await.is_pending());
            assert_eq!(pop.state(), State::Idle, "it stands in line at once");
            elsewhere(|| tx.try_push(value)).unwrap();
            assert_eq!(once(pop).await, Poll::Ready(Ok(value)));
        }
        let mut pop = pin!(rx.pop());
        assert!(once(pop.as_mut()).await.is_pending());
        elsewhere(|| tx.close());
        assert_eq!(once(pop).await, Poll::Ready(Err(PopError::Closed)));
    });
}

#[test]
fn for_what_its_own_thread_brings_a_pop_stands_in_line_at_once() {
    run(async {
        let (tx, rx) = from_elsewhere();
        tx.try_push(1).unwrap();
        assert_eq!(rx.pop().await, Ok(1));
        let mut pop = pin!(rx.pop());
        assert!(once(pop.as_mut()).await.is_pending());
        assert_eq!(pop.state(), State::Queued);
    });
}

#[test]
fn nobody_is_overtaken_by_who_looks() {
    run(async {
        let (tx, rx) = from_elsewhere();
        let (mut first, mut second) = (pin!(rx.pop()), pin!(rx.pop()));
        assert!(poll(first.as_mut()).is_pending());
        assert_eq!(first.state(), State::Queued, "whose waker is not the runtime's does not look");
        assert!(once(second.as_mut()).await.is_pending());
        assert_eq!(second.state(), State::Queued, "it looks, though somebody waits");
        elsewhere(|| tx.try_push(1)).unwrap();
        assert!(once(second.as_mut()).await.is_pending());
        assert_eq!(poll(first), Poll::Ready(Ok(1)));
    });
}

/// A push has to wait there, and goes away again.
fn make_busy(tx: &Sender<u32>, rx: &Receiver<u32>) {
    elsewhere(|| {
        tx.try_push(1).unwrap();
        assert!(poll(pin!(tx.push(2))).is_pending());
    });
    assert_eq!(rx.try_pop(), Ok(1));
}

#[test]
fn where_pushes_wait_pops_do_so_too_for_some_time() {
    run(async {
        let (tx, rx) = from_elsewhere();
        make_busy(&tx, &rx);
        for pushes in 0.. {
            assert!(pushes < ENOUGH, "it never looks again");
            let mut pop = pin!(rx.pop());
            if looks(pop.as_mut()).await > 1 {
                assert!(pushes > 1, "it looks again at once");
                break;
            }
            elsewhere(|| tx.try_push(3)).unwrap();
            assert_eq!(pop.await, Ok(3));
        }
    });
}

#[test]
fn before_a_runtime_sleeps_at_once_its_pops_look_all_the_same_but_less_often() {
    Runtime::builder().no_spin().build().expect("a ring").block_on(async {
        let (tx, rx) = from_elsewhere();
        let often = looks(pin!(rx.pop())).await;
        make_busy(&tx, &rx);
        let seldom = looks(pin!(rx.pop())).await;
        assert!(1 < seldom && seldom < often, "{seldom} and {often}");
    });
}
