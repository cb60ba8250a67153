//! A kernel that refuses for the time being, and a ring that is beyond help.

mod support;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

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
