//! What the documentation of channels promises, where executors that are not ours use them.
//!
//! Knows: the public API, foreign executors. Does not know: how a channel works.

mod support;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use futures::executor::block_on;
use futures::future::join_all;
use futures::stream::{Stream, StreamExt};
use millstream::channel::{self, TryPushError};
use millstream::{Runtime, spawn};
use support::{Watchdog, rounds};

fn begin() -> Watchdog {
    Watchdog::new(Duration::from_secs(60))
}

#[test]
fn whoever_waits_is_served_in_order_whatever_polls_it() {
    let _watchdog = begin();
    for capacity in [0, 1, 3] {
        // `join_all` polls each future every time up to thirty of them, and above only those that were woken.
        for count in [20, 200] {
            for pops_first in [false, true] {
                let (tx, rx) = channel::bounded(capacity);
                let pushes = join_all((0..count).map(|n| tx.push(n)));
                let pops = join_all((0..count).map(|_| rx.pop()));
                let (pushed, popped) = block_on(async {
                    if pops_first {
                        let (popped, pushed) = futures::join!(pops, pushes);
                        (pushed, popped)
                    } else {
                        futures::join!(pushes, pops)
                    }
                });
                assert!(pushed.iter().all(Result::is_ok));
                assert!(popped.into_iter().map(Result::unwrap).eq(0..count), "capacity {capacity}, {count}");
            }
        }
    }
}

#[test]
fn a_select_that_is_not_ours_loses_nothing() {
    let _watchdog = begin();
    let count = rounds(5000);
    let (a_tx, a) = channel::bounded(0);
    let (b_tx, b) = channel::bounded(2);
    let feeders = [a_tx, b_tx].map(|tx| {
        thread::spawn(move || (0..count).for_each(|n| tx.push_blocking(n).expect("the receiver is there")))
    });
    let (mut of_a, mut of_b) = (0, 0);
    block_on(async {
        while of_a < count || of_b < count {
            futures::select! {
                n = a.pop().fuse() => if let Ok(n) = n { assert_eq!(n, of_a); of_a += 1 },
                n = b.pop().fuse() => if let Ok(n) = n { assert_eq!(n, of_b); of_b += 1 },
            }
        }
    });
    for feeder in feeders {
        feeder.join().expect("no panic");
    }
}

#[test]
fn threads_runtimes_and_other_executors_share_a_channel() {
    let _watchdog = begin();
    let count = rounds(2000);
    for capacity in [0, 1, 3] {
        let (tx, rx) = channel::bounded(capacity);
        let (seen_tx, seen) = mpsc::channel();
        let mut threads = Vec::new();
        for kind in 0..3 {
            let tx = tx.clone();
            threads.push(thread::spawn(move || {
                let push_all = async {
                    for n in 0..count {
                        tx.push((kind, n)).await.expect("receivers are there");
                    }
                };
                match kind {
                    0 => block_on(push_all),
                    1 => Runtime::new().expect("io_uring").block_on(push_all),
                    _ => (0..count).for_each(|n| tx.push_blocking((kind, n)).expect("receivers are there")),
                }
            }));
        }
        for kind in 0..3 {
            let (mut rx, seen) = (rx.clone(), seen_tx.clone());
            threads.push(thread::spawn(move || match kind {
                0 => block_on(async {
                    while let Some(got) = rx.next().await {
                        seen.send(got).expect("counted");
                    }
                }),
                1 => Runtime::new().expect("io_uring").block_on(async {
                    let task = spawn(async move {
                        while let Some(got) = rx.next().await {
                            seen.send(got).expect("counted");
                        }
                    });
                    task.await.expect("no panic");
                }),
                _ => {
                    while let Ok(got) = rx.pop_blocking() {
                        seen.send(got).expect("counted");
                    }
                }
            }));
        }
        drop((tx, rx, seen_tx));
        let mut all: Vec<_> = seen.iter().collect();
        all.sort_unstable();
        assert!(all.into_iter().eq((0..3).flat_map(|kind| (0..count).map(move |n| (kind, n)))));
        for thread in threads {
            thread.join().expect("no panic");
        }
    }
}

#[test]
fn a_stream_dropped_on_another_thread_gives_its_place_up() {
    let (tx, mut first) = channel::bounded(0);
    let second = first.clone();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut first).poll_next(&mut cx).is_pending());
    drop(first.clone()); // which has no place of its own, and takes none along
    let mut pop = pin!(second.pop());
    assert!(pop.as_mut().poll(&mut cx).is_pending());
    tx.try_push(7).expect("two receivers wait");
    thread::spawn(move || drop(first)).join().expect("no panic");
    assert_eq!(pop.as_mut().poll(&mut cx), Poll::Ready(Ok(7)));
    assert_eq!(tx.try_push(8), Err(TryPushError::Full(8)));
}
