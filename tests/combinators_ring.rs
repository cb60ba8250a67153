//! Combinators of ops on a ring of its own: what the kernel makes of chains, flags and cancellations.
//!
//! The ops are the smallest there are: one that succeeds, one that fails, one that waits. The numbers in names such as
//! `condy_85` refer to the behaviours of the library this design started from.
#![allow(unsafe_code, reason = "a request promises by `unsafe impl` what its entry points to")]

mod support;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use io_uring::opcode;
use millstream::combinators::{
    OneOf2, OneOf3, OperationExt, RingOperationExt, adapters, hard_link, link, when_all, when_any,
};
use millstream::ops::{ChainTooLong, Op, Request, Sqe};
use millstream::{Operation, Runtime, channel, race, spawn, time, yield_now};
use support::Watchdog;

/// The smallest ops. They resolve to the errno, or 0, and to the number they carry.
struct Small {
    entry: [u8; 64],
    /// What a timeout's entry points to.
    _span: Box<[i64; 2]>,
    number: u32,
}

// SAFETY: (I1) the entry points to nothing, or into `_span`'s block, which is the request's own.
unsafe impl Request for Small {
    type Output = (i32, u32);

    fn sqe(&mut self) -> Sqe {
        Sqe::from_bytes(self.entry)
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> (i32, u32) {
        let errno = match result {
            Ok(_) => 0,
            Err(error) => error.raw_os_error().unwrap_or_else(|| {
                let source = error.get_ref().expect("an error of our own has a source");
                assert!(source.is::<ChainTooLong>(), "{error}");
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                TOO_LONG
            }),
        };
        (errno, self.number)
    }
}

const TOO_LONG: i32 = -1;

fn small(code: u8, number: u32, fill: impl FnOnce(&mut [u8; 64], &[i64; 2])) -> Op<Small> {
    let (mut entry, span) = ([0; 64], Box::new([i64::from(number), 0]));
    entry[0] = code;
    fill(&mut entry, &span);
    Op::new(Small { entry, _span: span, number })
}

/// Succeeds.
fn nop(number: u32) -> Op<Small> {
    small(opcode::Nop::CODE, number, |_, _| {})
}

/// Fails with `ENOENT`: a cancel that finds nothing.
fn miss(number: u32) -> Op<Small> {
    small(opcode::AsyncCancel::CODE, number, |entry, _| entry[16..24].copy_from_slice(&[0x77; 8]))
}

/// Fails with `ETIME` after so many seconds; 0 is at once.
fn wait(seconds: u32) -> Op<Small> {
    small(opcode::Timeout::CODE, seconds, |entry, span| {
        entry[16..24].copy_from_slice(&(std::ptr::from_ref(span).addr() as u64).to_ne_bytes());
        entry[24..28].copy_from_slice(&1_u32.to_ne_bytes());
    })
}

const OK: i32 = 0;
const MINUTE: u32 = 60;

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(60))
}

/// A runtime with a submission queue so small that chains have to wait for room.
fn tiny() -> Runtime {
    Runtime::builder().sq_entries(8).cq_entries(32).build().expect("a ring")
}

fn runtime() -> Runtime {
    Runtime::new().expect("a ring")
}

/// Every node was given back: nothing is in flight.
fn assert_idle(runtime: &Runtime) {
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn condy_76_78_81_all_of_several_ops() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        assert_eq!(when_all((nop(1), nop(2), nop(3))).await, ((OK, 1), (OK, 2), (OK, 3)));
        assert_eq!(when_all((0..3).map(nop)).await, [(OK, 0), (OK, 1), (OK, 2)]);
        assert_eq!((nop(1) & miss(2) & nop(3)).await, ((OK, 1), (libc::ENOENT, 2), (OK, 3)));
    });
    assert_idle(&runtime);
}

#[test]
fn condy_44_74_77_79_82_losers_are_gone_when_the_race_is() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        assert_eq!((wait(MINUTE) | nop(1)).await, OneOf2::B((OK, 1)));
        assert_eq!(runtime.stats().nodes, 0, "nothing of the loser is in flight");
        assert_eq!(race!(wait(MINUTE) || nop(1) || wait(MINUTE)).await, OneOf3::B((OK, 1)));
        assert_eq!(when_any(vec![wait(MINUTE), wait(0), wait(MINUTE)]).await, (1, (libc::ETIME, 0)));
        assert_eq!(when_any([wait(MINUTE), wait(MINUTE), nop(3)]).await, (2, (OK, 3)));
        assert_eq!(runtime.stats().nodes, 0);
    });
}

#[test]
fn condy_85_86_a_failure_cancels_the_rest_of_a_link_and_not_of_a_hard_link() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        let broken = ((OK, 1), (libc::ETIME, 0), (libc::ECANCELED, 3));
        assert_eq!(link((nop(1), wait(0), nop(3))).await, broken);
        assert_eq!((nop(1) >> wait(0) >> nop(3)).await, broken);
        assert_eq!(hard_link((nop(1), wait(0), nop(3))).await, ((OK, 1), (libc::ETIME, 0), (OK, 3)));
        assert_eq!(hard_link((0..5).map(nop)).await, (0..5).map(|n| (OK, n)).collect::<Vec<_>>());
    });
    assert_idle(&runtime);
}

#[test]
fn a_chain_in_a_chain_keeps_its_kind_until_a_soft_link_breaks() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        let (no, cut) = (libc::ENOENT, libc::ECANCELED);
        assert_eq!((hard_link((miss(1), nop(2))) >> nop(3)).await, (((no, 1), (OK, 2)), (OK, 3)));
        assert_eq!((link((miss(1), nop(2))) >> nop(3)).await, ((no, 1), (cut, 2), (cut, 3)));
        assert_eq!(link((link((nop(1), miss(2))), nop(3))).await, (((OK, 1), (no, 2)), (cut, 3)));
        // The inner chain's last member is tied to the outer one's next by the outer one's kind.
        assert_eq!(hard_link((link((nop(1), miss(2))), nop(3))).await, (((OK, 1), (no, 2)), (OK, 3)));
        // A soft link that breaks cancels everything behind it, hard links included.
        assert_eq!(hard_link((link((miss(1), nop(2))), nop(3))).await, (((no, 1), (cut, 2)), (cut, 3)));
    });
    assert_idle(&runtime);
}

#[test]
fn condy_43_chains_wait_for_room_in_a_small_queue() {
    let _watchdog = watchdog();
    let runtime = tiny();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                spawn(async move {
                    for _ in 0..20 {
                        assert_eq!((nop(n) >> nop(n) >> nop(n)).await, ((OK, n), (OK, n), (OK, n)));
                    }
                })
            })
            .collect();
        assert!(when_all(tasks).await.iter().all(Result::is_ok));
    });
    assert_idle(&runtime);
}

#[test]
fn chains_of_many_tasks_are_never_torn_or_mixed() {
    let _watchdog = watchdog();
    let runtime = tiny();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for n in 0..30 {
            tasks.push(spawn(async move {
                for _ in 0..20 {
                    let (no, cut) = (libc::ENOENT, libc::ECANCELED);
                    // A link that reached past its chain would cancel a neighbour; one that broke would spare its own.
                    match n % 3 {
                        0 => assert_eq!((miss(n) >> nop(n) >> nop(n)).await, ((no, n), (cut, n), (cut, n))),
                        1 => assert_eq!(nop(n).await, (OK, n)),
                        _ => assert_eq!(
                            (wait(MINUTE) | nop(n) >> miss(n)).await,
                            OneOf2::B(((OK, n), (no, n)))
                        ),
                    }
                    yield_now().await;
                }
            }));
        }
        for task in tasks {
            task.await.expect("no assertion failed");
        }
    });
    assert_idle(&runtime);
}

#[test]
fn a_chain_longer_than_the_queue_fails_whole_and_gives_everything_back() {
    let _watchdog = watchdog();
    let runtime = tiny();
    runtime.block_on(async {
        let outputs = link((0..1000).map(nop)).await;
        assert_eq!(outputs, (0..1000).map(|n| (TOO_LONG, n)).collect::<Vec<_>>());
        let (inner, last) = (link((0..1000).map(nop).collect::<Vec<_>>()) & nop(7)).await;
        assert_eq!(
            (inner[999], last),
            ((TOO_LONG, 999), (OK, 7)),
            "what stands beside it is not its business"
        );
        let (nested, end) = (hard_link((0..1000).map(nop)) >> nop(7)).await;
        assert_eq!((nested[0], end), ((TOO_LONG, 0), (TOO_LONG, 7)));
        assert_eq!(link((0..8).map(nop)).await.len(), 8, "as long as the queue is not too long");
        assert_eq!((nop(1) >> nop(2)).await, ((OK, 1), (OK, 2)), "the ring goes on");
    });
    assert_idle(&runtime);
}

#[test]
fn condy_87_88_a_drain_waits_for_what_is_before_it_and_for_nothing_of_the_runtimes_own() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        for _ in 0..20 {
            assert_eq!(nop(1).drain().await, (OK, 1));
            assert_eq!((nop(1) & nop(2) & nop(3).drain()).await, ((OK, 1), (OK, 2), (OK, 3)));
            assert_eq!((nop(1) >> nop(2)).drain().await, ((OK, 1), (OK, 2)));
            assert_eq!((nop(1).drain() >> nop(2)).await, ((OK, 1), (OK, 2)));
            assert_eq!(
                (nop(1) & (nop(2) | nop(3))).drain().always_async().await,
                ((OK, 1), OneOf2::A((OK, 2)))
            );
            time::sleep(Duration::from_millis(1)).await; // the loop parks, and arms what wakes it
        }
        // What the drain waits for is cancelled past the drain.
        let late = (wait(MINUTE) & nop(1).drain()).timeout(Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(late.into_outcome().0, (libc::ECANCELED, MINUTE));
        assert_eq!(runtime.stats().nodes, 0);
    });
    assert_idle(&runtime);
}

#[test]
fn condy_101_always_async_on_an_op_and_on_everything_below() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        assert_eq!(nop(1).always_async().await, (OK, 1));
        assert_eq!((nop(1) & nop(2)).always_async().await, ((OK, 1), (OK, 2)));
        let (time, cut) = (libc::ETIME, libc::ECANCELED);
        assert_eq!((nop(1) >> wait(0) >> nop(2)).always_async().await, ((OK, 1), (time, 0), (cut, 2)));
    });
    assert_idle(&runtime);
}

#[test]
fn chains_that_lose_or_run_late_end_and_are_waited_out() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        assert_eq!((wait(MINUTE) >> nop(1) | nop(2)).await, OneOf2::B((OK, 2)));
        assert_eq!(runtime.stats().nodes, 0);
        assert_eq!((hard_link((wait(MINUTE), nop(1), wait(MINUTE))) | nop(2)).await, OneOf2::B((OK, 2)));
        assert_eq!(runtime.stats().nodes, 0);
        let late = (wait(MINUTE) >> nop(1)).timeout(Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(late.into_outcome(), ((libc::ECANCELED, MINUTE), (libc::ECANCELED, 1)));
        let late = when_all((wait(MINUTE), nop(1))).timeout(Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(late.into_outcome(), ((libc::ECANCELED, MINUTE), (OK, 1)), "what had completed is there");
    });
    assert_idle(&runtime);
}

#[test]
fn asked_to_stop_before_it_starts_a_chain_reaches_no_ring() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        let mut chain = pin!(nop(1) >> nop(2));
        chain.as_mut().request_cancel();
        assert_eq!(chain.await, ((libc::ECANCELED, 1), (libc::ECANCELED, 2)));
    });
    assert_idle(&runtime);
}

#[test]
fn whatever_is_dropped_in_flight_is_gone_soon() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        for drop_after in 0..3 {
            let mut deep =
                Box::pin(((wait(MINUTE) >> nop(1)) & (wait(MINUTE) | wait(MINUTE))) | wait(MINUTE));
            for _ in 0..drop_after {
                assert!(poll_fn(|cx| Poll::Ready(deep.as_mut().poll(cx).is_pending())).await);
                time::sleep(Duration::from_millis(1)).await;
            }
            drop(deep);
            while runtime.stats().nodes > 0 {
                time::sleep(Duration::from_millis(1)).await;
            }
        }
        // Decided, and dropped while its losers end.
        let mut race = Box::pin(wait(MINUTE) | adapters::future(async {}));
        assert!(
            poll_fn(|cx| Poll::Ready(race.as_mut().poll(cx).is_pending())).await,
            "the loser was started"
        );
        drop(race);
        while runtime.stats().nodes > 0 {
            time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert_idle(&runtime);
}

#[test]
fn an_op_by_reference_stays_in_flight_from_race_to_race() {
    let _watchdog = watchdog();
    let runtime = runtime();
    runtime.block_on(async {
        let mut kept = wait(MINUTE);
        for n in 0..10 {
            assert_eq!((&mut kept | nop(n)).await, OneOf2::B((OK, n)));
            assert_eq!(runtime.stats().nodes, 1);
        }
        let (tx, rx) = channel::bounded(1);
        tx.push(5).await.expect("open");
        assert_eq!(race!(&mut kept || rx.pop()).await, OneOf2::B(Ok(5)));
        assert_eq!(kept.timeout(Duration::ZERO).await.unwrap_err().into_outcome(), (libc::ECANCELED, MINUTE));
    });
    assert_idle(&runtime);
}

#[test]
fn condy_114_a_message_from_another_thread_wins_and_the_program_ends() {
    let _watchdog = watchdog();
    let runtime = runtime();
    let ((_tx1, rx1), (tx2, rx2)) = (channel::bounded::<u32>(1), channel::bounded(1));
    let pusher = std::thread::spawn(move || tx2.push_blocking(42));
    let won = runtime.block_on(async { (rx1.pop() | rx2.pop() | wait(3600)).await });
    assert_eq!(won, OneOf3::B(Ok(42)));
    pusher.join().expect("no panic").expect("open");
    assert_idle(&runtime);
}
