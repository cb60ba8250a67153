//! Two hundred thousand cancelled ops on the kernel's worker threads: every one of them ends.
//!
//! Knows: the public API. Does not know: how a cancel travels. A cancel of a worker's op may be answered with `EALREADY`
//! and have no effect, about once in a thousand times or seldomer; whoever takes that for the end waits for ever.

mod support;

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::time::Duration;

use millstream::combinators::RingOperationExt;
use millstream::ops::{self, Fd};
use millstream::{Operation, Runtime, time, yield_now};
use support::{Descriptors, Rng, Watchdog, alone, rounds};

const TASKS: u64 = 16;

/// Cancels one blocking read after a random while and waits for its end.
async fn cancel_one(pipe: &Fd, rng: &mut Rng) {
    let mut read = ops::read(pipe, vec![0_u8; 64]).always_async();
    std::future::poll_fn(|cx| {
        assert!(Pin::new(&mut read).poll(cx).is_pending(), "nothing is ever written");
        std::task::Poll::Ready(())
    })
    .await;
    // The race is between the worker that picks the read up and the cancel, so most waits are as long as that takes.
    match rng.below(8) {
        0 => {}
        1 => time::sleep(Duration::from_micros(rng.below(200))).await,
        n => {
            for _ in 0..n {
                yield_now().await;
            }
        }
    }
    Pin::new(&mut read).request_cancel();
    let (result, buffer) = read.await;
    let error = result.expect_err("nothing is ever written");
    let stopped = matches!(error.raw_os_error(), Some(libc::ECANCELED | libc::EINTR));
    assert!(stopped, "ended by something else: {error}");
    assert!(buffer.capacity() >= 64, "the buffer comes back");
}

#[test]
fn every_cancelled_worker_op_ends() {
    let _alone = alone();
    require_op!(Read, AsyncCancel);
    let _watchdog = Watchdog::new(Duration::from_secs(300));
    let mut rng = Rng::from_env();
    let before = {
        drop(Runtime::new().expect("a runtime")); // what the process keeps for good is there from now on
        Descriptors::now()
    };
    let runtime = Runtime::new().expect("a runtime");
    let each = rounds(200_000) / TASKS;
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let mut rng = Rng::new(rng.next_u64());
                millstream::spawn(async move {
                    let (reader, _writer) = io::pipe().expect("a pipe");
                    let pipe = Fd::from(OwnedFd::from(reader));
                    for _ in 0..each {
                        cancel_one(&pipe, &mut rng).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
    let stats = runtime.stats();
    eprintln!("{} ops cancelled, {} cancels repeated", each * TASKS, stats.cancels_repeated);
    assert_eq!(stats.nodes, 0, "{stats:?}");
    drop(runtime);
    before.assert_same();
}

#[test]
fn a_cancel_of_what_a_drain_waits_for_ends() {
    let _alone = alone();
    require_op!(Read, Nop, AsyncCancel);
    let _watchdog = Watchdog::new(Duration::from_secs(20));
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for _ in 0..100 {
            let (reader, _writer) = io::pipe().expect("a pipe");
            let mut read = ops::read(Fd::from(OwnedFd::from(reader)), vec![0_u8; 64]);
            let mut drain = ops::nop().drain();
            std::future::poll_fn(|cx| {
                assert!(Pin::new(&mut read).poll(cx).is_pending());
                let _ = Pin::new(&mut drain).poll(cx);
                std::task::Poll::Ready(())
            })
            .await;
            yield_now().await; // both are with the kernel now: the drain waits for the read, for ever
            time::sleep(Duration::from_micros(100)).await;
            Pin::new(&mut read).request_cancel();
            let (result, _) = read.await;
            assert_eq!(result.expect_err("cancelled").raw_os_error(), Some(libc::ECANCELED));
            drain.await.expect("the drain goes on once the read is gone");
        }
    });
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn a_drain_does_not_wait_for_the_runtime_itself() {
    let _alone = alone();
    require_op!(Nop);
    let _watchdog = Watchdog::new(Duration::from_secs(20));
    let runtime = Runtime::builder().no_spin().build().expect("a runtime");
    runtime.block_on(async {
        for _ in 0..10 {
            time::sleep(Duration::from_micros(500)).await; // parked: whatever the loop sleeps on is with the kernel
            ops::nop().drain().await.expect("nothing is in flight before it");
        }
    });
}

#[test]
fn what_a_drain_held_back_does_not_hold_back_the_rest() {
    let _alone = alone();
    require_op!(Read, Nop);
    let _watchdog = Watchdog::new(Duration::from_secs(20));
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for _ in 0..100 {
            let (slow, mut slow_writer) = io::pipe().expect("a pipe");
            let (long, _writer) = io::pipe().expect("a pipe");
            let slow =
                millstream::spawn(async move { ops::read(Fd::from(OwnedFd::from(slow)), [0_u8; 8]).await });
            yield_now().await;
            let drain = millstream::spawn(ops::nop().drain());
            yield_now().await;
            // Comes after the drain, and never ends by itself.
            let long =
                millstream::spawn(async move { ops::read(Fd::from(OwnedFd::from(long)), [0_u8; 8]).await });
            yield_now().await;
            time::sleep(Duration::from_micros(100)).await;
            assert!(!drain.is_finished(), "the drain waits for the read");
            slow_writer.write_all(b"x").expect("room in the pipe");
            assert_eq!(slow.await.expect("no panic").0.expect("a byte"), 1);
            drain.await.expect("no panic").expect("a nop");
            time::sleep(Duration::from_micros(100)).await; // the long read has begun
            ops::nop().await.expect("a nop");
            ops::nop().await.expect("a nop");
            long.cancel();
            let _ = long.await;
        }
    });
    runtime.shutdown().expect("nothing is leaked");
}
