//! Waiting on a plain thread: the same futures, with a waker that unparks.
//!
//! Knows: threads, `util::executor`. Does not know: channels.

use core::cell::Cell;
use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, OnceLock}; // not `crate::sync`: `Wake` is about this `Arc`
use std::task::Wake;

use super::sharing::Sharing;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::hint;
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

/// Refuses to wait for what only the waiting thread could do.
#[track_caller]
pub(super) fn assert_not_alone<S: Sharing>(called: &str) {
    assert!(!S::ONE_THREAD, "`{called}` would wait for ever: all ends of a local channel are on this thread");
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

/// Pauses before parking: at most some tens of microseconds, the cost of a park and an unpark.
const MAX_SPIN: u32 = if cfg!(any(millstream_loom, millstream_shuttle, miri)) { 0 } else { 1024 };
const MIN_SPIN: u32 = MAX_SPIN / 64;

std::thread_local! {
    /// How long this thread spins: more while wakes come in that time, less while they do not.
    static SPIN: Cell<u32> = const { Cell::new(MAX_SPIN / 4) };
}

/// Whether a wake comes soon enough to be waited for awake. With one processor it cannot.
fn spin(parker: &Parker) -> bool {
    static ALONE: OnceLock<bool> = OnceLock::new();
    if MAX_SPIN == 0
        || *ALONE.get_or_init(|| std::thread::available_parallelism().is_ok_and(|n| n.get() == 1))
    {
        return false;
    }
    let limit = SPIN.get();
    for _ in 0..limit {
        if parker.take() {
            SPIN.set((limit * 2).min(MAX_SPIN));
            return true;
        }
        hint::spin_loop();
    }
    SPIN.set((limit / 2).max(MIN_SPIN));
    false
}

/// Runs `future` to its end on this thread, parking while it is pending.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    wait_pinned(pin!(future))
}

fn wait_pinned<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let parker = Parker::new();
    let waker = Waker::from(parker.clone());
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        if !spin(&parker) {
            while !parker.take() {
                thread::park();
            }
        }
    }
}
