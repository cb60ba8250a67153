//! What `after`, `at`, `tick` and `never` promise.
//!
//! Knows: the public API, the clock. Does not know: how timers work. Nothing here asserts how long something took.

use std::mem;
use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::stream::{FusedStream, StreamExt};
use millstream::channel::{PopError, TryPopError, after, at, never, tick};
use millstream::combinators::{OneOf2, OperationExt};
use millstream::{Operation, Runtime, race, spawn};

use crate::{begin, panics, poll, ready};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn one_value_and_then_the_end() {
    let past = Instant::now();
    for mut rx in [at(past), after(Duration::ZERO)] {
        assert!(!rx.is_closed() && !rx.is_empty() && rx.is_full());
        assert_eq!((rx.len(), rx.capacity(), rx.period()), (1, 1, None));
        let due = rx.next_due().unwrap();
        assert!(past <= due && due <= Instant::now());
        {
            let mut pop = pin!(rx.pop());
            pop.as_mut().request_cancel();
            assert_eq!(ready(pop), Err(PopError::Cancelled), "it stays for the next pop");
        }
        drop(rx.pop());
        {
            let mut pop = pin!(rx.pop());
            assert_eq!(ready(pop.as_mut()), Ok(due));
            panics(|| poll(pop.as_mut()));
        }
        assert!(rx.is_closed() && rx.is_empty() && rx.is_terminated() && rx.next_due().is_none());
        assert!(!rx.close());
        assert_eq!((block_on(rx.pop()), rx.try_pop()), (Err(PopError::Closed), Err(TryPopError::Closed)));
        assert_eq!(rx.pop_blocking(), Err(PopError::Closed));
        assert_eq!((block_on(rx.next()), rx.missed()), (None, 0));
        assert_eq!((rx.try_iter().count(), rx.iter().count(), rx.into_iter().count()), (0, 0, 0));
    }
}

#[test]
fn a_close_leaves_what_is_due_and_nothing_else() {
    let mut due = after(Duration::ZERO);
    assert!(due.close() && !due.close());
    assert!(due.is_closed() && !due.is_terminated() && due.len() == 1);
    assert!(due.try_pop().is_ok());
    assert_eq!(due.try_pop(), Err(TryPopError::Closed));
    for mut rx in [after(HOUR), tick(HOUR), never(), at(Instant::now() + HOUR)] {
        assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
        assert!(rx.is_empty() && !rx.is_full() && !rx.is_closed());
        assert!(poll(pin!(rx.pop())).is_pending());
        assert!(rx.close() && !rx.close());
        assert_eq!((rx.try_pop(), rx.next_due()), (Err(TryPopError::Closed), None));
        assert_eq!(rx.pop_blocking(), Err(PopError::Closed));
        assert!(rx.is_terminated());
    }
    let mut ticks = tick(Duration::from_nanos(1));
    ticks.pop_blocking().unwrap();
    thread::sleep(Duration::from_micros(1));
    assert!(ticks.close());
    assert!(ticks.try_pop().is_ok(), "one that was due");
    assert_eq!(ticks.try_pop(), Err(TryPopError::Closed));
}

#[test]
fn what_the_clock_cannot_say_never_comes() {
    for mut rx in
        [after(Duration::MAX), tick(Duration::MAX), tick(Duration::from_secs(u64::MAX / 2)), never()]
    {
        assert_eq!((rx.try_pop(), rx.next_due()), (Err(TryPopError::Empty), None));
        assert!(poll(pin!(rx.pop())).is_pending());
        Runtime::new().unwrap().block_on(async {
            let outcome = race!(rx.pop() || after(Duration::from_millis(1)).pop()).await;
            assert!(matches!(outcome, OneOf2::B(Ok(_))));
        });
        assert!(!rx.is_closed());
    }
    panics(|| tick(Duration::ZERO));
}

#[test]
fn ticks_keep_step_and_count_what_was_missed() {
    let _watchdog = begin();
    for period in [
        Duration::from_nanos(1),
        Duration::from_nanos(700),
        Duration::from_micros(50),
        Duration::from_millis(1),
    ] {
        let mut ticks = tick(period);
        assert_eq!(ticks.period(), Some(period));
        let start = ticks.next_due().unwrap() - period;
        let mut last = start;
        for popped in 1..=20 {
            let expected = ticks.next_due().unwrap();
            if popped % 3 == 0 {
                thread::sleep(period * 5);
            }
            let due = if popped % 2 == 0 { ticks.pop_blocking() } else { block_on(ticks.pop()) }.unwrap();
            assert_eq!(due, expected, "the oldest that was missed");
            assert!(due > last && due <= Instant::now(), "never early");
            assert_eq!((due - start).as_nanos() % period.as_nanos(), 0);
            last = due;
            let next = ticks.next_due().unwrap();
            let steps = u128::from(popped + ticks.missed() + 1);
            assert_eq!((next - start).as_nanos(), steps * period.as_nanos());
        }
    }
}

#[test]
fn it_moves_between_executors_while_it_waits() {
    let _watchdog = begin();
    let mut deadline = after(Duration::from_millis(3));
    let due = deadline.next_due();
    let mut pop = Box::pin(deadline.pop());
    // However slow the machine is, one of the three polls it to its end, and who comes later does not touch it.
    let mut came = match Runtime::new().unwrap().block_on(async { futures::poll!(pop.as_mut()) }) {
        Poll::Ready(due) => Some(due),
        Poll::Pending => None,
    };
    thread::scope(|scope| {
        let there = scope.spawn(move || {
            if came.is_none()
                && let Poll::Ready(due) = poll(pop.as_mut())
            {
                came = Some(due);
            }
            (pop, came)
        });
        let (pop, came) = there.join().unwrap();
        let there = scope.spawn(move || match came {
            Some(due) => due,
            None => Runtime::new().unwrap().block_on(pop),
        });
        assert_eq!(there.join().unwrap().ok(), due);
    });
    // One is forgotten in a runtime that ends, and its receiver goes on elsewhere.
    let mut ticks = tick(Duration::from_millis(1));
    Runtime::new().unwrap().block_on(async {
        let mut pop = Box::pin(ticks.pop());
        let _ = futures::poll!(pop.as_mut());
        mem::forget(pop);
    });
    assert!(block_on(ticks.next()).is_some());
    let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(tokio.block_on(ticks.next()).is_some());
    assert_eq!(block_on(ticks.by_ref().take(3).collect::<Vec<_>>()).len(), 3);
    assert_eq!((&mut ticks).into_iter().take(2).count(), 2);
}

#[test]
fn it_stands_where_any_operation_stands() {
    let _watchdog = begin();
    Runtime::new().unwrap().block_on(async {
        let mut silence = never();
        panics(|| silence.pop_blocking());
        panics(|| silence.iter().next());
        panics(|| after(Duration::ZERO).pop_blocking());
        let late = silence.pop().timeout(Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(late.into_outcome(), Err(PopError::Cancelled));
        let mut limit = after(Duration::from_millis(1));
        let task = spawn(async move { limit.pop().await });
        assert!(task.await.unwrap().is_ok());
        let mut both = (after(Duration::ZERO), after(HOUR));
        let outcome = race!(both.1.pop() || both.0.pop()).await;
        assert!(matches!(outcome, OneOf2::B(Ok(_))));
        let cancelled = spawn(async { tick(HOUR).pop().await });
        cancelled.cancel();
    });
}
