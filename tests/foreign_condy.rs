//! The combinators of condy, the C++ library this design started from: what its documentation and its test-suite say, on a
//! real ring. The table in `docs/guide/coming_from_condy.md` says where each of its behaviours is held.
//!
//! Knows: the public API. Does not know: how combinators work. The numbers in names are the table's.

#[path = "support/mod.rs"]
mod support;

use std::cell::Cell;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use millstream::combinators::{
    OneOf2, OperationExt, Parallel, Raced, RingOperationExt, adapters, hard_link, link, parallel_all,
    parallel_any, when_all,
};
use millstream::ops::{self, Fd};
use millstream::{Operation, Runtime, channel, spawn, time, yield_now};
use support::Watchdog;

const HOUR: Duration = Duration::from_secs(3600);

/// Runs `test` on a runtime of its own, and nothing is in flight when it is over.
fn on_runtime<T>(test: impl AsyncFnOnce(&Runtime) -> T) -> T {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let runtime = Runtime::new().expect("a ring");
    let output = runtime.block_on(test(&runtime));
    assert_eq!(runtime.stats().nodes, 0);
    output
}

/// The error number, or 0.
fn code<T>(result: io::Result<T>) -> i32 {
    result.map_or_else(|error| error.raw_os_error().expect("an error of the kernel's"), |_| 0)
}

// --- 6.7, 6.8: ops, handles, senders --------------------------------------------------------------------------------

#[test]
fn condy_66_of_eight_ops_the_four_that_are_cancelled_say_so() {
    on_runtime(async |_| {
        let (mut finished, mut stopped) = (vec![], vec![]);
        for _ in 0..4 {
            finished.push(spawn(async { ops::nop().await }));
            stopped.push(spawn(async { ops::timeout(HOUR).timeout(Duration::ZERO).await }));
        }
        for task in finished {
            assert_eq!(code(task.await.expect("no panic")), 0);
        }
        for task in stopped {
            let outcome = task.await.expect("no panic").expect_err("an hour").into_outcome();
            assert_eq!(code(outcome), libc::ECANCELED);
        }
    });
}

#[test]
fn condy_71_72_84_89_one_op_two_in_a_row_a_stored_combinator_and_its_parts() {
    on_runtime(async |_| {
        assert_eq!(code(ops::nop().await), 0);
        assert_eq!(code(ops::nop().await), 0);
        let mut stored = when_all((0..3).map(|_| ops::nop()));
        let results = (&mut stored).await;
        assert_eq!(results.into_iter().map(code).collect::<Vec<_>>(), [0, 0, 0]);
        let Parallel { outputs: (first, second), order } = parallel_all((ops::nop(), ops::nop())).await;
        assert_eq!((code(first), code(second), order), (0, 0, [0, 1]));
    });
}

#[test]
fn condy_92_94_97_98_completion_order_and_every_outcome() {
    on_runtime(async |runtime| {
        let Parallel { outputs, order } = parallel_all((0..5).map(|_| ops::nop())).await;
        assert_eq!(outputs.into_iter().map(code).collect::<Vec<_>>(), [0; 5]);
        assert_eq!(order, [0, 1, 2, 3, 4]);

        let Raced { winner, outputs: (nop, hour), order } =
            parallel_any((ops::nop(), ops::timeout(HOUR))).await;
        assert_eq!((winner, order), (0, [0, 1]));
        assert_eq!((code(nop), code(hour)), (0, libc::ECANCELED));
        assert_eq!(runtime.stats().nodes, 0);

        let Raced { winner, outputs, order } = parallel_any((0..5).map(|_| ops::nop())).await;
        assert_eq!((winner, order[0]), (0, 0));
        let codes: Vec<_> = outputs.into_iter().map(code).collect();
        assert_eq!(codes, [0; 5], "they had all finished");
    });
}

#[test]
fn condy_105_stopped_by_another_task() {
    on_runtime(async |_| {
        let (stop, stopped) = channel::oneshot();
        let waiting = spawn(ops::timeout(HOUR).with_cancel(stopped));
        yield_now().await;
        stop.push(()).expect("somebody waits");
        let outcome = waiting.await.expect("no panic");
        assert_eq!(code(outcome), libc::ECANCELED);
    });
}

#[test]
fn condy_106_stopped_by_a_plain_thread() {
    on_runtime(async |_| {
        let (stop, stopped) = channel::oneshot();
        let stopper = thread::spawn(move || stop.push(()));
        let outcome = ops::timeout(HOUR).with_cancel(stopped).await;
        assert_eq!(code(outcome), libc::ECANCELED);
        stopper.join().expect("no panic").expect("somebody waits");
    });
}

#[test]
fn condy_107_stopped_by_a_task_of_another_runtime() {
    on_runtime(async |_| {
        let (stop, stopped) = channel::bounded(1);
        let stopper = thread::spawn(move || {
            let runtime = Runtime::new().expect("a ring");
            runtime.block_on(async {
                yield_now().await;
                stop.push(()).await
            })
        });
        let outcome = ops::timeout(HOUR).with_cancel(stopped.pop()).await;
        assert_eq!(code(outcome), libc::ECANCELED);
        stopper.join().expect("no panic").expect("somebody waits");
    });
}

// --- 3: combinators, precisely --------------------------------------------------------------------------------------

/// Neither `Default` nor `Clone`.
#[derive(Debug, PartialEq)]
struct Plain(u8);

#[test]
fn outputs_need_no_default() {
    on_runtime(async |_| {
        let plain = |n| adapters::future(async move { Plain(n) });
        assert_eq!((plain(1) & plain(2)).await, (Ok(Plain(1)), Ok(Plain(2))));
        assert_eq!(when_all(vec![plain(1)]).await, [Ok(Plain(1))]);
        assert_eq!((plain(1) | plain(2)).await, OneOf2::A(Ok(Plain(1))));
    });
}

#[test]
fn a_stop_from_outside_reaches_every_kind_of_leaf_and_all_are_waited_for() {
    on_runtime(async |runtime| {
        let (_keeps_open, pop) = channel::bounded::<u8>(1);
        let task = spawn(async {
            std::future::pending::<()>().await;
        });
        let chain = ops::timeout(HOUR) >> ops::nop();
        let mut all = pin!(
            ops::timeout(HOUR)
                & pop.pop()
                & (time::sleep(HOUR) | ops::timeout(HOUR))
                & chain
                & task
                & adapters::future(std::future::pending::<()>())
        );
        for _ in 0..3 {
            assert!(futures::poll!(all.as_mut()).is_pending());
            ops::nop().await.expect("the smallest op");
        }
        all.as_mut().request_cancel();
        let (op, popped, raced, (first, second), joined, lifted) = all.await;
        assert_eq!(runtime.stats().nodes, 0, "waited for");
        assert_eq!(
            (code(op), code(first), code(second)),
            (libc::ECANCELED, libc::ECANCELED, libc::ECANCELED)
        );
        assert!(popped.is_err_and(|error| error.is_cancelled()));
        assert_eq!(raced.index(), 0, "a sleep that is asked to stop is over");
        assert!(joined.is_err_and(|error| error.is_cancelled()));
        assert_eq!(lifted, Err(adapters::Cancelled));
    });
}

#[test]
fn chains_in_a_when_all_are_independent() {
    on_runtime(async |_| {
        let missing = || ops::open("/no/such/file");
        let ((failed, cut), (ran, too)) = (missing() >> ops::nop() & (ops::nop() >> ops::nop())).await;
        assert_eq!((code(failed), code(cut)), (libc::ENOENT, libc::ECANCELED));
        assert_eq!((code(ran), code(too)), (0, 0), "a failure stays in its chain");
        let (failed, went_on) = hard_link((missing(), ops::nop())).await;
        assert_eq!((code(failed), code(went_on)), (libc::ENOENT, 0));
    });
}

#[test]
fn a_short_read_breaks_a_link_and_not_a_hard_link() {
    on_runtime(async |_| {
        let file = ops::open("/etc/hostname").await.expect("every machine has a name");
        let length = fs::metadata("/etc/hostname").expect("it was opened").len() as usize;
        let read = |more: usize| ops::read(&file, Vec::with_capacity(length + more)).at(0);
        let ((n, _), next) = (read(100) >> ops::nop()).await;
        assert_eq!((n.expect("it is there"), code(next)), (length, libc::ECANCELED));
        let ((n, _), next) = hard_link((read(100), ops::nop())).await;
        assert_eq!((n.expect("it is there"), code(next)), (length, 0));
        let ((n, _), next) = (read(0) >> ops::nop()).await;
        assert_eq!(
            (n.expect("it is there"), code(next)),
            (length, 0),
            "one of the exact length is not short"
        );
    });
}

#[test]
fn a_drain_waits_for_what_other_tasks_had_started() {
    on_runtime(async |_| {
        let over = Rc::new(Cell::new(false));
        let other = {
            let over = Rc::clone(&over);
            spawn(async move {
                let result = ops::timeout(Duration::from_millis(20)).await;
                over.set(true);
                result
            })
        };
        yield_now().await; // it starts first
        assert_eq!(code(ops::nop().drain().await), 0);
        assert!(over.get() || other.is_finished(), "the drain overtook an op");
        assert_eq!(code(other.await.expect("no panic")), 0);
    });
}

#[test]
fn a_drain_after_writes_sees_all_of_them() {
    on_runtime(async |_| {
        let dir = support::TempDir::new();
        let path = dir.join("written");
        let file = ops::open(&path)
            .flags(libc::O_CREAT | libc::O_RDWR)
            .mode(0o600)
            .await
            .expect("a directory of ours");
        let writes = when_all((0..20_u8).map(|n| ops::write(&file, vec![n; 16]).at(u64::from(n) * 16)));
        let (written, synced) = (writes & ops::fsync(&file).drain()).await;
        assert_eq!(code(synced), 0);
        assert!(written.into_iter().all(|(n, _)| n.is_ok_and(|n| n == 16)));
        assert_eq!(fs::read(&path).expect("synced"), (0..20_u8).flat_map(|n| [n; 16]).collect::<Vec<_>>());
    });
}

#[test]
fn a_hard_link_that_loses_is_waited_out_to_its_last_member() {
    on_runtime(async |runtime| {
        let chain = hard_link((ops::timeout(HOUR), ops::nop(), ops::timeout(HOUR), ops::nop()));
        assert_eq!((chain | adapters::future(yield_now())).await.index(), 1);
        assert_eq!(runtime.stats().nodes, 0);
        assert_eq!((link((ops::timeout(HOUR), ops::nop())) | ops::nop()).await.index(), 1);
        assert_eq!(runtime.stats().nodes, 0);
    });
}

#[test]
fn what_a_loser_received_all_the_same_is_the_next_ones() {
    on_runtime(async |_| {
        let (ours, mut peer) = UnixStream::pair().expect("a pair");
        let socket = Fd::from(OwnedFd::from(ours));
        let (mut place, mut lost) = (0_u8, 0);
        let mut take = |buf: &[u8]| {
            for byte in buf {
                assert_eq!(*byte, place, "lost, doubled or out of order");
                place += 1;
            }
            place
        };
        for byte in 0..200 {
            peer.write_all(&[byte]).expect("room");
            // Both are in one submission, so the receive has its byte when it loses.
            match (ops::nop() | ops::recv(&socket, vec![0; 4])).await {
                OneOf2::A(_) => lost += 1,
                OneOf2::B((n, buf)) => _ = take(&buf[..n.expect("they are there")]),
            }
        }
        assert!(lost > 50, "it lost {lost} times");
        while take(&[]) < 200 {
            let (n, buf) = ops::recv(&socket, vec![0; 4]).await;
            take(&buf[..n.expect("they are there")]);
        }
    });
}
