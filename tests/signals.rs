//! A storm of signals on the runtime's thread: every system call may be interrupted, and nothing is lost by it. On Linux 6.1 a
//! read of a pipe needs a worker thread of the kernel, too, which a signal can keep from being made.
//!
//! Knows: the public API, and libc to send signals. Does not know: where the loop waits.

#![allow(unsafe_code, reason = "installs a signal handler and sends signals to a thread")]

mod support;

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use millstream::combinators::when_all;
use millstream::ops::{self, Fd};
use millstream::{Runtime, time};
use support::{Watchdog, rounds};

static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn handle(_signal: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Interrupts system calls: no `SA_RESTART`.
fn install() {
    // SAFETY: an all-zero `sigaction` is a valid one: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler touches one atomic, which is allowed in a signal handler.
    let installed = unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);
}

/// Ends the storm, also when the test has failed.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_storm_of_signals_changes_nothing() {
    let _watchdog = Watchdog::new(Duration::from_secs(120));
    install();
    // SAFETY: asks for the calling thread's own id.
    let target = unsafe { libc::pthread_self() };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = End(&done);
        scope.spawn(|| {
            for n in 0_u32.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                // SAFETY: the target thread outlives this scope, and the signal has a handler.
                unsafe { libc::pthread_kill(target, libc::SIGUSR1) };
                // A lull now and then, or a slow machine does nothing but handle signals.
                thread::sleep(Duration::from_micros(if n % 16 == 0 { 2_000 } else { 20 }));
            }
        });
        // No spinning: the loop is to be caught in its waiting call.
        let runtime = Runtime::builder().no_spin().build().expect("a runtime");
        runtime.block_on(async {
            for round in 0..rounds(2_000) {
                let (reader, mut writer) = io::pipe().expect("a pipe");
                let reader = Fd::from(OwnedFd::from(reader));
                let feed = millstream::spawn(async move {
                    time::sleep(Duration::from_micros(100)).await;
                    writer.write_all(b"message").expect("the pipe is empty");
                });
                let nops = when_all((0..32).map(|_| ops::nop()).collect::<Vec<_>>());
                let (result, buffer) = ops::read(&reader, vec![0_u8; 8]).await;
                assert_eq!(result.expect("not interrupted"), 7, "round {round}");
                assert_eq!(&buffer[..7], b"message");
                feed.await.expect("no task panics");
                assert!(nops.await.into_iter().all(|nop| nop.is_ok()));
            }
        });
        let stats = runtime.stats();
        assert_eq!(stats.nodes, 0, "{stats:?}");
    });
    assert!(HANDLED.load(Ordering::Relaxed) > 0, "no signal arrived");
}
