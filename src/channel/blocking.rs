//! Waiting on a plain thread: the same futures, with a waker that unparks.
//!
//! Knows: threads, `util::executor`. Does not know: channels.

use core::cell::Cell;
use core::future::Future;
use core::ops::Deref;
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
        if !planted!("wake-forgets-to-unpark") {
            self.thread.unpark();
        }
    }
}

std::thread_local! {
    /// This thread's parker, unless a wait has it.
    static PARKER: Cell<Option<(Arc<Parker>, Waker)>> = const { Cell::new(None) };
}

/// Not under a model checker: what it made must not outlive the execution.
const KEEP: bool = !cfg!(any(millstream_loom, millstream_shuttle));

/// The parker of this thread while a wait uses it, so that waiting allocates once per thread. A wait within a wait (in the
/// user's code) makes its own. A wake that comes late, for an earlier wait, ends the next one's park early, no more.
struct Lent(Option<(Arc<Parker>, Waker)>);

impl Lent {
    fn new() -> Self {
        let kept = if KEEP { PARKER.try_with(Cell::take).ok().flatten() } else { None };
        Self(kept.or_else(|| {
            let parker = Parker::new();
            Some((parker.clone(), Waker::from(parker)))
        }))
    }
}

impl Deref for Lent {
    type Target = (Arc<Parker>, Waker);

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("empty only when it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if KEEP {
            let _ = PARKER.try_with(|parker| parker.set(self.0.take()));
        }
    }
}

/// Pauses before parking: at most some ten microseconds, less than a park and an unpark cost.
const MAX_SPIN: u32 = if cfg!(any(millstream_loom, millstream_shuttle, miri)) { 0 } else { 1024 };
/// At least as long as another thread that is awake takes to answer. With less, a thread that has once been kept waiting
/// would go on to park for every value.
const MIN_SPIN: u32 = MAX_SPIN / 8;
/// How often the processor is left to others after that: what ends the wait may be up to a thread that has none.
const YIELDS: u32 = 8;

std::thread_local! {
    /// How long this thread spins: more while wakes come in that time, less while they do not.
    static SPIN: Cell<u32> = const { Cell::new(MAX_SPIN / 4) };
}

/// Whether what ends a wait cannot come while this thread spins: there is one processor, or a model checker.
fn spinning_is_vain() -> bool {
    static ALONE: OnceLock<bool> = OnceLock::new();
    MAX_SPIN == 0 || *ALONE.get_or_init(|| std::thread::available_parallelism().is_ok_and(|n| n.get() == 1))
}

/// Looks for a while whether it is `done`, if what ends the wait may come that soon.
pub(super) fn spin(done: impl FnMut() -> bool) -> bool {
    spin_with(1, 1, done)
}

/// As [`spin`], for who looks at a channel: where that has many slots, with ever longer pauses between, so that the other
/// side gets on.
///
/// Who waits in line is served one value at a time, each with a wake. Who only looks finds a number of them at once, unless
/// he looks so often that he finds each as it comes.
pub(super) fn spin_at(capacity: usize, done: impl FnMut() -> bool) -> bool {
    if capacity > 1 { spin_with(8, 128, done) } else { spin(done) }
}

/// How often a thread that only looks may find that somebody else was faster, before it stands in line like everybody:
/// who is not in line is owed nothing, and could go on losing for ever.
pub(super) const TRIES: u32 = 4;

fn spin_with(mut pauses: u32, most: u32, mut done: impl FnMut() -> bool) -> bool {
    if spinning_is_vain() {
        return false;
    }
    let limit = SPIN.get();
    let mut left = limit;
    while left > 0 {
        (0..pauses.min(left)).for_each(|_| hint::spin_loop());
        if done() {
            SPIN.set((limit * 2).min(MAX_SPIN));
            return true;
        }
        left = left.saturating_sub(pauses);
        pauses = (pauses * 2).min(most);
    }
    SPIN.set((limit / 2).max(MIN_SPIN));
    (0..YIELDS).any(|_| {
        thread::yield_now();
        done()
    })
}

/// Runs `future` to its end on this thread, parking while it is pending.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    wait_pinned(pin!(future))
}

fn wait_pinned<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let lent = Lent::new();
    let (parker, waker) = &*lent;
    let mut cx = Context::from_waker(waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        if !spin(|| parker.take()) {
            while !parker.take() {
                thread::park();
            }
        }
    }
}
