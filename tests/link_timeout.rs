//! `link_timeout`: the kernel's own limit, on an op, in chains and under combinators.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use millstream::combinators::{
    Elapsed, OneOf2, OperationExt, RingOperationExt, WhenAll, hard_link, link, when_all, when_any,
};
use millstream::ops::{self, ChainTooLong, Fd};
use millstream::runtime::testing::FaultPlan;
use millstream::{Runtime, race, time, yield_now};

const SOON: Duration = Duration::from_millis(3);
const NEVER: Duration = Duration::MAX;

fn pair() -> (Fd, UnixStream) {
    let (near, far) = UnixStream::pair().expect("sockets");
    (Fd::from(near), far)
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// Runs `test` and holds that nothing of it is left in flight.
fn on_ring(test: impl AsyncFnOnce()) {
    let runtime = Runtime::new().expect("a ring");
    runtime.block_on(test());
    runtime.block_on(async {
        while runtime.stats().in_flight > 0 {
            yield_now().await;
        }
    });
    let stats = runtime.stats();
    assert_eq!((stats.nodes, stats.orphans), (0, 0));
}

#[test]
fn an_op_that_is_quicker_is_ok_and_one_that_is_not_is_elapsed() {
    on_ring(async || {
        let (near, mut far) = pair();
        far.write_all(b"x").unwrap();
        let (result, buffer) = ops::recv(&near, vec![0; 4]).link_timeout(NEVER).await.expect("in time");
        assert_eq!((result.unwrap(), buffer[0]), (1, b'x'));

        let began = Instant::now();
        let late = ops::recv(&near, vec![7; 4]).link_timeout(SOON).await;
        assert!(began.elapsed() >= SOON);
        let Elapsed { outcome: (result, buffer) } = late.unwrap_err();
        assert_eq!((errno(result), buffer), (Some(libc::ECANCELED), vec![7; 4]));
        let either = ops::nop().link_timeout(Duration::ZERO).await.unwrap_or_else(Elapsed::into_outcome);
        assert!(either.is_ok() || errno(either) == Some(libc::ECANCELED));
    });
}

/// A kernel short of memory takes the op and leaves its timer: without a limit it must not go on.
#[test]
fn an_op_that_is_parted_from_its_timer_is_stopped() {
    let plan = FaultPlan::new().submit_at_most(1);
    let runtime = Runtime::builder().faults(&plan).build().expect("a ring");
    runtime.block_on(async {
        let (near, _far) = pair();
        let outcome = ops::recv(&near, vec![7; 4]).link_timeout(NEVER).timeout(Duration::from_secs(20)).await;
        let (result, buffer) = outcome.expect("it is stopped at once").unwrap_or_else(Elapsed::into_outcome);
        // The kernel gives the beginning of a chain it had to part to a worker thread, which a cancel interrupts.
        assert!(matches!(errno(result), Some(libc::ECANCELED | libc::EINTR)));
        assert_eq!(buffer, [7; 4]);
    });
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn condy_181_at_the_end_of_a_chain_it_counts_from_when_its_op_starts() {
    on_ring(async || {
        let (near, _far) = pair();
        let began = Instant::now();
        let (slept, received) =
            (ops::timeout(4 * SOON) >> ops::recv(&near, vec![0; 4]).link_timeout(SOON)).await;
        assert!(slept.is_ok(), "it has no limit");
        assert!(received.is_err());
        assert!(began.elapsed() >= 5 * SOON);
    });
}

#[test]
fn in_the_middle_of_a_chain_running_out_breaks_a_soft_link_and_not_a_hard_one() {
    on_ring(async || {
        let (near, mut far) = pair();
        let recv = |limit| ops::recv(&near, vec![0; 1]).link_timeout(limit);
        let (first, next) = link((recv(SOON), ops::nop())).await;
        assert!(first.is_err());
        assert_eq!(errno(next), Some(libc::ECANCELED));
        let (first, next) = hard_link((recv(SOON), ops::nop())).await;
        assert!(first.is_err());
        assert!(next.is_ok());
        far.write_all(b"xy").unwrap();
        let (first, second, next) = (recv(NEVER) >> recv(NEVER) >> ops::nop()).await;
        assert_eq!((first.unwrap().0.unwrap(), second.unwrap().0.unwrap()), (1, 1));
        assert!(next.is_ok(), "the chain goes on behind a timer that was not needed");
        let last = (ops::nop() >> link((ops::nop(), recv(SOON))) >> ops::nop()).await;
        assert!(last.0.is_ok() && last.1.0.is_ok() && last.1.1.is_err());
        assert_eq!(errno(last.2), Some(libc::ECANCELED));
    });
}

#[test]
fn on_a_combinator_each_op_below_has_its_limit() {
    on_ring(async || {
        let ((one, mut peer), (other, _open)) = (pair(), pair());
        peer.write_all(b"x").unwrap();
        let recv = |fd: &Fd| ops::recv(fd, vec![0; 1]);
        let (first, second) = (recv(&one) & recv(&other)).link_timeout(SOON).await;
        assert!(first.is_ok() && second.is_err());
        let all: WhenAll<Vec<_>> = when_all(vec![recv(&one), recv(&other)]).link_timeout(SOON);
        assert!(all.await.iter().all(Result::is_err));
        assert!(when_all([recv(&one), recv(&other)]).link_timeout(SOON).await.iter().all(Result::is_err));
        assert!(matches!((recv(&one) | ops::nop()).link_timeout(NEVER).await, OneOf2::B(Ok(Ok(())))));
        let (slept, received) = (ops::timeout(SOON) >> recv(&one)).link_timeout(2 * SOON).await;
        assert!(matches!(slept, Ok(Ok(()))) && received.is_err());
        let nested = when_all((link((ops::nop(), recv(&one))), when_any((recv(&other), ops::nop()))));
        let ((nop, late), won) = nested.link_timeout(SOON).await;
        assert!(nop.is_ok() && late.is_err() && won.index() == 1);
        let shown = millstream::combinators::parallel_all((recv(&one), ops::nop())).link_timeout(SOON).await;
        assert!(shown.outputs.0.is_err() && shown.order == [1, 0]);
    });
}

#[test]
fn asked_to_stop_it_is_not_late() {
    on_ring(async || {
        let (near, _far) = pair();
        let (result, _) = ops::recv(&near, vec![0; 1])
            .link_timeout(NEVER)
            .with_cancel(time::sleep(SOON))
            .await
            .expect("stopped by request");
        assert_eq!(errno(result), Some(libc::ECANCELED));
        let mut unstarted = std::pin::pin!(ops::recv(&near, vec![5; 1]).link_timeout(NEVER));
        millstream::Operation::request_cancel(unstarted.as_mut());
        let (result, buffer) = unstarted.await.expect("never started");
        assert_eq!((errno(result), buffer), (Some(libc::ECANCELED), vec![5]));
    });
}

#[test]
fn lost_or_dropped_at_any_moment_it_leaves_nothing_behind_and_no_byte_is_lost() {
    on_ring(async || {
        let (near, mut far) = pair();
        let recv = || ops::recv(&near, vec![0; 1]).link_timeout(NEVER);
        for _ in 0..20 {
            assert!(matches!(race!(recv() || ops::nop()).await, OneOf2::B(Ok(()))));
            let mut queued = Box::pin(recv());
            assert!(futures::poll!(queued.as_mut()).is_pending());
            drop(queued); // not entered yet
            let mut entered = Box::pin(recv());
            assert!(futures::poll!(entered.as_mut()).is_pending());
            ops::nop().await.unwrap();
            drop(entered);
        }
        far.write_all(b"z").unwrap();
        let (result, buffer) = recv().await.expect("in time");
        assert_eq!((result.unwrap(), buffer[0]), (1, b'z'));
    });
}

#[test]
fn every_race_between_data_and_the_limit_is_one_of_the_two() {
    on_ring(async || {
        let (near, mut far) = pair();
        let limit = Duration::from_micros(100);
        for round in 0..200_u32 {
            let sender = millstream::spawn(async move {
                let now = Instant::now();
                while now.elapsed() < limit {
                    yield_now().await;
                }
                far.write_all(&[round as u8]).unwrap();
                far
            });
            let received = ops::recv(&near, vec![0; 1]).link_timeout(limit).await;
            let (result, buffer) = received.unwrap_or_else(Elapsed::into_outcome);
            far = sender.await.unwrap();
            if result.is_err() {
                let (result, buffer) = ops::recv(&near, vec![0; 1]).await; // not lost
                assert_eq!((result.unwrap(), buffer[0]), (1, round as u8));
            } else {
                assert_eq!(buffer[0], round as u8);
            }
        }
    });
}

#[test]
fn it_counts_as_an_entry_of_its_chain() {
    let runtime = Runtime::builder().sq_entries(8).build().expect("a ring");
    runtime.block_on(async {
        let fits = link((0..4).map(|_| ops::nop().link_timeout(NEVER))).await;
        assert!(fits.into_iter().all(|done| matches!(done, Ok(Ok(())))));
        let long = link((0..5).map(|_| ops::nop().link_timeout(NEVER))).await;
        let error = long.into_iter().next().unwrap().expect("not late").unwrap_err();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ChainTooLong>());
        assert_eq!(inner, Some(&ChainTooLong { entries: 10, capacity: 8 }));
    });
}

#[test]
fn drain_and_async_are_the_ops_own() {
    on_ring(async || {
        let path = std::env::temp_dir();
        let dir = ops::open(path).link_timeout(NEVER).always_async().await.expect("in time");
        assert!(dir.is_ok());
        assert!(matches!(ops::nop().link_timeout(NEVER).drain().await, Ok(Ok(()))));
        let both = (ops::nop() & ops::nop()).link_timeout(NEVER).drain().await;
        assert!(matches!(both, (Ok(Ok(())), Ok(Ok(())))));
    });
}
