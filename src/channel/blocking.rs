//! Waiting on a plain thread: the same futures, with a waker that unparks.
//!
//! Knows: threads, `util::executor`. Does not know: channels.

use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::sync::Arc; // not `crate::sync`: `Wake` is about this one
use std::task::Wake;

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, Thread};
use crate::util::executor;

/// Refuses to block a thread that a runtime polls on.
#[track_caller]
pub(super) fn assert_plain_thread(called: &str, instead: &str) {
    assert!(
        !executor::on_runtime_thread(),
        "`{called}` on a runtime's thread would stop every task on it: use `{instead}` there"
    );
}

/// Wakes a parked thread.
struct Parker {
    thread: Thread,
    woken: AtomicBool,
}

impl Parker {
    fn new() -> Arc<Self> {
        Arc::new(Self { thread: thread::current(), woken: AtomicBool::new(false) })
    }

    fn take(&self) -> bool {
        // ORDERING: pairs with the `Release` in `wake`: the poll that follows sees what was done before the wake.
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::Acquire)
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ORDERING: pairs with `take`.
        self.woken.store(true, Ordering::Release);
        if !cfg!(millstream_bug = "wake-forgets-to-unpark") {
            self.thread.unpark();
        }
    }
}

/// Runs `future` to its end on this thread, parking while it is pending.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    wait_pinned(pin!(future))
}

fn wait_pinned<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    // Most waits find what they want at once: no parker for those.
    if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return output;
    }
    let parker = Parker::new();
    let waker = Waker::from(parker.clone());
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        while !parker.take() {
            thread::park();
        }
    }
}
