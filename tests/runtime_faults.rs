//! A kernel that refuses for the time being, and a ring that is beyond help.

mod support;

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use millstream::combinators::link;
use millstream::runtime::testing::{FaultCall, FaultPlan};
use millstream::{Runtime, ops, spawn, time, yield_now};
use support::Watchdog;

const EVERYWHERE: u64 = 12;

fn runtime(plan: &FaultPlan) -> Runtime {
    Runtime::builder().no_spin().faults(plan).build().expect("io_uring is there")
}

/// Ops, timers, tasks and a wake from another thread, while enters fail.
fn workload(rt: &Runtime) {
    let handle = rt.handle();
    let thread =
        thread::spawn(move || handle.spawn(async { ops::nop().await.is_ok() }).unwrap().join_blocking());
    rt.sync_wait(async {
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                spawn(async move {
                    for _ in 0..5 {
                        ops::nop().await.unwrap();
                    }
                    let began = Instant::now();
                    time::sleep(Duration::from_millis(n % 4)).await;
                    assert!(began.elapsed() >= Duration::from_millis(n % 4));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        while !thread.is_finished() {
            time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(thread.join().unwrap().unwrap());
    let stats = rt.stats();
    assert_eq!((stats.tasks, stats.timers, stats.in_flight, stats.nodes), (0, 0, 0, 0), "{stats:?}");
}

#[test]
fn an_enter_that_fails_for_now_loses_nothing_wherever_it_strikes() {
    let _watchdog = Watchdog::new(Duration::from_secs(100));
    let building = FaultPlan::new();
    drop(runtime(&building));
    for errno in [libc::EBUSY, libc::EAGAIN, libc::ENOMEM, libc::EINTR] {
        for skip in 1..EVERYWHERE {
            for times in [1, 7] {
                let plan = FaultPlan::new().fail(FaultCall::Enter, skip, times, errno);
                let rt = runtime(&plan);
                workload(&rt);
                rt.shutdown().unwrap();
            }
        }
    }
}

#[test]
fn a_ring_beyond_help_ends_block_on_with_a_clear_word_and_keeps_the_tasks() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let enters = {
        let plan = FaultPlan::new();
        let rt = runtime(&plan);
        rt.block_on(async { ops::nop().await.unwrap() });
        plan.calls(FaultCall::Enter)
    };
    let plan = FaultPlan::new().fail(FaultCall::Enter, enters, 1, libc::EBADFD);
    let rt = runtime(&plan);
    rt.block_on(async { ops::nop().await.unwrap() });
    let done = Rc::new(Cell::new(false));
    let inner = Rc::clone(&done);
    let task = rt.spawn(async move {
        ops::nop().await.unwrap();
        inner.set(true);
    });
    let unwound = catch_unwind(AssertUnwindSafe(|| rt.block_on(time::sleep(Duration::from_secs(3600)))));
    let text = unwound.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("the ring of this runtime cannot go on"), "{text}");
    assert!(!done.get() && !task.is_finished());
    // This plan's ring recovers, so the task shows that it is whole.
    rt.block_on(task).unwrap();
    assert!(done.get());
    rt.shutdown().unwrap();
}

#[test]
fn a_dead_ring_does_not_hang_the_end_of_its_runtime() {
    let _watchdog = Watchdog::new(Duration::from_secs(30));
    let plan = FaultPlan::new();
    let rt = Runtime::builder()
        .no_spin()
        .shutdown_deadline(Duration::from_millis(50))
        .faults(&plan)
        .build()
        .expect("io_uring is there");
    let fd = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rt.block_on(async {
        spawn(async move {
            let _ = ops::accept(fd).await;
        })
        .detach();
        yield_now().await;
        time::sleep(Duration::from_millis(1)).await;
    });
    let from_now = plan.calls(FaultCall::Enter);
    let _dead = plan.clone().fail(FaultCall::Enter, from_now, 1 << 20, libc::EBADFD);
    assert_eq!(rt.shutdown().unwrap_err().ops(), 1);
}

/// A kernel short of memory takes a chain in parts and starts each as if it were whole.
#[test]
fn a_chain_that_is_taken_in_parts_never_runs_out_of_order() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    for limit in 1..=3 {
        let plan = FaultPlan::new().submit_at_most(limit);
        let rt = runtime(&plan);
        rt.block_on(async {
            let (source, mut sink) = std::io::pipe().unwrap();
            let (mut copied, target) = std::io::pipe().unwrap();
            let (source, target) =
                (ops::Fd::from(OwnedFd::from(source)), ops::Fd::from(OwnedFd::from(target)));
            let chain = spawn(link((
                ops::read(&source, vec![0; 2]),
                ops::write(&target, b"first".to_vec()),
                ops::write(&target, b"then".to_vec()),
            )));
            time::sleep(Duration::from_millis(5)).await;
            sink.write_all(b"go").unwrap();
            let ((read, _), (first, one), (then, two)) = chain.await.unwrap();
            // The eventfd's read may have been taken with it, so where the cut is cannot be told from the limit alone.
            let mut written = Vec::new();
            drop(target);
            copied.read_to_end(&mut written).unwrap();
            match (read, first, then) {
                (Ok(2), Ok(5), Ok(4)) => assert_eq!(written, b"firstthen"),
                (Ok(2), Ok(5), Err(_)) => assert_eq!(written, b"first"),
                (Ok(2) | Err(_), Err(first), Err(then)) => {
                    assert_eq!(
                        (first.raw_os_error(), then.raw_os_error()),
                        (Some(libc::ECANCELED), Some(libc::ECANCELED))
                    );
                    assert_eq!(written, b"");
                }
                other => panic!("{limit} at a time: {other:?}"),
            }
            assert_eq!(
                (one.as_slice(), two.as_slice()),
                (&b"first"[..], &b"then"[..]),
                "the buffers are back"
            );
        });
    }
}
