//! A child process after `fork`: its parent's runtime refuses it, it makes its own, and the parent notices nothing.
#![allow(unsafe_code, reason = "forks, and waits for the child")]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use millstream::{Runtime, ops, spawn, time};
use support::Watchdog;

/// Runs `child` in a child process and tells whether it returned true.
fn in_child(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: (local) the child has this thread only, takes no lock another thread may hold but the allocator's, which
    // libc looks after, and ends without running what the parent registered.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            let well = catch_unwind(AssertUnwindSafe(child)).unwrap_or(false);
            // SAFETY: (local) ends the process.
            unsafe { libc::_exit(i32::from(!well)) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: (local) `status` is a local.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        }
    }
}

fn runtime() -> Runtime {
    Runtime::builder().no_spin().build().expect("io_uring is there")
}

#[test]
fn a_child_is_refused_makes_its_own_and_harms_nothing() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    // A runtime that is gone leaves its eventfd for the next one: in the parent, not in the child.
    drop(runtime());
    let rt = runtime();
    rt.block_on(async {
        spawn(async { ops::timeout(Duration::from_secs(3600)).await }).detach();
        time::sleep(Duration::from_millis(2)).await; // in flight, and the eventfd's read is armed
    });
    assert!(in_child(|| {
        let refused = catch_unwind(AssertUnwindSafe(|| rt.block_on(async { ops::nop().await })));
        let text = refused.unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains("made before a fork"), "{text}");
        let own = runtime();
        own.block_on(async {
            ops::nop().await.unwrap();
            time::sleep(Duration::from_millis(1)).await;
        });
        own.shutdown().unwrap();
        true
    }));
    let handle = rt.handle();
    let thread = thread::spawn(move || {
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(2));
            handle.spawn(async { ops::nop().await }).unwrap().join_blocking().unwrap().unwrap();
        }
        handle.stop();
    });
    rt.run();
    thread.join().unwrap();
    rt.shutdown().unwrap();
}

#[test]
fn dropping_the_parents_runtime_in_the_child_does_not_wait() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let rt =
        Runtime::builder().shutdown_deadline(Duration::from_secs(3600)).build().expect("io_uring is there");
    rt.block_on(async {
        spawn(async { ops::timeout(Duration::from_secs(3600)).await }).detach();
        time::sleep(Duration::from_millis(2)).await;
    });
    let mut rt = Some(rt);
    assert!(in_child(|| rt.take().unwrap().shutdown().unwrap_err().ops() == 1));
    rt.take().unwrap().shutdown().unwrap();
}
