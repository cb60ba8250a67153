//! Where io_uring is forbidden, short of memory, or another process's: an error that says so, and no panic.
//!
//! Knows: `Runtime`, `BuildError`, seccomp filters, limits. Does not know: the driver.

#![allow(unsafe_code, reason = "installs seccomp filters, changes limits and user, forks")]

mod support;

use std::error::Error;
use std::future::Future;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;
use std::{io, thread};

use millstream::runtime::{BuildError, BuildErrorKind};
use millstream::time::{sleep, timeout};
use millstream::{Runtime, ops};
use support::{role, run_again, skip};

/// Makes one system call fail on this thread, and on those it starts, from now on.
fn forbid(call: libc::c_long, errno: i32) {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0), // the system call's number
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: (local) plain arguments, then a live program of four steps, which the kernel copies.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let installed = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program);
        assert_eq!(installed, 0, "{}", io::Error::last_os_error());
    }
}

fn forbidden(call: libc::c_long, errno: i32) -> BuildError {
    // A filter binds the thread that installs it, and ends with it.
    thread::spawn(move || {
        forbid(call, errno);
        Runtime::new().map(drop).expect_err("a ring needs this call")
    })
    .join()
    .expect("an error, no panic")
}

#[test]
fn every_call_of_the_ring_can_be_forbidden() {
    for (call, name) in [
        (libc::SYS_io_uring_setup, "io_uring_setup"),
        (libc::SYS_io_uring_register, "io_uring_register"),
        (libc::SYS_io_uring_enter, "io_uring_enter"),
    ] {
        for (errno, kind) in
            [(libc::ENOSYS, BuildErrorKind::Unavailable), (libc::EPERM, BuildErrorKind::Forbidden)]
        {
            let error = forbidden(call, errno);
            assert_eq!((error.kind(), error.raw_os_error()), (&kind, Some(errno)));
            let text = error.to_string();
            assert!(text.starts_with(name), "which call: {text}");
            // Where the sysctl forbids io_uring as well, it is named instead: it has to go first.
            assert!(text.contains("seccomp filter") || text.contains("io_uring_disabled"), "and why: {text}");
            let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
            assert_eq!(source.and_then(io::Error::raw_os_error), Some(errno));
            assert_eq!(io::Error::from(error).kind(), io::Error::from_raw_os_error(errno).kind());
        }
    }
}

#[test]
fn the_rest_of_a_runtime_can_be_refused_too() {
    // The eventfd is pooled: a runtime that ended on another thread may have left one. Then none is made here.
    let refused = thread::spawn(|| {
        forbid(libc::SYS_eventfd2, libc::EMFILE);
        Runtime::new().map(drop)
    });
    match refused.join().expect("an error, no panic") {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), &BuildErrorKind::TooManyFiles),
    }
}

#[test]
fn locked_memory_runs_out_with_advice() {
    const TEST: &str = "locked_memory_runs_out_with_advice";
    if role().is_none() {
        let output = run_again(TEST, "poor");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        if said.contains("not charged") {
            skip("this kernel or user is not charged for rings");
        }
        return;
    }
    let limit = libc::rlimit { rlim_cur: 256 << 10, rlim_max: 256 << 10 };
    // SAFETY: (local) plain calls. Root is exempt from the limit, so it becomes nobody; failing that, nobody is charged.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit), 0);
        libc::setuid(65_534);
    }
    let mut runtimes = Vec::new();
    while runtimes.len() < 20 {
        match Runtime::new() {
            Ok(runtime) => runtimes.push(runtime),
            Err(error) => {
                assert_eq!(error.kind(), &BuildErrorKind::OutOfMemory);
                assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}");
                // What ended rings held comes back late on recent kernels; making the next one waits for it.
                drop(runtimes);
                Runtime::new().expect("the memory is free again").block_on(async {});
                return;
            }
        }
    }
    eprintln!("not charged");
}

/// Needs the ring: the thread sleeps in it.
async fn nap() {
    sleep(Duration::from_millis(1)).await;
}

#[test]
fn a_child_process_makes_its_own_runtime() {
    const TEST: &str = "a_child_process_makes_its_own_runtime";
    if role().is_none() {
        // In a process of its own: `fork` copies only the thread that calls it, and no other may hold a lock then.
        let output = run_again(TEST, "parent");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let inherited = Runtime::new().expect("a runtime");
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let reader = ops::Fd::from(reader);
    let mut in_flight = ops::read(&reader, [0; 1]);
    inherited.block_on(async {
        assert!(Pin::new(&mut in_flight).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        nap().await;
    });
    // SAFETY: (local) the child has one thread, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if child == 0 {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            let own = Runtime::new().expect("a runtime of its own");
            own.block_on(nap());
            let used = panic::catch_unwind(AssertUnwindSafe(|| {
                inherited.block_on(nap());
            }));
            let payload = used.expect_err("the parent's ring is not the child's");
            let text = payload.downcast_ref::<String>().map_or("", String::as_str);
            assert!(text.contains("fork"), "{text}");
            drop((in_flight, inherited));
            // What is in flight is so in the parent, which takes a byte; nothing here waits for its end.
            writer.write_all(b"xy").expect("written");
            let read = timeout(Duration::from_secs(5), ops::read(&reader, [0; 1]));
            assert_eq!(own.block_on(read).expect("no read of this process is in flight").0.expect("read"), 1);
        }));
        // SAFETY: (local) ends the child without running what the parent's harness left to be run.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    let mut status = 0;
    // SAFETY: (local) one live status word.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 0));
    inherited.block_on(nap()); // and the parent's ring is as it was
}
