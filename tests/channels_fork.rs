//! A child process after `fork`: its channels work, also those that its parent used, and so do its timers.
#![allow(unsafe_code, reason = "forks, and waits for the child")]

mod support;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use millstream::channel::{self, broadcast, spsc};
use support::Watchdog;

/// Runs `child` in a child process and tells whether it returned true.
fn in_child(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: (local) the child has this thread only, takes no lock another thread may hold but the allocator's, which
    // libc looks after, and ends without running what the parent registered, or by the alarm.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: (local) takes a number.
            unsafe { libc::alarm(20) };
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

/// Both ends at work, each on a thread of its own.
fn use_spsc(tx: &mut spsc::Producer<u32>, rx: &mut spsc::Consumer<u32>) {
    thread::scope(|threads| {
        threads.spawn(|| (0..1000).for_each(|n| tx.push_blocking(n).unwrap()));
        threads.spawn(|| (0..1000).for_each(|n| assert_eq!(rx.pop_blocking(), Ok(n))));
    });
}

/// The same with an executor that is not ours, whose waits cost a fence and not a barrier.
fn use_bounded(tx: &channel::Sender<u32>, rx: &channel::Receiver<u32>) {
    thread::scope(|threads| {
        threads.spawn(|| {
            block_on(async {
                for n in 0..1000 {
                    tx.push(n).await.unwrap()
                }
            })
        });
        threads.spawn(|| (0..1000).for_each(|n| assert_eq!(rx.pop_blocking(), Ok(n))));
    });
}

#[test]
fn channels_of_the_parent_work_in_the_child() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    // With one lock and with two, which by then are this thread's own, and another's.
    let mut lines = [channel::bounded(1), channel::bounded(64), channel::bounded(64)];
    let (mut single_tx, mut single_rx) = channel::spsc(4);
    let (events, mut listener) = channel::broadcast(4, broadcast::Overflow::Wait);
    let (state, mut view) = channel::watch(0);
    let (reply, mut answer) = channel::oneshot();
    for (tx, rx) in &lines[..2] {
        use_bounded(tx, rx);
    }
    for n in 0..1000 {
        lines[2].0.try_push(n).unwrap();
        assert_eq!(lines[2].1.try_pop(), Ok(n));
    }
    use_spsc(&mut single_tx, &mut single_rx);
    for (tx, _) in &lines {
        tx.try_push(7).unwrap();
    }
    assert!(in_child(|| {
        for (tx, rx) in &mut lines {
            assert_eq!(rx.try_pop(), Ok(7));
            use_bounded(tx, rx);
        }
        use_spsc(&mut single_tx, &mut single_rx);
        thread::scope(|threads| {
            threads.spawn(|| (0..100).for_each(|n| events.push_blocking(n).unwrap()));
            (0..100).for_each(|n| assert_eq!(listener.pop_blocking(), Ok(n)));
            threads.spawn(|| state.push(1).unwrap());
            view.mark_seen();
            assert!(view.get() == 1 || view.pop_blocking() == Ok(1));
            threads.spawn(|| reply.push(2).unwrap());
            assert_eq!(answer.pop_blocking(), Ok(2));
        });
        true
    }));
    for (tx, rx) in &lines {
        assert_eq!(rx.try_pop(), Ok(7), "what the child popped was its own copy");
        use_bounded(tx, rx);
    }
    use_spsc(&mut single_tx, &mut single_rx);
}

/// The thread that keeps timers is not in the child, which has to have one of its own.
#[test]
fn timers_of_other_executors_come_due_in_the_child() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let short = || channel::after(Duration::from_millis(2));
    block_on(short().pop()).unwrap(); // the parent has it
    let mut later = channel::after(Duration::from_millis(100));
    let mut waiting = pin!(later.pop());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(in_child(|| {
        block_on(short().pop()).unwrap();
        block_on(waiting.as_mut()).unwrap(); // armed by the parent
        // A child of the child, and threads.
        in_child(|| {
            let threads: Vec<_> =
                (0..4).map(|_| thread::spawn(move || block_on(short().pop()).is_ok())).collect();
            threads.into_iter().all(|thread| thread.join().unwrap())
        })
    }));
    match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(popped) => drop(popped.unwrap()),
        Poll::Pending => drop(block_on(waiting).unwrap()),
    }
    block_on(short().pop()).unwrap();
}
