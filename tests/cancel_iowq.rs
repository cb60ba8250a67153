//! Two hundred thousand cancelled ops on the kernel's worker threads: every one of them ends.
//!
//! Knows: the public API. Does not know: how a cancel travels. A cancel of a worker's op may be answered with `EALREADY`
//! and have no effect, about once in a thousand times or seldomer; whoever takes that for the end waits for ever.

#![allow(unsafe_code, reason = "makes a named pipe, for which std has no function")]

mod support;

use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use millstream::combinators::RingOperationExt;
use millstream::ops::{self, Fd};
use millstream::{Operation, Runtime, time, yield_now};
use support::{Descriptors, Rng, TempDir, Watchdog, alone, rounds};

const TASKS: u64 = 8;

/// What the kernel's workers are given.
#[derive(Clone)]
struct Targets {
    /// A pipe that is never written to: a worker tries the read, then hands it to the poll machinery.
    pipe: Fd,
    /// A named pipe that nobody writes to: opening it blocks the worker.
    fifo: PathBuf,
}

/// Starts an op that never ends by itself, cancels it after a random while, and waits for its end.
async fn cancel_one(targets: &Targets, rng: &mut Rng) {
    if rng.one_in(8) {
        let open = ops::open(&targets.fifo).always_async();
        assert_stopped(cancel_in_flight(open, rng).await.err());
    } else {
        let read = ops::read(&targets.pipe, vec![0_u8; 64]).always_async();
        let (result, buffer) = cancel_in_flight(read, rng).await;
        assert!(buffer.capacity() >= 64, "the buffer comes back");
        assert_stopped(result.err());
    }
}

async fn cancel_in_flight<O: Operation + Unpin>(mut op: O, rng: &mut Rng) -> O::Output {
    std::future::poll_fn(|cx| {
        assert!(Pin::new(&mut op).poll(cx).is_pending(), "it never ends by itself");
        std::task::Poll::Ready(())
    })
    .await;
    ops::nop().await.expect("a nop"); // went to the kernel together with the op, which is with a worker now
    // The race is between the worker that picks it up and the cancel: some microseconds.
    for _ in 0..rng.below(2_000) {
        std::hint::spin_loop();
    }
    if rng.one_in(16) {
        time::sleep(Duration::from_micros(rng.below(200))).await;
    }
    Pin::new(&mut op).request_cancel();
    op.await
}

#[track_caller]
fn assert_stopped(error: Option<io::Error>) {
    let errno = error.as_ref().and_then(io::Error::raw_os_error);
    assert!(matches!(errno, Some(libc::ECANCELED | libc::EINTR)), "ended by something else: {error:?}");
}

fn make_fifo(path: &Path) {
    let name = CString::new(path.as_os_str().as_bytes()).expect("a path has no zero byte");
    // SAFETY: a string that ends with a zero byte.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0, "{}", io::Error::last_os_error());
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
    let directory = TempDir::new();
    let (reader, writer) = io::pipe().expect("a pipe");
    let targets = Targets { pipe: Fd::from(OwnedFd::from(reader)), fifo: directory.join("fifo") };
    make_fifo(&targets.fifo);
    let runtime = Runtime::new().expect("a runtime");
    let each = rounds(200_000) / TASKS;
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let mut rng = Rng::new(rng.next_u64());
                let targets = targets.clone();
                millstream::spawn(async move {
                    for _ in 0..each {
                        cancel_one(&targets, &mut rng).await;
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
    // Else every cancel took at the first attempt, and the test has shown nothing.
    assert!(stats.cancels_repeated > 0, "no cancel was answered with EALREADY: {stats:?}");
    assert_eq!(stats.nodes, 0, "{stats:?}");
    drop((runtime, targets, writer));
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
