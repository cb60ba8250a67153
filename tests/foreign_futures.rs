//! The combinators of others over operations of ours, and futures of others in combinators of ours.
//!
//! Every op, channel operation, timer, join and combinator is a plain future: it may be polled by whatever polls futures,
//! woken by any waker, moved before its first poll, and dropped at any moment. Nothing is lost where the crate says so.
//!
//! Knows: the public API, futures, tokio. Does not know: how any of them works.

#[path = "support/mod.rs"]
mod support;

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::thread;
use std::time::Duration;

use futures::future::{Either, FusedFuture, LocalBoxFuture, select, select_all, try_join};
use futures::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use futures::{FutureExt, TryFutureExt, pin_mut};
use millstream::combinators::{
    OneOf2, OperationExt, RingOperationExt, adapters, hard_link, link, parallel_all, parallel_any, when_all,
    when_any,
};
use millstream::ops::{self, Fd};
use millstream::{Operation, Runtime, channel, race, spawn, time, yield_now};
use support::{Rng, Watchdog, rounds};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs `test` on a runtime of its own, and nothing is in flight soon after.
fn on_runtime<T>(test: impl AsyncFnOnce(&Runtime) -> T) -> T {
    let _watchdog = Watchdog::new(Duration::from_secs(100));
    let runtime = Runtime::new().expect("a ring");
    let output = runtime.block_on(async {
        let output = test(&runtime).await;
        while runtime.stats().nodes > 0 {
            time::sleep(Duration::from_micros(50)).await;
        }
        output
    });
    let stats = runtime.stats();
    assert_eq!((stats.nodes, stats.timers, stats.tasks), (0, 0, 0));
    output
}

/// One future of every kind that there is, by name. Each ends by itself.
fn every_kind<'a>(
    tx: &'a channel::Sender<u8>,
    rx: &'a channel::Receiver<u8>,
) -> Vec<(&'static str, LocalBoxFuture<'a, ()>)> {
    fn kind<'a, F: Future + 'a>(name: &'static str, future: F) -> (&'static str, LocalBoxFuture<'a, ()>) {
        (name, future.map(drop).boxed_local())
    }
    let nop = ops::nop;
    let soon = || time::sleep(Duration::from_micros(100));
    vec![
        kind("op", nop()),
        kind("push", tx.push(1)),
        kind("pop", rx.pop()),
        kind("sleep", soon()),
        kind("timeout op", ops::timeout(Duration::from_micros(100))),
        kind("join", spawn(yield_now())),
        kind("when_all", nop() & soon() & nop()),
        kind("when_any", ops::timeout(HOUR) | nop() | time::sleep(HOUR)),
        kind("parallel_all", parallel_all((nop(), soon()))),
        kind("parallel_any", parallel_any((ops::timeout(HOUR), nop()))),
        kind("link", nop() >> nop() >> nop()),
        kind("hard_link", hard_link((nop(), nop()))),
        kind("drain", (nop() & nop()).drain()),
        kind("always_async", link([nop(), nop()]).always_async()),
        kind("timeout", ops::timeout(HOUR).timeout(Duration::from_micros(100))),
        kind("deadline", ops::timeout(HOUR).deadline(std::time::Instant::now())),
        kind("with_cancel", ops::timeout(HOUR).with_cancel(soon())),
        kind("link_timeout", ops::timeout(HOUR).link_timeout(Duration::from_micros(100))),
        kind("lifted", adapters::future(yield_now())),
        kind("nested", when_any((when_all(vec![nop(), nop()]), when_all(vec![ops::timeout(HOUR)])))),
    ]
}

#[test]
fn futures_join_and_try_join_take_everything() {
    on_runtime(async |_| {
        let (tx, rx) = channel::bounded(1);
        for (name, future) in every_kind(&tx, &rx) {
            let ((), one) = futures::join!(future, ops::nop());
            assert!(one.is_ok(), "{name}");
        }
        let (a, b) = try_join(ops::nop(), ops::open("/dev/null")).await.expect("both succeed");
        drop((a, b));
        assert!(
            try_join(ops::timeout(HOUR), ops::open("/no/such/file")).await.is_err(),
            "and the hour is dropped"
        );
        let all = futures::future::join_all((0..20).map(|_| ops::nop())).await;
        assert!(all.iter().all(Result::is_ok));
    });
}

#[test]
fn futures_unordered_takes_everything_at_once() {
    on_runtime(async |_| {
        let (tx, rx) = channel::bounded(1);
        let mut all: FuturesUnordered<_> =
            every_kind(&tx, &rx).into_iter().map(|(name, future)| future.map(move |()| name)).collect();
        let count = all.len();
        let mut names = vec![];
        while let Some(name) = all.next().await {
            names.push(name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
        drop(all);

        // Dropped with everything in flight.
        let mut all: FuturesUnordered<_> =
            every_kind(&tx, &rx).into_iter().map(|(_, future)| future).collect();
        all.push(ops::timeout(HOUR).map(drop).boxed_local());
        assert!(all.next().await.is_some());
    });
}

#[test]
fn every_kind_is_dropped_at_every_poll_by_a_foreign_select() {
    on_runtime(async |_| {
        let (tx, rx) = channel::bounded(1);
        let kinds = every_kind(&tx, &rx).len();
        for kind in 0..kinds {
            for turns in 0..4 {
                let (name, future) = every_kind(&tx, &rx).swap_remove(kind);
                let turning = async {
                    for _ in 0..turns {
                        yield_now().await;
                    }
                };
                pin_mut!(turning);
                match select(future, turning).await {
                    Either::Left(((), _)) => {}
                    Either::Right(((), unfinished)) => drop(unfinished),
                }
                while rx.try_pop().is_ok() {} // for the next push
                let _ = name;
            }
        }
    });
}

#[test]
fn futures_select_over_ops_and_channels_with_arms_that_stay() {
    on_runtime(async |_| {
        let (ours, peer) = UnixStream::pair().expect("a pair");
        let socket = Fd::from(OwnedFd::from(ours));
        let count = rounds(5_000) as u32;
        let writer = write_numbers(peer, count);
        let (ticks, tick) = channel::bounded(1);
        let ticker = spawn(async move {
            let mut sent = 0_u32;
            while ticks.push(sent).await.is_ok() {
                sent += 1;
            }
            sent
        });
        let (mut bytes, mut seen) = (vec![], 0);
        let receive = ops::recv(&socket, vec![0; 64]).fuse();
        pin_mut!(receive);
        loop {
            let popped = tick.pop().fuse();
            pin_mut!(popped);
            futures::select! {
                (n, buf) = receive => {
                    let n = n.expect("nobody cancels it");
                    if n == 0 {
                        break;
                    }
                    bytes.extend_from_slice(&buf[..n]);
                    receive.set(ops::recv(&socket, buf).fuse());
                }
                number = popped => {
                    assert_eq!(number, Ok(seen), "a message was lost or came twice");
                    seen += 1;
                }
            }
            assert!(!receive.is_terminated());
        }
        assert_numbers(&bytes, count);
        writer.join().expect("no panic").expect("written");
        let left = tick.len() as u32;
        drop(tick);
        assert_eq!(ticker.await.expect("no panic"), seen + left);
    });
}

#[test]
fn tokio_select_over_ops_and_channels_on_our_runtime_loses_no_byte_and_no_message() {
    on_runtime(async |_| {
        let (ours, peer) = UnixStream::pair().expect("a pair");
        let socket = Fd::from(OwnedFd::from(ours));
        let count = rounds(5_000) as u32;
        let writer = write_numbers(peer, count);
        let (ticks, tick) = channel::bounded(2);
        let ticker = spawn(async move {
            let mut sent = 0_u32;
            while ticks.push(sent).await.is_ok() {
                sent += 1;
                yield_now().await;
            }
            sent
        });
        let (mut bytes, mut seen) = (vec![], 0);
        let mut rng = Rng::from_env();
        loop {
            // Every arm is by value: those that lose are dropped in flight.
            tokio::select! {
                (n, buf) = ops::recv(&socket, vec![0; 1 + rng.below(64) as usize]) => {
                    match n.expect("nobody cancels it") {
                        0 => break,
                        n => bytes.extend_from_slice(&buf[..n]),
                    }
                }
                number = tick.pop() => {
                    assert_eq!(number, Ok(seen), "a message was lost or came twice");
                    seen += 1;
                }
                _ = ops::nop() => {}
                () = time::sleep(Duration::from_micros(rng.below(40))) => {}
            }
        }
        assert_numbers(&bytes, count);
        writer.join().expect("no panic").expect("written");
        let left = tick.len() as u32;
        drop(tick);
        assert_eq!(ticker.await.expect("no panic"), seen + left);
    });
}

#[test]
fn combinators_of_channels_under_tokio() {
    let _watchdog = Watchdog::new(Duration::from_secs(100));
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("threads");
    let count = rounds(20_000);
    let ((tx1, rx1), (tx2, rx2)) = (channel::bounded(2), channel::bounded(0));
    let feeders = [tx1, tx2].map(|tx| {
        tokio.spawn(async move {
            for number in 0..count {
                tx.push(number).await.expect("the consumer stays");
            }
        })
    });
    let consumer = tokio.spawn(async move {
        let mut seen = [0, 0];
        while seen != [count, count] {
            // A race of ours as an arm of theirs, which drops it in the middle.
            let popped = tokio::select! {
                one = when_any((rx1.pop(), rx2.pop())) => one,
                () = tokio::task::yield_now() => continue,
            };
            let (from, number) = (popped.index(), popped.into_inner());
            if let Ok(number) = number {
                assert_eq!(number, seen[from], "lost, doubled or out of order");
                seen[from] += 1;
            }
            if seen[from] == count {
                let rest = if from == 0 { &rx2 } else { &rx1 };
                while let Ok(number) = rest.pop().await {
                    assert_eq!(number, seen[1 - from]);
                    seen[1 - from] += 1;
                }
            }
        }
        let (a, b) = when_all((rx1.pop(), rx2.pop())).await;
        assert!(a.is_err_and(|e| e.is_closed()) && b.is_err_and(|e| e.is_closed()));
    });
    tokio.block_on(async {
        for feeder in feeders {
            feeder.await.expect("no panic");
        }
        consumer.await.expect("no panic");
    });
}

#[test]
fn buffer_unordered_and_the_other_adaptors_of_streams() {
    on_runtime(async |runtime| {
        let zeros = ops::open("/dev/zero").await.expect("every machine has zeros");
        let lengths: Vec<usize> = futures::stream::iter(1..=200_usize)
            .map(|len| ops::read(&zeros, Vec::with_capacity(len)).map(|(n, _)| n.expect("zeros")))
            .buffer_unordered(16)
            .collect()
            .await;
        assert_eq!(lengths.iter().sum::<usize>(), 200 * 201 / 2);
        let ordered: Vec<usize> = futures::stream::iter(1..=50_usize)
            .map(|len| when_all((ops::nop(), ops::read(&zeros, Vec::with_capacity(len)))))
            .buffered(4)
            .map(|(nop, (n, _))| nop.and(n).expect("zeros"))
            .collect()
            .await;
        assert_eq!(ordered, (1..=50).collect::<Vec<_>>());

        let (tx, rx) = channel::bounded(4);
        let feeder = spawn(async move {
            for n in 0..100_u32 {
                tx.push(n).await.expect("open");
            }
        });
        let summed = rx.for_each_concurrent(8, |n| async move {
            let chain = ops::nop() >> ops::nop();
            let won = race!(chain || time::sleep(HOUR)).await;
            assert!(matches!(won, OneOf2::A((Ok(()), Ok(()))) if n < 100));
        });
        summed.await;
        feeder.await.expect("no panic");
        assert_eq!(runtime.stats().nodes, 0);

        let mut ordered: FuturesOrdered<_> = (0..5).map(|n| spawn(async move { n })).collect();
        for n in 0..5 {
            assert_eq!(ordered.next().await.expect("five").expect("no panic"), n);
        }
    });
}

#[test]
fn select_all_and_shared_and_the_combinators_of_try_futures() {
    on_runtime(async |_| {
        let (_, index, rest) =
            select_all([ops::timeout(HOUR), ops::timeout(Duration::ZERO), ops::timeout(HOUR)]).await;
        assert_eq!((index, rest.len()), (1, 2));
        drop(rest);
        let shared = ops::nop().map(|result| result.is_ok()).boxed_local().shared();
        assert_eq!(futures::join!(shared.clone(), shared), (true, true));
        let kind = ops::open("/no/such/file").map_err(|error| error.kind()).await;
        assert_eq!(kind.err(), Some(io::ErrorKind::NotFound));
        let caught = std::panic::AssertUnwindSafe(when_all((ops::nop(), ops::nop()))).catch_unwind().await;
        assert!(caught.is_ok());
        assert!(ops::timeout(HOUR).now_or_never().is_none());
    });
}

/// A future of somebody else's: it wakes itself, more often than it must, and with wakers of its own.
async fn restless(turns: u32) -> u32 {
    for turn in 0..turns {
        let mut polled = false;
        std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if turn % 2 == 0 {
                let another = cx.waker().clone();
                another.wake_by_ref();
            }
            if std::mem::replace(&mut polled, true) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }
    turns
}

#[test]
fn foreign_futures_in_every_combinator() {
    on_runtime(async |runtime| {
        let lift = |turns| adapters::future(restless(turns));
        let never = || adapters::future(std::future::pending::<u32>());
        assert_eq!((lift(3) & lift(1) & ops::nop()).await.1, Ok(1));
        assert_eq!(when_all((0..5).map(lift)).await, (0..5).map(Ok).collect::<Vec<_>>());
        assert_eq!((never() | lift(2) | ops::timeout(HOUR)).await.index(), 1);
        assert_eq!(when_any([lift(9), lift(1)]).await, (1, Ok(1)));
        assert_eq!(parallel_all((lift(2), lift(1))).await.order, [1, 0]);
        let raced = parallel_any((never(), lift(1))).await;
        assert_eq!((raced.winner, raced.outputs), (1, (Err(adapters::Cancelled), Ok(1))));
        assert_eq!(lift(2).timeout(HOUR).await, Ok(Ok(2)));
        assert!(never().timeout(Duration::ZERO).await.is_err());
        assert!(never().deadline(std::time::Instant::now()).await.is_err());
        assert!(never().with_cancel(lift(2)).await.is_err());
        assert_eq!(lift(1).with_cancel(never()).await, Ok(1));
        let mut lost = None;
        assert_eq!((never().lost_into(&mut lost) | lift(1)).await.index(), 1);
        assert_eq!(lost, Some(Err(adapters::Cancelled)));
        assert_eq!(runtime.stats().nodes, 0);

        // Futures of tokio and of futures, on our runtime.
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a thread");
        let task = tokio.spawn(async {
            tokio::task::yield_now().await;
            5
        });
        assert!(
            (adapters::future(task) & ops::nop()).await.0.is_ok_and(|five| five.is_ok_and(|five| five == 5))
        );
        tokio.shutdown_background();
        let (tx, rx) = futures::channel::oneshot::channel::<u8>();
        drop(tx);
        assert!(matches!((adapters::future(rx) | ops::timeout(HOUR)).await, OneOf2::A(Ok(Err(_)))));
        let (abortable, abort) = futures::future::abortable(std::future::pending::<()>());
        let aborted = adapters::future(abortable) & adapters::future(async move { abort.abort() });
        assert_eq!(aborted.await, (Ok(Err(futures::future::Aborted)), Ok(())));
        let mut joined: FuturesUnordered<_> = (0..3).map(restless).collect();
        let next = adapters::future(joined.next());
        assert!(matches!((next | ops::timeout(HOUR)).await, OneOf2::A(Ok(Some(0)))));
        assert_eq!(joined.len(), 2, "the rest goes on");
    });
}

#[test]
fn a_foreign_future_that_loses_is_dropped_once_before_the_race_is_over() {
    struct Guard<'a>(&'a std::cell::Cell<u32>);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    on_runtime(async |_| {
        let drops = std::cell::Cell::new(0);
        for turns in 0..4 {
            let guard = Guard(&drops);
            let held = adapters::future(async move {
                let _guard = guard;
                std::future::pending::<()>().await;
            });
            let won = (held | adapters::future(restless(turns))).await;
            assert_eq!((won.index(), drops.get()), (1, turns + 1));
        }
    });
}

#[test]
fn operations_move_before_their_first_poll_and_between_wakers() {
    on_runtime(async |_| {
        // Polled by one executor's waker, then by another's: the last one is woken.
        let mut op = Box::pin(ops::timeout(Duration::from_millis(1)) & time::sleep(Duration::from_millis(2)));
        for _ in 0..3 {
            let waker = futures::task::noop_waker();
            let polled = Pin::new(&mut op).poll(&mut std::task::Context::from_waker(&waker));
            assert!(polled.is_pending());
        }
        let (timed, ()) = op.await;
        assert!(timed.is_ok());
        let mut several: Vec<_> = (0..10).map(|_| ops::nop() & ops::nop()).collect();
        several.rotate_left(3);
        for both in several {
            assert!(matches!(both.await, (Ok(()), Ok(()))));
        }
    });
}

fn write_numbers(mut socket: UnixStream, count: u32) -> thread::JoinHandle<io::Result<()>> {
    let mut rng = Rng::from_env();
    thread::spawn(move || {
        let bytes: Vec<u8> = (0..count).flat_map(u32::to_be_bytes).collect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let piece = (1 + rng.below(64) as usize).min(rest.len());
            io::Write::write_all(&mut socket, &rest[..piece])?;
            rest = &rest[piece..];
        }
        Ok(())
    })
}

fn assert_numbers(bytes: &[u8], count: u32) {
    assert_eq!(bytes.len(), count as usize * 4, "bytes were lost or doubled");
    for (index, number) in bytes.chunks(4).enumerate() {
        assert_eq!(number, (index as u32).to_be_bytes(), "bytes were reordered");
    }
}

/// Whatever is an operation is a future, and a boxed one still is.
#[allow(dead_code, reason = "compiling it is the test")]
fn operations_are_futures<O: Operation + 'static>(operation: O) -> LocalBoxFuture<'static, O::Output> {
    operation.boxed_local()
}
