//! Ends and futures that move between threads and executors, under selects that drop what loses.
//!
//! Knows: the public API, tokio, `futures`. Does not know: how channels work.

use std::future::Future;
use std::pin::Pin;
use std::thread;

use futures::executor::block_on;
use futures::stream::StreamExt;
use millstream::channel::broadcast::Overflow;
use millstream::channel::{self, PopError};
use millstream::{Runtime, spawn, yield_now};

use crate::begin;
use crate::support::rounds;

/// Polls once in a task of a runtime that then ends.
fn started_elsewhere<F: Future>(future: Pin<&mut F>) -> bool {
    Runtime::new().unwrap().block_on(async { futures::poll!(future).is_ready() })
}

#[test]
fn a_future_that_waits_moves_to_another_executor() {
    let _watchdog = begin();
    for capacity in [0, 1, 2] {
        for round in 0..rounds(60) {
            let (tx, rx) = channel::bounded(capacity);
            let (mut line_tx, mut line) = channel::spsc(capacity);
            let mut pop = Box::pin(rx.pop());
            let mut line_pop = Box::pin(line.pop());
            assert!(!started_elsewhere(pop.as_mut()) && !started_elsewhere(line_pop.as_mut()));
            thread::scope(|scope| {
                scope.spawn(|| (tx.push_blocking(round).unwrap(), line_tx.push_blocking(round).unwrap()));
                if round % 2 == 0 {
                    assert_eq!((block_on(pop), block_on(line_pop)), (Ok(round), Ok(round)));
                } else {
                    let there = scope
                        .spawn(|| Runtime::new().unwrap().block_on(async { (pop.await, line_pop.await) }));
                    assert_eq!(there.join().unwrap(), (Ok(round), Ok(round)));
                }
            });
            while tx.try_push(0).is_ok() {}
            while line_tx.try_push(0).is_ok() {}
            let mut push = Box::pin(tx.push(1));
            let mut line_push = Box::pin(line_tx.push(1));
            assert!(!started_elsewhere(push.as_mut()) && !started_elsewhere(line_push.as_mut()));
            thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..=capacity {
                        rx.pop_blocking().unwrap();
                        line.pop_blocking().unwrap();
                    }
                });
                assert_eq!((block_on(push), block_on(line_push)), (Ok(()), Ok(())));
            });
        }
    }
}

#[test]
fn a_line_loses_nothing_under_selects_that_drop() {
    let _watchdog = begin();
    let count = rounds(3000);
    for capacity in [0, 1, 3, 64] {
        for executor in 0..3 {
            let (mut tx, mut rx) = channel::spsc(capacity);
            let (mut noise_tx, mut noise) = channel::spsc(1);
            let pusher = thread::spawn(move || {
                let push = async {
                    for n in 0..count {
                        let place = loop {
                            // A reservation that loses has taken nothing.
                            let mut reserve = Box::pin(tx.reserve());
                            match futures::future::select(&mut reserve, Box::pin(yield_twice())).await {
                                futures::future::Either::Left((place, _)) => break place,
                                futures::future::Either::Right(_) => drop(reserve),
                            }
                            if capacity == 0 {
                                break tx.reserve().await;
                            }
                        };
                        place.unwrap().push(n).unwrap();
                    }
                };
                if executor == 1 { Runtime::new().unwrap().block_on(push) } else { block_on(push) }
            });
            let noisy = thread::spawn(move || while noise_tx.push_blocking(()).is_ok() {});
            let pop = async {
                let (mut next, mut noises) = (0, 0_u64);
                loop {
                    tokio::select! {
                        value = rx.pop() => match value {
                            Ok(n) => {
                                assert_eq!(n, next);
                                next += 1;
                            }
                            Err(error) => {
                                assert_eq!(error, PopError::Closed);
                                break;
                            }
                        },
                        _ = noise.pop() => noises += 1,
                    }
                }
                assert_eq!(next, count, "capacity {capacity}, beside {noises} other values");
            };
            match executor {
                0 => tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(pop),
                1 => Runtime::new().unwrap().block_on(pop),
                _ => block_on(pop),
            }
            drop(noise);
            pusher.join().unwrap();
            noisy.join().unwrap();
        }
    }
}

async fn yield_twice() {
    for _ in 0..2 {
        let mut first = true;
        std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if std::mem::take(&mut first) { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
        })
        .await;
    }
}

#[test]
fn broadcasts_and_watches_lose_nothing_under_selects_that_drop() {
    let _watchdog = begin();
    let count = rounds(2000);
    let (event_tx, events) = channel::broadcast(3, Overflow::Wait);
    let (state_tx, state) = channel::watch(0);
    let listeners: Vec<_> = (0..3)
        .map(|executor| {
            let (mut events, mut state) = (events.clone(), state.clone());
            thread::spawn(move || {
                let listen = async {
                    let (mut next, mut last) = (0, 0);
                    loop {
                        tokio::select! {
                            event = events.pop() => match event {
                                Ok(event) => {
                                    assert_eq!(event, next);
                                    next += 1;
                                }
                                Err(_) => break,
                            },
                            value = state.pop() => match value {
                                Ok(value) => {
                                    assert!(value >= last, "a state went back");
                                    last = value;
                                }
                                Err(_) => {
                                    while let Ok(event) = events.pop().await {
                                        assert_eq!(event, next);
                                        next += 1;
                                    }
                                    break;
                                }
                            },
                        }
                    }
                    while let Ok(value) = state.pop().await {
                        last = value;
                    }
                    assert_eq!((next, last), (count, count), "every event, and the last state");
                };
                match executor {
                    0 => tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(listen),
                    1 => Runtime::new().unwrap().block_on(listen),
                    _ => block_on(listen),
                }
            })
        })
        .collect();
    drop((events, state));
    for n in 0..count {
        event_tx.push_blocking(n).unwrap();
        state_tx.push(n + 1).unwrap();
    }
    drop((event_tx, state_tx));
    for listener in listeners {
        listener.join().unwrap();
    }
}

#[test]
fn an_end_changes_its_thread_between_values() {
    let _watchdog = begin();
    for capacity in [0, 1, 4] {
        let (mut tx, mut rx) = channel::spsc(capacity);
        let pusher = thread::spawn(move || {
            for n in (0..100).step_by(10) {
                tx = thread::spawn(move || {
                    let push = async {
                        for n in n..n + 10 {
                            tx.push(n).await.unwrap();
                        }
                    };
                    if n % 20 == 0 {
                        Runtime::new().unwrap().block_on(push)
                    } else {
                        block_on(push)
                    }
                    tx
                })
                .join()
                .unwrap();
            }
        });
        let mut seen = Vec::new();
        loop {
            let (back, got) = thread::spawn(move || {
                let pop = async {
                    let mut got = Vec::new();
                    while got.len() < 7 {
                        match rx.next().await {
                            Some(n) => got.push(n),
                            None => break,
                        }
                    }
                    got
                };
                let got =
                    if capacity % 2 == 0 { Runtime::new().unwrap().block_on(pop) } else { block_on(pop) };
                (rx, got)
            })
            .join()
            .unwrap();
            rx = back;
            if got.is_empty() {
                break;
            }
            seen.extend(got);
        }
        pusher.join().unwrap();
        assert!(seen.into_iter().eq(0..100));
    }
}

#[test]
fn a_task_that_is_cancelled_or_panics_hands_on_what_it_waited_for() {
    let _watchdog = begin();
    Runtime::new().unwrap().block_on(async {
        let (tx, rx) = channel::bounded(1);
        let waits = |rx: &channel::Receiver<u32>| {
            let rx = rx.clone();
            spawn(async move { rx.pop().await })
        };
        let (first, second) = (waits(&rx), waits(&rx));
        yield_now().await;
        tx.push(1).await.unwrap(); // counted as the first's
        first.cancel();
        assert_eq!(second.await.unwrap(), Ok(1));

        let (mut line_tx, mut line) = channel::spsc(1);
        let doomed = spawn(async move {
            line_tx.push(1).await.unwrap();
            let _end = line_tx;
            panic!("in the middle of it");
        });
        assert_eq!((line.pop().await, line.pop().await), (Ok(1), Err(PopError::Closed)));
        assert!(doomed.await.is_err());

        let (asked_tx, asked) = channel::oneshot::<u32>();
        let never_answers = spawn(async move {
            let _end = asked_tx;
            std::future::pending::<()>().await;
        });
        yield_now().await;
        never_answers.cancel();
        assert_eq!(asked.await, Err(PopError::Closed), "a task that is cancelled drops its ends");
    });
}

#[test]
fn a_runtime_that_ends_drops_the_ends_of_its_tasks() {
    let _watchdog = begin();
    let (tx, mut rx) = channel::spsc::<u8>(1);
    let (back, kept) = channel::bounded::<u8>(1);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async move {
        spawn(async move {
            let mut tx = tx;
            while tx.push(1).await.is_ok() {}
        })
        .detach();
        spawn(async move { kept.pop().await }).detach();
        yield_now().await;
    });
    drop(runtime);
    assert!(back.is_closed(), "its receiver went with the task");
    assert!(rx.iter().all(|n| n == 1), "what was in stays, and then it ends");
}
