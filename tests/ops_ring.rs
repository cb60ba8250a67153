//! The ops about the ring itself and about readiness: nop, timeout, poll, cancel.
//!
//! Knows: the public API. Does not know: nodes.

#[path = "support/steps.rs"]
mod steps;
mod support;

use std::io::{self, Write};
use std::pin::Pin;
use std::time::{Duration, Instant};

use millstream::combinators::link;
use millstream::ops::{self, Fd, IntoResult};
use millstream::{Operation, Runtime};
use steps::{Outcome, errno, poll_once};
use support::Watchdog;

fn begin() -> impl Sized {
    Watchdog::new(Duration::from_secs(60))
}

#[test]
fn nop_comes_back() -> Outcome {
    let _watchdog = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        ops::nop().await?;
        let mut op = ops::nop();
        Pin::new(&mut op).request_cancel();
        assert_eq!(errno(op.await), Some(libc::ECANCELED));
        let mut dropped = ops::nop();
        assert!(!poll_once(&mut dropped).await);
        drop(dropped);
        ops::nop().await?;
        Ok(())
    })
}

#[test]
fn timeout_runs_out_and_no_sooner() -> Outcome {
    let _watchdog = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        ops::timeout(Duration::ZERO).await?;
        let began = Instant::now();
        ops::timeout(Duration::from_millis(3)).await?;
        assert!(began.elapsed() >= Duration::from_millis(3));
        let mut op = ops::timeout(Duration::MAX);
        assert!(!poll_once(&mut op).await);
        ops::nop().await?;
        Pin::new(&mut op).request_cancel();
        assert_eq!(errno(op.await), Some(libc::ECANCELED));
        let mut dropped = ops::timeout(Duration::from_secs(3600));
        assert!(!poll_once(&mut dropped).await);
        ops::nop().await?;
        drop(dropped);
        Ok(())
    })
}

#[test]
fn a_timeout_that_has_run_out_does_not_break_its_chain() -> Outcome {
    let _watchdog = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (waited, after) = link((ops::timeout(Duration::from_millis(1)), ops::nop())).await;
        waited?;
        after?;
        Ok(())
    })
}

#[test]
fn poll_tells_what_it_waited_for() -> Outcome {
    let _watchdog = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (reader, mut writer) = io::pipe()?;
        let reader = Fd::from(reader);
        let mut op = ops::poll_add(&reader, libc::POLLIN);
        assert!(!poll_once(&mut op).await);
        ops::nop().await?;
        writer.write_all(b"x")?;
        assert_eq!(op.await?, libc::POLLIN as u32);
        assert_eq!(ops::poll_add(Fd::from(writer), libc::POLLOUT).await?, libc::POLLOUT as u32);
        let mut op = ops::poll_add(&reader, libc::POLLPRI);
        assert_eq!(op_cancelled(&mut op).await, Some(libc::ECANCELED));
        let file = ops::open("/proc/self/exe").await?;
        let always = ops::poll_add(&file, libc::POLLIN).await;
        assert!(always.is_ok() || errno(always) == Some(libc::EPERM));
        Ok(())
    })
}

async fn op_cancelled<O: Operation<Output = io::Result<u32>> + Unpin>(op: &mut O) -> Option<i32> {
    if poll_once(op).await {
        return None; // ready at once: a hang-up counts
    }
    Pin::new(&mut *op).request_cancel();
    errno(op.await)
}

#[test]
fn cancel_stops_everything_on_a_descriptor_and_nothing_else() -> Outcome {
    let _watchdog = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let (reader, _w1) = io::pipe()?;
        let (other, mut w2) = io::pipe()?;
        let (reader, other) = (Fd::from(reader), Fd::from(other));
        assert_eq!(ops::cancel(&reader).await?, 0);
        let mut ours = [ops::read(&reader, [1; 4]), ops::read(&reader, [2; 4]), ops::read(&reader, [3; 4])];
        let mut theirs = ops::read(&other, [0; 4]);
        for op in ours.iter_mut().chain([&mut theirs]) {
            assert!(!poll_once(op).await);
        }
        ops::nop().await?;
        assert_eq!(ops::cancel(&reader).await?, 3);
        for (i, op) in ours.into_iter().enumerate() {
            let (result, buf) = op.await;
            assert_eq!((errno(result), buf), (Some(libc::ECANCELED), [i as u8 + 1; 4]));
        }
        w2.write_all(b"more")?;
        assert_eq!(theirs.await.into_result()?.1, *b"more");
        Ok(())
    })
}
